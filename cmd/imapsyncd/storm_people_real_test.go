package main

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
)

// letter is what should become of one message: its life on the old server, and
// what the user of its copy did to it on the new one.
type letter struct {
	id     string
	text   []byte
	sum    [sha256.Size]byte
	date   time.Time
	copies int  // on the old server: twins, which nobody touches
	own    bool // born on the new server

	alive bool
	box   string
	flags string   // as corpus spells them
	boxes []string // every mailbox that it has been in, by any name
	moved bool

	flagged, removed bool
	kept             string // where the user has moved the copy
	userFlags        string
	// receipted: its receipt was durable before a deed of the user. unresolved:
	// it was not, and the copy was moved or removed: it may come again.
	receipted, unresolved bool
	// unknown: the copy went, in order, while its flags were being changed.
	unknown bool
}

func (l *letter) print() mail.Fingerprint {
	return mail.NewFingerprint(int64(len(l.text)), l.date, l.text)
}

// household is one account and the people who use it on both servers, one deed
// at a time.
type household struct {
	*season
	name    string
	rng     *rand.Rand
	letters []*letter
	boxes   []string // of the old server
	names   int
	deeds   map[string]int // that took effect
	trace   []string       // of them
	// cameAgain are letters of which there was a copy too many, by the known
	// limit of the promise.
	cameAgain map[*letter]bool

	clients map[*dovecot.Server]*corpus.Client
	dialed  map[*dovecot.Server]int // in which life of the server
}

// live is people at work until they are told to stop.
func (h *household) live(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(10+h.rng.IntN(120)) * time.Millisecond): // they think
		}
		h.turn()
		if h.t.Failed() {
			return
		}
	}
}

// turn is one deed, at a time at which both servers are there. A deed says what
// it was and to which letters; "" if it came to nothing.
func (h *household) turn() {
	h.away.RLock()
	defer h.away.RUnlock()
	deeds := []struct {
		weight int
		do     func() string
	}{
		{6, h.deliver}, {2, h.drop}, {1, h.twins}, {5, h.flag}, {4, h.move}, {2, h.expunge}, {1, h.rename},
		{5, h.flagCopy}, {3, h.moveCopy}, {2, h.expungeCopy}, {1, h.bear},
	}
	n := h.rng.IntN(32)
	for _, deed := range deeds {
		if n -= deed.weight; n < 0 {
			what, about, _ := strings.Cut(deed.do(), ": ")
			if what != "" {
				h.deeds[what]++
				h.trace = append(h.trace, fmt.Sprintf("%s %s %s: %s", time.Now().UTC().Format("15:04:05.000"), h.name, what, about))
			}
			return
		}
	}
}

func (h *household) client(server *dovecot.Server) *corpus.Client {
	if h.clients[server] == nil || h.dialed[server] != h.lives[server] {
		h.clients[server], h.dialed[server] = corpus.Dial(h.t, server.Address(), h.name, dovecot.Password), h.lives[server]
	}
	return h.clients[server]
}

// write makes a letter that is like no other.
func (h *household) write(box string) *letter {
	h.names++
	l := &letter{id: fmt.Sprintf("<%s.%d@storm.example>", h.name, h.names), copies: 1, alive: true, box: box, boxes: []string{box}}
	l.date = time.Now().Add(-time.Duration(h.rng.IntN(1000)) * time.Hour).Truncate(time.Second)
	size := h.rng.IntN(6000)
	if h.rng.IntN(40) == 0 {
		size = 1 << 20 // more than is kept in memory
	}
	text := fmt.Appendf(nil, "Message-ID: %s\r\nDate: %s\r\nSubject: %d\r\n\r\n", l.id, l.date.Format(time.RFC1123Z), h.names)
	for n := 0; len(text) < size; n++ {
		text = fmt.Appendf(text, "%d: %x\r\n", n, h.rng.Uint64())
	}
	l.text, l.sum = text, sha256.Sum256(text)
	h.letters = append(h.letters, l)
	return l
}

func (l *letter) message() corpus.Message {
	return corpus.Message{Data: l.text, Flags: strings.Fields(l.flags), Date: l.date}
}

// spelled is a set of flags as corpus spells it.
func spelled(flags ...string) string {
	for i := range flags {
		flags[i] = strings.ToLower(flags[i])
	}
	slices.Sort(flags)
	return strings.Join(slices.Compact(flags), " ")
}

// oldFlags never has \Flagged, which newFlags always has.
func (h *household) oldFlags() string {
	return spelled(slices.DeleteFunc([]string{`\Seen`, `\Answered`, "Work", "NonJunk"}, func(string) bool { return h.rng.IntN(2) == 0 })...)
}

func (h *household) newFlags() string {
	return spelled(append(slices.DeleteFunc([]string{`\Seen`, `\Draft`, "Work"}, func(string) bool { return h.rng.IntN(2) == 0 }), `\Flagged`)...)
}

func (h *household) anyBox() string { return h.boxes[h.rng.IntN(len(h.boxes))] }

