package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

const (
	// fetchedAtOnce bounds the UIDs of one FETCH, for the sake of memory.
	fetchedAtOnce = 50_000
	// attempts is how often a message is asked for whose answer has not all
	// that was asked: an unsolicited FETCH can take the place of the real one.
	attempts = 3
)

// Messages yields the metadata of the given ascending UIDs, each at most once.
// Fingerprints are made of RFC822.SIZE, which may lie, INTERNALDATE and the
// first octets.
func (s *session) Messages(ctx context.Context, box mail.Ref, uids []mail.UID, fingerprints bool) iter.Seq2[mail.Message, error] {
	return func(yield func(mail.Message, error) bool) {
		f := &fetch{session: s, box: box, options: imap.FetchOptions{UID: true, Flags: true, InternalDate: true, RFC822Size: true}}
		if fingerprints {
			f.options.BodySection = []*imap.FetchItemBodySection{{Peek: true, Partial: &imap.SectionPartial{Size: mail.PrefixLen}}}
		}
		f.take = func(data *imapclient.FetchMessageData) (mail.UID, outcome) {
			var r row
			for r.next(data) {
				if r.literal == nil {
					continue
				}
				r.prefix = make([]byte, min(r.literal.Size(), mail.PrefixLen))
				if _, err := io.ReadFull(f.content(r.literal), r.prefix); err != nil {
					return r.UID, incomplete
				}
			}
			if !r.sized && !r.dated || fingerprints && r.prefix == nil {
				return r.UID, incomplete
			}
			if fingerprints {
				r.Fingerprint, r.Opening = mail.NewFingerprint(r.Size, r.InternalDate, r.prefix), mail.Opening(r.prefix)
			}
			if !yield(r.Message, nil) {
				return r.UID, stopped
			}
			return r.UID, taken
		}
		if err := f.run(ctx, uids); err != nil && !f.stopped {
			yield(mail.Message{}, fmt.Errorf("fetch metadata: %w", err))
		}
	}
}

// Bodies yields the messages of the given ascending UIDs, each at most once, and
// those that are refused with the refusal. Size is that of the literal.
func (s *session) Bodies(ctx context.Context, box mail.Ref, uids []mail.UID) iter.Seq2[mail.Body, error] {
	return func(yield func(mail.Body, error) bool) {
		f := &fetch{session: s, box: box, bodies: true, options: imap.FetchOptions{
			UID: true, Flags: true, InternalDate: true, RFC822Size: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}},
		}}
		f.take = func(data *imapclient.FetchMessageData) (mail.UID, outcome) {
			var r row
			for r.next(data) {
				if r.literal == nil {
					continue
				}
				if known, ok := f.known[r.UID]; ok {
					r.Message = known
				} else if !r.flagged || !r.dated {
					s.bodyFirst = true
					return r.UID, incomplete
				}
				r.Size = r.literal.Size()
				if !yield(mail.Body{Message: r.Message, Content: f.content(r.literal)}, nil) {
					return r.UID, stopped
				}
				return r.UID, taken
			}
			return r.UID, incomplete
		}
		f.refused = func(uid mail.UID, why *mail.Refused) {
			f.stopped = !yield(mail.Body{Message: mail.Message{UID: uid}, Refused: why}, nil)
		}
		if err := f.run(ctx, uids); err != nil && !f.stopped {
			yield(mail.Body{}, fmt.Errorf("fetch messages: %w", err))
		}
	}
}

// row is one FETCH response as far as it has been read.
type row struct {
	mail.Message
	flagged, dated, sized bool
	literal               imap.LiteralReader // of the item just read, else nil
	prefix                []byte
}

// next reads one item; false at the end of the response.
func (r *row) next(data *imapclient.FetchMessageData) bool {
	r.literal = nil
	switch item := data.Next().(type) {
	case nil:
		return false
	case imapclient.FetchItemDataUID:
		r.UID = mail.UID(item.UID)
	case imapclient.FetchItemDataFlags:
		names := make([]string, len(item.Flags))
		for i, flag := range item.Flags {
			names[i] = unwrapFlag(string(flag))
		}
		r.Flags, r.flagged = mail.ParseFlags(names), true
	case imapclient.FetchItemDataInternalDate:
		if r.dated = true; item.Time.Year() > 1 { // else it could not be read
			r.InternalDate = item.Time
		}
	case imapclient.FetchItemDataRFC822Size:
		r.Size, r.sized = item.Size, true
	case imapclient.FetchItemDataBodySection:
		r.literal = item.Literal
	}
	return true
}

// content is the literal of a message. One that is cut short ends in an error,
// where the library may show a clean end. After an error it is not touched
// again: the library's own goroutine reads on then.
type content struct {
	conn    *Conn
	literal io.Reader
	left    int64
	err     error // io.EOF included
}

func (f *fetch) content(literal imap.LiteralReader) *content {
	f.current = &content{conn: f.conn, literal: literal, left: literal.Size()}
	return f.current
}

func (c *content) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.literal.Read(p)
	c.left -= int64(n)
	if err == io.EOF && c.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if c.err = err; err != nil && err != io.EOF {
		c.err = c.conn.why(err)
	}
	return n, c.err
}

// failed is why the literal ended before its time, nil if it did not.
func (c *content) failed() error {
	if c == nil || c.err == io.EOF {
		return nil
	}
	return c.err
}

// outcome is what became of one FETCH response.
type outcome int

const (
	taken      outcome = iota
	incomplete         // not all that was asked: ask again
	stopped            // the consumer wants no more
)

