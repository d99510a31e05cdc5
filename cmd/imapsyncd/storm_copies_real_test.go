package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
)

// What servers answer to FETCH and to a MOVE of one message.
var (
	sequence = regexp.MustCompile(`MODSEQ \((\d+)\)`)
	flagList = regexp.MustCompile(`FLAGS \(([^)]*)\)`)
	movedTo  = regexp.MustCompile(`COPYUID \d+ \d+ (\d+)\]`)
)

// bear writes mail on the new server.
func (h *household) bear() string {
	l := h.write("INBOX")
	l.own, l.flags = true, h.newFlags()
	h.client(h.new).Append(l.box, l.message())
	return "written: " + l.id
}

// copyOf opens the mailbox of a copy and returns what its user sees. What is
// marked as deleted he leaves alone.
func (h *household) copyOf() (c *corpus.Client, l *letter, box, uid, modseq string) {
	l = h.some(func(l *letter) bool {
		return !l.removed && !l.unresolved && !l.unknown && (l.alive || l.flagged || l.kept != "" || h.rng.IntN(4) == 0)
	})
	if l == nil {
		return
	}
	if box = l.box; l.kept != "" {
		box = l.kept
	}
	c = h.client(h.new)
	if uid = find(c, box, l); uid == "" {
		return
	}
	for _, line := range c.Do("UID FETCH " + uid + " (FLAGS MODSEQ)") {
		if m := sequence.FindStringSubmatch(line); m != nil && !strings.Contains(line, `\Deleted`) {
			return c, l, box, uid, m[1]
		}
	}
	return c, l, box, "", ""
}

// isThere tells whether a UID is in the mailbox that is open.
func isThere(c *corpus.Client, uid string) bool {
	return slices.Contains(c.Do("UID SEARCH UID "+uid), "* SEARCH "+uid)
}

func (h *household) flagCopy() string {
	c, l, box, uid, modseq := h.copyOf()
	if uid == "" {
		return ""
	}
	flags := h.newFlags()
	untagged, answer := c.Try("UID STORE " + uid + " (UNCHANGEDSINCE " + modseq + ") FLAGS (" + flags + ")")
	switch stored := strings.HasPrefix(answer, "OK") && !strings.Contains(answer, "MODIFIED") && strings.Contains(strings.Join(untagged, " "), " FETCH "); {
	case !stored:
		return ""
	case isThere(c, uid):
		l.flagged, l.userFlags = true, flags
		return fmt.Sprintf("copies flagged: %s (%s) in %s", l.id, flags, box)
	}
	l.unknown = true
	return fmt.Sprintf("copies flagged while they went: %s (%s) from %s", l.id, flags, box)
}

// settled notes whether the receipt of a copy is durable before its user moves
// or removes it. It is false when that cannot be told.
func (h *household) settled(l *letter) bool {
	if l.receipted {
		return true
	}
	receipts, known := h.receipts(h.name)
	if l.receipted = receipts[l.print()]; known && !l.receipted {
		l.unresolved = true
	}
	return known
}

func (h *household) moveCopy() string {
	c, l, box, uid, _ := h.copyOf()
	to := append([]string{"Kept"}, h.boxes...)[h.rng.IntN(1+len(h.boxes))]
	if uid == "" || to == box || find(c, to, l) != "" || !h.settled(l) {
		return ""
	}
	c.Try("CREATE " + quoted(to))
	c.Do("SELECT " + quoted(box))
	untagged, answer := c.Try("UID MOVE " + uid + " " + quoted(to))
	m := movedTo.FindStringSubmatch(strings.Join(untagged, " ") + answer)
	if m == nil {
		l.unresolved = false
		return ""
	}
	l.kept = to
	c.Do("SELECT " + quoted(to))
	for _, line := range c.Do("UID FETCH " + m[1] + " FLAGS") {
		if flags := flagList.FindStringSubmatch(line); flags != nil {
			l.userFlags = spelled(slices.DeleteFunc(strings.Fields(flags[1]), func(f string) bool { return f == `\Recent` })...)
			return deed(l, "copies moved", fmt.Sprintf("from %s to %s (%s)", box, to, l.userFlags))
		}
	}
	h.t.Errorf("%s: %s is not where its user has moved it", h.name, l.id)
	return ""
}

func (h *household) expungeCopy() string {
	c, l, box, uid, modseq := h.copyOf()
	if uid == "" || l.kept == "" && (!l.alive || box != l.box) || !h.settled(l) {
		return ""
	}
	untagged, answer := c.Try("UID STORE " + uid + " (UNCHANGEDSINCE " + modseq + `) +FLAGS (\Deleted)`)
	if !strings.HasPrefix(answer, "OK") || strings.Contains(answer, "MODIFIED") || !strings.Contains(strings.Join(untagged, " "), " FETCH ") {
		l.unresolved = false
		return ""
	}
	c.Do("UID EXPUNGE " + uid)
	if isThere(c, uid) {
		h.t.Errorf("%s: %s could not be removed from %q of the new server", h.name, l.id, box)
	}
	l.removed = true
	return deed(l, "copies removed", "from "+box)
}

func deed(l *letter, what, about string) string {
	if l.unresolved {
		what += " before their receipts"
	}
	return what + ": " + l.id + " " + about
}
