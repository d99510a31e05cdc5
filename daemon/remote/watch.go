package remote

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// WatchOptions are what [Watch] needs.
type WatchOptions struct {
	// Open dials and logs in.
	Open func(ctx context.Context) (*Conn, error)
	// Namespaces are those whose mailboxes are asked about, as in [SourceOptions].
	Namespaces []string
	// Sweep returns how often, from now on, all mailboxes are asked about at
	// least; it is also the bound on how long a server that sends no events keeps
	// news to itself.
	Sweep func() time.Duration
	// Jitter returns a random time below a bound, so that watchers do not all
	// come at once; nil: rand.N.
	Jitter func(below time.Duration) time.Duration
	// Listening is called once, when nothing that happens from now on is
	// missed.
	Listening func()
	// Hint is called when something may have changed, with the raw name of the only
	// mailbox that has news, where that is told, else "". It must not block.
	Hint func(mailbox string)
	// Lender lends the connection while it is listened on; nil: it is not lent.
	Lender *Lender
	// NoNotify leaves NOTIFY away although it is offered.
	NoNotify bool
	// Stepwise waits for each answer before the next command is sent: for a server
	// that loses what comes together with DONE.
	Stepwise bool
	// Unnotified is called when a server that offers NOTIFY does not tell of
	// mailboxes by it, or does no more; ended: the connection has ended over it.
	// nil: nobody.
	Unnotified func(why error, ended bool)
}

// Many servers and the boxes before them end a connection after some time without a
// word, at 30 minutes by RFC 2177, at 10 by habit.
const (
	idleLeast = 4 * time.Minute
	idleMost  = 9 * time.Minute
)

