package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
	"github.com/imapsyncd/imapsyncd/metrics"
)

// connections are the open connections of one account: counted by what they
// are doing, and asked whether anything still moves.
type connections struct {
	account     string
	options     remote.Options
	dial        func(ctx context.Context, network, address string) (net.Conn, error)
	metrics     *metrics.Metrics
	credentials *credentials
	limits      *limits
	slots       *slots
	logger      *slog.Logger // not the account's
	others      bool         // there were other accounts at the start
	waiting     atomic.Int64 // for a limit: so many
	waited      atomic.Int64 // to log in, for limits of ours, in nanoseconds
	copying     atomic.Bool  // what is carried is a first copy: news goes before it
	looking     atomic.Bool  // nothing has called for the look that is to be taken

	// check looks whether the source is the one that it was; nil: nobody does.
	check func(context.Context, config.Server, *remote.Conn, net.Addr) error
	// checkDestination looks, before each connection, whether the log-in is that of
	// another account.
	checkDestination func(context.Context, config.Server) error

	alerts alerts       // what the servers want to be seen
	traced atomic.Bool  // what is said is logged
	opened atomic.Int64 // so many, to tell them apart

	mu    sync.Mutex
	adds  bool // only additions are sent to the destination
	open  map[*connection]bool
	moved time.Time // when octets last went either way
}

func (d *Daemon) newConnections(account string) *connections {
	dial := d.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return &connections{
		check: func(ctx context.Context, s config.Server, conn *remote.Conn, address net.Addr) error {
			return d.checkSource(ctx, account, s, conn, address)
		},
		checkDestination: func(ctx context.Context, s config.Server) error { return d.checkDestination(ctx, account, s) },
		account:          account, dial: dial, metrics: d.Metrics, credentials: &d.credentials, limits: d.limits, open: make(map[*connection]bool),
		slots: &d.slots, logger: d.Logger, others: len(d.Config.Accounts) > 1,
		options: remote.Options{Logger: d.Logger.With("account", account), Timeout: d.Timeout},
	}
}

// connection is the transport of one connection.
type connection struct {
	net.Conn
	of      *connections
	side    metrics.Side
	address string // of the server
	state   metrics.ConnectionState
	lent    bool // it listens when no pass uses it

	allowance allowance
	paced     atomic.Bool     // it waits for its allowance: not while it logs in, nor to listen
	closed    context.Context // done when it is
	close     context.CancelFunc

	deadlines sync.Mutex
	readBy    time.Time // as has been asked for
	writeBy   time.Time
}

// opener returns how to get a logged-in connection to one side, which is then
// in the given state. admit is waited for before a credential is shown; nil: nothing is.
func (c *connections) opener(side remote.Side, s config.Server, then metrics.ConnectionState, admit func(context.Context) error) func(context.Context) (*remote.Conn, error) {
	server := c.credentials.server(side, c.account, s)
	if then == metrics.Watching {
		server.Compress = remote.CompressOff // it says little, and is kept for days
	}
	allowance := c.limits.allowance(side, s, c.account)
	return func(ctx context.Context) (*remote.Conn, error) {
		server := server
		c.mu.Lock()
		server.AddOnly = c.adds
		c.mu.Unlock()
		if side == remote.SideDestination && c.checkDestination != nil {
			if err := c.checkDestination(ctx, s); err != nil {
				return nil, err
			}
		}
		if err := c.mayOpen(ctx, side, s, allowance, then); err != nil {
			return nil, err
		}
		at := &connection{of: c, side: metrics.Side(side), address: addressOf(s), allowance: allowance}
		at.closed, at.close = context.WithCancel(context.Background())
		c.move(at, metrics.Connecting)
		loggedIn := false
		options := c.options
		options.Listens, options.Copies = then == metrics.Watching, then != metrics.Watching && c.copying.Load()
		options.Admit = admit
		opened := c.opened.Add(1)
		options.Traced = &c.traced
		options.Trace = func(direction byte, line string) {
			c.options.Logger.Info("trace", "side", string(side), "connection", opened, "line", string(direction)+" "+line)
		}
		options.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			transport, err := c.dial(ctx, network, address)
			c.mu.Lock()
			at.Conn = transport
			c.mu.Unlock()
			return at, err
		}
		options.Alert = func(text string) { c.alerts.told(options.Logger, side, text) }
		options.Lost = func(err *remote.Error) {
			if loggedIn { // else Dial returns it
				c.metrics.ConnectionFailed(at.side, errorClass(err))
			}
		}
		conn, err := remote.Dial(ctx, server, options)
		if err != nil {
			at.close()
			c.move(at, metrics.Absent)
		}
		if ctx.Err() == nil {
			c.learn(side, s, err)
		}
		if err != nil {
			var far *remote.Error
			if ctx.Err() == nil && errors.As(err, &far) {
				c.metrics.ConnectionFailed(at.side, errorClass(far))
			}
			return nil, err
		}
		loggedIn = true
		if side == remote.SideSource && c.check != nil {
			if err := c.check(ctx, s, conn, at.Conn.RemoteAddr()); err != nil {
				conn.Close()
				return nil, err
			}
		}
		c.move(at, then)
		at.paced.Store(then != metrics.Watching)
		return conn, nil
	}
}

// addOnly lets connections that are opened from now on send nothing to the
// destination that changes what is there (I8).
func (c *connections) addOnly(adds bool) {
	c.mu.Lock()
	c.adds = adds
	c.mu.Unlock()
}

// trace logs what is said on all connections from now on, or does not any more.
func (c *connections) trace(on bool) { c.traced.Store(on) }

