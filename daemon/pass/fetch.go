package pass

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

const (
	parcelBytes = 4 << 20 // octets in memory of one parcel, at most but for its last message
	spoolAbove  = 1 << 20 // larger messages wait in a file
)

// parcel is a run of messages, in UID order, on its way to the destination.
type parcel struct {
	task    *task
	asked   []mail.UID
	pieces  []piece
	release func() // gives back the budget, the memory of the contents and the spool files
	first   bool   // nothing of it is there yet: the destination mailbox can be opened meanwhile
	last    bool   // nothing of the mailbox follows, because of err if it is set
	err     error
}

// piece is one message in hand.
type piece struct {
	mail.Message // Size is exact: the octets in hand
	content      io.ReaderAt
	unserved     *unserved // there is no content, and why; nil: there is
	form         form      // as it is to be sent
}

// unserved is why a message cannot be had, for its hold.
type unserved struct {
	reason mail.Reason
	size   int64 // as announced
	text   string
}

// noticeSubject begins the Subject of what Exchange serves in the place of what it
// cannot turn into a message.
const noticeSubject = "Retrieval using the IMAP4 protocol failed"

// isNotice tells by the beginning of a message whether it is such a notice.
func isNotice(prefix []byte) bool {
	for line := range bytes.Lines(prefix) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			return false
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Subject")) {
			return bytes.HasPrefix(bytes.TrimSpace(value), []byte(noticeSubject))
		}
	}
	return false
}

// fetch reads mailboxes, one after the other, until there are no more or the
// lane is to end.
func (c *carriage) fetch(ctx context.Context, lane *Lane, parcels chan<- parcel) {
	for c.interrupted(lane) == nil {
		t := c.next()
		if t == nil {
			return
		}
		parcels <- parcel{task: t, release: func() {}, first: true}
		err := c.fetchTask(ctx, lane, t, parcels)
		parcels <- parcel{task: t, release: func() {}, last: true, err: err}
	}
}

// interrupted tells why nothing more is to be fetched, nil while it is.
func (c *carriage) interrupted(lane *Lane) error {
	select {
	case <-c.quit:
		return errInterrupted
	case <-lane.Yield:
		return errInterrupted
	default:
		return c.stopped()
	}
}

// fetchTask reads the messages of one mailbox in UID order and sends them as
// parcels. It waits for memory before it asks, never in the middle of an answer,
// so that no FETCH is held open.
func (c *carriage) fetchTask(ctx context.Context, lane *Lane, t *task, parcels chan<- parcel) error {
	ends := make(map[mail.UID]int) // how often the connection has ended at a message
	for uids := t.uids; len(uids) > 0; {
		n, bytes, octets := 0, int64(0), int64(0)
		most := c.Parcel
		if ends[uids[0]] > 0 {
			most = 1
		}
		for n < len(uids) && n < most && bytes < parcelBytes {
			bytes += inMemory(t.sizes.of(uids[n]))
			octets += t.sizes.of(uids[n])
			n++
		}
		if err := c.pace(ctx, lane, n, octets); err != nil {
			return err
		}
		release, err := c.Budget.acquire(ctx, bytes)
		if err != nil {
			return err
		}
		if err := c.interrupted(lane); err != nil {
			release()
			return err
		}
		next, err := c.fetchParcel(ctx, lane.Source, t, uids[:n], release)
		if errors.Is(err, mail.ErrLost) && ctx.Err() == nil {
			err = c.afterEnd(ctx, t, &next, ends, err)
		}
		if err != nil {
			next.release()
			return err
		}
		uids = uids[len(next.asked):]
		if len(next.asked) == 0 {
			next.release()
			continue
		}
		select {
		case parcels <- next:
		case <-t.failed:
			next.release()
			return nil
		}
	}
	return nil
}

const (
	// endsMost is how often the connection may end at a message, in the end one that
	// was asked for by itself, until that is held.
	endsMost = 3
	// endPause is the pause after such an end, longer each time.
	endPause = time.Second
)

// afterEnd cuts a parcel in the middle of which the connection has ended before
// the first message that has not come. That message is asked for by itself next;
// where the connection ends at it again and again, it is not served.
func (c *carriage) afterEnd(ctx context.Context, t *task, p *parcel, ends map[mail.UID]int, cause error) error {
	came := make(map[mail.UID]bool, len(p.pieces))
	for _, m := range p.pieces {
		came[m.UID] = true
	}
	asked, n := p.asked, 0
	for n < len(asked) && came[asked[n]] {
		n++
	}
	p.asked = asked[:n]
	p.pieces = slices.DeleteFunc(p.pieces, func(m piece) bool { return !slices.Contains(p.asked, m.UID) })
	if n == len(asked) {
		return nil
	}
	at := asked[n]
	for next := errors.Unwrap(cause); errors.Is(next, mail.ErrLost); next = errors.Unwrap(cause) {
		cause = next // the bare words
	}
	if ends[at]++; len(ends) == 1 && ends[at] == 1 { // what else comes to nothing is held, and told so
		c.Logger.Info("the connection ended in the middle of a mailbox: going on", "mailbox", t.job.source.DisplayName(), "uid", at, "error", cause)
	}
	if len(asked) == 1 && ends[at] >= endsMost {
		p.asked = asked
		p.pieces = []piece{{Message: mail.Message{UID: at}, unserved: &unserved{mail.ReasonMissing, t.sizes.of(at), fmt.Sprintf("the connection ends at it, %d times by now: %s", ends[at], cause)}}}
		return nil
	}
	select {
	case <-time.After(time.Duration(ends[at]) * endPause):
	case <-c.quit:
	case <-c.Stopping:
	case <-ctx.Done():
	}
	return ctx.Err()
}

