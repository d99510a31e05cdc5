package verify

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"slices"
	"sync"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// digest is the content of a message as far as comparing it goes.
type digest struct {
	exact, lenient [sha256.Size]byte
	size           int64
	cr, lf         int64
	tailCR, tail   int64 // CRs and line feeds after the last octet that is neither
	nul, eightBit  int64
}

// digests reads messages to their ends.
func digests(ctx context.Context, side Reader, box mail.Ref, uids []mail.UID) (map[mail.UID]digest, error) {
	uids = slices.Clone(uids)
	slices.Sort(uids)
	found := make(map[mail.UID]digest, len(uids))
	g := digesters.Get().(*digester)
	defer digesters.Put(g)
	for body, err := range side.Bodies(ctx, box, slices.Compact(uids)) {
		if err != nil {
			return nil, err
		}
		if body.Refused != nil {
			continue
		}
		d, err := g.digest(body.Content)
		if err != nil {
			return nil, fmt.Errorf("read message %d: %w", body.UID, err)
		}
		found[body.UID] = d
	}
	return found, nil
}

// digester makes digests.
type digester struct {
	exact, lenient hash.Hash
	in, out        []byte
	plain          [256]bool // the octets that the lenient digest takes as they are
}

// digesters are those that are not in use: each takes about 100 KB, and thousands of
// accounts are compared in their first minutes.
var digesters = sync.Pool{New: func() any { return newDigester() }}

func newDigester() *digester {
	g := &digester{exact: sha256.New(), lenient: sha256.New(), in: make([]byte, 32<<10), out: make([]byte, 0, 64<<10)}
	for c := range 0x80 {
		g.plain[c] = c != 0 && c != '\r' && c != '\n'
	}
	return g
}

// digest reads a message to its end. The lenient digest does not see what
// servers are known to alter: line ends, NUL and octets above 0x7F, and what
// comes after the last line.
func (g *digester) digest(r io.Reader) (digest, error) {
	var d digest
	g.exact.Reset()
	g.lenient.Reset()
	pending := int64(0) // line ends that count only when something follows
	for {
		n, err := r.Read(g.in)
		g.exact.Write(g.in[:n])
		d.size += int64(n)
		out := g.out[:0]
		for rest := g.in[:n]; len(rest) > 0; {
			plain, b := g.plainly(rest), rest[0]
			switch {
			case plain > 0:
				out, pending = g.lines(out, pending)
				out = append(out, rest[:plain]...)
				d.tailCR = 0
				rest = rest[plain:]
				continue
			case b == '\r':
				d.cr++
				d.tailCR++
			case b == '\n':
				d.lf++
				pending++
			default:
				if d.eightBit++; b == 0 {
					d.eightBit--
					d.nul++
				}
				out, pending = g.lines(out, pending)
				out = append(out, 'X')
				d.tailCR = 0
			}
			rest = rest[1:]
		}
		g.lenient.Write(out)
		if err == io.EOF {
			d.tail = pending
			g.exact.Sum(d.exact[:0])
			g.lenient.Sum(d.lenient[:0])
			return d, nil
		}
		if err != nil {
			return d, err
		}
	}
}

// plainly is how many octets the text begins with that are taken as they are.
// Nobody else has this text or this table, and an octet that the race detector
// watches takes ten times as long as one that it does not.
//
//go:norace
func (g *digester) plainly(text []byte) int {
	for n, c := range text {
		if !g.plain[c] {
			return n
		}
	}
	return len(text)
}

// lines writes line ends that something follows after all. There may be more of
// them than octets in the part that is being read.
func (g *digester) lines(out []byte, pending int64) ([]byte, int64) {
	for ; pending > 0; pending-- {
		if len(out) == cap(out)-len(g.in) {
			g.lenient.Write(out)
			out = out[:0]
		}
		out = append(out, '\n')
	}
	return out, 0
}

// differAt tells where the contents of a message and of its copy part, read side
// by side.
func (c *comparison) differAt(ctx context.Context, b *box, place *pile, m *match) (string, error) {
	theirs, stop, err := body(ctx, c.Source, b.ref(), m.source)
	defer stop()
	if theirs == nil || err != nil {
		return "", err
	}
	ours, stopOurs, err := body(ctx, c.Destination, place.ref(), m.copied)
	defer stopOurs()
	if ours == nil || err != nil {
		return "", err
	}
	at, cut, err := firstDifference(theirs, ours)
	switch {
	case err != nil:
		return "", fmt.Errorf("read message %d: %w", m.source, err)
	case cut:
		return ": the new server serves its beginning only", nil
	}
	return fmt.Sprintf(" from octet %d on", at), nil
}

// isMended tells whether a message and its copy differ by nothing but what
// servers alter and [mail.Mend] mends.
func (c *comparison) isMended(ctx context.Context, b *box, place *pile, m *match) (bool, error) {
	theirs, stop, err := body(ctx, c.Source, b.ref(), m.source)
	defer stop()
	if theirs == nil || err != nil {
		return false, err
	}
	ours, stopOurs, err := body(ctx, c.Destination, place.ref(), m.copied)
	defer stopOurs()
	if ours == nil || err != nil {
		return false, err
	}
	was, err := mail.Content(theirs)
	is, errOurs := mail.Content(ours)
	return was == is, errors.Join(err, errOurs)
}

// body begins to read one message; nil: it is not served.
func body(ctx context.Context, side Reader, box mail.Ref, uid mail.UID) (r *bufio.Reader, stop func(), err error) {
	next, stop := iter.Pull2(side.Bodies(ctx, box, []mail.UID{uid}))
	found, err, served := next()
	if err != nil || !served || found.Refused != nil {
		return nil, stop, err
	}
	return bufio.NewReader(found.Content), stop, nil
}

// firstDifference is the octet of a message from which on its copy differs,
// counted from 1, as the lenient digest sees both, and whether the copy ends
// there.
func firstDifference(a, b *bufio.Reader) (at int64, cut bool, err error) {
	for {
		x, n, errA := next(a)
		y, _, errB := next(b)
		at += n
		if errA != nil && errA != io.EOF || errB != nil && errB != io.EOF {
			return at, false, errors.Join(errA, errB)
		}
		if errA == io.EOF || errB == io.EOF || x != y {
			return at, errA == nil && errB == io.EOF, nil
		}
	}
}

// next is the next octet as the lenient digest sees it, and how many it takes.
func next(r *bufio.Reader) (c byte, n int64, err error) {
	for {
		c, err := r.ReadByte()
		if err != nil {
			return 0, n + 1, err
		}
		switch n++; {
		case c == '\r':
			continue
		case c == 0 || c >= 0x80:
			return 'X', n, nil
		}
		return c, n, nil
	}
}