// errorClass is under which class a failure is counted.
func errorClass(err *remote.Error) metrics.ErrorClass {
	switch err.Class {
	case remote.ClassTLS, remote.ClassCertificate:
		return metrics.ErrorTLS
	case remote.ClassAuth:
		return metrics.ErrorAuth
	case remote.ClassLimit:
		return metrics.ErrorLimit
	case remote.ClassTimeout:
		return metrics.ErrorTimeout
	case remote.ClassUnavailable:
		return metrics.ErrorBye
	case remote.ClassProtocol:
		return metrics.ErrorProtocol
	case remote.ClassCut:
		return metrics.ErrorLost
	}
	return metrics.ErrorConnect
}

// move notes what a connection is doing now.
func (c *connections) move(at *connection, state metrics.ConnectionState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, open := c.open[at]; !open && at.state != metrics.Absent {
		return // ended already
	}
	c.metrics.MoveConnection(at.side, at.state, state)
	c.slots.moved(at.address, string(at.side)+" "+c.account, at.state, state)
	at.state = state
	if state == metrics.Absent {
		delete(c.open, at)
	} else {
		c.open[at] = true
	}
}

// work tells whether a pass is using the connections that are not watching.
func (c *connections) work(busy bool) {
	from, to := metrics.Busy, metrics.Idle
	if busy {
		from, to = to, from
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for at := range c.open {
		if at.state == from {
			c.metrics.MoveConnection(at.side, from, to)
			at.state = to
		}
	}
}

// lend notes that a pass uses the connection that listens, or does no more.
func (c *connections) lend(on bool) {
	from, to := metrics.Watching, metrics.Busy
	if !on {
		from, to = to, from
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for at := range c.open {
		if at.state == from && at.lent != on {
			at.lent, at.state = on, to
			at.paced.Store(on)
			c.metrics.MoveConnection(at.side, from, to)
		}
	}
}

// cut closes all of them at once, without a farewell.
func (c *connections) cut() {
	c.mu.Lock()
	var all []*connection
	for at := range c.open {
		if at.Conn != nil { // else it is being dialed, which ends with its context
			all = append(all, at)
		}
	}
	c.mu.Unlock()
	for _, at := range all {
		at.Close()
	}
}

// count returns how many connections there are to each side.
func (c *connections) count() (source, destination int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at := range c.open {
		if at.side == metrics.Source {
			source++
		} else {
			destination++
		}
	}
	return source, destination
}

// lastMoved is when octets last went either way.
func (c *connections) lastMoved() time.Time {
	if c.waiting.Load() > 0 {
		return time.Now() // a limit of ours is no fault
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.moved
}

// mayOpen waits until one more log-in may be tried. Nothing is opened for mail
// that may not be carried today; listening goes on. Nor is a server tried that
// is away, which it may have become meanwhile.
func (c *connections) mayOpen(ctx context.Context, side remote.Side, s config.Server, a allowance, then metrics.ConnectionState) error {
	if then != metrics.Watching {
		if err := a.spent(!c.copying.Load()); err != nil {
			return err
		}
	}
	address, account := addressOf(s), string(side)+" "+c.account
	if err := c.slots.admit(address, account); err != nil {
		return err
	}
	c.waiting.Add(1)
	defer c.waiting.Add(-1)
	defer func(began time.Time) { c.waited.Add(int64(time.Since(began))) }(time.Now())
	if err := a.logIn(ctx, then == metrics.Watching || !c.copying.Load() && !c.looking.Load()); err != nil {
		return err
	}
	return c.slots.admit(address, account)
}

func (at *connection) Read(p []byte) (int, error) {
	if err := at.pace(&at.readBy, at.Conn.SetReadDeadline); err != nil {
		return 0, err
	}
	n, err := at.Conn.Read(p)
	at.progress(n)
	return n, err
}

func (at *connection) Write(p []byte) (int, error) {
	if err := at.pace(&at.writeBy, at.Conn.SetWriteDeadline); err != nil {
		return 0, err
	}
	n, err := at.Conn.Write(p)
	at.progress(n)
	return n, err
}

// pace waits for the allowance. That is no fault of the server: it moves the
// deadline of what was about to be done.
func (at *connection) pace(by *time.Time, set func(time.Time) error) error {
	if !at.paced.Load() {
		return nil
	}
	at.of.waiting.Add(1)
	waited, err := at.allowance.talk(at.closed, !at.of.copying.Load())
	at.of.waiting.Add(-1)
	if err != nil {
		return net.ErrClosed
	}
	at.deadlines.Lock()
	defer at.deadlines.Unlock()
	if waited > 0 && !by.IsZero() {
		return set(by.Add(waited))
	}
	return nil
}

// SyscallConn is the socket, for who waits without reading.
func (at *connection) SyscallConn() (syscall.RawConn, error) {
	socket, ok := at.Conn.(syscall.Conn)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return socket.SyscallConn()
}

func (at *connection) SetReadDeadline(t time.Time) error {
	at.deadlines.Lock()
	defer at.deadlines.Unlock()
	at.readBy = t
	return at.Conn.SetReadDeadline(t)
}

func (at *connection) SetWriteDeadline(t time.Time) error {
	at.deadlines.Lock()
	defer at.deadlines.Unlock()
	at.writeBy = t
	return at.Conn.SetWriteDeadline(t)
}

func (at *connection) SetDeadline(t time.Time) error {
	return errors.Join(at.SetReadDeadline(t), at.SetWriteDeadline(t))
}

func (at *connection) progress(n int) {
	if n > 0 {
		at.allowance.talked(n)
		now := time.Now()
		at.of.mu.Lock()
		at.of.moved = now
		at.of.mu.Unlock()
	}
}

func (at *connection) Close() error {
	at.close()
	at.of.move(at, metrics.Absent)
	return at.Conn.Close()
}
