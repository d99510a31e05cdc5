package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// chunk is how much of a message is in memory while it is sent, in octets.
const chunk = 64 << 10

// literalMinus is the longest literal that LITERAL- lets us send unasked (RFC
// 7888 §5).
const literalMinus = 4096

// Appender appends to one mailbox, SELECTed on a connection of its own that
// the library never sees. Messages are pipelined: where the server cannot but
// parse the command line (guard.go), the literal follows it unasked.
type Appender struct {
	conn     *Conn
	mailbox  string // quoted
	status   mail.Status
	storable *storable
	cautious *atomic.Bool // of the server: it said BAD, its literals wait from now on
	next     mail.UID     // what UIDNEXT should be at least
	useless  bool         // closed, or its connection has ended
	buffer   []byte
}

// Status is what SELECT showed.
func (a *Appender) Status() mail.Status { return a.status }

// Storable reduces flags to those that the mailbox can store.
func (a *Appender) Storable(flags mail.Flags) mail.Flags { return a.storable.reduce(flags) }

// Close ends the use of the mailbox. It stays SELECTed until the connection is
// needed for another one: CLOSE would remove messages (I4).
func (a *Appender) Close() error {
	a.useless = true
	return nil
}

// Append sends the messages in order and returns one outcome for each: nil,
// *mail.Refused, mail.ErrNotSent or mail.ErrInDoubt. The error is what ended
// the connection. A BAD ends it at once: what follows a line that could not be
// parsed may be read as commands.
func (a *Appender) Append(ctx context.Context, messages []mail.Upload) ([]mail.Appended, error) {
	return a.append(ctx, messages, false)
}

// append sends each message by a command of its own when single is true.
func (a *Appender) append(ctx context.Context, messages []mail.Upload, single bool) ([]mail.Appended, error) {
	b := &batch{
		Appender: a, messages: messages, outcomes: make([]mail.Appended, len(messages)), single: single,
		queue: make(chan *sent, len(messages)), ended: make(chan struct{}),
	}
	for i := range b.outcomes {
		b.outcomes[i].Err = mail.ErrNotSent
	}
	if a.useless {
		return b.outcomes, errors.New("append: the appender is closed")
	}
	if a.buffer == nil {
		a.buffer = make([]byte, chunk)
	}
	stop := context.AfterFunc(ctx, func() { a.conn.Close() })
	defer stop()
	var readErr error
	go func() {
		defer close(b.ended)
		readErr = b.read(ctx)
	}()
	err := b.write(ctx)
	close(b.queue)
	a.conn.due(1)
	<-b.ended
	a.conn.due(-1)
	for s := range b.queue {
		b.doubt(s) // sent after the reader had given up
	}
	err = errors.Join(readErr, err, ctx.Err())
	a.stored(b.outcomes)
	if err == nil && len(b.refused) > 0 {
		err = a.oneByOne(ctx, b)
	}
	if err == nil {
		return b.outcomes, nil
	}
	a.useless = true
	a.conn.Close()
	return b.outcomes, fmt.Errorf("append: %w", err)
}

// batch is one call of Append. The caller's goroutine writes while a second
// one reads, so that neither side waits for the other to empty its buffers.
type batch struct {
	*Appender
	messages []mail.Upload
	outcomes []mail.Appended // of a message in the queue: the reader's
	queue    chan *sent      // in the order of sending; never full
	last     *sent
	ended    chan struct{} // the reader has returned
	single   bool          // each message by a command of its own
	refused  []int         // messages of commands that were refused together: the reader's
}

// sent is a command that has been written, at least in part, for some messages
// that follow one another.
type sent struct {
	index    int
	count    int
	tag      string
	waits    bool          // its literal waits for "+"
	proceed  chan struct{} // "+" came
	answered chan struct{} // the tagged answer came
	begun    atomic.Bool   // of the literal something may have been sent
	complete atomic.Bool   // and this was all
}

