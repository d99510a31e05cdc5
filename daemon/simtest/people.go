package simtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
)

// day is when every message of a simulation was received: long before it
// begins.
var day = time.Date(1990, 5, 6, 7, 8, 9, 0, time.UTC)

// People are at work on both servers of an account. They know of each message
// what should become of it, and compare in the end.
type People struct {
	Old, New *Server
	Rand     *rand.Rand
	Policy   *pass.Policy
	// Intents returns what is about to happen to the new server; known is false
	// when that cannot be told now.
	Intents func() (intents []mail.Intent, known bool)
	// Beside: passes are running while they are at work, not only before and
	// after.
	Beside bool
	// Text is the n-th message; nil: its number.
	Text func(n int) string
	// Foreign are contents that others put on the new server, and how often.
	Foreign map[string]int

	fates []*fate
	trace trace
	names int
}

// fate is what should become of one message: its life on the source, and what
// somebody did to its copy on the destination.
type fate struct {
	name  string // for the trace
	text  string
	alive bool
	box   string
	flags mail.Flags
	had   []mail.Flags // all that it had on the source
	// flagged, kept and removed are deeds of the user of the copy: other flags,
	// another mailbox, no copy at all.
	flagged, removed bool
	userFlags        mail.Flags
	kept             string
	own              string // a keyword that only he gave it
	// left is where the copy was when its message died, or when nothing was
	// followed any more.
	left *placed
	// underway tells that the copy was being moved when its message died.
	underway bool
	// late tells that the message died while it might have been on its way.
	late bool
}

type placed struct {
	box   string
	flags mail.Flags
}

func (p placed) String() string { return p.box + " " + p.flags.String() }

// expected is where the copy should be; nil: nowhere.
func (f *fate) expected() *placed {
	flags := f.flags
	if f.flagged {
		flags = f.userFlags
	}
	switch {
	case f.removed:
		return nil
	case f.kept != "":
		return &placed{f.kept, f.userFlags}
	case f.left != nil:
		if f.flagged {
			return &placed{f.left.box, f.userFlags}
		}
		return f.left
	case !f.alive:
		return nil
	}
	return &placed{f.box, flags}
}

// print is the fingerprint of the message.
func (f *fate) print() mail.Fingerprint {
	return mail.NewFingerprint(int64(len(f.text)), day, []byte(f.text))
}

// Note adds a line to the trace.
func (p *People) Note(format string, args ...any) { p.note(format, args...) }

func (p *People) note(format string, args ...any) {
	p.trace.note(format, args...)
}

// Trace is what they did.
func (p *People) Trace() string { return p.trace.String() }

// stored is a content without what a server that alters adds to it.
func stored(data string) string { return strings.TrimRight(data, "\r\n") }

// find returns where a message is, for who is in Do.
func (s *Server) find(text string) (box string, i int) {
	for name, b := range s.Boxes {
		if i := slices.IndexFunc(b.Messages, func(m Message) bool { return stored(m.Data) == stored(text) }); i >= 0 {
			return name, i
		}
	}
	return "", -1
}

// at is find for who is not.
func at(s *Server, text string) (box string, i int) {
	s.Look(func() { box, i = s.find(text) })
	return box, i
}

// on does something with a message where it is, unless it is nowhere.
func (s *Server) on(f *fate, act func(box string, i int)) {
	s.Do(func() {
		if box, i := s.find(f.text); i >= 0 {
			act(box, i)
		}
	})
}

func (p *People) sourceFlags() mail.Flags {
	return mail.Flags{System: mail.System(p.Rand.IntN(4)), Keywords: []string{"", "Work", "NonJunk"}[p.Rand.IntN(3)]}
}

// boxes are the mailboxes of the old server.
func (p *People) boxes() (names []string) {
	p.Old.Look(func() {
		for name := range p.Old.Boxes {
			names = append(names, name)
		}
	})
	slices.Sort(names)
	return names
}

// Deliver puts some new messages on the old server.
func (p *People) Deliver() {
	p.names++ // no name comes twice: what vanishes together with its UIDs is kept
	boxes := append(p.boxes(), fmt.Sprintf("m%d", p.names))
	for range 1 + p.Rand.IntN(4) {
		p.deliver(boxes[p.Rand.IntN(len(boxes))], p.sourceFlags())
	}
}

// DeliverTo puts a new message into a mailbox of the old server.
func (p *People) DeliverTo(box string) { p.deliver(box, p.sourceFlags()) }

func (p *People) deliver(box string, flags mail.Flags) *fate {
	f := &fate{name: fmt.Sprintf("n%04d", len(p.fates)), alive: true, box: box, flags: flags, had: []mail.Flags{flags}}
	if f.text = f.name; p.Text != nil {
		f.text = p.Text(len(p.fates))
	}
	p.Old.Deliver(f.box, f.text, day, f.flags)
	p.fates = append(p.fates, f)
	p.note("  %s delivered to %s %v", f.name, f.box, f.flags)
	return f
}

