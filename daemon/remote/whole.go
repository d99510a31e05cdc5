package remote

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

const (
	// wholeMost is how many of the first messages from a UID on are asked for whole
	// before it is known that they are there, and wholeOctets how much of each: most
	// messages are smaller, and one that is not is asked for all again.
	wholeMost   = 2
	wholeOctets = 64 << 10
	// vainMost is how often in a row that may come to nothing.
	vainMost = 2
)

// Foresight is what is known of an old server that has been asked for contents ahead. All
// [Source]s of an account may share one. The zero value is ready.
type Foresight struct {
	// vain is how often in a row the connection has ended over it, or it was refused, or
	// contents came that are not as the server says.
	vain int
}

// asks tells whether contents are asked for ahead, which is about to be done.
func (f *Foresight) asks() bool {
	if f.vain >= vainMost {
		return false
	}
	f.vain++
	return true
}

// came notes what has come. Nothing new, or what is large, says nothing.
func (f *Foresight) came(l *wholeList) {
	switch {
	case len(l.messages) > 0:
		f.vain = 0
	case !l.odd:
		f.vain--
	}
}

// wholeList are messages of one mailbox, from a UID on, that have been asked for ahead
// and were small enough to come whole.
type wholeList struct {
	mail.Ref
	from     mail.UID
	messages []wholeMessage
	odd      bool // something has come that is not as the server says, or was refused
}

type wholeMessage struct {
	mail.Message
	content string
}

// command asks for them, as [session.Bodies] does.
func (l *wholeList) command() string {
	return fmt.Sprintf("UID FETCH %d:%d (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[]<0.%d>)", l.from, l.last(), wholeOctets)
}

func (l *wholeList) last() mail.UID { return mail.UID(min(uint64(l.from)+wholeMost-1, math.MaxUint32)) }

// take takes a FETCH response, if it is about a content. It is whole where it is as long
// as the server says and shorter than what was asked for: where it is not shorter, the
// size may be told wrong.
func (l *wholeList) take(r Response) bool {
	if len(r.Data) == 0 {
		return false
	}
	var m wholeMessage
	has, flagged := false, false
	items := r.Data[0].List
	for i := 0; i+1 < len(items); i += 2 {
		switch value, name := items[i+1], strings.ToUpper(items[i].Text); {
		case name == "UID":
			m.UID = mail.UID(number(value, 32))
		case name == "RFC822.SIZE":
			m.Size = int64(number(value, 63))
		case name == "INTERNALDATE":
			m.InternalDate = parseDate(value.Text)
		case name == "FLAGS":
			if flagged = value.IsList && len(value.List) <= flagsMost; flagged {
				m.Flags = mail.ParseFlags(texts(value.List))
			}
		case isBody([]byte(name)):
			m.content, has = value.Text, true
		}
	}
	switch {
	case !has || m.Size >= wholeOctets && len(m.content) == wholeOctets:
	case m.UID < l.from || m.UID > l.last() || !flagged || m.InternalDate.IsZero() ||
		m.Size != int64(len(m.content)) || m.Size == 0 || m.Size >= wholeOctets || l.index(m.UID) >= 0:
		l.odd = true
	default:
		l.messages = append(l.messages, m)
	}
	return has
}

func (l *wholeList) index(uid mail.UID) int {
	return slices.IndexFunc(l.messages, func(m wholeMessage) bool { return m.UID == uid })
}

// first is the first of ascending UIDs of a mailbox, if it is in hand; it is taken out.
func (l *wholeList) first(box mail.Ref, uids []mail.UID) (m wholeMessage, ok bool) {
	if l == nil || l.Ref != box || len(uids) == 0 {
		return m, false
	}
	i := l.index(uids[0])
	if i < 0 {
		return m, false
	}
	m = l.messages[i]
	l.messages = slices.Delete(l.messages, i, i+1)
	return m, true
}
