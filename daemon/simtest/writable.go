package simtest

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Writable is the new server as a pass sees it. Intended is asked before a
// message is taken: an intent must be durable by then (I1).
type Writable struct {
	View
	Intended func(box string, size int64, print mail.Fingerprint) error
	// Changing is asked before a message is changed, moved or removed: an intent
	// must be durable by then (I1), and a receipt name the message (I4).
	Changing func(kind mail.IntentKind, box mail.Ref, uid mail.UID)
}

func (w Writable) Name(path []string) string { return strings.Join(path, "/") }

func (w Writable) Folds(context.Context, mail.Listing) (bool, error) { return false, nil }

func (w Writable) CanCopy() bool { return !w.NoUIDPlus }

// effect runs a change between two questions.
func (w Writable) effect(s step, change func()) error {
	if err := w.ask(s); err != nil {
		return err
	}
	w.Server.mu.Lock()
	w.Changes++
	change()
	w.Server.mu.Unlock()
	return w.ask(s)
}

func (w Writable) Create(_ context.Context, boxes []mail.Creation) ([]error, error) {
	for _, box := range boxes {
		if err := w.effect(w.step("create", box.Name), func() { w.Box(box.Name) }); err != nil {
			return nil, err
		}
	}
	return make([]error, len(boxes)), nil
}

func (w Writable) Personal(string) bool { return true }

func (w Writable) Make(ctx context.Context, box mail.Creation) (mail.Appender, error) {
	if _, err := w.Create(ctx, []mail.Creation{box}); err != nil {
		return nil, err
	}
	return w.Appender(ctx, mail.Ref{Name: box.Name})
}

func (w Writable) Subscribe(_ context.Context, names []string) ([]error, error) {
	for _, name := range names {
		if err := w.effect(w.step("subscribe to", name), func() { w.Boxes[name].Subscribed = true }); err != nil {
			return nil, err
		}
	}
	return make([]error, len(names)), nil
}

func (w Writable) Appender(_ context.Context, box mail.Ref) (mail.Appender, error) {
	b, err := w.open(box)
	if err != nil {
		return nil, err
	}
	return &appender{w: w, name: box.Name, status: w.status(b)}, nil
}

type appender struct {
	w      Writable
	name   string
	status mail.Status
	before chan struct{} // closed once what was sent before is answered
	late   chan struct{} // closed once what was in flight before is stored
	never  bool          // what was in flight before is not, nor what follows it

	mu   sync.Mutex
	lost error // why the connection has ended
}

func (a *appender) Status() mail.Status                          { return a.status }
func (a *appender) Next(context.Context, string, *mail.Creation) {}
func (a *appender) Close() error                                 { return nil }

func (a *appender) Storable(flags mail.Flags) mail.Flags {
	flags.System &^= a.w.notAppended()
	return flags
}

func (s *Server) notAppended() mail.System {
	if s.Unflags {
		return mail.Flagged
	}
	return 0
}

func (a *appender) store(m mail.Upload, data string) mail.Appended {
	a.w.Server.mu.Lock()
	defer a.w.Server.mu.Unlock()
	if a.w.Boxes[a.name] == nil {
		return mail.Appended{}
	}
	a.w.Appends++
	a.w.Changes++
	data, date := a.w.Altered(data, m.Date)
	m.Flags.System &^= a.w.notAppended()
	return mail.Appended{UID: a.w.Boxes[a.name].Add(data, date, m.Flags), UIDValidity: a.w.Boxes[a.name].Validity}
}

// Append takes messages one after the other, and what is sent before it has
// answered after them. Where the connection is lost, the message in flight and
// those behind it may still be stored, a prefix of them, at once or late.
func (a *appender) Append(_ context.Context, messages []mail.Upload) <-chan mail.Answer {
	answer := make(chan mail.Answer, 1)
	outcomes := make([]mail.Appended, len(messages))
	contents := make([]string, len(messages))
	fail := func(from int, outcome, err error) <-chan mail.Answer {
		for i := from; i < len(outcomes); i++ {
			outcomes[i].Err = outcome
		}
		answer <- mail.Answer{Outcomes: outcomes, Err: err}
		return answer
	}
	if err := a.ended(nil); err != nil {
		return fail(0, mail.ErrNotSent, err)
	}
	for i, m := range messages {
		data := make([]byte, m.Size)
		if _, err := m.Content.ReadAt(data, 0); err != nil && len(data) > 0 && err != io.EOF {
			return fail(0, mail.ErrNotSent, err)
		}
		contents[i] = string(data)
		if err := a.w.Intended(a.name, m.Size, mail.NewFingerprint(m.Size, m.Date, data)); err != nil {
			return fail(0, mail.ErrNotSent, err)
		}
	}
	before, done := a.before, make(chan struct{})
	a.before = done
	go func() {
		defer close(done)
		if before != nil {
			<-before
		}
		if err := a.ended(nil); err != nil { // it was in flight by then
			a.lose(messages, contents)
			fail(0, mail.ErrInDoubt, err)
			return
		}
		for i, m := range messages {
			if err := a.w.ask(a.w.step("append to", a.name)); err != nil {
				a.lose(messages[i:], contents[i:])
				fail(i, mail.ErrInDoubt, a.ended(err))
				return
			}
			if err := a.w.refusal(contents[i], m.Flags); err != nil {
				outcomes[i].Err = err
				continue
			}
			stored := a.store(m, contents[i])
			if err := a.w.ask(a.w.step("append to", a.name)); err != nil {
				a.lose(messages[i+1:], contents[i+1:])
				fail(i, mail.ErrInDoubt, a.ended(err))
				return
			}
			if !a.w.NoUIDPlus {
				outcomes[i] = stored
			}
		}
		answer <- mail.Answer{Outcomes: outcomes}
	}()
	return answer
}

// ended tells why the connection has ended, if it has or does so now.
func (a *appender) ended(err error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lost == nil {
		a.lost = err
	}
	return a.lost
}

// lose has what was in flight stored late, or never. A connection brings what
// was sent in its order: what was in flight before is stored before.
func (a *appender) lose(messages []mail.Upload, contents []string) {
	if a.w.Late == nil {
		return
	}
	after, ever := a.w.Late()
	if a.never = a.never || !ever; a.never {
		return
	}
	before, stored := a.late, make(chan struct{})
	a.late = stored
	rest, texts := slices.Clone(messages), slices.Clone(contents)
	store := func() {
		defer close(stored)
		if before != nil {
			<-before
		}
		for i, m := range rest {
			if a.w.refusal(texts[i], m.Flags) == nil {
				a.store(m, texts[i])
			}
		}
	}
	if after == 0 {
		store()
		return
	}
	time.AfterFunc(after, store)
}
