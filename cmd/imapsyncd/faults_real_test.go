package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proof"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proxy"
	"github.com/imapsyncd/imapsyncd/state"
)

var storm = flag.Bool("storm", false, "every fault at every step, not some of them")

// fault is what strace injects into the program's system calls. The %d is the
// number of the call, counted by thread.
type fault struct{ name, call, inject string }

var faults = []fault{
	{"no space once", "pwrite64", "error=ENOSPC:when=%d"},
	{"no space from then on", "pwrite64", "error=ENOSPC:when=%d+"},
	{"a write fails", "pwrite64", "error=EIO:when=%d"},
	{"a write is the last", "pwrite64", "signal=KILL:when=%d"},
	{"a sync fails", "fdatasync", "error=EIO:when=%d"},
	{"syncs fail from then on", "fdatasync", "error=EIO:when=%d+"},
	{"a sync is the last", "fdatasync", "signal=KILL:when=%d"},
	{"the directory's sync fails", "fsync", "error=EIO:when=%d"},
	{"the directory's sync is the last", "fsync", "signal=KILL:when=%d"},
}

// some are the calls that the short version breaks.
var some = map[string][]int{"pwrite64": {1, 9}, "fdatasync": {1, 4}, "fsync": {1}}

// TestFaults breaks the program's writes and syncs one after the other while it
// copies between real servers, runs it again without a fault, and expects that
// nothing is lost or doubled, and that no message was ever sent before the
// intent to do so was durable.
func TestFaults(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("strace"); err != nil {
		if os.Getenv(dovecot.Require) != "" {
			t.Fatalf("strace is required (%s is set): %v", dovecot.Require, err)
		}
		t.Skipf("no faults are injected: install strace (%v)", err)
	}
	begun := time.Now()
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	var counts tally
	t.Run("faults", func(t *testing.T) {
		for i, f := range faults {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				numbers := some[f.call]
				if *storm {
					numbers = nil // until none is reached
				}
				for n := 1; numbers == nil || n <= len(numbers); n++ {
					at := n
					if numbers != nil {
						at = numbers[n-1]
					}
					run := s.lane(t, fmt.Sprintf("f%d.%d", i, at))
					hits := run.broken(f, at)
					if counts.add(f, hits, run); len(hits) == 0 && numbers == nil && at > 1 {
						break
					}
					if t.Failed() {
						t.Fatalf("%s at %s number %d", f.name, f.call, at)
					}
				}
			})
		}
	})
	t.Run("disk", func(t *testing.T) { counts.full = fullDisks(t, s) })
	if counts.runs < 10 || counts.hits < counts.runs/2 || counts.sent == 0 {
		t.Errorf("the faults do not reach the program: %s", &counts)
	}
	proof.Count(t, begun, "%s", &counts)
}

// tally counts what was broken.
type tally struct {
	mu         sync.Mutex
	runs, hits int
	sent       int // APPENDs in the traces
	full       int
	positions  map[string]map[int]bool // by call: which ones of the whole program
}

func (c *tally) add(f fault, hits []int, l *lane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs++
	c.sent += l.sent
	c.hits += len(hits)
	if c.positions == nil {
		c.positions = make(map[string]map[int]bool)
	}
	if c.positions[f.call] == nil {
		c.positions[f.call] = make(map[int]bool)
	}
	for _, at := range hits {
		c.positions[f.call][at] = true
	}
}

func (c *tally) String() string {
	text := fmt.Sprintf("%d runs with %d faults and %d APPENDs traced, %d full disks", c.runs, c.hits, c.sent, c.full)
	for _, call := range slices.Sorted(maps.Keys(c.positions)) {
		at := slices.Sorted(maps.Keys(c.positions[call]))
		if len(at) > 0 {
			text += fmt.Sprintf("; %s: %d positions of %d to %d", call, len(at), at[0], at[len(at)-1])
		}
	}
	return text
}

