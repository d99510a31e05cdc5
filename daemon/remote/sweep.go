package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// digest sums up how all mailboxes are: it is another number when anything has
// changed, on one connection with one seed. only is the raw name of the mailbox that
// has changed, where it is just one. A server that tells it by one command
// (LIST-STATUS, RFC 5819) is not asked for more, and hardly any memory is taken for
// what it says: thousands of accounts are asked every minute.
func (w *watcher) digest(ctx context.Context) (sum uint64, only string, err error) {
	if w.session.spaces == nil {
		if sum, err = w.digestOfListing(ctx); err != nil || w.listed {
			return sum, "", err
		}
	}
	command, _, tells := w.session.list(w.conn)
	if !tells || w.listed || w.conn.tracing() {
		sum, err = w.digestOfListing(ctx)
		return sum, "", err
	}
	c := comparison{watcher: w}
	answer, err := w.ask(ctx, command, c.line, func(r Response) {
		if !c.take(r) {
			w.event(r)
		}
	})
	if err != nil {
		return 0, "", fmt.Errorf("list mailboxes: %w", err)
	}
	if answer.Type != "OK" || c.statuses == 0 {
		w.listed = true // Mailboxes knows what to make of it
		sum, err = w.digestOfListing(ctx)
		return sum, "", err
	}
	sum, only = c.result()
	return sum, only, nil
}

// listedBy takes what another has been told of all mailboxes, over the connection that was
// lent to him: he sees to it, so that it is no news at the next sweep.
func (w *watcher) listedBy(responses []Response) {
	if _, _, tells := w.session.list(w.conn); !tells || w.listed || w.conn.tracing() {
		return
	}
	c := comparison{watcher: w}
	for _, r := range responses {
		c.take(r)
	}
	w.last, _ = c.result()
}

// comparison compares a listing with the one before, line by line.
type comparison struct {
	*watcher
	sum        uint64
	n, changes int
	only       string // the mailbox that has changed
	statuses   int
}

func (c *comparison) add(hash uint64, name func() string) {
	c.sum += hash
	switch {
	case c.n == len(c.lines):
		c.lines = append(c.lines, hash)
		c.changes = 2 // it is another list
	case c.lines[c.n] != hash:
		c.lines[c.n] = hash
		c.changes++
		c.only = name()
	}
	c.n++
}

// line takes the line of a LIST or STATUS response.
func (c *comparison) line(line []byte) bool {
	told, isStatus := bytes.CutPrefix(line, []byte("* STATUS "))
	if isStatus {
		c.statuses++
	} else {
		list, isList := bytes.CutPrefix(line, []byte("* LIST ("))
		// Attributes may change without need, such as \Marked.
		_, named, ends := bytes.Cut(list, []byte(") "))
		if !isList || !ends {
			return false
		}
		told = named
	}
	c.add(maphash.Bytes(c.seed, told), func() string {
		r, err := readRest(nil, bytes.Clone(line), -1)
		if err != nil || r.Type != "STATUS" || len(r.Data) == 0 {
			return ""
		}
		return r.Data[0].Text
	})
	return true
}

// take is line for a response that has been parsed.
func (c *comparison) take(r Response) bool {
	switch {
	case r.line != nil && c.line(r.line):
	case r.Type == "STATUS" && len(r.Data) > 1:
		c.statuses++
		c.add(maphash.String(c.seed, fmt.Sprint(r.Data)), func() string { return r.Data[0].Text })
	case r.Type == "LIST" && len(r.Data) > 2:
		c.add(maphash.String(c.seed, fmt.Sprint(r.Data[1:])), func() string { return "" })
	default:
		return false
	}
	return true
}

// result is the sum of the listing, and the raw name of the mailbox that has changed, if
// it is just one.
func (c *comparison) result() (sum uint64, only string) {
	if c.n == len(c.lines) && c.changes == 1 {
		only = c.only
	}
	c.lines = c.lines[:c.n]
	return c.sum, only
}

// digestOfListing is digest for every server. One with mailboxes of others, which
// may change without a change of ours, is asked in no other way.
func (w *watcher) digestOfListing(ctx context.Context) (uint64, error) {
	if err := w.endIdle(ctx); err != nil {
		return 0, err
	}
	listing, err := w.session.Mailboxes(ctx)
	if err != nil {
		return 0, err
	}
	w.listed = w.listed || len(w.session.spaces.foreign) > 0
	return w.digestOf(listing.Mailboxes), nil
}

func (w *watcher) digestOf(boxes []mail.Mailbox) uint64 {
	var h maphash.Hash
	h.SetSeed(w.seed)
	for _, box := range boxes {
		maphash.WriteComparable(&h, box.Name)
		maphash.WriteComparable(&h, box.Status)
	}
	return h.Sum64()
}

// ask sends a command and returns its answer, see [Conn.scan]. An IDLE that has begun
// is ended before it, and another begun behind it, in one round trip.
func (w *watcher) ask(ctx context.Context, command string, line func([]byte) bool, parsed func(Response)) (answer Response, err error) {
	if w.Stepwise {
		if err := w.endIdle(ctx); err != nil {
			return Response{}, err
		}
	}
	lines, opens := "", ""
	if w.idling != "" {
		lines = "DONE\r\n"
		w.idling = ""
	}
	if w.opens {
		w.opens, w.session.at, opens = false, "", w.conn.nextTag()
		lines += opens + " EXAMINE INBOX\r\n"
	}
	tag := w.conn.nextTag()
	lines += tag + " " + command + "\r\n"
	begun := true
	if w.idles && !w.Stepwise {
		begun = false
		w.idling = w.conn.nextTag()
		lines += w.idling + " IDLE\r\n"
	}
	if err := w.conn.sendNow(ctx, lines); err != nil {
		return Response{}, err
	}
	answer, err = w.conn.scan(ctx, tag, line, func(r Response) {
		switch {
		case opens != "" && r.Tag == opens:
			opens = ""
			if r.Type == "OK" {
				w.session.at = "INBOX"
			}
		case opens != "" && r.Type != "BYE": // what is there is no news
		case r.Tag == "+" || w.idleAnswered(r):
			begun = true
		default:
			parsed(r)
		}
	})
	if err != nil || begun {
		return answer, err
	}
	return answer, w.idleBegins(ctx)
}

// scan reads the answer to a command that has been sent. line is shown each line of an
// untagged response without literals before it is parsed; true: it need not be. The
// others are given to parsed. Who calls closes the connection when ctx ends.
func (c *Conn) scan(ctx context.Context, tag string, line func([]byte) bool, parsed func(Response)) (Response, error) {
	c.due(1)
	defer c.due(-1)
	fail := func(err error) (Response, error) {
		return Response{}, c.ended(errors.Join(ctx.Err(), err))
	}
	var text []byte
	for count := 1; ; count++ {
		if count > untaggedMost {
			return fail(noEnd(count))
		}
		var literal int64
		var err error
		if text, literal, err = appendLine(text[:0], c.in); err != nil {
			return fail(err)
		}
		if literal < 0 && bytes.HasPrefix(text, []byte("* ")) && line(text) {
			continue
		}
		r, err := readRest(c.in, bytes.Clone(text), literal)
		if err != nil {
			return fail(err)
		}
		c.note(r)
		if r.Tag == tag {
			return r, nil
		}
		parsed(r)
	}
}
