package remote

import (
	"context"
	"fmt"
	"strings"
)

// Reply is the answer to one command: the untagged responses that came before
// its tagged one, in order.
type Reply struct {
	Untagged []Response
	Tagged   Response
}

const (
	untaggedMost = 2_000_000 // responses to one Raw
	keptMost     = 128 << 20 // octets of memory for those of them that are kept
)

// collector gathers the answers to Raw. A server may answer pipelined commands
// in another order (Dovecot overtakes NOOP with SEARCH): an untagged response
// counts to the command that is answered next.
type collector struct {
	// each is given the untagged responses, with how many commands have been
	// answered before; true: it has taken one. nil: all are collected.
	each    func(answered int, r Response) bool
	index   map[string]int // of the command by its tag, until it is answered
	replies []Reply
	current []Response
	count   int
	kept    int64 // octets of memory, about
}

// take takes a response; full tells that all is there, or more than there may be.
func (k *collector) take(r Response) (full bool) {
	if r.Tag == "*" {
		if k.count++; k.each == nil || !k.each(len(k.replies)-len(k.index), r) {
			k.current = append(k.current, r)
			k.kept += r.weight
		}
		return k.tooMuch()
	}
	i, ok := k.index[r.Tag]
	if !ok {
		return false
	}
	delete(k.index, r.Tag)
	k.replies[i] = Reply{Untagged: k.current, Tagged: r}
	k.current = nil
	return len(k.index) == 0
}

// tooMuch tells whether there is more than any server has to say.
func (k *collector) tooMuch() bool { return k.count > untaggedMost || k.kept > keptMost }

// noEnd is why a connection ends whose server does not come to an end.
func noEnd(responses int) error {
	return fmt.Errorf("%w: %d responses to one command and no end", errProtocol, responses)
}

// Raw sends command lines, without tag and CRLF, all at once, and returns
// their answers. NO and BAD are answers, not errors.
func (c *Conn) Raw(ctx context.Context, commands ...string) ([]Reply, error) {
	return c.rawEach(ctx, nil, commands...)
}

// rawEach is Raw with a look at each untagged response as it comes.
func (c *Conn) rawEach(ctx context.Context, each func(answered int, r Response) bool, commands ...string) ([]Reply, error) {
	if len(commands) == 0 {
		return nil, nil
	}
	if err := c.Err(); err != nil {
		return nil, err
	}
	k := &collector{each: each, index: make(map[string]int, len(commands)), replies: make([]Reply, len(commands))}
	var lines strings.Builder
	for i, command := range commands {
		tag := c.nextTag()
		k.index[tag] = i
		if err := c.line(&lines, tag, command); err != nil {
			return nil, err
		}
	}
	n := int32(len(commands))
	c.due(n)
	defer c.due(-n)
	// Written beside the reading, since a server may stop reading until its own
	// answers are taken.
	written := make(chan error, 1)
	go func() { written <- c.sendNow(ctx, lines.String()) }()
	err := c.collect(ctx, k)
	if err != nil {
		c.Close()
	}
	if werr := <-written; err == nil {
		err = werr
	}
	if err == nil && k.tooMuch() {
		err = c.ended(noEnd(k.count))
	}
	if err != nil {
		return nil, err
	}
	return k.replies, nil
}

// collect reads the answers, those to earlier commands as well.
func (c *Conn) collect(ctx context.Context, k *collector) error {
	defer context.AfterFunc(ctx, func() { c.Close() })()
	for {
		r, err := c.response(ctx)
		if err != nil {
			return err
		}
		if k.take(r) {
			break
		}
	}
	for late := 1; len(c.earlier) > 0; late++ { // a server may answer in another order
		if late > untaggedMost {
			return c.ended(noEnd(late))
		}
		if _, err := c.response(ctx); err != nil {
			return err
		}
	}
	return nil
}

// ask sends commands whose answers are read one after the other, by [Conn.reply] or
// [Conn.rowsOf]; they are due from now on.
func (c *Conn) ask(ctx context.Context, commands ...string) (tags []string, err error) {
	if err := c.Err(); err != nil {
		return nil, err
	}
	var lines strings.Builder
	for _, command := range commands {
		tag := c.nextTag()
		if err := c.line(&lines, tag, command); err != nil {
			return nil, err
		}
		tags = append(tags, tag)
	}
	if err := c.sendNow(ctx, lines.String()); err != nil {
		return nil, err
	}
	c.due(int32(len(tags)))
	return tags, nil
}

// reply reads the answer that has the tag. Who asked says that it is due, and is not
// any more.
func (c *Conn) reply(ctx context.Context, tag string) (Reply, error) {
	k := &collector{index: map[string]int{tag: 0}, replies: make([]Reply, 1)}
	if err := c.collect(ctx, k); err != nil {
		return Reply{}, err
	}
	if k.tooMuch() {
		return Reply{}, c.ended(noEnd(k.count))
	}
	return k.replies[0], nil
}

// line spells a command, which must be one line.
func (c *Conn) line(to *strings.Builder, tag, command string) error {
	if strings.ContainsAny(command, "\r\n\x00") {
		return fmt.Errorf("%w: a command of several lines", errForbidden)
	}
	to.WriteString(tag + " " + command + "\r\n")
	return nil
}

// sendNow is Send and Flush.
func (c *Conn) sendNow(ctx context.Context, lines string) error {
	if err := c.Send(ctx, []byte(lines)); err != nil {
		return err
	}
	return c.Flush(ctx)
}
