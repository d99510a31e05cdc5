package bench

import (
	"bytes"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
)

// site is what lies on the old server, the same in every run.
type site struct {
	name     string
	accounts int
	boxes    []string
	messages int // of one account
	// size draws the size of a message, in octets.
	size func(rng *rand.Rand) int
	// largest, if not 0, is the size of one message more, in INBOX.
	largest int
}

var (
	// mixed is what office mail weighs: most of it little, some attachments, a
	// few large ones; 60 KB on average.
	mixed = func(rng *rand.Rand) int {
		switch p := rng.Float64(); {
		case p < 0.70:
			return between(rng, 2_000, 20_000)
		case p < 0.91:
			return between(rng, 20_000, 100_000)
		case p < 0.989:
			return between(rng, 100_000, 450_000)
		default:
			return between(rng, 450_000, 4_000_000)
		}
	}
	notes = func(rng *rand.Rand) int { return between(rng, 2_000, 4_000) }
	short = func(rng *rand.Rand) int { return between(rng, 2_000, 30_000) }

	large    = site{name: "large", accounts: 1, boxes: boxNames[:24], messages: 2_000, size: mixed}
	small    = site{name: "small", accounts: 1, boxes: boxNames[:21], messages: 20_000, size: notes}
	accounts = site{name: "accounts", accounts: 20, boxes: boxNames[:8], messages: 200, size: short}
	huge     = site{name: "huge", accounts: 1, boxes: boxNames[:8], messages: 200, size: mixed, largest: 200_000_000}
	filled   = site{name: "filled", accounts: 1, boxes: boxNames[:21], messages: 100_000, size: notes}
	modest   = site{name: "modest", accounts: 1, boxes: boxNames[:8], messages: 400, size: mixed}
	tiny     = site{name: "tiny", accounts: 2, boxes: boxNames[:5], messages: 40, size: notes}
)

var boxNames = []string{
	"INBOX", "Sent", "Archive", "Trash", "Drafts", "Junk", "Projects", "Projects/Bridge", "Projects/Tower", "Lists/golang", "Lists/imap", "Invoices",
	"Invoices/2019", "Invoices/2020", "Travel", "Family", "Customers/A-M", "Customers/N-Z", "Receipts", "Newsletters", "Old", "Old/2004", "Old/2005", "Empty",
}

func (s site) user(i int) string { return fmt.Sprintf("%s%d", s.name, i) }

// mailboxes yields the mailboxes of one account. The first hold most of the
// mail, as they do everywhere.
func (s site) mailboxes(account int) iter.Seq[corpus.Mailbox] {
	return func(yield func(corpus.Mailbox) bool) {
		rng := rand.New(rand.NewPCG(uint64(account), uint64(len(s.boxes))))
		text := newText(rng)
		full := s.boxes
		if full[len(full)-1] == "Empty" {
			full = full[:len(full)-1]
		}
		sum := 0.0
		for i := range full {
			sum += share(i)
		}
		left, made := s.messages, 0
		for i, name := range s.boxes {
			n := 0
			switch {
			case i == len(full)-1:
				n = left
			case i < len(full):
				n = int(float64(s.messages) * share(i) / sum)
			}
			left -= n
			box := corpus.Mailbox{Name: name, Subscribed: true}
			for range n {
				made++
				m := text.message(rng, made, s.size(rng))
				if made%200 == 0 && len(box.Messages) > 0 {
					m = box.Messages[len(box.Messages)-1] // a twin
				}
				box.Messages = append(box.Messages, m)
			}
			if i == 0 && s.largest > 0 {
				box.Messages = append(box.Messages, text.message(rng, 0, s.largest))
			}
			if !yield(box) {
				return
			}
		}
	}
}

// share is how much of the mail is in the i-th mailbox.
func share(i int) float64 { return 1 / math.Pow(float64(i+2), 0.9) }

func between(rng *rand.Rand, low, high int) int { return low + rng.IntN(high-low) }

// text is what bodies are cut from: lines of prose, and lines as attachments
// have them, which do not compress.
type text struct{ prose, encoded []byte }

const pool = 1 << 20

func newText(rng *rand.Rand) text {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	var t text
	for len(t.encoded) < pool {
		for range 76 {
			t.encoded = append(t.encoded, digits[rng.IntN(64)])
		}
		t.encoded = append(t.encoded, "\r\n"...)
	}
	for len(t.prose) < pool {
		for column := 0; column < 60; {
			word := 2 + rng.IntN(9)
			for range word {
				t.prose = append(t.prose, "eeeeaaattonnirsshdlucmfpgwybvk"[rng.IntN(30)])
			}
			t.prose = append(t.prose, ' ')
			column += word + 1
		}
		t.prose = append(t.prose, "\r\n"...)
	}
	return t
}

func (t text) message(rng *rand.Rand, i, size int) corpus.Message {
	date := time.Date(2004, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rng.Int64N(int64(20 * 365 * 24 * time.Hour)))).Truncate(time.Second)
	stamp := date.Format(time.RFC1123Z)
	var b bytes.Buffer
	b.Grow(size + 2048)
	fmt.Fprintf(&b, "Return-Path: <p%d@example.org>\r\n", i%97)
	for hop := range 3 {
		fmt.Fprintf(&b, "Received: from h%d.example (h%d.example [192.0.2.%d])\r\n\tby mx%d.example with ESMTPS id %x\r\n\tfor <you@example.com>; %s\r\n", hop, hop, hop+1, hop+1, rng.Uint64(), stamp)
	}
	fmt.Fprintf(&b, "From: Person %d <p%d@example.org>\r\nTo: You <you@example.com>\r\nSubject: About the matter of %d\r\nDate: %s\r\n", i%97, i%97, i, stamp)
	if i%200 != 1 {
		fmt.Fprintf(&b, "Message-ID: <%x.%d@example.org>\r\n", rng.Uint64(), i)
	}
	b.WriteString("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_b\"\r\n\r\n--=_b\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n")
	fill(&b, rng, t.prose, min(size, 2000+size/20))
	if b.Len() < size {
		b.WriteString("\r\n--=_b\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n")
		fill(&b, rng, t.encoded, size)
	}
	b.WriteString("\r\n--=_b--\r\n")
	var flags []string
	for _, f := range []struct {
		flag  string
		every int
	}{{`\Seen`, 2}, {`\Answered`, 8}, {`\Flagged`, 20}, {"$Forwarded", 30}, {"$Label1", 40}, {"Work", 50}} {
		if rng.IntN(f.every) == 0 {
			flags = append(flags, f.flag)
		}
	}
	return corpus.Message{Data: b.Bytes(), Flags: flags, Date: date}
}

// fill writes whole lines until b has so many octets.
func fill(b *bytes.Buffer, rng *rand.Rand, from []byte, size int) {
	for b.Len() < size {
		at := rng.IntN(len(from) - 4096)
		part := from[at:min(len(from), at+max(size-b.Len(), 80))]
		first, last := bytes.IndexByte(part, '\n')+1, bytes.LastIndexByte(part, '\n')+1
		if first == last {
			first, last = 0, 0
			b.WriteString("end\r\n")
		}
		b.Write(part[first:last])
	}
}
