package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

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
		f := &fetch{session: s, box: box, items: "UID FLAGS INTERNALDATE RFC822.SIZE"}
		if fingerprints {
			f.items += fmt.Sprintf(" BODY.PEEK[]<0.%d>", mail.PrefixLen)
		}
		room := make([]byte, mail.PrefixLen)
		f.take = func(r *row) outcome {
			var prefix []byte
			for r.next() {
				if r.content == nil {
					continue
				}
				prefix = room[:min(r.content.size, mail.PrefixLen)]
				if _, err := io.ReadFull(r.content, prefix); err != nil {
					return incomplete
				}
			}
			switch {
			case r.UID == 0 || !r.sized && !r.dated || fingerprints && prefix == nil:
				return incomplete
			case !f.wants(r.UID):
				return unwanted
			}
			if fingerprints {
				r.Fingerprint, r.Opening = mail.NewFingerprint(r.Size, r.InternalDate, prefix), mail.Opening(prefix)
			}
			if !yield(r.Message, nil) {
				return stopped
			}
			return taken
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
		for m, ok := s.inHand.first(box, uids); ok; m, ok = s.inHand.first(box, uids) {
			if uids = uids[1:]; !yield(mail.Body{Message: m.Message, Content: strings.NewReader(m.content)}, nil) {
				return
			}
		}
		f := &fetch{session: s, box: box, bodies: true, items: "UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[]"}
		f.take = func(r *row) outcome {
			for r.next() {
				if r.content == nil {
					continue
				}
				if r.UID == 0 { // it is told behind the content
					if f.conn.uidLast = true; len(f.uids) > 1 {
						return incomplete
					}
					r.UID = f.uids[0]
				}
				if !f.wants(r.UID) {
					return unwanted
				}
				if known, ok := f.known[r.UID]; ok {
					r.Message = known
				} else if !r.flagged || !r.dated {
					s.bodyFirst = true
					return incomplete
				}
				r.Size = r.content.size
				if !yield(mail.Body{Message: r.Message, Content: r.content}, nil) {
					return stopped
				}
				return taken
			}
			return incomplete
		}
		f.refused = func(uid mail.UID, why *mail.Refused) {
			f.stopped = !yield(mail.Body{Message: mail.Message{UID: uid}, Refused: why}, nil)
		}
		if err := f.run(ctx, uids); err != nil && !f.stopped {
			yield(mail.Body{}, fmt.Errorf("fetch messages: %w", err))
		}
	}
}

// outcome is what became of one FETCH response.
type outcome int

const (
	taken      outcome = iota
	incomplete         // not all that was asked: ask again
	unwanted           // not asked for, or there already
	stopped            // the consumer wants no more
)

// fetch asks for messages, again where it has to, and hands the responses to
// take in the order in which they come.
type fetch struct {
	*session
	box     mail.Ref
	items   string // the data items that are asked for (RFC 3501 §6.4.5)
	bodies  bool
	take    func(*row) outcome
	refused func(mail.UID, *mail.Refused) // is told what is not served; may be nil
	known   map[mail.UID]mail.Message     // metadata that was asked for apart
	uids    []mail.UID                    // those of the command
	served  []bool                        // and which of them have come
	stopped bool
}

func (f *fetch) run(ctx context.Context, uids []mail.UID) error {
	for part := range slices.Chunk(uids, fetchedAtOnce) {
		if err := f.part(ctx, part); err != nil || f.stopped {
			return err
		}
	}
	return nil
}

// part fetches messages by as many commands as their set takes, with further ones for
// those that were answered incompletely or refused together with others: what is left
// of a range may take a longer set than the range.
func (f *fetch) part(ctx context.Context, uids []mail.UID) error {
	work := [][]mail.UID{uids}
	asked := make(map[mail.UID]int)
	for len(work) > 0 && !f.stopped {
		part := work[0]
		work = work[1:]
		if len(part) == 0 {
			continue
		}
		if _, rest := uidSet(part); len(rest) > 0 {
			work = append([][]mail.UID{part[:len(part)-len(rest)], rest}, work...)
			continue
		}
		if f.bodies && f.oneByOne() && len(part) > 1 {
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
		case f.bodies && f.oneByOne() && len(part) > 1:
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
	set, _ := uidSet(uids)
	tag, err := f.ask(ctx, f.box, "UID FETCH "+set+" ("+f.items+")")
	if err != nil {
		return nil, 0, err
	}
	f.uids, f.served = uids, make([]bool, len(uids))
	answer, err := f.conn.rowsOf(ctx, tag, func(r *row) error {
		if again != 0 {
			return nil
		}
		outcome := f.take(r)
		if f.stopped = outcome == stopped; r.err != nil || f.stopped {
			return cmp.Or(r.err, errNoMore)
		}
		switch outcome {
		case incomplete:
			if f.wants(r.UID) {
				again = r.UID
			}
		case taken:
			i, _ := slices.BinarySearch(uids, r.UID)
			f.served[i] = true
		}
		return nil
	})
	if err == errNoMore {
		f.drop()
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, f.lost(ctx, err)
	}
	for i, uid := range uids {
		if !f.served[i] {
			left = append(left, uid)
		}
	}
	return left, again, verdict("UID FETCH", answer)
}

// wants tells whether a message is one that has been asked for and not come yet.
func (f *fetch) wants(uid mail.UID) bool {
	i, asked := slices.BinarySearch(f.uids, uid)
	return asked && !f.served[i]
}

// errNoMore: the consumer wants no more.
var errNoMore = errors.New("no more is wanted")

// ask sends a command about a mailbox, behind the EXAMINE that opens it where it is not
// open: that is answered first (RFC 3501 §5.5). Of the answer to the command, which has
// the tag, nothing has been read.
func (s *session) ask(ctx context.Context, box mail.Ref, command string) (tag string, err error) {
	if s.shows(ctx, box) {
		if err := s.opened.check(box); err != nil {
			return "", err
		}
		tags, err := s.conn.ask(ctx, command)
		if err != nil {
			return "", s.lost(ctx, err)
		}
		return tags[0], nil
	}
	name, err := quote(box.Name)
	if err != nil {
		return "", unquotable("EXAMINE", err)
	}
	conn, err := s.connection(ctx)
	if err != nil {
		return "", fmt.Errorf("open mailbox: %w", err)
	}
	s.calls++
	tags, err := conn.ask(ctx, "EXAMINE "+name, command)
	if err != nil {
		return "", fmt.Errorf("open mailbox: %w", s.lost(ctx, err))
	}
	reply, err := conn.reply(ctx, tags[0])
	conn.due(-1)
	if err != nil {
		return "", fmt.Errorf("open mailbox: %w", s.lost(ctx, err))
	}
	if err := s.examined(box, reply); err != nil {
		// The command went to another mailbox, or to none.
		if _, answered := conn.rowsOf(ctx, tags[1], func(*row) error { return errNoMore }); answered != nil {
			s.drop()
		}
		return "", err
	}
	return tags[1], nil
}

// lost drops the connection and says why it ended.
func (s *session) lost(ctx context.Context, err error) error {
	s.drop()
	if ctx.Err() != nil {
		return ctx.Err() // which closed the connection
	}
	return err
}
