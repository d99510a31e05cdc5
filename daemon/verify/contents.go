package verify

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// finding is what comparing contents has found.
type finding struct {
	class Class
	what  string
}

// digest is the content of a message as far as comparing it goes.
type digest struct {
	exact, lenient [sha256.Size]byte
	size           int64
	cr, lf         int64
	nul, eightBit  int64
	finalLF        bool
}

// contents compares the contents of messages with those of their copies.
func (c *comparison) contents(ctx context.Context, m, destination mail.Mailbox, part []pairing, out map[mail.UID]finding) error {
	sources, copies := make([]mail.UID, len(part)), make([]mail.UID, len(part))
	for i, p := range part {
		sources[i], copies[i] = p.source.UID, p.copied.UID
	}
	theirs, err := digests(ctx, c.Source, m, sources)
	if err != nil {
		return err
	}
	ours, err := digests(ctx, c.Destination, destination, copies)
	if err != nil {
		return err
	}
	for _, p := range part {
		a, okA := theirs[p.source.UID]
		b, okB := ours[p.copied.UID]
		switch {
		case !okA:
			out[p.source.UID] = finding{Damaged, "the old server does not serve it"}
		case !okB:
			out[p.source.UID] = finding{Damaged, "the new server does not serve it"}
		default:
			out[p.source.UID] = a.against(b)
		}
	}
	return nil
}

func digests(ctx context.Context, side Reader, m mail.Mailbox, uids []mail.UID) (map[mail.UID]digest, error) {
	uids = ascending(uids)
	found := make(map[mail.UID]digest, len(uids))
	for body, err := range side.Bodies(ctx, mail.Ref{Name: m.Name, UIDValidity: m.Status.UIDValidity}, uids) {
		if err != nil {
			return nil, err
		}
		d, err := digestOf(body.Content)
		if err != nil {
			return nil, fmt.Errorf("read message %d: %w", body.UID, err)
		}
		found[body.UID] = d
	}
	return found, nil
}

// digestOf reads a message to its end. The lenient digest does not see what
// servers are known to alter: line ends, NUL and octets above 0x7F, and what
// comes after the last line.
func digestOf(r io.Reader) (digest, error) {
	var d digest
	exact, lenient := sha256.New(), sha256.New()
	buf, mapped := make([]byte, 32<<10), make([]byte, 0, 64<<10)
	pending := 0 // line ends that count only when something follows
	for {
		n, err := r.Read(buf)
		exact.Write(buf[:n])
		d.size += int64(n)
		mapped = mapped[:0]
		for _, b := range buf[:n] {
			d.finalLF = b == '\n'
			switch {
			case b == '\r':
				d.cr++
				continue
			case b == '\n':
				d.lf++
				pending++
				continue
			case b == 0:
				d.nul++
				b = 'X'
			case b >= 0x80:
				d.eightBit++
				b = 'X'
			}
			mapped = flushLines(mapped, &pending, lenient)
			mapped = append(mapped, b)
		}
		lenient.Write(mapped)
		if err == io.EOF {
			exact.Sum(d.exact[:0])
			lenient.Sum(d.lenient[:0])
			return d, nil
		}
		if err != nil {
			return d, err
		}
	}
}

func flushLines(mapped []byte, pending *int, out hash.Hash) []byte {
	for ; *pending > 0; *pending-- {
		if len(mapped) == cap(mapped)-1 {
			out.Write(mapped)
			mapped = mapped[:0]
		}
		mapped = append(mapped, '\n')
	}
	return mapped
}

// against names what the new server has made of a message.
func (d digest) against(there digest) finding {
	if d.exact == there.exact {
		return finding{class: Equal}
	}
	if d.lenient != there.lenient {
		return finding{Damaged, fmt.Sprintf("contents differ (%d octets, there %d)", d.size, there.size)}
	}
	var named []string
	if d.finalLF != there.finalLF {
		named = append(named, "final CRLF")
	}
	if d.cr != there.cr || d.lf != there.lf {
		named = append(named, "line ends")
	}
	if d.nul != there.nul {
		named = append(named, "NUL")
	}
	if d.eightBit != there.eightBit {
		named = append(named, "8-bit octets")
	}
	if len(named) == 0 {
		named = append(named, "8-bit octets or NUL")
	}
	return finding{Altered, "the new server altered " + strings.Join(named, ", ")}
}
