package remote

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// MULTIAPPEND (RFC 3502) stores several messages by one command, all or none,
// with one sync of the server's disk. What is refused together is sent one by
// one, once it is known that nothing of it was stored.

const (
	togetherMessages = 100
	togetherBytes    = 1 << 20
)

// together tells how many messages from the i-th on go into one command: those
// that need no word of the server before their literals.
func (b *batch) together(i int) int {
	if b.manner != asAlways || !b.conn.Has("MULTIAPPEND") || !b.conn.Has("LITERAL+") {
		return 1
	}
	n, bytes := 0, int64(0)
	for _, m := range b.messages[i:] {
		if n == togetherMessages || bytes+m.Size > togetherBytes || b.mustWait(m) || unsendable(m) != nil {
			break
		}
		n, bytes = n+1, bytes+m.Size
	}
	return max(n, 1)
}

// sendTogether writes one command for n messages.
func (b *batch) sendTogether(ctx context.Context, i, n int) error {
	s := &sent{batch: b, index: i, count: n, answered: make(chan struct{}), tag: b.conn.nextTag()}
	b.begin(s)
	for k, m := range b.messages[i : i+n] {
		first, err := b.read(m.Content, 0, m.Size)
		if err != nil && k == 0 {
			return errors.Join(err, b.conn.Flush(ctx))
		} else if err != nil {
			// Of a command that has begun there is no way back.
			b.conn.Close()
			return err
		}
		if k == 0 {
			s.begun.Store(true)
			if err := b.enqueue(ctx, s); err != nil {
				return err
			}
		}
		if err := b.announce(ctx, m, false); err != nil {
			return err
		}
		if err := b.literal(ctx, m, first); err != nil {
			return err
		}
	}
	s.complete.Store(true)
	return b.conn.Send(ctx, []byte("\r\n"))
}

// answerTogether notes what became of the messages of one command. An error
// means that the connection must end.
func (s *sent) answerTogether(r Response) error {
	outcomes := s.outcomes[s.index : s.index+s.count]
	switch {
	case r.Type == "OK" && s.complete.Load():
		for i, outcome := range appendedTogether(r, s.count) {
			outcomes[i] = outcome
		}
		return nil
	case r.Type == "NO" && s.complete.Load():
		for i := range outcomes {
			outcomes[i].Err = refusal("APPEND", r)
			s.storable.refuse(s.messages[s.index+i].Flags)
			s.refused = append(s.refused, s.index+i)
		}
		return nil
	case r.Type == "BAD":
		// Which of them it was, and what became of the others, has to be seen.
		s.trust().cautious.Store(true)
		return errors.New("the server could not parse the command")
	}
	return errors.New("the server answered before it had the messages")
}

// appendedTogether reads APPENDUID with a set of UIDs (RFC 4315 §3), one for
// each message in order. Any other counts as none.
func appendedTogether(r Response, count int) []mail.Appended {
	outcomes := make([]mail.Appended, count)
	if r.Code != "APPENDUID" || len(r.Args) != 2 {
		return outcomes
	}
	validity, err := strconv.ParseUint(r.Args[0].Text, 10, 32)
	uids, serr := expandSet(r.Args[1].Text, count)
	if err != nil || serr != nil || validity == 0 || len(uids) != count {
		return outcomes
	}
	for i := range outcomes {
		outcomes[i] = mail.Appended{UID: uids[i], UIDValidity: mail.UIDValidity(validity)}
	}
	return outcomes
}

// again sends once more what was refused and may not be: each message of those
// that were refused together by a command of its own, and what a literal8 may
// help. Everything that was sent meanwhile is answered first.
func (b *batch) again() {
	b.writing.Lock()
	defer b.writing.Unlock()
	err := b.apart()
	if worth := b.literal8(); err == nil && len(worth) > 0 {
		err = b.repeat(worth, asLiteral8)
	}
	if err != nil {
		b.useless = true
	}
	b.done(err)
}

// apart sends what was refused together one by one. Should the mailbox hold more
// than the answers account for, something of it may have been stored in spite of
// the refusal: it is in doubt.
func (b *batch) apart() error {
	if len(b.refused) == 0 {
		return nil
	}
	err := errEnded
	grown := true
	if b.settled() {
		grown, err = b.grown(b.ctx)
	}
	if err != nil || grown {
		b.doubtTogether()
		return err
	}
	return b.repeat(b.refused, oneByOne)
}

// doubtTogether is the outcome of what was refused together and cannot be sent one
// by one: the server has said nothing yet of most of it.
func (b *batch) doubtTogether() {
	for _, i := range b.refused {
		b.outcomes[i] = mail.Appended{Err: mail.ErrInDoubt}
	}
}

var errEnded = errors.New("the connection ended")

// settled waits for the answers to all that was sent.
func (b *batch) settled() bool { return !b.useless && b.await(b.last.answered) }

// repeat sends some of the messages again.
func (b *batch) repeat(which []int, how manner) error {
	if !b.settled() {
		return errEnded
	}
	messages := make([]mail.Upload, len(which))
	for i, index := range which {
		messages[i] = b.messages[index]
	}
	answer := <-b.append(b.ctx, messages, how).answer
	for i, index := range which {
		if how == asLiteral8 && errors.Is(answer.Outcomes[i].Err, mail.ErrNotSent) {
			continue // what it was refused with still holds
		}
		b.outcomes[index] = answer.Outcomes[i]
	}
	return answer.Err
}

// stored follows what UIDNEXT should be.
func (a *Appender) stored(outcomes []mail.Appended) {
	for _, outcome := range outcomes {
		if outcome.Err == nil && outcome.UID >= a.next {
			a.next = outcome.UID + 1
		}
	}
}

// grown tells whether the mailbox holds more than was stored, or may, when
// everything that was sent is answered.
func (a *Appender) grown(ctx context.Context) (bool, error) {
	replies, err := a.conn.Raw(ctx, "SELECT "+a.mailbox)
	if err != nil {
		return false, fmt.Errorf("look at mailbox: %w", err)
	}
	if err := verdict("SELECT", replies[0].Tagged); err != nil {
		return false, err
	}
	shown := parseSelected(replies[0]).status
	return shown.UIDValidity != a.status.UIDValidity || a.status.UIDNext == 0 || shown.UIDNext == 0 || shown.UIDNext > max(a.next, a.status.UIDNext), nil
}
