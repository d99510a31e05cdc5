package remote

import (
	"context"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// One mailbox follows the other on a connection. The next is asked for behind the last
// message of the one before, so that between the two there is one round trip of
// waiting, that for the answers, and not two.

// following is the mailbox that comes next.
type following struct {
	mailbox string // quoted
	create  *sent  // the CREATE, nil where it was there
	opens   *sent  // the SELECT
}

// Next sends the SELECT of the mailbox that is opened next, and the CREATE before it of
// one that is to be made, if anything was appended, and is not being sent again.
func (a *Appender) Next(ctx context.Context, mailbox string, anew *mail.Creation) {
	if !a.writing.TryLock() {
		return
	}
	defer a.writing.Unlock()
	quoted, err := quote(mailbox)
	if err != nil || a.useless || a.queue == nil || a.ahead != nil {
		return
	}
	b := &batch{Appender: a, ctx: ctx, answer: make(chan mail.Answer, 1)}
	lines := []string{"SELECT " + quoted}
	if anew != nil {
		lines = []string{creation(a.conn, quoted, anew.Role), lines[0]}
	}
	commands := make([]*sent, len(lines))
	for i := range lines {
		commands[i] = &sent{batch: b, tag: a.conn.nextTag(), answered: make(chan struct{}), other: true}
	}
	a.ahead = &following{mailbox: quoted, opens: commands[len(commands)-1]}
	if anew != nil {
		a.ahead.create = commands[0]
		a.early.Store(commands[0])
	}
	b.send(func(ctx context.Context) error {
		for i, s := range commands {
			if err := b.enqueue(ctx, s); err != nil {
				return err
			}
			if err := a.conn.Send(ctx, []byte(s.tag+" "+lines[i]+"\r\n")); err != nil {
				return err
			}
		}
		return a.conn.Flush(ctx)
	})
}

// otherReply reads the answer to a command that is no APPEND, unless it has come.
func (s *sent) otherReply() error {
	if s.shown != nil {
		return nil
	}
	reply, err := s.conn.reply(s.ctx, s.tag)
	if err == nil {
		s.shown = &reply
	}
	return err
}

// cameEarly takes the answer to a CREATE that comes before that to an APPEND which was
// sent before: a server may do at once what has nothing to do with each other (RFC 3501
// §5.5), as Dovecot does.
func (a *Appender) cameEarly(r Response) bool {
	s := a.early.Load()
	if s == nil || r.Tag != s.tag || s.shown != nil {
		return false
	}
	s.shown = &Reply{Tagged: r}
	return true
}

// takeBack ends the use of the connection by who has been lent it. The replies are those
// to the CREATE, if there was one, and to the SELECT of the mailbox, where these were the
// last that were sent; else nil.
func (s *session) takeBack(quoted string) (made, shown *Reply) {
	a := s.lent
	if a == nil {
		return nil, nil
	}
	s.lent = nil
	a.giveBack()
	next := a.ahead
	if next == nil {
		return nil, nil
	}
	s.isOpen, s.at = false, ""
	if next.mailbox != quoted || a.last != next.opens || s.conn != a.conn || s.conn.Err() != nil {
		return nil, nil
	}
	if next.create != nil {
		made = next.create.shown
	}
	return made, next.opens.shown
}
