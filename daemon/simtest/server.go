// Package simtest is a model of the world for tests of a pass: two servers, a
// journal, users and faults, all in memory, and a checker of what a pass
// promises. It is used inside testing/synctest, so that waiting costs nothing.
package simtest

import (
	"context"
	"errors"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Message is a message on a model server.
type Message struct {
	UID   mail.UID
	Data  string
	Date  time.Time
	Flags mail.Flags
}

// Box is a mailbox on a model server.
type Box struct {
	Validity   mail.UIDValidity
	Next       mail.UID
	Messages   []Message
	Subscribed bool
}

// Server is a model of an IMAP server with one account. Its methods that begin
// with an upper-case verb are what its users do; a View is what a pass sees.
type Server struct {
	mu       sync.Mutex // a late commit comes while something else goes on
	Boxes    map[string]*Box
	validity mail.UIDValidity
	// Refuse tells that an APPEND of this content is answered NO.
	Refuse func(data string) bool
	// NoUIDPlus leaves APPENDUID away.
	NoUIDPlus bool
	Appends   int // that were stored
	Changes   int // commands that changed something
}

// NewServer returns a server with an empty INBOX; first decides its
// UIDVALIDITYs.
func NewServer(first mail.UIDValidity) *Server {
	s := &Server{Boxes: make(map[string]*Box), validity: first}
	s.Make("INBOX")
	return s
}

// Make makes a mailbox if it is not there.
func (s *Server) Make(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.box(name)
}

// box is Make for who has the lock.
func (s *Server) box(name string) *Box {
	if s.Boxes[name] == nil {
		s.validity++
		s.Boxes[name] = &Box{Validity: s.validity, Next: 1}
	}
	return s.Boxes[name]
}

// Deliver puts a message into a mailbox.
func (s *Server) Deliver(name, data string, date time.Time, flags mail.Flags) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deliver(name, data, date, flags)
}

// deliver is Deliver for who has the lock.
func (s *Server) deliver(name, data string, date time.Time, flags mail.Flags) mail.UID {
	b := s.box(name)
	b.Messages = append(b.Messages, Message{UID: b.Next, Data: data, Date: date, Flags: flags})
	b.Next++
	return b.Next - 1
}

// Move moves the i-th message to another mailbox, as its user would.
func (s *Server) Move(from string, i int, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.Boxes[from]
	m := b.Messages[i]
	b.Messages = slices.Delete(b.Messages, i, i+1)
	s.deliver(to, m.Data, m.Date, m.Flags)
}

// Rebuild gives a mailbox a new UIDVALIDITY and new UIDs.
func (s *Server) Rebuild(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.Boxes[name]
	s.validity += 100
	b.Validity = s.validity
	for i := range b.Messages {
		b.Messages[i].UID = mail.UID(i + 1)
	}
	b.Next = mail.UID(len(b.Messages) + 1)
}

// Faults decides what breaks. Each operation of a pass asks twice, before and
// after its effect; the answer to question number At is an error.
type Faults struct {
	At    int
	Crash bool // of the whole process, not of one connection
	Late  func() (after time.Duration, ever bool)

	mu    sync.Mutex // a pass reads one side while it writes the other
	asked int
	dead  bool
}

// errCut is a broken connection, errCrash the end of the process.
var (
	errCut   = errors.New("simulated: connection lost")
	errCrash = errors.New("simulated: process ended")
)

// Asked is how many questions there were.
func (f *Faults) Asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// Dead tells whether the process has ended.
func (f *Faults) Dead() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dead
}

func (f *Faults) ask() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errCrash
	}
	f.asked++
	if f.asked != f.At {
		return nil
	}
	if f.Crash {
		f.dead = true
		return errCrash
	}
	return errCut
}

// View is a server as one incarnation of a pass sees it.
type View struct {
	*Server
	*Faults
}

func (v View) Mailboxes(context.Context) (mail.Listing, error) {
	if err := v.ask(); err != nil {
		return mail.Listing{}, err
	}
	v.Server.mu.Lock()
	defer v.Server.mu.Unlock()
	l := mail.Listing{Separator: '/'}
	for _, name := range slices.Sorted(maps.Keys(v.Boxes)) {
		b := v.Boxes[name]
		l.Mailboxes = append(l.Mailboxes, mail.Mailbox{Name: name, Path: strings.Split(name, "/"), Subscribed: b.Subscribed, Status: b.status()})
	}
	return l, nil
}

func (b *Box) status() mail.Status {
	return mail.Status{UIDValidity: b.Validity, UIDNext: b.Next, Messages: uint32(len(b.Messages)), MessagesKnown: true}
}

// open returns what the mailbox shows now.
func (v View) open(box mail.Ref) (*Box, error) {
	if err := v.ask(); err != nil {
		return nil, err
	}
	v.Server.mu.Lock()
	defer v.Server.mu.Unlock()
	b := v.Boxes[box.Name]
	switch {
	case b == nil:
		return nil, &mail.Refused{Command: "EXAMINE", Type: "NO", Code: "NONEXISTENT"}
	case box.UIDValidity != 0 && box.UIDValidity != b.Validity:
		return nil, mail.ErrUIDValidity
	}
	shown := *b
	shown.Messages = slices.Clone(b.Messages)
	return &shown, nil
}

func (v View) Status(_ context.Context, box mail.Ref) (mail.Status, error) {
	b, err := v.open(box)
	if err != nil {
		return mail.Status{}, err
	}
	return b.status(), nil
}

func (v View) UIDs(_ context.Context, box mail.Ref, from mail.UID) ([]mail.UID, error) {
	b, err := v.open(box)
	if err != nil {
		return nil, err
	}
	var uids []mail.UID
	for _, m := range b.Messages {
		if m.UID >= from {
			uids = append(uids, m.UID)
		}
	}
	return uids, nil
}

