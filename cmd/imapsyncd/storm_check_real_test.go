package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/state"
)

// calm is how long the daemon may take until everything is as it should be:
// servers that have just come back are tried again after ten seconds.
const calm = patience

// quiesce lets the daemon come to rest, ends it, and looks at everything.
func (s *season) quiesce() {
	t := s.t
	t.Helper()
	s.weather.clear(true)
	defer s.weather.clear(false)
	p := s.daemon()
	var differences []string
	for begun := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		differences = nil
		for _, h := range s.people {
			differences = append(differences, h.differences()...)
		}
		if len(differences) == 0 || t.Failed() {
			break
		}
		if took := time.Since(begun); took > calm {
			t.Errorf("after %s, %d differences:\n%s", took, len(differences), strings.Join(differences[:min(20, len(differences))], "\n"))
			break
		} else if took > 3*time.Second {
			s.allow()
		}
	}
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Errorf("SIGTERM: %v\n%s", err, p.log.String())
	}
	fmt.Fprintf(&s.log, "%sended at %s\n", p.log.String(), time.Now().UTC().Format("15:04:05.000"))
	s.sane(p)
	readOnly(t, s.source.Commands())
	for _, c := range s.destination.Commands() {
		if c == "CLOSE" || c == "EXPUNGE" {
			t.Errorf("the new server has seen %s", c)
		}
	}
	for _, h := range s.people {
		s.checkState(h.name)
		h.checkReceipts()
	}

	// Nothing is left to do.
	s.source.Forget()
	s.destination.Forget()
	if _, out := s.run("sync"); !strings.Contains(out, " 0 messages copied") {
		t.Errorf("a further sync: %s", out)
	}
	for _, c := range s.destination.Commands() {
		if mutating.MatchString(c) {
			t.Errorf("a further sync sends %s", c)
		}
	}
	readOnly(t, s.source.Commands())
	for _, h := range s.people {
		if differences := h.differences(); len(differences) > 0 {
			t.Errorf("after a further sync: %q", differences)
		}
	}
	s.source.Forget()
	s.destination.Forget()
	s.counts.quiescences++
	if !t.Failed() {
		s.log.Reset()
	}
}