// deliver appends new mail on the old server, sometimes to a new mailbox.
func (h *household) deliver() string {
	old := h.client(h.old)
	box := h.anyBox()
	if len(h.boxes) < 8 && h.rng.IntN(4) == 0 {
		h.names++
		box = fmt.Sprintf("Müller & Söhne %d", h.names)
		// Maildir may have been completed by who has seen a half of it.
		if _, answer := old.Try("CREATE " + quoted(box)); !strings.HasPrefix(answer, "OK") && !strings.Contains(answer, "ALREADYEXISTS") {
			h.t.Errorf("create %s: %s", box, answer)
		}
		h.boxes = append(h.boxes, box)
	}
	var messages []corpus.Message
	about := ""
	for range 1 + h.rng.IntN(3) {
		l := h.write(box)
		l.flags = h.oldFlags()
		messages = append(messages, l.message())
		about += fmt.Sprintf("%s (%s) ", l.id, l.flags)
	}
	old.Append(box, messages...)
	return "delivered: " + about + "to " + box
}

func quoted(box string) string { return `"` + corpus.Encode(box) + `"` }

// drop puts a letter straight into the Maildir of the old server.
func (h *household) drop() string {
	if h.oldFormat != maildir {
		return h.deliver()
	}
	h.client(h.old).Do("SELECT INBOX") // which makes the Maildir
	box, folder := h.anyBox(), ""
	if box != "INBOX" {
		folder = "." + corpus.Encode(box)
	}
	l := h.write(box)
	l.date = h.old.Drop(h.name, folder, l.text)
	return "dropped: " + l.id + " into " + box
}

// twins are messages that nothing tells apart.
func (h *household) twins() string {
	l := h.write(h.boxes[0]) // which is never renamed
	l.copies = 2 + h.rng.IntN(2)
	for range l.copies {
		h.client(h.old).Append(l.box, l.message())
	}
	return "twins delivered: " + l.id
}

// some returns a letter for which want is true, or nil.
func (h *household) some(want func(*letter) bool) *letter {
	var list []*letter
	for _, l := range h.letters {
		if l.copies == 1 && !l.own && want(l) {
			list = append(list, l)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[h.rng.IntN(len(list))]
}

// find opens a mailbox and returns the UID of a letter in it; "" when it is not
// there.
func find(c *corpus.Client, box string, l *letter) string {
	if _, answer := c.Try("SELECT " + quoted(box)); !strings.HasPrefix(answer, "OK") {
		return ""
	}
	for _, line := range c.Do(`UID SEARCH HEADER Message-ID "` + l.id + `"`) {
		if uids, ok := strings.CutPrefix(line, "* SEARCH "); ok {
			return uids
		}
	}
	return ""
}

// original opens the mailbox of a letter that is alive.
func (h *household) original() (*corpus.Client, *letter, string) {
	l := h.some(func(l *letter) bool { return l.alive })
	if l == nil {
		return nil, nil, ""
	}
	old := h.client(h.old)
	uid := find(old, l.box, l)
	if uid == "" {
		h.t.Errorf("%s: %s is not in %q of the old server", h.name, l.id, l.box)
	}
	return old, l, uid
}

func (h *household) flag() string {
	old, l, uid := h.original()
	if uid == "" {
		return ""
	}
	l.flags = h.oldFlags()
	old.Do("UID STORE " + uid + " FLAGS.SILENT (" + l.flags + ")")
	return fmt.Sprintf("flagged: %s (%s) in %s", l.id, l.flags, l.box)
}

func (h *household) move() string {
	old, l, uid := h.original()
	to := h.anyBox()
	if uid == "" || to == l.box {
		return ""
	}
	old.Do("UID MOVE " + uid + " " + quoted(to))
	what := fmt.Sprintf("moved: %s from %s to %s", l.id, l.box, to)
	l.box, l.boxes, l.moved = to, append(l.boxes, to), true
	return what
}

func (h *household) expunge() string {
	old, l, uid := h.original()
	if uid == "" {
		return ""
	}
	old.Do("UID STORE " + uid + ` +FLAGS.SILENT (\Deleted)`)
	old.Do("UID EXPUNGE " + uid)
	l.alive = false
	return fmt.Sprintf("expunged: %s from %s", l.id, l.box)
}

// rename gives a mailbox a name that there has never been.
func (h *household) rename() string {
	box := h.anyBox()
	if box == "INBOX" {
		return ""
	}
	h.names++
	to := fmt.Sprintf("renamed %d", h.names)
	old := h.client(h.old)
	old.Try("UNSELECT")
	old.Do("RENAME " + quoted(box) + " " + quoted(to))
	h.boxes[slices.Index(h.boxes, box)] = to
	about := ""
	for _, l := range h.letters {
		if l.alive && l.box == box && !l.own {
			l.box, l.boxes, l.moved = to, append(l.boxes, to), true
			about += " " + l.id
		}
	}
	return fmt.Sprintf("renamed: %s to %s with%s", box, to, about)
}
