// Package simtest is a model of the world for tests of a pass: two servers, a
// journal, users and faults, all in memory, and a checker of what a pass
// promises. It is used inside testing/synctest, so that waiting costs nothing.
package simtest

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
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
	// ModSeq is when the message was last changed (RFC 7162).
	ModSeq mail.ModSeq
}

// Box is a mailbox on a model server.
type Box struct {
	Validity   mail.UIDValidity
	Next       mail.UID
	Messages   []Message
	Subscribed bool
	Role       string
	ModSeq     mail.ModSeq // the highest
}

// Server is a model of an IMAP server with one account. Its methods that begin
// with an upper-case verb are what its users do; a View is what a pass sees.
type Server struct {
	mu       sync.Mutex // a late commit comes while something else goes on
	Boxes    map[string]*Box
	first    mail.UIDValidity // tells servers apart
	validity mail.UIDValidity
	news     chan struct{} // closed at the next change; nil: nobody waits for it
	// Refuse tells that an APPEND of this content is answered NO.
	Refuse func(data string) bool
	// RefuseKeyword tells that APPEND and STORE with this keyword are answered NO.
	RefuseKeyword func(keyword string) bool
	// NoUIDPlus, NoCondstore and NoMove leave away what an old server does not
	// know: APPENDUID, COPYUID and UID EXPUNGE, MODSEQ, and MOVE.
	NoUIDPlus, NoCondstore, NoMove bool
	// Alters has what is appended stored in another form, as real servers do.
	Alters bool
	// Labels numbers messages, those alike that are one, as Gmail does; nil: they have
	// no numbers.
	Labels func(Message) uint64
	// CopyAnswer makes something else of what COPYUID says, or has COPY refused after
	// so much was done; nil: nothing.
	CopyAnswer func(copied map[mail.UID]mail.UID) error
	// Unflags has \Flagged dropped when it comes with APPEND, as Exchange does.
	Unflags bool
	Appends int // that were stored
	Copies  int // of COPY
	Changes int // commands that changed something
}

// NewServer returns a server with an empty INBOX; first decides its
// UIDVALIDITYs.
func NewServer(first mail.UIDValidity) *Server {
	s := &Server{Boxes: make(map[string]*Box), first: first, validity: first}
	s.Make("INBOX")
	return s
}

// Clone is another server that has the same.
func (s *Server) Clone() *Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &Server{
		Boxes: make(map[string]*Box, len(s.Boxes)), validity: s.validity, Refuse: s.Refuse, RefuseKeyword: s.RefuseKeyword,
		NoUIDPlus: s.NoUIDPlus, NoCondstore: s.NoCondstore, NoMove: s.NoMove, Alters: s.Alters, Labels: s.Labels, CopyAnswer: s.CopyAnswer, Unflags: s.Unflags, Appends: s.Appends, Changes: s.Changes,
	}
	for name, b := range s.Boxes {
		box := *b
		box.Messages = slices.Clone(b.Messages)
		c.Boxes[name] = &box
	}
	return c
}

// Do has f look at the server and change it while nobody else does.
func (s *Server) Do(f func()) {
	defer s.change()()
	f()
}

// Look is Do for who changes nothing.
func (s *Server) Look(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// change takes the server for a change, until the function that it returns is
// called.
func (s *Server) change() (changed func()) {
	s.mu.Lock()
	return func() {
		if s.news != nil {
			close(s.news)
			s.news = nil
		}
		s.mu.Unlock()
	}
}

// News returns what is closed at the next change.
func (s *Server) News() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.news == nil {
		s.news = make(chan struct{})
	}
	return s.news
}

// Make makes a mailbox if it is not there.
func (s *Server) Make(name string) { s.Do(func() { s.Box(name) }) }

// Box is Make for who is in Do.
func (s *Server) Box(name string) *Box {
	if s.Boxes[name] == nil {
		s.validity++
		s.Boxes[name] = &Box{Validity: s.validity, Next: 1}
	}
	return s.Boxes[name]
}

// Deliver puts a message into a mailbox.
func (s *Server) Deliver(name, data string, date time.Time, flags mail.Flags) {
	s.Do(func() { s.Box(name).Add(data, date, flags) })
}

// Add puts a message behind the others, for who is in Do.
func (b *Box) Add(data string, date time.Time, flags mail.Flags) mail.UID {
	b.ModSeq++
	b.Messages = append(b.Messages, Message{UID: b.Next, Data: data, Date: date, Flags: flags, ModSeq: b.ModSeq})
	b.Next++
	return b.Next - 1
}

// Move moves the i-th message to another mailbox, as its user would.
func (s *Server) Move(from string, i int, to string) {
	s.Do(func() {
		m := s.Boxes[from].Take(i)
		s.Box(to).Add(m.Data, m.Date, m.Flags)
	})
}

// refusal is the answer to an APPEND, nil: it is taken.
func (s *Server) refusal(data string, flags mail.Flags) error {
	if s.Refuse != nil && s.Refuse(data) {
		return &mail.Refused{Command: "APPEND", Type: "NO", Text: "not this one"}
	}
	return s.refusedKeyword("APPEND", flags)
}

