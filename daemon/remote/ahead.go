package remote

import (
	"context"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// One mailbox follows the other on a connection. The next is asked for behind the last
// message of the one before, so that between the two there is one round trip of
// waiting, that for the answers, and not two.

// Next sends the SELECT of the mailbox that is opened next, if anything was appended,
// and is not being sent again.
func (a *Appender) Next(ctx context.Context, mailbox string) {
	if !a.writing.TryLock() {
		return
	}
	defer a.writing.Unlock()
	quoted, err := quote(mailbox)
	if err != nil || a.useless || a.queue == nil || a.ahead != nil {
		return
	}
	b := &batch{Appender: a, ctx: ctx, answer: make(chan mail.Answer, 1)}
	a.ahead = &sent{batch: b, tag: a.conn.nextTag(), answered: make(chan struct{}), opens: quoted}
	b.send(func(ctx context.Context) error {
		if err := b.enqueue(ctx, a.ahead); err != nil {
			return err
		}
		if err := a.conn.Send(ctx, []byte(a.ahead.tag+" SELECT "+quoted+"\r\n")); err != nil {
			return err
		}
		return a.conn.Flush(ctx)
	})
}

// opened reads the answer to a SELECT.
func (s *sent) opened() error {
	reply, err := s.conn.reply(s.ctx, s.tag)
	if err == nil {
		s.shown = &reply
	}
	return err
}

// takeBack ends the use of the connection by who has been lent it. The reply is that to
// the SELECT of the mailbox, where that was the last that was sent; else nil.
func (s *session) takeBack(quoted string) *Reply {
	a := s.lent
	if a == nil {
		return nil
	}
	s.lent = nil
	a.giveBack()
	if a.ahead == nil {
		return nil
	}
	s.isOpen, s.at = false, ""
	if a.ahead.opens != quoted || a.last != a.ahead || s.conn != a.conn || s.conn.Err() != nil {
		return nil
	}
	return a.ahead.shown
}
