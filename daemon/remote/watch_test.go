package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// watched is an account on a scripted server that a Watch looks at.
type watched struct {
	mu       sync.Mutex
	uidNext  int  // of Archive
	deaf     bool // does not answer DONE
	breaks   bool // off in the middle of an event
	refuses  bool // answers IDLE by NO
	leaves   bool // ends IDLE by itself
	late     bool // tells once of mail that came after the mailbox was listed
	waits    bool // answers DONE once it has the two commands behind it
	loses    bool // what has come together with DONE
	restless bool // something is new in each listing
	verbs    []string
	idling   chan func(string) // gets how to send into an IDLE
}

func (w *watched) serve(conn net.Conn, in *bufio.Reader) {
	send := func(format string, args ...any) { fmt.Fprintf(conn, format+"\r\n", args...) }
	idle := ""
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		tag, command, _ := strings.Cut(strings.TrimSpace(line), " ")
		verb, _, _ := strings.Cut(command, " ")
		w.mu.Lock()
		if tag != "DONE" {
			w.verbs = append(w.verbs, verb)
		}
		next, deaf, breaks, refuses, leaves, waits, loses := w.uidNext, w.deaf, w.breaks, w.refuses, w.leaves, w.waits, w.loses
		w.mu.Unlock()
		switch {
		case tag == "DONE":
			if deaf {
				io.Copy(io.Discard, in)
				return
			}
			if loses {
				in.Discard(in.Buffered())
			}
			if waits {
				for {
					part, _ := in.Peek(in.Buffered())
					if bytes.Count(part, []byte("\n")) == 2 {
						break
					}
					if _, err := in.Peek(len(part) + 1); err != nil {
						return
					}
				}
			}
			send("%s OK idled", idle)
		case verb == "EXAMINE":
			send("* 2 EXISTS\r\n* OK [UIDVALIDITY 1] .\r\n%s OK [READ-ONLY] .", tag)
		case verb == "LIST":
			send(`* LIST () "/" INBOX`)
			send(`* STATUS INBOX (MESSAGES 2 UIDNEXT 3 UIDVALIDITY 1)`)
			w.mu.Lock()
			if w.restless {
				w.uidNext++
			}
			if w.late {
				w.late = false
				send("* 3 EXISTS")
			}
			w.mu.Unlock()
			send(`* LIST () "/" Archive`)
			send(`* STATUS Archive (MESSAGES 1 UIDNEXT %d UIDVALIDITY 1)`, next)
			send("%s OK listed", tag)
		case verb == "IDLE" && refuses:
			send("%s NO not here", tag)
		case verb == "IDLE":
			idle = tag
			send("+ idling")
			if breaks {
				fmt.Fprint(conn, "* 3 EXI")
			}
			if leaves {
				send("%s OK enough", tag)
				continue
			}
			select {
			case w.idling <- func(event string) { send("%s", event) }:
			default:
			}
		default:
			send("%s BAD %s", tag, verb)
		}
	}
}

func (w *watched) seen(verb string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, v := range w.verbs {
		if v == verb {
			n++
		}
	}
	return n
}

// start watches w and returns what it tells of.
func (w *watched) start(t *testing.T, caps string, sweep, timeout time.Duration) (listening, hints chan struct{}, ended chan error) {
	t.Helper()
	return w.watch(t, caps, timeout, WatchOptions{Sweep: func() time.Duration { return sweep }})
}

// watch is start, with options that need not be whole.
func (w *watched) watch(t *testing.T, caps string, timeout time.Duration, o WatchOptions) (listening, hints chan struct{}, ended chan error) {
	t.Helper()
	w.idling = make(chan func(string), 1)
	w.uidNext = 2
	server := newFakeServer(t, SideSource, caps, w.serve)
	server.options.Timeout = timeout
	listening, hints, ended = make(chan struct{}, 10), make(chan struct{}, 1000), make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		o.Open = server.dial
		o.Listening = func() { listening <- struct{}{} }
		o.Hint = func(string) { hints <- struct{}{} }
		ended <- Watch(ctx, o)
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return listening, hints, ended
}

func await[T any](t *testing.T, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatalf("no %s", what)
		return v
	}
}

const watchCaps = "IDLE LIST-EXTENDED LIST-STATUS"

func TestWatchHearsEvents(t *testing.T) {
	for _, event := range []string{"* 3 EXISTS", "* 1 EXPUNGE", `* 1 FETCH (FLAGS (\Seen))`, "* VANISHED 7"} {
		t.Run(event, func(t *testing.T) {
			w := &watched{}
			listening, hints, _ := w.start(t, watchCaps, time.Hour, 10*time.Second)
			await(t, listening, "word that it listens")
			push := await(t, w.idling, "IDLE")
			if len(hints) != 0 {
				t.Fatal("a hint although nothing has happened")
			}
			push("* OK still here")
			push(event)
			await(t, hints, "hint")
			if len(hints) != 0 {
				t.Error("more than one hint for one event")
			}
		})
	}
}