// Watch listens for news on a connection of its own until ctx or the
// connection ends, and returns why: never nil. INBOX is listened to (IDLE,
// RFC 2177), and so are the other mailboxes where the server can tell of them
// (NOTIFY, RFC 5465). What is heard are hints: all mailboxes are asked about in
// sweeps, whatever the server tells by itself.
func Watch(ctx context.Context, o WatchOptions) error {
	if o.Jitter == nil {
		o.Jitter = rand.N[time.Duration]
	}
	var conn *Conn
	if err := apart(func() (err error) { conn, err = o.Open(ctx); return err }); err != nil {
		return err
	}
	defer conn.Close()
	if o.Lender == nil {
		o.Lender = new(Lender)
	}
	defer o.Lender.withdraw()
	defer context.AfterFunc(ctx, func() {
		if !o.Lender.isLent() {
			conn.Close()
		}
	})()
	o.Open = nil // what it needed is not kept
	w := &watcher{
		WatchOptions: o,
		conn:         conn,
		idles:        conn.Has("IDLE"),
		notified:     conn.Has("NOTIFY") && !o.NoNotify,
		seed:         maphash.MakeSeed(),
		session: session{conn: conn, logger: conn.options.Logger, stays: true, lists: kindsOf(o.Namespaces), open: func(context.Context) (*Conn, error) {
			return nil, errors.New("the watcher's connection has ended")
		}},
	}
	w.session.told = w.event
	err := w.watch(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("watch: %w", err)
}

type watcher struct {
	WatchOptions
	conn     *Conn
	session  session // of the same connection, for LIST and STATUS
	idles    bool
	notified bool // the server tells of all mailboxes by NOTIFY
	seed     maphash.Seed
	idling   string   // the tag of the IDLE that has not ended; "": none is under way
	last     uint64   // digest, of the last sweep
	lines    []uint64 // what it was made of, in the server's order
	listed   bool     // it takes Mailboxes to tell how they are
	heard    bool     // Listening has been called
	opens    bool     // the connection has been lent: INBOX is to be opened again
	hinted   bool     // the last sweep has given a hint
}

func (w *watcher) watch(ctx context.Context) error {
	if err := apart(func() error { return w.begin(ctx) }); err != nil {
		return err
	}
	for {
		// Never all at once, and early enough that what a sweep finds can be
		// carried before the interval is over.
		every := w.Sweep()
		pause := min(every*7/8-w.Jitter(every/8+1), idleLeast+w.Jitter(idleMost-idleLeast))
		if err := w.listen(ctx, time.Now().Add(pause)); err != nil {
			return err
		}
		if err := apart(func() error { return w.sweep(ctx, w.Hint) }); err != nil {
			return err
		}
	}
}

// begin has the server tell of changes, and looks how everything is before that.
func (w *watcher) begin(ctx context.Context) error {
	if w.idles || w.notified {
		if err := w.open(ctx); err != nil {
			return err
		}
	}
	if err := w.notify(ctx); err != nil {
		return err
	}
	err := w.sweep(ctx, func(string) {})
	w.hinted = false
	return err
}

// open opens INBOX. If that is refused, the sweeps are left.
func (w *watcher) open(ctx context.Context) error {
	w.opens = false
	err := w.session.reopen(ctx, mail.Ref{Name: "INBOX"})
	if errors.As(err, new(*mail.Refused)) {
		return nil
	}
	return err
}

func (w *watcher) listening() {
	if !w.heard {
		w.heard = true
		w.Lender.offer(w)
		w.Listening()
	}
}

// sweep asks about all mailboxes and calls changed when anything is not as it
// was at the last sweep, with the mailbox if it is one only.
func (w *watcher) sweep(ctx context.Context, changed func(mailbox string)) error {
	digest, only, err := w.digest(ctx)
	if err != nil {
		return err
	}
	if w.hinted = digest != w.last; w.hinted {
		w.last = digest
		changed(only)
	}
	return nil
}

// listen hears events until then, or until the connection has been lent: in IDLE where the
// server has it. One that refuses it, or ends it unasked, is asked for it no more.
func (w *watcher) listen(ctx context.Context, until time.Time) error {
	taken := longAgo // what was read with the answer to IDLE
	for {
		idles := w.idles
		if err := apart(func() error { return w.hear(ctx, taken) }); err != nil || w.idles != idles {
			return err
		}
		w.listening()
		there, err := w.conn.comes(ctx, until)
		switch {
		case err != nil:
			return err
		case w.conn.wasCalled():
			if news, err := w.lend(ctx); news || !w.hinted || err != nil {
				return err
			}
			taken = longAgo
		case !there:
			return nil
		default:
			taken = until
		}
	}
}

// hear has IDLE begin if it has not, and takes what comes until then, and all that has
// come with it.
func (w *watcher) hear(ctx context.Context, until time.Time) error {
	if w.idles && w.idling == "" {
		if err := w.beginIdle(ctx); err != nil {
			return err
		}
	}
	for ; ; until = longAgo {
		if there, err := w.conn.hasCome(ctx, until); err != nil || !there {
			return err
		}
		r, err := w.response(ctx)
		if err != nil {
			return err
		}
		if !w.idleAnswered(r) {
			w.event(r)
		}
	}
}

// response is the next one, which is due.
func (w *watcher) response(ctx context.Context) (Response, error) {
	w.conn.due(1)
	defer w.conn.due(-1)
	return w.conn.response(ctx)
}

// beginIdle begins IDLE, if the server takes it.
func (w *watcher) beginIdle(ctx context.Context) error {
	if w.opens {
		if err := w.open(ctx); err != nil {
			return err
		}
	}
	w.idling = w.conn.nextTag()
	if err := w.conn.sendNow(ctx, w.idling+" IDLE\r\n"); err != nil {
		return err
	}
	return w.idleBegins(ctx)
}

// idleBegins reads the answer to IDLE.
func (w *watcher) idleBegins(ctx context.Context) error {
	for {
		r, err := w.response(ctx)
		switch {
		case err != nil:
			return err
		case r.Tag == "+", w.idleAnswered(r):
			return nil
		}
		w.event(r)
	}
}

// endIdle ends IDLE, if it has begun.
func (w *watcher) endIdle(ctx context.Context) error {
	if w.idling == "" {
		return nil
	}
	if err := w.conn.sendNow(ctx, "DONE\r\n"); err != nil {
		return err
	}
	for {
		r, err := w.response(ctx)
		if err != nil {
			return err
		}
		if r.Tag == w.idling {
			w.idling = ""
			return nil
		}
		w.event(r)
	}
}

// idleAnswered tells whether a response ends an IDLE that we have not.
func (w *watcher) idleAnswered(r Response) bool {
	if r.Tag != w.idling || w.idling == "" {
		return false
	}
	w.idling, w.idles = "", false
	return true
}

// event gives a hint for what tells of a change.
func (w *watcher) event(r Response) {
	switch r.Type {
	case "EXISTS", "EXPUNGE", "VANISHED", "FETCH":
		w.Hint("INBOX")
	case "STATUS", "LIST", "NO", "OK":
		w.notification(r)
	}
}
