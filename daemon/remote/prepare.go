package remote

import (
	"context"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// prepared is a mailbox that was SELECTed together with the listing.
type prepared struct {
	mailbox string
	shown   Reply
	calls   int // on the connection then: it is of use until the next
	since   time.Time
}

// preparedMost is how long it is of use at most: the server may have closed the
// connection since, and of an APPEND that it has not read nobody knows that.
const preparedMost = 5 * time.Second

// Prepare has the next Mailboxes SELECT the mailbox for which Appender is about to be
// called, by a command that is sent together with its own: where just one mailbox has
// news, that is a round trip less. Whether it is called is up to its caller.
func (d *Destination) Prepare(mailbox string) { d.opens = mailbox }

func (s *session) prepare(mailbox string) *ahead {
	quoted, err := quote(mailbox)
	if err != nil {
		return nil
	}
	return &ahead{
		lines: []string{"SELECT " + quoted},
		came: func(replies []Reply, _ map[string]mail.Status) {
			// One that is refused leaves none open (RFC 3501 §6.3.1).
			if replies[0].Tagged.Type == "OK" {
				s.at = mailbox
				s.prepared = &prepared{mailbox, replies[0], s.calls, time.Now()}
			}
		},
	}
}

// takePrepared is the answer to the SELECT of a mailbox, where that is the last for which
// the connection has been used; else nil.
func (d *Destination) takePrepared(ctx context.Context, mailbox string) *Reply {
	p := d.prepared
	d.prepared = nil
	if p == nil || p.mailbox != mailbox || p.calls != d.calls || time.Since(p.since) > preparedMost || d.conn.Err() != nil || d.conn.gone(ctx) {
		return nil
	}
	return &p.shown
}