// lane is an account of its own between the two servers of a site.
func (s *site) lane(t *testing.T, user string) *lane {
	t.Helper()
	l := &lane{site: &site{t: t, old: s.old, new: s.new, dir: t.TempDir()}, user: user}
	if err := os.WriteFile(filepath.Join(l.dir, "password"), []byte(dovecot.Password), 0o600); err != nil {
		t.Fatal(err)
	}
	boxes := []corpus.Mailbox{{Name: "INBOX"}}
	for i := range 6 {
		boxes = append(boxes, corpus.Mailbox{Name: fmt.Sprintf("m%d", i)})
	}
	for i := range 35 { // each of its own size
		data := fmt.Appendf(nil, "Message-ID: <%d@test.example>\r\n\r\n%s\r\n", i, bytes.Repeat([]byte("x"), i))
		box := &boxes[i%len(boxes)]
		box.Messages = append(box.Messages, corpus.Message{Data: data, Date: time.Unix(1_500_000_000+int64(i), 0)})
	}
	// Large enough to be spooled.
	large := corpus.Message{Data: append([]byte("Subject: large\r\n\r\n"), bytes.Repeat([]byte("0123456789abcde\n"), 75_000)...), Date: time.Unix(1_500_000_100, 0)}
	large.Data = bytes.ReplaceAll(large.Data, []byte("e\n"), []byte("\r\n"))
	boxes[0].Messages = append(boxes[0].Messages, large)
	l.client(s.old, user).Fill(boxes)
	l.proxy = proxy.Start(t, s.new.Address())
	l.proxy.Sent = l.intended
	l.configure(near(s.old.Port), near(l.proxy.Port()), user)
	return l
}

type lane struct {
	*site
	user  string
	proxy *proxy.Proxy
	seen  int // APPENDs whose intents were looked for
	sent  int // APPENDs in the trace
}

var (
	appending = regexp.MustCompile(`(?m)^\S+ APPEND (\S+) .*\{(\d+)\+?\}\r$`)
	literal   = regexp.MustCompile(`\{(\d+)\+?\}\r\n`)
)

// intended looks, before an APPEND goes to the new server, whether the state
// file says that it is about to.
func (l *lane) intended(next []byte) {
	m := appending.FindSubmatch(next)
	if m == nil {
		return
	}
	l.seen++
	path := daemon.StatePath(filepath.Join(l.dir, "state"), l.user)
	data, err := os.ReadFile(path)
	if err == nil {
		path = filepath.Join(l.dir, "look.db")
		err = os.WriteFile(path, data, 0o600)
	}
	var intents []mail.Intent
	if err == nil {
		var store *state.Store
		if store, err = state.Open(path, state.Options{ReadOnly: true}); err == nil {
			intents, err = store.Intents()
			err = errors.Join(err, store.Close())
		}
	}
	if err != nil {
		l.t.Errorf("an APPEND, and the state cannot be read: %v", err)
		return
	}
	for _, size := range literal.FindAllSubmatch(next, -1) {
		n, _ := strconv.ParseInt(string(size[1]), 10, 64)
		if !slices.ContainsFunc(intents, func(i mail.Intent) bool {
			return i.Kind == mail.IntentAppend && i.Open() && i.Size == n && i.Mailbox == strings.Trim(string(m[1]), `"`)
		}) {
			l.t.Errorf("a message of %d octets is sent to %s without an intent", n, m[1])
		}
	}
}