// some returns a random message for which want is true, or nil.
func (p *People) some(want func(*fate) bool) *fate {
	var list []*fate
	for _, f := range p.fates {
		if want(f) {
			list = append(list, f)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[p.Rand.IntN(len(list))]
}

// die notes where a copy is whose message goes: should its user have changed
// it, it stays there.
func (p *People) die(f *fate, intents []mail.Intent) {
	f.alive = false
	if f.flagged || p.Policy.KeepDeleted || p.Policy.Draining {
		p.remain(f)
		// What a running pass has seen of it before, it may still do.
		f.underway = p.Beside && f.left != nil && f.left.box != f.box
		f.late = p.Beside && f.left == nil
	}
	for _, i := range intents {
		f.underway = f.underway || i.Kind == mail.IntentMove && i.Fingerprint == f.print()
	}
}

func (p *People) remain(f *fate) {
	if f.left == nil && f.kept == "" {
		p.New.Look(func() {
			if box, i := p.New.find(f.text); i >= 0 {
				f.left = &placed{box, p.New.Boxes[box].Messages[i].Flags}
			}
		})
	}
}

// onTheWay tells whether an intent is open whose copy is recognised by its
// source message.
func onTheWay(intents []mail.Intent) bool {
	return slices.ContainsFunc(intents, func(i mail.Intent) bool { return i.Kind == mail.IntentAppend || i.Kind == mail.IntentMove })
}

// OnSource is somebody at work on the old server.
func (p *People) OnSource() {
	f := p.some(func(f *fate) bool { return f.alive })
	if f == nil {
		return
	}
	box, i := at(p.Old, f.text)
	deed := p.Rand.IntN(6)
	if p.New.NoUIDPlus && !p.Policy.Draining && (deed == 2 || deed == 3 || deed == 5) {
		return // copies cannot follow
	}
	intents, known := p.Intents()
	if !known || p.New.Alters && deed > 1 && (p.Beside || onTheWay(intents)) {
		return // an altered copy is recognised by its source message
	}
	switch deed {
	case 0, 1:
		f.flags = p.sourceFlags()
		f.had = append(f.had, f.flags)
		p.Old.Flag(box, i, f.flags)
		p.note("  source: %s gets %v", f.name, f.flags)
	case 2, 3:
		boxes := p.boxes()
		to := boxes[p.Rand.IntN(len(boxes))]
		if to == box {
			return
		}
		p.Old.Move(box, i, to)
		f.box = to
		p.note("  source: %s moved from %s to %s", f.name, box, to)
	case 4:
		p.Old.Expunge(box, i)
		p.die(f, intents)
		p.note("  source: %s expunged from %s", f.name, box)
	case 5:
		if box == "INBOX" {
			return
		}
		p.names++
		to := fmt.Sprintf("r%d", p.names)
		p.Old.Rename(box, to)
		for _, g := range p.fates {
			if g.alive && g.box == box {
				g.box = to
			}
		}
		p.note("  source: %s renamed %s", box, to)
	}
}

// OnDestination is somebody at work on the new server.
func (p *People) OnDestination() {
	f := p.some(func(f *fate) bool { _, i := at(p.New, f.text); return i >= 0 })
	if f == nil || !f.alive && !f.flagged && f.kept == "" && f.left == nil {
		return // about to be removed
	}
	intents, known := p.Intents()
	if !known {
		return
	}
	for _, i := range intents {
		if i.Fingerprint == f.print() && (i.Kind == mail.IntentAppend || i.Kind == mail.IntentMove && p.New.NoMove) {
			return // not resolved yet: the promise has that limit
		}
	}
	deed := p.Rand.IntN(4)
	flags := mail.Flags{System: mail.Flagged | mail.System(p.Rand.IntN(4))&^mail.Deleted | mail.Deleted*mail.System(p.Rand.IntN(2)), Keywords: []string{"", "Work"}[p.Rand.IntN(2)]}
	p.New.on(f, func(box string, i int) {
		b := p.New.Boxes[box]
		switch deed {
		case 0, 1:
			b.Flag(i, flags)
			f.flagged, f.userFlags = true, flags
			p.note("  destination: %s gets %v in %s", f.name, flags, box)
		case 2:
			m := b.Take(i)
			p.New.Box("kept").Add(m.Data, m.Date, m.Flags)
			f.kept, f.userFlags = "kept", m.Flags
			p.note("  destination: %s moved from %s to kept", f.name, box)
		case 3:
			b.Take(i)
			f.removed = true
			p.note("  destination: %s expunged from %s", f.name, box)
		}
	})
}