func (s *Server) refusedKeyword(command string, flags mail.Flags) error {
	if s.RefuseKeyword != nil && slices.ContainsFunc(flags.KeywordList(), s.RefuseKeyword) {
		return &mail.Refused{Command: command, Type: "NO", Code: "CANNOT", Text: "that is no keyword"}
	}
	return nil
}

// future is a date that no server can have received a message on.
var future = time.Date(2090, 1, 2, 3, 4, 5, 0, time.UTC)

// Altered is a message as a server that alters stores it: with a last line end,
// and with now for a date in the future.
func (s *Server) Altered(data string, date time.Time) (string, time.Time) {
	if !s.Alters {
		return data, date
	}
	if date.Equal(future) {
		date = time.Now()
	}
	return data + "\r\n", date
}

// original is a stored message as it was before it was altered. Simulations begin in
// the year 2000, and no message of theirs is of it.
func (s *Server) original(m Message) (string, time.Time) {
	if !s.Alters {
		return m.Data, m.Date
	}
	if m.Date.Year() == 2000 {
		m.Date = future
	}
	return strings.TrimSuffix(m.Data, "\r\n"), m.Date
}

// Take takes the i-th message out, for who is in Do.
func (b *Box) Take(i int) Message {
	m := b.Messages[i]
	b.ModSeq++
	b.Messages = slices.Delete(b.Messages, i, i+1)
	return m
}

// Flag gives the i-th message other flags, as its user would.
func (s *Server) Flag(name string, i int, flags mail.Flags) {
	s.Do(func() { s.Boxes[name].Flag(i, flags) })
}

// Flag gives the i-th message other flags, for who is in Do.
func (b *Box) Flag(i int, flags mail.Flags) {
	b.ModSeq++
	b.Messages[i].Flags, b.Messages[i].ModSeq = flags, b.ModSeq
}

// Expunge removes the i-th message, as its user would.
func (s *Server) Expunge(name string, i int) { s.Do(func() { s.Boxes[name].Take(i) }) }

// Rename gives a mailbox another name, which must not be taken.
func (s *Server) Rename(from, to string) {
	defer s.change()()
	s.Boxes[to] = s.Boxes[from]
	delete(s.Boxes, from)
}

// Delete removes a mailbox with all that is in it.
func (s *Server) Delete(name string) {
	defer s.change()()
	delete(s.Boxes, name)
}

// Rebuild gives a mailbox a new UIDVALIDITY and new UIDs.
func (s *Server) Rebuild(name string) {
	defer s.change()()
	b := s.Boxes[name]
	s.validity += 100
	b.Validity = s.validity
	for i := range b.Messages {
		b.Messages[i].UID = mail.UID(i + 1)
	}
	b.Next = mail.UID(len(b.Messages) + 1)
	b.ModSeq++
}

// Faults decides what breaks. Each operation of a pass asks twice, before and
// after its effect; the answer to question number At is an error.
type Faults struct {
	At    int
	Crash bool // of the whole process, not of one connection
	Late  func() (after time.Duration, ever bool)
	// Meanwhile is called before question number When is answered: somebody is at
	// work in the middle of a pass.
	When      int
	Meanwhile func()
	// Pace, unless it is 0, gives each step a time of its own on the simulated
	// clock: what goes on side by side happens one step at a time then, in an
	// order that is the same for the same Pace.
	Pace uint64

	mu    sync.Mutex // mailboxes are carried side by side
	asked int
	steps map[uint64]int // how often each was taken, by the hash of its name
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

// step is something that is done, to a mailbox of a server unless box is empty.
type step struct {
	what, box string
	server    mail.UIDValidity
}

// ask is asked by a step, which no two take at once.
func (f *Faults) ask(s step) error {
	if f.Pace != 0 {
		time.Sleep(f.duration(s))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dead {
		return errCrash
	}
	f.asked++
	if f.asked == f.When {
		f.Meanwhile()
	}
	if f.asked != f.At {
		return nil
	}
	if f.Crash {
		f.dead = true
		return errCrash
	}
	return errCut
}

func (f *Faults) duration(s step) time.Duration {
	name := fnv1a(fnvBasis, s.what)
	var digits [20]byte
	if s.box != "" {
		name = fnv1a(fnv1a(fnv1a(name, " "), s.box), " on ")
		name = fnv1a(name, strconv.AppendInt(digits[:0], int64(s.server), 10))
	}
	f.mu.Lock()
	if f.steps == nil {
		f.steps = make(map[uint64]int)
	}
	n := f.steps[name] + 1
	f.steps[name] = n
	f.mu.Unlock()
	hash := fnv1a(name, strconv.AppendInt(digits[:0], int64(n), 10))
	return time.Duration(rand.NewPCG(f.Pace, hash).Uint64() % uint64(time.Millisecond))
}

// fnvBasis is where FNV-1a begins.
const fnvBasis = 0xcbf29ce484222325

// fnv1a goes on with a hash (FNV-1a, 64 bits): what hash/fnv has no way to do
// twice from the same beginning.
func fnv1a[T string | []byte](hash uint64, text T) uint64 {
	for i := range len(text) {
		hash = (hash ^ uint64(text[i])) * 0x100000001b3
	}
	return hash
}