// told is what has been done, in its order.
func (s *season) told() string {
	var lines []string
	for _, h := range s.people {
		lines = append(lines, h.trace...)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

var mutating = regexp.MustCompile(`(?i)^(APPEND|UID STORE|STORE|UID MOVE|MOVE|UID COPY|COPY|UID EXPUNGE|EXPUNGE|CREATE|DELETE|RENAME|SUBSCRIBE|UNSUBSCRIBE|CLOSE)( |$)`)

// allow has copies removed that were too many to go without a word.
func (s *season) allow() {
	if list := s.must("deletions", "list"); strings.Contains(list, "waits for your word") {
		s.must("deletions", "apply")
		s.counts.note("deletions allowed")
	}
}

// place is where a message is on a server.
type place struct {
	box string
	corpus.Stored
}

func (p place) String() string {
	return fmt.Sprintf("%q UID %d (%s) of %s", p.box, p.UID, p.Flags, p.Date.UTC().Format(time.RFC3339))
}

// seen is everything on a server, by what it is.
func (h *household) seen(server *dovecot.Server) (by map[[32]byte][]place, boxes map[string][]corpus.Stored) {
	boxes, _ = corpus.Read(h.t, server.Address(), h.name, dovecot.Password)
	by = make(map[[32]byte][]place)
	for box, list := range boxes {
		for _, m := range list {
			by[m.Sum] = append(by[m.Sum], place{box, m})
		}
	}
	return by, boxes
}

// differences compares both servers with what their users have done.
func (h *household) differences() (list []string) {
	differ := func(format string, args ...any) {
		list = append(list, h.name+": "+fmt.Sprintf(format, args...))
	}
	old, oldBoxes := h.seen(h.old)
	new, newBoxes := h.seen(h.new)
	for box := range oldBoxes {
		if _, there := newBoxes[box]; !there {
			differ("there is no %q on the new server", box)
		}
	}
	for _, l := range h.letters {
		h.giveNamesBack(h.old, old[l.sum], l.flags)
		h.giveNamesBack(h.new, new[l.sum], l.flags, l.userFlags)
		if bad := l.wrongOriginal(old[l.sum]); bad != "" {
			// No deed of the daemon's may be the reason.
			differ("the OLD server: %s %s: %v", l.id, bad, old[l.sum])
		}
		bad, surplus := l.wrongCopy(new[l.sum])
		if bad != "" {
			differ("%s %s: %v", l.id, bad, new[l.sum])
		}
		if surplus > 0 {
			h.cameAgain[l] = true
		}
		for _, at := range new[l.sum] {
			if !at.Date.Equal(l.date) {
				differ("%s has another date than %s: %v", l.id, l.date, at)
			}
		}
		delete(old, l.sum)
		delete(new, l.sum)
	}
	for _, at := range old {
		differ("the OLD server: nobody put it there: %v", at)
	}
	for _, at := range new {
		differ("nobody put it there: %v", at)
	}
	for box := range oldBoxes {
		if a, b := h.order(oldBoxes[box], box), h.order(newBoxes[box], box); !slices.Equal(a, b) && len(list) == 0 {
			differ("another order in %q: %v, there %v", box, a, b)
		}
	}
	return list
}

// giveNamesBack puts the names of keywords back that a killed server has
// forgotten, and takes those for what is wanted that a server has told only
// after a user was shown the message that he had just moved.
func (h *household) giveNamesBack(server *dovecot.Server, found []place, flags ...string) {
	for i, at := range found {
		forgotten := func(want string) bool { return h.lives[server] > 0 && namesForgotten(at.Flags, want) }
		told := func(want string) bool { return namesForgotten(want, at.Flags) }
		if n := slices.IndexFunc(flags, func(want string) bool { return forgotten(want) || told(want) }); n >= 0 {
			found[i].Flags = flags[n]
			h.deeds["keywords whose names a server has forgotten, or told late"]++
		}
	}
}

// namesForgotten tells whether flags differ in the names of keywords only that a
// server does not know: Dovecot writes those of a Maildir after the messages that
// have them, and says unknown-0 until then, or for good where a kill came between.
func namesForgotten(has, want string) bool {
	had, wanted := strings.Fields(has), strings.Fields(want)
	isIn := func(list []string) func(string) bool {
		return func(flag string) bool { return slices.Contains(list, flag) }
	}
	added, lost := slices.DeleteFunc(slices.Clone(had), isIn(wanted)), slices.DeleteFunc(wanted, isIn(had))
	isSystem := func(flag string) bool { return strings.HasPrefix(flag, `\`) }
	isNameless := func(flag string) bool { return strings.HasPrefix(flag, "unknown-") }
	return len(added) > 0 && len(added) == len(lost) && !slices.ContainsFunc(lost, isSystem) && len(slices.DeleteFunc(added, isNameless)) == 0
}

// wrongOriginal tells what is wrong about a message on the old server; "":
// nothing.
func (l *letter) wrongOriginal(found []place) string {
	want := 0
	if l.alive && !l.own {
		want = l.copies
	}
	if len(found) != want {
		return fmt.Sprintf("should be there %d times", want)
	}
	for _, at := range found {
		if at.box != l.box || at.Flags != l.flags {
			return fmt.Sprintf("should be in %q (%s)", l.box, l.flags)
		}
	}
	return ""
}

// wrongCopy tells what is wrong about a message on the new server; "":
// nothing. surplus counts copies that came again by the known limit of the
// promise: moved or removed before an APPEND in doubt was resolved.
func (l *letter) wrongCopy(found []place) (wrong string, surplus int) {
	boxes, flags := []string{l.box}, []string{l.flags}
	least, most := l.copies, l.copies
	switch {
	case l.removed:
		least, most, boxes = 0, 0, nil
	case l.kept != "":
		boxes, flags = []string{l.kept}, []string{l.userFlags}
	case l.unknown:
		boxes, flags, least = l.boxes, []string{l.flags, l.userFlags}, 0
		if l.alive {
			least = 1
		}
	case l.flagged && l.alive:
		flags = []string{l.userFlags}
	case l.flagged:
		boxes, flags = l.boxes, []string{l.userFlags}
	case !l.alive:
		least, most = 0, 0
	}
	fits := func(at place) bool { return slices.Contains(boxes, at.box) && slices.Contains(flags, at.Flags) }
	n := 0
	for _, at := range found {
		if fits(at) {
			n++
		}
	}
	if surplus = len(found) - n; surplus == 1 && l.unresolved {
		found = slices.DeleteFunc(slices.Clone(found), func(at place) bool { return !fits(at) })
	} else {
		surplus = 0
	}
	if n < least || n > most || len(found) != n {
		return fmt.Sprintf("should be there %d to %d times in %q (%q)", least, most, boxes, flags), 0
	}
	return "", surplus
}

// order are those messages of a mailbox, in their order, whose order nobody has
// changed: they were delivered there and neither they nor their copies were moved (I9).
func (h *household) order(list []corpus.Stored, box string) (ids []string) {
	by := make(map[[32]byte]*letter)
	for _, l := range h.letters {
		if l.alive && !l.own && !l.moved && l.copies == 1 && l.box == box && l.kept == "" && !l.removed && !l.unresolved {
			by[l.sum] = l
		}
	}
	for _, m := range list {
		if l := by[m.Sum]; l != nil {
			ids = append(ids, l.id)
		}
	}
	return ids
}

// checkReceipts compares the receipts of a daemon that has ended with both
// servers: each message of the old server has one, and no two name one copy.
func (h *household) checkReceipts() {
	t := h.t
	t.Helper()
	store, err := state.Open(daemon.StatePath(filepath.Join(h.dir, "state"), h.name), state.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	pairs, err := store.Pairs()
	if err != nil {
		t.Fatal(err)
	}
	_, oldBoxes := h.seen(h.old)
	_, newBoxes := h.seen(h.new)
	originals, copies := numberedBy(oldBoxes), numberedBy(newBoxes)
	named := make(map[letterAt]bool)
	for _, pair := range pairs {
		for r, err := range store.Receipts(pair.ID) {
			if err != nil {
				t.Fatal(err)
			}
			at := letterAt{pair.Destination, r.Destination}
			if r.Mailbox != "" {
				at.mailbox = r.Mailbox
			}
			if r.Destination != 0 && named[at] {
				t.Errorf("%s: two receipts name %v", h.name, at)
			}
			named[at] = true
			from := letterAt{pair.Source, r.Source}
			if r.Vanished() {
				if _, there := originals[from]; there && r.Source != 0 {
					t.Errorf("%s: the receipt of %v says that it has gone", h.name, from)
				}
				continue
			}
			sum, there := originals[from]
			if !there {
				t.Errorf("%s: a receipt names %v, which is not there", h.name, from)
			}
			if copied, there := copies[at]; there && copied != sum {
				t.Errorf("%s: the receipt of %v names another message: %v", h.name, from, at)
			}
			delete(originals, from)
		}
	}
	for from := range originals {
		t.Errorf("%s: %v has no receipt", h.name, from)
	}
	for _, l := range h.letters {
		for at, sum := range copies {
			if sum == l.sum && l.alive && !l.own && l.kept == "" && !l.unresolved && !named[at] {
				t.Errorf("%s: no receipt names the copy %v of %s", h.name, at, l.id)
			}
		}
	}
	h.checkOpen(store)
}

// numberedBy is what lies under which UID.
func numberedBy(boxes map[string][]corpus.Stored) map[letterAt][32]byte {
	sums := make(map[letterAt][32]byte)
	for box, list := range boxes {
		for _, m := range list {
			sums[letterAt{corpus.Encode(box), mail.UID(m.UID)}] = m.Sum
		}
	}
	return sums
}

// checkOpen: nothing is held, and nothing is in doubt.
func (h *household) checkOpen(store *state.Store) {
	intents, err := store.Intents()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, i := range intents {
		if i.Open() {
			h.t.Errorf("%s: an intent is open: %+v", h.name, i)
		}
	}
	holds, err := store.Holds()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, hold := range holds {
		h.t.Errorf("%s: held: %+v", h.name, hold)
	}
}

// planted spoils what is right, one thing after the other, and expects the
// checker to find it.
func (s *season) planted() {
	h := s.people[0]
	old, new := h.client(s.old), h.client(s.new)
	taken := make(map[*letter]bool)
	letter := func() (*letter, string) {
		l := h.some(func(l *letter) bool {
			return l.alive && l.kept == "" && !l.removed && !l.unresolved && !l.unknown && !l.flagged && !taken[l]
		})
		if l == nil {
			s.t.Fatal("there is nothing to spoil")
		}
		taken[l] = true
		return l, find(new, l.box, l)
	}
	for _, plant := range []struct {
		name  string
		spoil func() (sign string)
	}{
		{"a stranger", func() string {
			new.Append("INBOX", corpus.Message{Data: []byte("x\r\n"), Date: time.Now()})
			return "nobody put it there"
		}},
		{"a copy too many", func() string { l, _ := letter(); new.Append(l.box, l.message()); return l.id }},
		{"a loss", func() string {
			l, uid := letter()
			new.Do("UID STORE " + uid + ` +FLAGS.SILENT (\Deleted)`)
			new.Do("UID EXPUNGE " + uid)
			return l.id
		}},
		{"another flag", func() string {
			l, uid := letter()
			new.Do("UID STORE " + uid + ` FLAGS.SILENT (\Flagged)`)
			return l.id
		}},
		{"another mailbox", func() string {
			l, uid := letter()
			new.Try("CREATE Elsewhere")
			new.Do("UID MOVE " + uid + " Elsewhere")
			return l.id
		}},
		{"another date", func() string { l, _ := letter(); l.date = l.date.Add(time.Second); return l.id }},
		{"other octets", func() string { l, _ := letter(); l.sum[0]++; return l.id }},
		{"a change of the old server", func() string {
			l, _ := letter()
			old.Do("UID STORE " + find(old, l.box, l) + ` FLAGS.SILENT (\Draft)`)
			return "the OLD server: " + l.id
		}},
	} {
		before := h.differences()
		sign := plant.spoil()
		found := func(d string) bool { return strings.Contains(d, sign) }
		if slices.ContainsFunc(before, found) || !slices.ContainsFunc(h.differences(), found) {
			s.t.Errorf("%s: %s is known before, or not found after it was planted", plant.name, sign)
		}
	}
}
