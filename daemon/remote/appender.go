package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// chunk is how much of a message is in memory while it is sent, in octets.
const chunk = 64 << 10

// literalMinus is the longest literal that LITERAL- lets us send unasked (RFC
// 7888 §5).
const literalMinus = 4096

// Appender appends to one mailbox, SELECTed on a connection that it is lent.
// Messages are pipelined: where the server cannot but parse the command line
// (guard.go), the literal follows it unasked. Its caller's goroutine writes while
// one of its own reads, so that neither side waits for the other to empty its
// buffers.
type Appender struct {
	conn     *Conn
	mailbox  string // quoted
	status   mail.Status
	storable *storable

	writing sync.Mutex // held by the one that writes
	buffer  []byte
	line    []byte
	queue   chan *sent // in the order of sending; nil: nothing was sent yet
	last    *sent
	useless bool          // closed, or its connection has ended
	ended   chan struct{} // the reader has given up, for the reason in failed
	failed  error
	read    chan struct{}        // closed: nothing more is read
	ahead   *following           // the mailbox that was asked for behind this one; nil: none
	early   atomic.Pointer[sent] // its CREATE, which may be answered before its turn

	next mail.UID // what UIDNEXT should be, by the answers; the reader's
}

// queued is how many commands may await their answers.
const queued = 512

// Status is what SELECT showed.
func (a *Appender) Status() mail.Status { return a.status }

func (a *Appender) trust() *Trust { return a.storable.trust }

// Storable reduces flags to those that the mailbox can store.
func (a *Appender) Storable(flags mail.Flags) mail.Flags { return a.storable.reduce(flags) }

// Close ends the use of the mailbox. It stays SELECTed until the connection is
// needed for another one: CLOSE would remove messages (I4).
func (a *Appender) Close() error {
	a.writing.Lock()
	defer a.writing.Unlock()
	a.useless = true
	if a.queue != nil {
		close(a.queue)
		a.queue = nil
	}
	return nil
}

// giveBack is Close for who needs the connection: it waits for the answers to all that
// was sent.
func (a *Appender) giveBack() {
	a.Close()
	if a.read != nil {
		<-a.read
	}
}

// Append sends the messages in order. The outcome of each is nil,
// *mail.Refused, mail.ErrNotSent or mail.ErrInDoubt; the error is what ended
// the connection. A BAD ends it at once: what follows a line that could not be
// parsed may be read as commands.
func (a *Appender) Append(ctx context.Context, messages []mail.Upload) <-chan mail.Answer {
	a.writing.Lock()
	defer a.writing.Unlock()
	return a.append(ctx, messages, asAlways).answer
}

// append is Append for who holds writing.
func (a *Appender) append(ctx context.Context, messages []mail.Upload, how manner) *batch {
	b := &batch{
		Appender: a, ctx: ctx, messages: messages, outcomes: make([]mail.Appended, len(messages)), manner: how,
		answer: make(chan mail.Answer, 1),
	}
	for i := range b.outcomes {
		b.outcomes[i].Err = mail.ErrNotSent
	}
	if a.useless {
		b.answer <- mail.Answer{Outcomes: b.outcomes, Err: errors.New("append: the appender is closed")}
		return b
	}
	if a.queue == nil {
		a.buffer = make([]byte, chunk)
		a.queue, a.ended, a.read = make(chan *sent, queued), make(chan struct{}), make(chan struct{})
		go a.answers(a.queue)
	}
	b.send(b.write)
	return b
}

// send writes commands of which the reader gets the answers.
func (b *batch) send(write func(context.Context) error) {
	b.release = context.AfterFunc(b.ctx, func() { b.conn.Close() })
	b.open.Store(1)
	b.err = write(b.ctx)
	b.useless = b.err != nil || b.hasEnded() || b.ctx.Err() != nil
	b.conn.due(1)
	b.over()
}

// batch is one call of Append.
type batch struct {
	*Appender
	ctx      context.Context
	messages []mail.Upload
	outcomes []mail.Appended // of a message in the queue: the reader's
	manner   manner
	err      error        // of writing
	refused  []int        // messages of commands that were refused together: the reader's
	open     atomic.Int32 // commands that have no answer, and one while it is written
	release  func() bool
	answer   chan mail.Answer
}

// sent is a command that has been written, at least in part, for some messages
// that follow one another.
type sent struct {
	*batch
	index    int
	count    int
	tag      string
	waits    bool          // its literal waits for "+"
	asked    bool          // for it: the reader's
	proceed  chan struct{} // "+" came
	answered chan struct{} // the tagged answer came
	begun    atomic.Bool   // of the literal something may have been sent
	complete atomic.Bool   // and this was all
	other    bool          // it is no APPEND
	shown    *Reply        // to such a one, once it is answered: the reader's
}

// over counts what has come to its end; the last one answers.
func (b *batch) over() {
	if b.open.Add(-1) > 0 {
		return
	}
	b.conn.due(-1)
	b.release()
	err := b.err
	if b.hasEnded() {
		err = errors.Join(b.failed, err)
	}
	if err = errors.Join(err, b.ctx.Err()); err == nil && b.manner == asAlways && (len(b.refused) > 0 || len(b.literal8()) > 0) {
		go b.again()
		return
	}
	if err != nil {
		b.doubtTogether()
	}
	b.done(err)
}

