package remote

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options are the same for all connections of a process.
type Options struct {
	Logger *slog.Logger
	// Timeout is how long a server may make no progress while an answer is due;
	// 0: a minute.
	Timeout time.Duration
	// Trace is given each line while Traced is set, without contents and
	// credentials; '>' for ours, '<' for the server's.
	Trace  func(direction byte, line string)
	Traced *atomic.Bool // nil: always
	// Lost is told, once, why a connection ended that was not closed by us.
	Lost func(*Error)
	// Alert is told what the server wants its user to see (RFC 3501 §7.1, ALERT);
	// nil: it is logged.
	Alert func(text string)
	// Listens is a connection that is kept for days and says little: its buffers
	// are small. Copies is one over which a whole account goes: what is read from the old
	// server, or written to the new one, is large.
	Listens, Copies bool
	// Admit is waited for before a credential is shown; nil: nothing is.
	Admit func(context.Context) error
	// Dial opens the transport; nil: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Conn is a logged-in connection.
type Conn struct {
	server    Server
	options   Options
	transport net.Conn
	in        *bufio.Reader
	wire      *bufio.Reader // under in, where that is compressed; else the same
	out       *verbs
	buffered  *bufio.Writer
	inflating *inflating    // nil: not compressed
	deflater  *deflater     // nil: not compressed
	away      time.Duration // the shortest time in which an answer came at the log-in

	caps map[string]bool
	id   string
	// earlier are the tags of commands whose answers are read together with those to the
	// next: ID and ENABLE of a new connection, IDLE of one that is lent.
	earlier    []string
	greeted    string // the text of the greeting
	security   Security
	hidden     []string // secrets that must not appear in what the server says
	tags       int
	inUse      bool         // it has logged in
	overflowed bool         // it tells no more by NOTIFY, as it has said
	uidLast    bool         // the server tells UIDs behind contents
	pending    atomic.Int32 // answers that are due
	clock      sync.Mutex   // a read that begins does not stop the clock that one who waits has just started

	read, written atomic.Int64

	window window    // under clock
	silent time.Time // under clock: since when an answer is due and nothing comes
	// under clock: when the transport ends a read, and a write; zero: never.
	readBy, writeBy time.Time
	rested          time.Time // under clock: since when none is due
	glance          time.Time // until when a read is to wait, which is nearly nothing; zero: as usual
	sits, isCalled  bool      // under clock: a read waits for nothing that is due, and is to stop

	mu  sync.Mutex
	err error  // why it ended
	bye string // the server's last words
	// later: by them it asks for patience.
	later  bool
	leaves bool // we have taken leave: how it ends is no loss
}

// newConn takes a transport into use. Nothing is read yet.
func newConn(server Server, options Options, transport net.Conn) *Conn {
	if options.Timeout == 0 {
		options.Timeout = time.Minute
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.Alert == nil {
		options.Alert = func(text string) {
			options.Logger.Warn("the server says", "side", string(server.Side), "alert", text)
		}
	}
	c := &Conn{server: server, options: options}
	c.use(transport)
	return c
}

// use begins to talk over a transport, afresh.
func (c *Conn) use(transport net.Conn) {
	c.transport = transport
	c.clock.Lock()
	c.readBy, c.writeBy = longAgo, longAgo // what is below may have others
	c.clock.Unlock()
	if c.in == nil {
		in, out := 16<<10, 16<<10
		switch {
		case c.options.Listens:
			in, out = 512, 256
		case c.options.Copies && c.server.Side == SideSource:
			in = 64 << 10
		case c.options.Copies:
			out = 64 << 10
		}
		c.wire, c.buffered = bufio.NewReaderSize(nil, in), bufio.NewWriterSize(nil, out)
		c.in = c.wire
	}
	c.wire.Reset(progress{c})
	c.buffered.Reset(progress{c})
	c.out = &verbs{side: c.server.Side, addOnly: c.server.AddOnly, out: c.buffered, trace: c.sent}
	c.caps = nil
}

// Has tells whether the server offered a capability after the log-in.
func (c *Conn) Has(capability string) bool { return c.caps[strings.ToUpper(capability)] }

// appendLimit is how many octets a message may have that is appended (RFC 7889), 0
// where the server does not tell.
func (c *Conn) appendLimit() int64 {
	for capability := range c.caps {
		if n, ok := strings.CutPrefix(capability, "APPENDLIMIT="); ok {
			return int64(number(Value{Text: n}, 63))
		}
	}
	return 0
}

// ServerID is the server's answer to ID (RFC 2971).
func (c *Conn) ServerID() string { return c.id }

// PeerCertificate is the SHA-256 of the server's certificate in hexadecimal;
// empty without TLS.
func (c *Conn) PeerCertificate() string { return c.security.Fingerprint }

// Security is how the connection is protected.
func (c *Conn) Security() Security { return c.security }

// Bytes are the octets read and written on the wire, compressed where they are;
// TLS not counted.
func (c *Conn) Bytes() (read, written int64) { return c.read.Load(), c.written.Load() }

func (c *Conn) nextTag() string {
	c.tags++
	return "R" + strconv.Itoa(c.tags)
}

// Send writes octets of commands, through the allow-list. They may stay in a
// buffer until Flush.
func (c *Conn) Send(ctx context.Context, p []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := c.out.Write(p); err != nil {
		return c.ended(err)
	}
	return nil
}

// Flush sends what Send has left in the buffer.
func (c *Conn) Flush(ctx context.Context) error {
	if err := c.flush(); err != nil {
		return c.ended(err)
	}
	return ctx.Err()
}

// Next reads the next response. It is due: a server that makes no progress ends
// the connection.
func (c *Conn) Next(ctx context.Context) (Response, error) {
	c.due(1)
	defer c.due(-1)
	defer context.AfterFunc(ctx, func() { c.Close() })()
	return c.response(ctx)
}

// response is Next without the progress timeout, for who closes the connection when ctx ends.
func (c *Conn) response(ctx context.Context) (Response, error) {
	r, err := readResponse(c.in)
	if err != nil {
		return Response{}, c.ended(errors.Join(ctx.Err(), err))
	}
	c.note(r)
	return r, nil
}

// note keeps the server's last words and traces.
func (c *Conn) note(r Response) {
	if r.Tag == "*" && r.Type == "BYE" {
		c.mu.Lock()
		c.bye = printable(c.masked(strings.TrimSpace(r.Text)))
		if c.bye == "" {
			c.bye = "BYE"
		}
		switch r.Code {
		case "UNAVAILABLE", "INUSE", "LIMIT", "OVERQUOTA", "THROTTLED":
			c.later = true
		}
		c.mu.Unlock()
	}
	if r.Tag != "*" { // an answer is progress, however short
		c.clock.Lock()
		c.window.since = time.Time{}
		c.clock.Unlock()
	}
	c.hears(r)
	c.overflowed = c.overflowed || r.Code == overflow
	if r.Code == "ALERT" {
		c.options.Alert(printable(c.masked(r.Text)))
	}
	if c.tracing() {
		c.options.Trace('<', c.masked(traced(r)))
	}
}

// ended notes why the connection ended, once, and returns that.
func (c *Conn) ended(err error) error {
	var lost *Error
	c.mu.Lock()
	if c.err == nil {
		var known *Error
		switch {
		case errors.As(err, &known), errors.Is(err, errForbidden), errors.Is(err, context.Canceled):
			c.err = err
		default:
			lost = c.server.lost(err, c.bye)
			lost.lost = c.inUse && !c.later && lost.Class != ClassLimit
			c.err = lost
		}
	}
	err = c.err
	if c.leaves {
		lost = nil
	}
	c.mu.Unlock()
	c.transport.Close()
	if lost != nil && c.options.Lost != nil {
		c.options.Lost(lost)
	}
	return err
}

// Close closes the transport at once.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.err == nil {
		c.err = net.ErrClosed
	}
	c.mu.Unlock()
	err := c.transport.Close()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Err tells why the connection has ended, nil while it has not.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

const (
	// logoutTime is how long a polite end may take.
	logoutTime = 2 * time.Second
	// closeTime is how long a server is waited for that has answered to LOGOUT.
	closeTime = 200 * time.Millisecond
)

// Logout takes leave. The transport is closed once the server has done so (RFC 3501
// §6.1.3): until then it counts the connection, and may refuse another.
func (c *Conn) Logout(ctx context.Context) error {
	if c.Err() != nil {
		return nil
	}
	c.mu.Lock()
	c.leaves = true
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, logoutTime)
	defer cancel()
	_, err := c.Raw(ctx, "LOGOUT")
	if err == nil {
		defer time.AfterFunc(closeTime, func() { c.Close() }).Stop() // a limit of ours may keep it from reading
		_, _ = c.transport.Read(make([]byte, 1))                     // the end, or anything else
	}
	c.Close()
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return err
}