func (b *batch) write(ctx context.Context) error {
	for i := 0; i < len(b.messages); i++ {
		m := b.messages[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		if n := b.together(i); n > 1 {
			if err := b.sendTogether(ctx, i, n); err != nil {
				return err
			}
			if i += n - 1; b.hasEnded() {
				return nil
			}
			continue
		}
		if refused := unsendable(m); refused != nil {
			b.outcomes[i].Err = refused
			continue
		}
		// A content that fails before anything is sent costs no connection.
		content := io.NewSectionReader(m.Content, 0, m.Size)
		first := b.buffer[:min(m.Size, chunk)]
		if _, err := io.ReadFull(content, first); err != nil {
			return fmt.Errorf("read message: %w", short(err))
		}
		if err := b.send(ctx, i, first, content); err != nil {
			return err
		}
		if b.hasEnded() {
			return nil // the reader knows why
		}
	}
	return b.conn.Flush(ctx)
}

func (b *batch) hasEnded() bool {
	select {
	case <-b.ended:
		return true
	default:
		return false
	}
}

// short makes an end that comes too early no clean end.
func short(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// mustWait tells whether the server has to be asked before the literal.
func (b *batch) mustWait(m mail.Upload) bool {
	switch {
	case b.cautious.Load(), m.Size == 0, !b.storable.known(m.Flags):
		return true
	case b.conn.Has("LITERAL+"):
		return false
	}
	return !b.conn.Has("LITERAL-") || m.Size > literalMinus
}

// send writes one message: first is the beginning of its content, rest the
// remainder.
func (b *batch) send(ctx context.Context, i int, first []byte, rest io.Reader) error {
	m := b.messages[i]
	s := &sent{index: i, count: 1, waits: b.mustWait(m), proceed: make(chan struct{}), answered: make(chan struct{})}
	plus := "+"
	if s.waits {
		plus = ""
		if err := b.conn.Flush(ctx); err != nil {
			return err
		}
		if b.last != nil && !b.await(b.last.answered) {
			return nil
		}
	}
	s.begun.Store(!s.waits)
	s.tag = b.conn.nextTag()
	b.last = s
	b.queue <- s
	line := s.tag + " APPEND " + b.mailbox + " " + appendArguments(m) + " {" + strconv.FormatInt(m.Size, 10) + plus + "}\r\n"
	if err := b.conn.Send(ctx, []byte(line)); err != nil {
		return err
	}
	if s.waits {
		if err := b.conn.Flush(ctx); err != nil {
			return err
		}
		if !b.proceed(s) {
			return nil
		}
		s.begun.Store(true)
	}
	if err := b.literal(ctx, m.Size, first, rest); err != nil {
		return err
	}
	s.complete.Store(true)
	if err := b.conn.Send(ctx, []byte("\r\n")); err != nil || b.storable.known(m.Flags) {
		return err
	}
	// What the mailbox takes now it can be sent unasked from here on.
	if err := b.conn.Flush(ctx); err != nil {
		return err
	}
	if b.await(s.answered) && b.outcomes[i].Err == nil {
		b.storable.accept(m.Flags)
	}
	return nil
}

// proceed waits for the server's word on a literal; false means that it does
// not want it, or that the connection has ended.
func (b *batch) proceed(s *sent) bool {
	b.conn.due(1)
	defer b.conn.due(-1)
	select {
	case <-s.proceed:
		return true
	case <-s.answered:
		b.conn.out.withdraw()
	case <-b.ended:
	}
	return false
}

// withdraw forgets a literal that was announced and not wanted: what comes
// next is a command.
func (v *verbs) withdraw() { v.literal, v.within = 0, false }

// await waits for an answer; false means that it will not come.
func (b *batch) await(answered chan struct{}) bool {
	b.conn.due(1)
	defer b.conn.due(-1)
	select {
	case <-answered:
		return true
	case <-b.ended:
		return false
	}
}

// literal writes exactly size octets. When the content falls short the
// transport is closed before any further octet: the server would take the next
// command for the rest of the message, and store it.
func (b *batch) literal(ctx context.Context, size int64, first []byte, rest io.Reader) error {
	left := size - int64(len(first))
	for part := first; ; {
		if err := b.conn.Send(ctx, part); err != nil || left == 0 {
			return err
		}
		part = b.buffer[:min(left, chunk)]
		if _, err := io.ReadFull(rest, part); err != nil {
			b.conn.Close()
			return fmt.Errorf("read message: %w", short(err))
		}
		left -= int64(len(part))
	}
}

// read takes the answers in the order of sending, until the queue is closed
// and empty or the connection has ended.
func (b *batch) read(ctx context.Context) error {
	for s := range b.queue {
		err := b.answer(ctx, s)
		if err == nil {
			close(s.answered)
			continue
		}
		b.conn.Close()
		return err
	}
	return nil
}

// doubt is the outcome of a message whose answer will not come.
func (b *batch) doubt(s *sent) {
	if !s.begun.Load() {
		return
	}
	for i := range s.count {
		b.outcomes[s.index+i].Err = mail.ErrInDoubt
	}
}

// answer reads up to the tagged answer of one message and notes what became of
// it. An error means that the connection must end. The clock for it runs while
// the writer waits; while it writes, its own progress counts.
func (b *batch) answer(ctx context.Context, s *sent) error {
	outcome := &b.outcomes[s.index]
	asked := false
	for {
		r, err := b.conn.Wait(ctx)
		if err != nil {
			b.doubt(s)
			return err
		}
		switch r.Tag {
		case "*":
		case "+":
			if s.waits && !asked {
				asked = true
				close(s.proceed)
			}
		case s.tag:
			switch {
			case s.count > 1:
				return b.answerTogether(s, r)
			case r.Type == "OK" && s.complete.Load():
				*outcome = appended(r)
				return nil
			case r.Type == "NO":
				outcome.Err = refusal("APPEND", r)
				return nil
			case r.Type == "BAD":
				outcome.Err = refusal("APPEND", r)
				b.cautious.Store(true)
				return errors.New("the server could not parse the command")
			}
			b.doubt(s)
			return errors.New("the server answered before it had the message")
		default:
			b.doubt(s)
			return errors.New("the server answered what was not asked")
		}
	}
}

// appended reads APPENDUID (RFC 4315 §3). One that is not of the right shape
// counts as none.
func appended(r Response) mail.Appended {
	if r.Code != "APPENDUID" || len(r.Args) != 2 {
		return mail.Appended{}
	}
	validity, err := strconv.ParseUint(r.Args[0].Text, 10, 32)
	if err != nil {
		return mail.Appended{}
	}
	uid, err := parseUID(r.Args[1].Text)
	if err != nil || validity == 0 {
		return mail.Appended{}
	}
	return mail.Appended{UID: uid, UIDValidity: mail.UIDValidity(validity)}
}