// TestWatchSweeps: a server that sends no events keeps nothing to itself for
// longer than a sweep, whatever it makes of IDLE.
func TestWatchSweeps(t *testing.T) {
	for name, c := range map[string]struct {
		caps string
		w    *watched
	}{
		"silent":       {watchCaps, &watched{}},
		"no IDLE":      {"LIST-EXTENDED LIST-STATUS", &watched{}},
		"refuses IDLE": {watchCaps, &watched{refuses: true}},
		"ends IDLE":    {watchCaps, &watched{leaves: true}},
	} {
		t.Run(name, func(t *testing.T) {
			listening, hints, _ := c.w.start(t, c.caps, 20*time.Millisecond, 10*time.Second)
			await(t, listening, "word that it listens")
			for c.w.seen("LIST") < 4 {
				time.Sleep(time.Millisecond)
			}
			if len(hints) != 0 {
				t.Fatal("a hint although nothing has happened")
			}
			c.w.mu.Lock()
			c.w.uidNext++
			c.w.mu.Unlock()
			await(t, hints, "hint")
			before := c.w.seen("LIST")
			for c.w.seen("LIST") < before+2 {
				time.Sleep(time.Millisecond)
			}
			if len(hints) != 0 {
				t.Error("the same change gave another hint")
			}
			if len(listening) != 0 {
				t.Error("told twice that it listens")
			}
			if n := c.w.seen("IDLE"); (c.caps != watchCaps) != (n == 0) || (c.w.refuses || c.w.leaves) && n != 1 {
				t.Errorf("IDLE was sent %d times", n)
			}
		})
	}
}

// TestWatchSweepsTogether: a sweep is one round trip, with the end of IDLE before it
// and the next behind it, unless the server loses what comes with DONE.
func TestWatchSweepsTogether(t *testing.T) {
	often := func() time.Duration { return 20 * time.Millisecond }
	for name, c := range map[string]struct {
		w        *watched
		stepwise bool
		timeout  time.Duration
		sweeps   bool
	}{
		"together": {&watched{waits: true}, false, 10 * time.Second, true},
		"lost":     {&watched{loses: true}, false, 50 * time.Millisecond, false},
		"stepwise": {&watched{loses: true}, true, 10 * time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			listening, hints, ended := c.w.watch(t, watchCaps, c.timeout, WatchOptions{Sweep: often, Stepwise: c.stepwise})
			await(t, listening, "word that it listens")
			if !c.sweeps {
				var far *Error
				if err := await(t, ended, "end of the watch"); !errors.As(err, &far) || far.Class != ClassTimeout {
					t.Errorf("ended with %v, want a time-out", err)
				}
				return
			}
			for before := c.w.seen("LIST"); c.w.seen("LIST") < before+3; {
				time.Sleep(time.Millisecond)
			}
			push := await(t, c.w.idling, "IDLE")
			push("* 3 EXISTS")
			await(t, hints, "hint")
		})
	}
}

// TestWatchHearsDuringSweep: what is told during a sweep does not wait for the
// next.
func TestWatchHearsDuringSweep(t *testing.T) {
	w := &watched{}
	listening, hints, _ := w.start(t, watchCaps, 20*time.Millisecond, 10*time.Second)
	await(t, listening, "word that it listens")
	w.mu.Lock()
	w.late = true
	w.mu.Unlock()
	await(t, hints, "hint")
}

func TestWatchNoticesDeadConnection(t *testing.T) {
	for _, w := range []*watched{{deaf: true}, {breaks: true}} {
		sweep := 20 * time.Millisecond
		if w.breaks {
			sweep = time.Hour // it need not come to that
		}
		_, _, ended := w.start(t, watchCaps, sweep, 50*time.Millisecond)
		err := await(t, ended, "end of the watch")
		var far *Error
		if !errors.As(err, &far) || far.Class != ClassTimeout {
			t.Errorf("ended with %v, want a time-out", err)
		}
	}
}

func TestWatchEndsWithContext(t *testing.T) {
	w := &watched{}
	server := newFakeServer(t, SideSource, watchCaps, w.serve)
	w.idling = make(chan func(string), 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Watch(ctx, WatchOptions{Open: server.dial, Sweep: hourly, Listening: cancel, Hint: func(string) {}})
	}()
	if err := await(t, ended, "end of the watch"); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

func hourly() time.Duration { return time.Hour }