// fetch asks for messages, again where it has to, and hands the responses to
// take in the order in which they come.
type fetch struct {
	*session
	box     mail.Ref
	options imap.FetchOptions
	bodies  bool
	take    func(*imapclient.FetchMessageData) (mail.UID, outcome)
	refused func(mail.UID, *mail.Refused) // is told what is not served; may be nil
	known   map[mail.UID]mail.Message     // metadata that was asked for apart
	current *content                      // of the last message
	stopped bool
}

func (f *fetch) run(ctx context.Context, uids []mail.UID) error {
	for len(uids) > 0 && !f.stopped {
		_, rest := uidSet(uids[:min(len(uids), fetchedAtOnce)])
		part := uids[:min(len(uids), fetchedAtOnce)-len(rest)]
		uids = uids[len(part):]
		if err := f.part(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// part fetches the messages of one command, with further commands for those
// that were answered incompletely or refused together with others.
func (f *fetch) part(ctx context.Context, uids []mail.UID) error {
	work := [][]mail.UID{uids}
	asked := make(map[mail.UID]int)
	for len(work) > 0 && !f.stopped {
		part := work[0]
		work = work[1:]
		if len(part) == 0 {
			continue
		}
		if len(f.options.BodySection) > 0 && f.oneByOne() && len(part) > 1 {
			work = append(slices.Collect(slices.Chunk(part, 1)), work...)
			continue
		}
		if f.bodies && f.bodyFirst {
			if err := f.apart(ctx, part); err != nil {
				return err
			}
		}
		left, again, err := f.command(ctx, part)
		var refused *mail.Refused
		switch {
		case errors.As(err, &refused) && refused.Type == "NO" && !passing(err):
			// One message that cannot be had fails the others with it. What has
			// vanished is not asked for once the mailbox is opened afresh.
			f.isOpen = false
			if len(part) > 1 {
				half := (len(left) + 1) / 2
				work = append([][]mail.UID{left[:half], left[half:]}, work...)
			} else if len(left) > 0 && f.refused != nil {
				f.refused(left[0], refused)
			}
		case err != nil:
			return err
		case len(f.options.BodySection) > 0 && f.oneByOne() && len(part) > 1:
			work = append([][]mail.UID{left}, work...)
		case again != 0:
			rest := slices.DeleteFunc(left, func(uid mail.UID) bool { return uid == again })
			if asked[again]++; asked[again] < attempts {
				work = append([][]mail.UID{{again}, rest}, work...)
			} else {
				work = append([][]mail.UID{rest}, work...)
			}
		}
	}
	return nil
}

// passing tells whether an error is a refusal that says nothing about what was
// asked for (RFC 5530).
func passing(err error) bool {
	var refused *mail.Refused
	if !errors.As(err, &refused) {
		return false
	}
	if mail.SuggestedBackoff(refused.Text) > 0 {
		return true
	}
	switch refused.Code {
	case "UNAVAILABLE", "INUSE", "SERVERBUG", "LIMIT", "THROTTLED", "NOPERM":
		return true
	}
	return false
}

// apart asks for the metadata first, for a server that puts the body before
// the flags.
func (f *fetch) apart(ctx context.Context, uids []mail.UID) error {
	f.known = make(map[mail.UID]mail.Message, len(uids))
	for m, err := range f.Messages(ctx, f.box, uids, false) {
		if err != nil {
			return err
		}
		f.known[m.UID] = m
	}
	return nil
}

// command is one UID FETCH. left are the messages that were not taken, again
// is the first that was answered incompletely: what follows it is not taken
// either, so that the order is kept.
func (f *fetch) command(ctx context.Context, uids []mail.UID) (left []mail.UID, again mail.UID, err error) {
	if err := f.examine(ctx, f.box); err != nil {
		return nil, 0, err
	}
	var set imap.UIDSet
	for i := 0; i < len(uids); {
		first := i
		for i++; i < len(uids) && uids[i] == uids[i-1]+1; i++ {
		}
		set.AddRange(imap.UID(uids[first]), imap.UID(uids[i-1]))
	}
	conn := f.conn
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	conn.asksFor(uids)
	command := conn.Library().Fetch(set, &f.options)
	served := make([]bool, len(uids))
	for data := command.Next(); data != nil; data = command.Next() {
		if again != 0 {
			continue
		}
		f.current = nil
		uid, outcome := f.take(data)
		if err := f.current.failed(); err != nil {
			f.stopped = outcome == stopped
			return nil, 0, f.lost(ctx, err)
		}
		switch outcome {
		case incomplete:
			again = uid
		case stopped:
			f.stopped = true
			f.drop()
			command.Close()
			return nil, 0, nil
		case taken:
			if i, ok := slices.BinarySearch(uids, uid); ok {
				served[i] = true
			}
		}
	}
	for i, uid := range uids {
		if !served[i] {
			left = append(left, uid)
		}
	}
	err = command.Close()
	var answer *imap.Error
	if errors.As(err, &answer) {
		text := strings.TrimSuffix(answer.Text, ".") // the facade's
		return left, again, &mail.Refused{Command: "UID FETCH", Type: string(answer.Type), Code: strings.ToUpper(string(answer.Code)), Text: printable(text)}
	}
	if err != nil {
		err = f.lost(ctx, err)
	}
	return left, again, err
}

// lost drops the connection and says why it ended, in our words rather than in
// the library's.
func (f *fetch) lost(ctx context.Context, err error) error {
	err = f.conn.why(err)
	f.drop()
	if ctx.Err() != nil {
		return ctx.Err() // which closed the connection
	}
	return err
}