// pace waits until so many messages may be asked for, or until nothing more is to
// be.
func (c *carriage) pace(ctx context.Context, lane *Lane, messages int, octets int64) error {
	if c.Pace == nil {
		return nil
	}
	waiting, end := context.WithCancel(ctx)
	defer end()
	quit, yield, stopping := c.quit, lane.Yield, c.Stopping // which the next pass changes
	go func() {
		select {
		case <-quit:
		case <-yield:
		case <-stopping:
		case <-waiting.Done():
		}
		end()
	}()
	err := c.Pace(waiting, messages, octets)
	if why := c.interrupted(lane); why != nil {
		return why
	}
	return err
}

// inMemory is what a message of that size weighs in the budget.
func inMemory(size int64) int64 {
	if size > spoolAbove {
		return 64 << 10
	}
	if size <= 0 {
		return 64 << 10 // not told: some servers do not
	}
	return size
}

// fetchParcel takes the given messages in hand. A message that the server
// leaves out is left out. The caller releases the parcel; with an error it holds
// what has come before it.
func (c *carriage) fetchParcel(ctx context.Context, source Reader, t *task, uids []mail.UID, release func()) (out parcel, err error) {
	var files []*os.File
	var memory memory
	out = parcel{task: t, asked: uids, release: func() {
		release()
		memory.release()
		for _, f := range files {
			f.Close()
		}
	}}
	// A server may answer in another order (I9).
	defer func() { slices.SortFunc(out.pieces, func(a, b piece) int { return cmp.Compare(a.UID, b.UID) }) }()
	inHand := int64(0) // the truth, which RFC822.SIZE need not be
	for _, uid := range uids {
		memory.expect(t.sizes.of(uid))
	}
	out.pieces = make([]piece, 0, len(uids))
	for body, err := range source.Bodies(ctx, t.ref(), uids) {
		if err != nil {
			return out, err
		}
		next := piece{Message: body.Message}
		if body.Refused != nil {
			next.unserved = &unserved{mail.ReasonMissing, t.sizes.of(body.UID), body.Refused.Error()}
			out.pieces = append(out.pieces, next)
			continue
		}
		if body.Size > spoolAbove || inHand+body.Size > parcelBytes+spoolAbove {
			file, err := c.spool(body)
			if err != nil {
				return out, err
			}
			files = append(files, file)
			next.content = file
		} else {
			data := memory.take(int(body.Size))
			if _, err := io.ReadFull(body.Content, data); err != nil {
				return out, fmt.Errorf("fetch message %d: %w", body.UID, err)
			}
			next.content = mail.Octets(data)
			inHand += body.Size
		}
		prefix, err := beginning(next.content, body.Size)
		if err != nil {
			return out, err
		}
		next.Fingerprint = mail.NewFingerprint(body.Size, body.InternalDate, prefix)
		next.InternalDate = mail.StorableDate(body.InternalDate, prefix)
		if claimed := t.sizes.of(body.UID); body.Size == 0 && claimed > 0 {
			next.unserved = &unserved{mail.ReasonEmpty, claimed, "the old server announces a size but serves no content"}
		} else if isNotice(prefix) {
			next.unserved = &unserved{mail.ReasonMissing, claimed, "the old server serves a notice in its place: " + noticeSubject}
		}
		out.pieces = append(out.pieces, next)
	}
	return out, nil
}

// beginning is what of a message its fingerprint needs.
func beginning(content io.ReaderAt, size int64) ([]byte, error) {
	if data, ok := content.(mail.Octets); ok {
		return data[:min(len(data), mail.PrefixLen)], nil
	}
	prefix := make([]byte, min(size, mail.PrefixLen))
	if _, err := content.ReadAt(prefix, 0); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read spool: %w", err)
	}
	return prefix, nil
}

// temporary is a file that has no name any more, so that nothing is left behind
// whatever happens.
func (p *Pass) temporary() (*os.File, error) {
	file, err := os.CreateTemp(p.SpoolDir, "spool-*")
	if err != nil {
		return nil, fmt.Errorf("spool message: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, fmt.Errorf("spool message: %w", err)
	}
	return file, nil
}

// spool keeps a large message in a file.
func (p *Pass) spool(body mail.Body) (*os.File, error) {
	file, err := p.temporary()
	if err != nil {
		return nil, err
	}
	n, err := io.Copy(file, body.Content)
	if err == nil && n != body.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("spool message %d: %w", body.UID, err)
	}
	return file, nil
}