// broken runs a copy with a fault, then one without, and compares. It returns
// which of all such calls the fault hit.
func (l *lane) broken(f fault, at int) []int {
	l.t.Helper()
	trace := filepath.Join(l.dir, "trace")
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(l.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "strace", "-f", "-y", "-s", "100", "-o", trace, "-e", "trace=pwrite64,fdatasync,fsync,write",
		"-e", "inject="+f.call+":"+fmt.Sprintf(f.inject, at), self, "--config", filepath.Join(l.dir, "c.toml"), "sync")
	cmd.Env = append(os.Environ(), asProgram+"=1", "GOMAXPROCS=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // with what it traces
	err = cmd.Run()
	if ctx.Err() != nil {
		l.t.Fatalf("%s at %s number %d: it has not ended after %s\n%s", f.name, f.call, at, patience, out.String())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		l.t.Fatal(err)
	}
	if text := out.String(); strings.Contains(text, "panic") || strings.Contains(text, "goroutine ") || strings.Contains(text, "DATA RACE") {
		l.t.Errorf("exit %v\n%s", err, text)
	}
	hits, last := l.ordered(trace, f.call)
	if exit != nil && exit.Sys().(syscall.WaitStatus).Signaled() {
		hits = append(hits, last)
	} else if err != nil && !strings.Contains(out.String(), "imapsyncd: ") {
		l.t.Errorf("it ended with %v without a word", err)
	}
	if at == 1 && len(hits) == 0 {
		l.t.Errorf("the first %s is not broken\n%s", f.call, out.String())
	}
	l.whole(out.String())
	return hits
}

// whole runs the program without a fault, and expects everything to be there
// once.
func (l *lane) whole(before string) {
	l.t.Helper()
	if code, out := l.run("sync"); code != 0 {
		l.t.Fatalf("it does not resume: exit %d\n%s\nafter\n%s", code, out, before)
	}
	l.same(l.user)
	if code, out := l.run("sync"); code != 0 || !strings.Contains(out, " 0 messages copied") {
		l.t.Errorf("a further sync: exit %d\n%s", code, out)
	}
	if l.seen == 0 {
		l.t.Error("no APPEND was looked at")
	}
}

// call is a line of a trace: thread, name, file, result.
var call = regexp.MustCompile(`^(\d+) +(?:<\.\.\. )?(pwrite64|fdatasync|fsync|write)(.*)$`)

// ordered reads a trace: after a write or sync of the state that failed nothing
// is sent before another was synced. It returns which of the calls of a name
// were hit, and how many there were.
func (l *lane) ordered(trace, name string) (hits []int, count int) {
	l.t.Helper()
	file, err := os.Open(trace)
	if err != nil {
		l.t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	durable := false
	unfinished := make(map[string]string) // what a thread's call is about
	for lines.Scan() {
		m := call.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		thread, called, rest := m[1], m[2], m[3]
		if begun, partial := strings.CutSuffix(rest, " <unfinished ...>"); partial {
			unfinished[thread] = begun
			rest = begun
		} else if strings.HasPrefix(rest, " resumed>") {
			rest = unfinished[thread] + rest
		}
		if starts := !strings.Contains(lines.Text(), "resumed>"); starts {
			if called == name {
				count++
			}
			if called == "write" && strings.Contains(rest, " APPEND ") && strings.Contains(rest, "<socket:") {
				if l.sent++; !durable {
					l.t.Errorf("sent before the state was synced: %s", lines.Text())
				}
			}
		}
		if strings.HasSuffix(rest, "(INJECTED)") {
			hits = append(hits, count)
		}
		switch state := strings.Contains(rest, "/accounts/"); {
		case !state || strings.HasSuffix(lines.Text(), "<unfinished ...>"):
		case strings.Contains(rest, "= -1 "):
			durable = false
		case called == "fdatasync" && strings.HasSuffix(rest, "= 0"):
			durable = true
		}
	}
	if err := lines.Err(); err != nil {
		l.t.Fatal(err)
	}
	return hits, count
}

// fullDisks copies with state directories of every size, until all fits, and
// goes on with more room.
func fullDisks(t *testing.T, s *site) (full int) {
	sizes := []int{24, 148}
	if *storm {
		sizes = nil
		for n := 4; n < 2000; n += 4 {
			sizes = append(sizes, n)
		}
	}
	for _, kilobytes := range sizes {
		l := s.lane(t, fmt.Sprintf("d%d", kilobytes))
		if code := l.onDisk(kilobytes); code == 0 {
			return full
		}
		full++
	}
	return full
}

// onDisk copies with a state directory of a size, then with a larger one. It
// returns the exit code of the first try.
func (l *lane) onDisk(kilobytes int) int {
	l.t.Helper()
	dir := filepath.Join(l.dir, "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		l.t.Fatal(err)
	}
	mount := func(options string) {
		l.t.Helper()
		if out, err := exec.Command("mount", "-t", "tmpfs", "-o", options, "tmpfs", dir).CombinedOutput(); err != nil {
			l.t.Fatalf("mount: %v: %s", err, out)
		}
	}
	mount(fmt.Sprintf("size=%dk", kilobytes))
	defer exec.Command("umount", dir).Run()
	code, out := l.run("sync")
	if code != 0 && !strings.Contains(out, "no space left on device") {
		l.t.Errorf("%d kB: exit %d\n%s", kilobytes, code, out)
	}
	mount("remount,size=30m")
	l.whole(out)
	return code
}