// done gives the answer. An error is the end of the connection.
func (b *batch) done(err error) {
	if err != nil {
		b.conn.Close()
		err = fmt.Errorf("append: %w", err)
	}
	b.answer <- mail.Answer{Outcomes: b.outcomes, Err: err}
}

// write sends what is to be sent, as far as the connection lives.
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
		first, err := b.read(m.Content, 0, m.Size)
		if err != nil {
			return errors.Join(err, b.conn.Flush(ctx)) // what was written before it is answered
		}
		if err := b.one(ctx, i, first); err != nil {
			return err
		}
		if b.hasEnded() {
			return nil // the reader knows why
		}
	}
	return b.conn.Flush(ctx)
}

// enqueue has the reader wait for the answer to a command. When it waits for as
// many as it can, these have to be on their way.
func (b *batch) enqueue(ctx context.Context, s *sent) error {
	b.open.Add(1)
	b.last = s
	select {
	case b.queue <- s:
		return nil
	default:
	}
	err := b.conn.Flush(ctx)
	b.queue <- s
	return err
}

func (a *Appender) hasEnded() bool {
	select {
	case <-a.ended:
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
	case b.trust().cautious.Load(), b.manner == asLiteral8, m.Size == 0, !b.storable.known(m.Flags):
		return true
	case b.conn.Has("LITERAL+"):
		return false
	}
	return !b.conn.Has("LITERAL-") || m.Size > literalMinus
}

// one writes one message: first is the beginning of its content.
func (b *batch) one(ctx context.Context, i int, first []byte) error {
	m := b.messages[i]
	s := &sent{batch: b, index: i, count: 1, waits: b.mustWait(m), proceed: make(chan struct{}), answered: make(chan struct{})}
	if s.waits {
		if b.trust().cautious.Load() && b.last != nil {
			if err := b.conn.Flush(ctx); err != nil {
				return err
			}
			if !b.await(b.last.answered) {
				return nil
			}
		}
	}
	s.begun.Store(!s.waits)
	s.tag = b.conn.nextTag()
	if err := b.enqueue(ctx, s); err != nil {
		return err
	}
	b.begin(s)
	if err := b.announce(ctx, m, s.waits); err != nil {
		return err
	}
	if s.waits {
		if err := b.conn.Flush(ctx); err != nil {
			return err
		}
		if !b.proceed(s) {
			return nil
		}
		// It has parsed these flags, or parses none before it has read a literal: they
		// can be sent unasked from here on, unless it says NO to them (see refuse).
		b.storable.accept(m.Flags)
	}
	if err := b.literal(ctx, m, first); err != nil {
		return err
	}
	s.complete.Store(true)
	return b.conn.Send(ctx, []byte("\r\n"))
}

// begin writes the beginning of a command into the line.
func (b *batch) begin(s *sent) {
	b.line = append(append(append(b.line[:0], s.tag...), " APPEND "...), b.mailbox...)
}

// announce sends the line, with what is said of a message before its content. waits:
// the server is asked for its word on that.
func (b *batch) announce(ctx context.Context, m mail.Upload, waits bool) error {
	b.line = append(appendArguments(append(b.line, ' '), m), ' ')
	if b.manner == asLiteral8 {
		b.line = append(b.line, '~')
	}
	b.line = strconv.AppendInt(append(b.line, '{'), m.Size, 10)
	if !waits {
		b.line = append(b.line, '+')
	}
	err := b.conn.Send(ctx, append(b.line, "}\r\n"...))
	b.line = b.line[:0]
	return err
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
		select {
		case <-s.proceed: // as well: what it has asked for it takes for the literal
			return true
		default:
		}
		b.conn.out.withdraw()
	case <-b.ended:
	}
	return false
}

// withdraw forgets a literal that was announced and not wanted: what comes
// next is a command.
func (v *verbs) withdraw() { v.literal, v.within = 0, false }

// await waits for an answer; false means that it will not come.
func (a *Appender) await(answered chan struct{}) bool {
	a.conn.due(1)
	defer a.conn.due(-1)
	select {
	case <-answered:
		return true
	case <-a.ended:
		return false
	}
}

// literal writes exactly as many octets as were announced, of which first are the
// first. When the content falls short the transport is closed before any further octet:
// the server would take the next command for the rest of the message, and store it.
func (b *batch) literal(ctx context.Context, m mail.Upload, first []byte) (err error) {
	for part, at := first, int64(0); ; {
		if err := b.conn.Send(ctx, part); err != nil {
			return err
		}
		if at += int64(len(part)); at == m.Size {
			return nil
		}
		if part, err = b.read(m.Content, at, m.Size); err != nil {
			b.conn.Close()
			return err
		}
	}
}

// read reads what comes next of a content, into the buffer unless it is in memory.
func (b *batch) read(content io.ReaderAt, at, size int64) ([]byte, error) {
	n := min(size-at, chunk)
	if octets, there := content.(mail.Octets); there && at+n <= int64(len(octets)) {
		return octets[at : at+n], nil
	}
	part := b.buffer[:n]
	if n, err := content.ReadAt(part, at); n < len(part) {
		return nil, fmt.Errorf("read message: %w", short(cmp.Or(err, io.EOF)))
	}
	return part, nil
}
