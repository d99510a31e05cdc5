package remote

import (
	"context"
	"errors"
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
	done    chan error
}

// take takes a response if it is one of Raw's; full tells that all is there, or
// more than there may be.
func (k *collector) take(r Response) (taken, full bool) {
	if r.Tag == "*" {
		if k.count++; k.each == nil || !k.each(len(k.replies)-len(k.index), r) {
			k.current = append(k.current, r)
			k.kept += r.weight
		}
		return true, k.tooMuch()
	}
	i, ok := k.index[r.Tag]
	if !ok {
		return false, false
	}
	delete(k.index, r.Tag)
	k.replies[i] = Reply{Untagged: k.current, Tagged: r}
	k.current = nil
	return true, len(k.index) == 0
}

// tooMuch tells whether there is more than any server has to say.
func (k *collector) tooMuch() bool { return k.count > untaggedMost || k.kept > keptMost }

// Raw sends command lines, without tag and CRLF, all at once, and returns
// their answers. NO and BAD are answers, not errors. It must not be called
// while a command of the library is pending.
func (c *Conn) Raw(ctx context.Context, commands ...string) ([]Reply, error) {
	return c.rawEach(ctx, nil, commands...)
}

// rawEach is Raw with a look at each untagged response as it comes, by the
// goroutine that reads.
func (c *Conn) rawEach(ctx context.Context, each func(answered int, r Response) bool, commands ...string) ([]Reply, error) {
	if len(commands) == 0 {
		return nil, nil
	}
	if err := c.Err(); err != nil {
		return nil, err
	}
	if c.libraryPending() {
		return nil, errors.New("raw command: a command of the library is pending")
	}
	k := &collector{each: each, index: make(map[string]int, len(commands)), replies: make([]Reply, len(commands)), done: make(chan error, 1)}
	var lines strings.Builder
	for i, command := range commands {
		if strings.ContainsAny(command, "\r\n\x00") {
			return nil, fmt.Errorf("%w: a command of several lines", errForbidden)
		}
		tag := c.nextTag()
		k.index[tag] = i
		lines.WriteString(tag + " " + command + "\r\n")
	}
	n := int32(len(commands))
	c.due(n)
	defer c.due(-n)
	if c.library != nil {
		c.mu.Lock()
		c.raw = k
		c.mu.Unlock()
	}
	// Written beside the reading, since a server may stop reading until its own
	// answers are taken.
	written := make(chan error, 1)
	go func() {
		err := c.Send(ctx, []byte(lines.String()))
		if err == nil {
			err = c.Flush(ctx)
		}
		written <- err
	}()
	var err error
	if c.library != nil {
		err = c.await(ctx, k)
	} else {
		err = c.collect(ctx, k)
	}
	if err != nil {
		c.Close()
	}
	if werr := <-written; err == nil {
		err = werr
	}
	if err == nil && k.tooMuch() {
		err = c.ended(fmt.Errorf("%w: %d responses to one command and no end", errProtocol, k.count))
	}
	if err != nil {
		return nil, err
	}
	return k.replies, nil
}

// collect reads the answers itself.
func (c *Conn) collect(ctx context.Context, k *collector) error {
	for {
		r, err := c.next(ctx)
		if err != nil {
			return err
		}
		if _, full := k.take(r); full {
			return nil
		}
	}
}

// await waits while the library's goroutine reads them.
func (c *Conn) await(ctx context.Context, k *collector) error {
	select {
	case err := <-k.done:
		return err
	case <-ctx.Done():
		c.Close()
		return ctx.Err()
	}
}

// toRaw gives a response to the Raw that waits, if one does.
func (c *Conn) toRaw(r Response) bool {
	c.mu.Lock()
	k := c.raw
	if k == nil {
		c.mu.Unlock()
		return false
	}
	taken, full := k.take(r)
	if full {
		c.raw = nil
	}
	c.mu.Unlock()
	if taken {
		c.note(r)
	}
	if full {
		k.done <- nil
	}
	return taken
}