func (v View) Messages(_ context.Context, box mail.Ref, uids []mail.UID, fingerprints bool) iter.Seq2[mail.Message, error] {
	return func(yield func(mail.Message, error) bool) {
		b, err := v.open(box)
		if err != nil {
			yield(mail.Message{}, err)
			return
		}
		for _, m := range b.Messages {
			if !slices.Contains(uids, m.UID) {
				continue
			}
			x := mail.Message{UID: m.UID, Size: int64(len(m.Data)), InternalDate: m.Date, Flags: m.Flags}
			if fingerprints {
				x.Fingerprint = mail.NewFingerprint(x.Size, m.Date, []byte(m.Data))
			}
			if err := v.ask(); err != nil {
				yield(mail.Message{}, err)
				return
			}
			if !yield(x, nil) {
				return
			}
		}
	}
}

func (v View) Bodies(ctx context.Context, box mail.Ref, uids []mail.UID) iter.Seq2[mail.Body, error] {
	return func(yield func(mail.Body, error) bool) {
		b, err := v.open(box)
		if err != nil {
			yield(mail.Body{}, err)
			return
		}
		for x, err := range v.Messages(ctx, box, uids, false) {
			if err != nil {
				yield(mail.Body{}, err)
				return
			}
			i := slices.IndexFunc(b.Messages, func(m Message) bool { return m.UID == x.UID })
			if i >= 0 && !yield(mail.Body{Message: x, Content: strings.NewReader(b.Messages[i].Data)}, nil) {
				return
			}
		}
	}
}

// Writable is the new server as a pass sees it. Intended is asked before a
// message is taken: an intent must be durable by then (I1).
type Writable struct {
	View
	Intended func(box string, size int64, print mail.Fingerprint) error
}

func (w Writable) Name(path []string) string { return strings.Join(path, "/") }

// effect runs a change between two questions.
func (w Writable) effect(change func()) error {
	if err := w.ask(); err != nil {
		return err
	}
	w.Server.mu.Lock()
	w.Changes++
	change()
	w.Server.mu.Unlock()
	return w.ask()
}

func (w Writable) Create(_ context.Context, name, _ string) error {
	return w.effect(func() { w.box(name) })
}

func (w Writable) Subscribe(_ context.Context, name string) error {
	return w.effect(func() { w.Boxes[name].Subscribed = true })
}

func (w Writable) AddFlags(_ context.Context, box mail.Ref, uids []mail.UID, flags mail.System) error {
	if _, err := w.open(box); err != nil {
		return err
	}
	return w.effect(func() {
		b := w.Boxes[box.Name]
		for i := range b.Messages {
			if slices.Contains(uids, b.Messages[i].UID) {
				b.Messages[i].Flags.System |= flags
			}
		}
	})
}

func (w Writable) Appender(_ context.Context, box mail.Ref) (mail.Appender, error) {
	b, err := w.open(box)
	if err != nil {
		return nil, err
	}
	return &appender{w, box.Name, b.status()}, nil
}

type appender struct {
	w      Writable
	name   string
	status mail.Status
}

func (a *appender) Status() mail.Status                  { return a.status }
func (a *appender) Storable(flags mail.Flags) mail.Flags { return flags }
func (a *appender) Close() error                         { return nil }
func (a *appender) store(m mail.Upload, data string) mail.Appended {
	a.w.Server.mu.Lock()
	defer a.w.Server.mu.Unlock()
	if a.w.Boxes[a.name] == nil {
		return mail.Appended{}
	}
	a.w.Appends++
	a.w.Changes++
	return mail.Appended{UID: a.w.deliver(a.name, data, m.Date, m.Flags), UIDValidity: a.w.Boxes[a.name].Validity}
}

// Append takes messages one after the other. Where the connection is lost, the
// message in flight and those behind it may still be stored, a prefix of them,
// at once or late.
func (a *appender) Append(_ context.Context, messages []mail.Upload) ([]mail.Appended, error) {
	outcomes := make([]mail.Appended, len(messages))
	contents := make([]string, len(messages))
	for i, m := range messages {
		data := make([]byte, m.Size)
		if _, err := m.Content.ReadAt(data, 0); err != nil && len(data) > 0 && err != io.EOF {
			return nil, err
		}
		contents[i] = string(data)
		if err := a.w.Intended(a.name, m.Size, mail.NewFingerprint(m.Size, m.Date, data)); err != nil {
			return nil, err
		}
	}
	for i, m := range messages {
		if err := a.w.ask(); err != nil {
			a.lose(messages[i:], contents[i:])
			for j := i; j < len(messages); j++ {
				outcomes[j].Err = mail.ErrInDoubt
			}
			return outcomes, err
		}
		if a.w.Refuse != nil && a.w.Refuse(contents[i]) {
			outcomes[i].Err = &mail.Refused{Command: "APPEND", Type: "NO", Text: "not this one"}
			continue
		}
		stored := a.store(m, contents[i])
		if err := a.w.ask(); err != nil {
			a.lose(messages[i+1:], contents[i+1:])
			for j := i; j < len(messages); j++ {
				outcomes[j].Err = mail.ErrInDoubt
			}
			return outcomes, err
		}
		if !a.w.NoUIDPlus {
			outcomes[i] = stored
		}
	}
	return outcomes, nil
}

// lose has what was in flight stored late, or never.
func (a *appender) lose(messages []mail.Upload, contents []string) {
	if a.w.Late == nil {
		return
	}
	after, ever := a.w.Late()
	if !ever {
		return
	}
	rest, texts := slices.Clone(messages), slices.Clone(contents)
	store := func() {
		for i, m := range rest {
			if a.w.Refuse == nil || !a.w.Refuse(texts[i]) {
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
