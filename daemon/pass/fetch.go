package pass

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

const (
	parcelMessages = 256     // messages of one parcel at most
	parcelBytes    = 4 << 20 // octets in memory of one parcel, at most but for its last message
	spoolAbove     = 1 << 20 // larger messages wait in a file
)

// parcel is a run of messages, in UID order, on its way to the destination.
type parcel struct {
	asked   []mail.UID
	pieces  []piece
	release func() // gives the budget back and closes the spool files
}

// piece is one message in hand.
type piece struct {
	mail.Message       // Size is exact: the octets in hand
	claimed      int64 // RFC822.SIZE, which may lie
	content      io.ReaderAt
}

// fetch reads the messages of one mailbox in UID order and sends them as
// parcels, until all are sent, done is closed or the pass is to stop. It waits
// for memory before it asks, never in the middle of an answer, so that no FETCH
// is held open.
func (p *Pass) fetch(ctx context.Context, job *job, uids []mail.UID, parcels chan<- parcel, done <-chan struct{}) error {
	for len(uids) > 0 {
		n, bytes := 0, int64(0)
		for n < len(uids) && n < parcelMessages && bytes < parcelBytes {
			bytes += inMemory(job.sizes.of(uids[n]))
			n++
		}
		release, err := p.Budget.acquire(ctx, bytes)
		if err != nil {
			return err
		}
		select {
		case <-done:
			release()
			return nil
		default:
		}
		if err := p.stopped(); err != nil {
			release()
			return err
		}
		next, err := p.fetchParcel(ctx, job, uids[:n], release)
		if err != nil {
			return err
		}
		select {
		case parcels <- next:
		case <-done:
			next.release()
			return nil
		}
		uids = uids[n:]
	}
	return nil
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
// leaves out is left out.
func (p *Pass) fetchParcel(ctx context.Context, job *job, uids []mail.UID, release func()) (_ parcel, err error) {
	var files []*os.File
	out := parcel{asked: uids, release: func() {
		release()
		for _, f := range files {
			f.Close()
		}
	}}
	defer func() {
		if err != nil {
			out.release()
		}
	}()
	inHand := int64(0) // the truth, which RFC822.SIZE need not be
	for body, err := range p.Source.Bodies(ctx, job.ref(), uids) {
		if err != nil {
			return parcel{}, fmt.Errorf("fetch messages: %w", err)
		}
		next := piece{Message: body.Message, claimed: job.sizes.of(body.UID)}
		if body.Size > spoolAbove || inHand+body.Size > parcelBytes+spoolAbove {
			file, err := p.spool(body)
			if err != nil {
				return parcel{}, err
			}
			files = append(files, file)
			next.content = file
		} else {
			data := make([]byte, body.Size)
			if _, err := io.ReadFull(body.Content, data); err != nil {
				return parcel{}, fmt.Errorf("fetch message %d: %w", body.UID, err)
			}
			next.content = bytes.NewReader(data)
			inHand += body.Size
		}
		prefix := make([]byte, min(body.Size, mail.PrefixLen))
		if _, err := next.content.ReadAt(prefix, 0); err != nil && err != io.EOF {
			return parcel{}, fmt.Errorf("read spool: %w", err)
		}
		next.Fingerprint = mail.NewFingerprint(body.Size, body.InternalDate, prefix)
		next.InternalDate = mail.StorableDate(body.InternalDate, prefix)
		out.pieces = append(out.pieces, next)
	}
	// A server may answer in another order (I9).
	slices.SortFunc(out.pieces, func(a, b piece) int { return cmp.Compare(a.UID, b.UID) })
	return out, nil
}

// spool keeps a large message in a file that has no name any more, so that
// nothing is left behind whatever happens.
func (p *Pass) spool(body mail.Body) (*os.File, error) {
	file, err := os.CreateTemp(p.SpoolDir, "spool-*")
	if err != nil {
		return nil, fmt.Errorf("spool message: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, fmt.Errorf("spool message: %w", err)
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
