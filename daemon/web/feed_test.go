package web_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/netsim"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// watched is a page that is served and watched on a network of its own, in time of
// its own.
type watched struct {
	client http.Client
	stop   context.CancelFunc
	served chan error
	mu     sync.Mutex
	status web.Status
	asked  atomic.Int64 // how often the status was taken
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	network := &netsim.Network{}
	l, err := network.Listen("tcp", "page:80")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	w := &watched{stop: stop, served: make(chan error, 1), status: sample()}
	transport := &http.Transport{DialContext: network.Dial}
	t.Cleanup(transport.CloseIdleConnections)
	w.client.Transport = transport
	status := func() web.Status {
		w.asked.Add(1)
		return w.now()
	}
	h := handlerOf(web.Options{Status: status, Account: details(w.now)})
	go func() { w.served <- web.Serve(ctx, l, "", h, slog.New(slog.DiscardHandler)) }()
	return w
}

func (w *watched) now() web.Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.status
	s.Accounts = slices.Clone(s.Accounts)
	s.Now = time.Now()
	s.Started = s.Now.Add(-time.Hour)
	for i := range s.Accounts {
		s.Accounts[i].LastSuccess = s.Now
	}
	return s
}

func (w *watched) change(change func(*web.Status)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.status)
}

// listener is one who watches.
type listener struct {
	mu    sync.Mutex
	heard map[string]int    // events by name
	last  map[string]string // and the data of the last
	ended error             // once done is closed
	done  chan struct{}
	leave context.CancelFunc
}

func (w *watched) listen(t *testing.T, target string) *listener {
	t.Helper()
	ctx, leave := context.WithCancel(t.Context())
	q, err := http.NewRequestWithContext(ctx, "GET", "http://page"+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := w.client.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s: %s, %s", target, answer.Status, answer.Header.Get("Content-Type"))
	}
	l := &listener{heard: make(map[string]int), last: make(map[string]string), done: make(chan struct{}), leave: leave}
	go func() {
		defer close(l.done)
		defer answer.Body.Close()
		l.ended = l.read(answer.Body)
	}()
	return l
}

// read reads events until they end.
func (l *listener) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	var name string
	var data []string
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		switch line = strings.TrimSuffix(line, "\n"); {
		case line == "":
			l.mu.Lock()
			l.heard[name]++
			l.last[name] = strings.Join(data, "\n")
			l.mu.Unlock()
			data = nil
		case strings.HasPrefix(line, "event: "):
			name = line[len("event: "):]
		case strings.HasPrefix(line, "data: "):
			data = append(data, line[len("data: "):])
		}
	}
}

func (l *listener) events(name string) (int, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.heard[name], l.last[name]
}

// TestPageIsTold: who watches is told what changes, and only that, for as long as
// he watches; what all see is looked at once for all, and nobody keeps the daemon
// from ending.
func TestPageIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		everybody := make([]*listener, 0, 7)
		for _, target := range []string{"/events", "/events", "/events", "/events?health=auth", "/events?sort=-lag", "/account/foo/events", "/account/foo/events"} {
			everybody = append(everybody, w.listen(t, target))
		}
		// Longer than any time-out of the server.
		time.Sleep(2*time.Minute + time.Second)
		synctest.Wait()
		if n := w.asked.Load(); n > 62 {
			t.Errorf("the status was taken %d times in 2 minutes for %d listeners", n, len(everybody))
		}
		for i, l := range everybody {
			for name, want := range map[string][2]int{"head": {60, 62}, "accounts": {1, 1}, "totals": {1, 1}, "account": {1, 5}} {
				n, _ := l.events(name)
				if n != 0 && (n < want[0] || n > want[1]) {
					t.Errorf("listener %d was told %d times of %s", i, n, name)
				}
			}
			if n, _ := l.events("head"); n == 0 {
				t.Errorf("listener %d was told nothing", i)
			}
		}

		w.change(func(s *web.Status) {
			s.Accounts[0].Health, s.Accounts[0].Error = mail.HealthAuth, "wrong password"
		})
		time.Sleep(3 * time.Second)
		synctest.Wait()
		for i, name := range []string{"accounts", "accounts", "accounts", "accounts", "accounts", "account", "account"} {
			if n, html := everybody[i].events(name); n < 2 || !strings.Contains(html, "wrong password") {
				t.Errorf("listener %d was told %d times of %s:\n%s", i, n, name, html)
			}
		}

		began := time.Now()
		w.stop()
		if err := <-w.served; err != nil {
			t.Error(err)
		}
		for i, l := range everybody {
			if <-l.done; !errors.Is(l.ended, io.EOF) || errors.Is(l.ended, io.ErrUnexpectedEOF) {
				t.Errorf("what listener %d is told ends with %v", i, l.ended)
			}
		}
		if took := time.Since(began); took >= time.Second {
			t.Errorf("the listeners held up the end for %s", took)
		}
	})
}

// TestPageIsToldToSoMany: beyond so many listeners the next is refused, until one
// has gone.
func TestPageIsToldToSoMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		var everybody []*listener
		for range 100 {
			everybody = append(everybody, w.listen(t, "/events"))
		}
		answer, err := w.client.Get("http://page/events")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
			t.Errorf("the 101st is answered %s", answer.Status)
		}
		everybody[7].leave()
		time.Sleep(3 * time.Second) // a write shows that nobody listens
		synctest.Wait()
		w.listen(t, "/events")
		w.stop()
		if err := <-w.served; err != nil {
			t.Error(err)
		}
	})
}

// TestPageIsNotToldOfNobody: the events of an account end when it goes.
func TestPageIsNotToldOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatched(t)
		l := w.listen(t, "/account/foo/events")
		w.change(func(s *web.Status) { s.Accounts = s.Accounts[1:] })
		<-l.done
		if n, html := l.events("account"); n != 1 || !strings.Contains(html, "foo") {
			t.Errorf("told %d times of:\n%s", n, html)
		}
		w.stop()
		if err := <-w.served; err != nil {
			t.Error(err)
		}
	})
}
