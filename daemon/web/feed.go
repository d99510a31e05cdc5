package web

import (
	"bytes"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	// listenersAtMost watch at once; whoever comes later fetches the page instead.
	listenersAtMost = 100
	// slowest is how long a listener may take to read one tick.
	slowest = 30 * time.Second
)

// feed tells those who watch a page what changes in it, as server-sent events
// (HTML, section 9.2): one for each part of the page that is not what it was, its
// name as the event and its HTML as the data. Within a tick the status is taken
// once, and each page that somebody watches is rendered once, for all.
type feed struct {
	status func() Status
	every  time.Duration
	seats  chan struct{} // one for each listener

	mu       sync.Mutex
	taken    time.Time
	now      Status
	rendered map[string]func() ([]fragment, error) // by the address of the page
}

func newFeed(status func() Status, every time.Duration) *feed {
	return &feed{status: status, every: every, seats: make(chan struct{}, listenersAtMost)}
}

// fragments returns the parts of a page as they are now. render makes them of the
// status when nobody has in this tick.
func (f *feed) fragments(page string, render func(Status) ([]fragment, error)) ([]fragment, error) {
	f.mu.Lock()
	if now := time.Now(); now.Sub(f.taken) >= f.every {
		f.taken, f.now, f.rendered = now, f.status(), make(map[string]func() ([]fragment, error))
	}
	once, ok := f.rendered[page]
	if !ok {
		s := f.now
		once = sync.OnceValues(func() ([]fragment, error) { return render(s) })
		f.rendered[page] = once
	}
	f.mu.Unlock()
	return once()
}

// serve tells a listener what changes until it goes or the server ends. The first
// part of a page is told at every tick, so that the listener knows that it is
// still told.
func (f *feed) serve(w http.ResponseWriter, r *http.Request, page string, render func(Status) ([]fragment, error)) error {
	select {
	case f.seats <- struct{}{}:
		defer func() { <-f.seats }()
	default:
		w.Header().Set("Retry-After", "30")
		http.Error(w, "too many are watching: fetch the page itself", http.StatusServiceUnavailable)
		return nil
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // for a proxy that would keep it back
	if r.Method == http.MethodHead {
		return nil
	}
	control := http.NewResponseController(w)
	// The time-outs of other answers would end this one.
	if err := control.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("tell what changes: %w", err)
	}
	told := make(map[string][]byte)
	next := time.NewTicker(f.every)
	defer next.Stop()
	for {
		fragments, err := f.fragments(page, render)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		for i, part := range fragments {
			if before, ok := told[part.Name]; i == 0 || !ok || !bytes.Equal(before, part.HTML) {
				told[part.Name] = part.HTML
				writeEvent(&b, part)
			}
		}
		if err := control.SetWriteDeadline(time.Now().Add(slowest)); err != nil {
			return fmt.Errorf("tell what changes: %w", err)
		}
		if _, err := w.Write(b.Bytes()); err != nil {
			return nil // the listener has gone
		}
		if err := control.Flush(); err != nil {
			return nil
		}
		select {
		case <-next.C:
		case <-r.Context().Done():
			return nil
		}
	}
}

// writeEvent writes a part as an event.
func writeEvent(b *bytes.Buffer, part fragment) {
	b.WriteString("event: " + part.Name + "\n")
	for line := range bytes.Lines(part.HTML) {
		b.WriteString("data: ")
		b.Write(bytes.TrimRight(line, "\r\n"))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
}
