package pass

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// What the new server refuses as it is, is offered in other forms before it is
// held: without keywords that may be to blame, and mended as far as the operator
// allows it. Each form is a further APPEND of the same source message, with an
// intent of its own, made only after the one before was refused. Receipts keep the
// fingerprint of the original; the intent has both.

// form is what a message is sent as.
type form struct {
	content io.ReaderAt
	size    int64
	print   mail.Fingerprint
	flags   mail.Flags
	mended  mail.Fixups // 0: as it is
}

// manner is how a form is made of a message.
type manner struct {
	keywords keywords
	mended   bool
}

// keywords are those that a message is sent with.
type keywords uint8

const (
	allKeywords keywords = iota
	plainKeywords
	noKeywords
)

// manners are all there are, in the order of trying.
var manners = []manner{
	{allKeywords, false}, {plainKeywords, false}, {noKeywords, false},
	{allKeywords, true}, {plainKeywords, true}, {noKeywords, true},
}

// refusal is that of a message which is to be offered in another form.
type refusal struct {
	next   manner
	first  *mail.Refused // of the message as it is
	reason mail.Reason
	flags  bool // the server has spoken of flags
}

// plain are flags without the keywords that not every server can be expected to
// take.
func plain(f mail.Flags) mail.Flags { return f.Keep(mail.PlainKeyword) }

// flagsIn are the flags that a message is sent with.
func (w *writer) flagsIn(how keywords, m piece) mail.Flags {
	flags := w.unwanted.from(w.to.Name, w.appender.Storable(m.Flags))
	switch how {
	case plainKeywords:
		flags = plain(flags)
	case noKeywords:
		flags.Keywords = ""
	}
	return flags
}

// otherForm notes in which other form a refused message is to be offered; false:
// there is none.
func (w *writer) otherForm(m piece, r *mail.Refused, reason mail.Reason) (bool, error) {
	tried, known := w.job.refused[m.UID]
	if !known {
		tried = refusal{first: r, reason: reason}
	}
	text := strings.ToLower(r.Text)
	tried.flags = tried.flags || r.Code == "FLAGS" || strings.Contains(text, "keyword") || strings.Contains(text, "flag")
	last := tried.next
	for _, next := range manners[1+slices.Index(manners, last):] {
		if next.mended == last.mended && w.flagsIn(next.keywords, m).Equal(m.form.flags) || next.keywords == noKeywords && !tried.flags {
			continue
		}
		if next.mended {
			f, done, err := w.mend(m)
			if err != nil {
				return false, err
			}
			if done(); f.mended == 0 {
				continue
			}
		}
		if tried.next = next; w.job.refused == nil {
			w.job.refused = make(map[mail.UID]refusal)
		}
		w.job.refused[m.UID] = tried
		w.again = true
		return true, nil
	}
	return false, nil
}

// dress gives the messages of a parcel the forms in which they are to be offered.
func (w *writer) dress(p *parcel) error {
	for i := range p.pieces {
		m := &p.pieces[i]
		how := w.job.refused[m.UID].next
		m.form = asItIs(*m)
		if how.mended {
			f, done, err := w.mend(*m)
			if err != nil {
				return err
			}
			m.form = f
			release := p.release
			p.release = func() { done(); release() }
		}
		m.form.flags = w.flagsIn(how.keywords, *m)
		if !m.form.flags.Equal(w.appender.Storable(m.Flags)) {
			m.form.mended |= mail.OddKeywords
		}
	}
	return nil
}

func asItIs(m piece) form { return form{content: m.content, size: m.Size, print: m.Fingerprint} }

// mend makes the mended form of a message. It is the message as it is when there
// is nothing in it that may be mended, or when its mended form would not be known
// for it on the new server. done gives back what it takes.
func (w *writer) mend(m piece) (f form, done func(), err error) {
	which := w.Policy.Fixups & mail.Mendings
	if which == 0 {
		return asItIs(m), func() {}, nil
	}
	d := new(draft)
	if m.Size > spoolAbove {
		if d.file, err = w.temporary(); err != nil {
			return asItIs(m), func() {}, err
		}
	}
	applied, err := mail.Mend(d, io.NewSectionReader(m.content, 0, m.Size), which)
	known := false
	if err == nil && applied != 0 {
		f = form{content: d, size: d.size, mended: applied}
		known, err = f.isKnownFor(m)
	}
	if err != nil || !known {
		d.close()
		if err != nil {
			err = fmt.Errorf("mend message %d: %w", m.UID, err)
		}
		return asItIs(m), func() {}, err
	}
	return f, d.close, nil
}

// isKnownFor tells whether a form will be recognised as that of a message, and
// computes its fingerprint.
func (f *form) isKnownFor(m piece) (bool, error) {
	mine, err := beginning(f.content, f.size)
	if err != nil {
		return false, err
	}
	theirs, err := beginning(m.content, m.Size)
	if err != nil || mail.Opening(mine) != mail.Opening(theirs) {
		return false, err
	}
	f.print = mail.NewFingerprint(f.size, m.InternalDate, mine)
	is, err := mail.Content(io.NewSectionReader(f.content, 0, f.size))
	if err != nil {
		return false, err
	}
	was, err := mail.Content(io.NewSectionReader(m.content, 0, m.Size))
	return is == was, err
}

// draft is a form in the making: in a file, or else in memory.
type draft struct {
	file *os.File
	text []byte
	size int64
}

func (d *draft) Write(part []byte) (n int, err error) {
	if n = len(part); d.file != nil {
		n, err = d.file.Write(part)
	} else {
		d.text = append(d.text, part...)
	}
	d.size += int64(n)
	return n, err
}

func (d *draft) ReadAt(part []byte, at int64) (int, error) {
	if d.file != nil {
		return d.file.ReadAt(part, at)
	}
	return bytes.NewReader(d.text).ReadAt(part, at)
}

func (d *draft) close() {
	if d.file != nil {
		d.file.Close()
	}
}

// What bounds unwanted: what has no room in it is offered again and again, and
// left away when it is refused.
const (
	unwantedMost = 100  // keywords of one mailbox
	unwantedLong = 1000 // octets of one of them
)

// unwanted are the keywords that mailboxes of the new server have refused in this
// pass. Lanes use it side by side.
type unwanted struct {
	mu sync.Mutex
	by map[string][]string // raw name of the mailbox
}

// from takes the keywords that a mailbox has refused out of flags.
func (u *unwanted) from(mailbox string, f mail.Flags) mail.Flags {
	u.mu.Lock()
	defer u.mu.Unlock()
	refused := mail.Flags{Keywords: strings.Join(u.by[mailbox], " ")}
	if refused.Keywords == "" || f.Keywords == "" {
		return f
	}
	return f.Keep(func(k string) bool { return !refused.Has(k) })
}

// noteUnwanted remembers the keywords by which what was taken differs from what was
// refused. It is told once for each mailbox.
func (p *Pass) noteUnwanted(box mail.Mailbox, refused, taken mail.Flags) {
	u := &p.unwanted
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.by == nil {
		u.by = make(map[string][]string)
	}
	for _, k := range refused.KeywordList() {
		if taken.Has(k) {
			continue
		}
		if p.Complaints.isNew(keywordRefused, box.DisplayName(), "") {
			p.Logger.Warn(keywordRefused, "mailbox", box.DisplayName(), "keyword", shortened(k))
		}
		if len(u.by[box.Name]) < unwantedMost && len(k) <= unwantedLong {
			u.by[box.Name] = append(u.by[box.Name], k)
		}
	}
}

// shortened is a keyword as a log can show it.
func shortened(keyword string) string {
	const most = 80
	if len(keyword) > most {
		keyword = keyword[:most] + "…"
	}
	return strings.ToValidUTF8(keyword, "?")
}

// accepted notes what the new server has taken, for what was refused before.
func (w *writer) accepted(m piece) {
	if w.job.refused[m.UID].next.keywords == plainKeywords {
		w.noteUnwanted(w.place(), w.flagsIn(allKeywords, m), m.form.flags)
	}
}

// place is the mailbox of the new server that the task is about, as far as people
// are told of it.
func (w *writer) place() mail.Mailbox {
	return mail.Mailbox{Name: w.to.Name, Path: []string{w.Pair.DestinationPath}}
}
