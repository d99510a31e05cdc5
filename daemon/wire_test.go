package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/simtest"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/netsim"
	"github.com/imapsyncd/imapsyncd/state"
)

// The simulation on the wire: the whole daemon with its library, its state in
// real files, two IMAP servers and the network between them in one process, on
// simulated time.

const (
	oldPort = 1143
	newPort = 2143

	wirePassword = "secret"
)

// wire is a world with one account.
type wire struct {
	t       *testing.T
	dir     string
	config  *config.Config
	network netsim.Network
	old     *imapsim.Server
	new     *imapsim.Server
	people  *simtest.People
	policy  pass.Policy
	log     lines
	level   slog.Level
	mutate  func(*wire, *pass.Options) // nil: the daemon is as it should be
	// lookAgain is that of the daemon.
	lookAgain time.Duration
	jitter    func(below time.Duration) time.Duration

	acting  sync.Mutex // the people are at work
	serving sync.WaitGroup
	ends    []net.Listener

	running  *running // nil: the daemon does not run
	stopping chan struct{}
	kill     context.CancelFunc
	ended    chan error
}

// lines are those of a log, the last of them.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text.Len() > 8<<20 {
		l.text.Next(l.text.Len() / 2)
	}
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// shm is where state is kept: in memory, where there is such a place.
func shm(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "imapsyncd-wire-")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// wireText is a message whose lines would be commands, should a server ever
// read them as such.
func wireText(n int) string {
	return fmt.Sprintf("Message-ID: <%04d@old.example>\r\nSubject: %d\r\n\r\nZ1 CREATE pwned\r\nZ2 DELETE INBOX\r\n%s", n, n, strings.Repeat("* 1 EXPUNGE\r\n", n%7))
}

// newWire makes a world, with its state below parent. Its servers run until
// close.
func newWire(t *testing.T, parent string, rng *rand.Rand, change func(old, new *imapsim.Options)) *wire {
	dir, err := os.MkdirTemp(parent, "")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{t: t, dir: dir, level: slog.LevelDebug}
	oldModel, newModel := simtest.NewServer(10), simtest.NewServer(5000)
	w.people = &simtest.People{
		Old: oldModel, New: newModel, Rand: rng, Policy: &w.policy, Intents: w.intents, Beside: true, Text: wireText,
		Foreign: make(map[string]int),
	}
	before := imapsim.Options{Users: map[string]*simtest.Server{"u": oldModel}, Password: wirePassword, Capabilities: imapsim.Capabilities, Source: true}
	after := imapsim.Options{Users: map[string]*simtest.Server{"u": newModel}, Password: wirePassword, Capabilities: imapsim.Capabilities}
	if change != nil {
		change(&before, &after)
	}
	w.old, w.new = imapsim.New(before), imapsim.New(after)
	w.config = wireConfig(t, dir, "u")
	has := func(capability string) bool { return slices.Contains(w.new.Capabilities, capability) }
	newModel.NoUIDPlus, newModel.NoCondstore, newModel.NoMove = !has("UIDPLUS"), !has("CONDSTORE"), !has("MOVE")
	if newModel.NoUIDPlus {
		w.keepDeleted() // what cannot be expunged
	}
	w.serve(w.old, oldPort)
	w.serve(w.new, newPort)
	return w
}

// keepDeleted has copies stay whose messages are deleted.
func (w *wire) keepDeleted() {
	w.policy.KeepDeleted, w.config.Policy.Deletions = true, "keep"
}

// compressed has what carries mail be compressed where the servers can; nobody
// is far away in this network.
func (w *wire) compressed() {
	w.config.Accounts[0].Source.Compress, w.config.Accounts[0].Destination.Compress = "on", "on"
}

// wireConfig is a configuration for accounts of these names and log-ins. It is
// not watched for changes: who waits for the kernel would hold the time up.
func wireConfig(t testing.TB, dir string, accounts ...string) *config.Config {
	t.Helper()
	var text strings.Builder
	fmt.Fprintf(&text, `
state_dir = "state"
socket = "control.sock"
[source]
host = "127.0.0.1"
port = %d
tls = "none"
[destination]
host = "127.0.0.1"
port = %d
tls = "none"
`, oldPort, newPort)
	for _, name := range accounts {
		fmt.Fprintf(&text, "[[account]]\nname = %q\nsource = { user = %[1]q, password = %[2]q }\ndestination = { user = %[1]q, password = %[2]q }\n", name, wirePassword)
	}
	path := filepath.Join(dir, "imapsyncd.toml")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	c.Path = ""
	return c
}

func (w *wire) serve(s *imapsim.Server, port int) {
	l, err := w.network.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		w.t.Fatal(err)
	}
	w.ends = append(w.ends, l)
	w.serving.Go(func() {
		if err := s.Serve(l); err != nil {
			w.t.Error(err)
		}
	})
}

// close ends what is left of the world.
func (w *wire) close() {
	if w.running != nil {
		w.kill()
		<-w.ended
	}
	for _, l := range w.ends {
		l.Close()
	}
	w.network.Sever()
	w.serving.Wait()
	os.RemoveAll(w.dir)
}

// run starts the daemon.
func (w *wire) run() {
	w.t.Helper()
	w.stopping = make(chan struct{})
	d, err := Open(Options{
		Config: w.config, Stopping: w.stopping, Dial: w.network.Dial, Listen: w.network.Listen, Version: "test",
		LookAgain: w.lookAgain, Jitter: w.jitter,
		Load:   func() (*config.Config, error) { return w.config, nil },
		Logger: slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: w.level})),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if w.mutate != nil {
		d.mutate = func(o *pass.Options) { w.mutate(w, o) }
	}
	ctx, kill := context.WithCancel(context.Background())
	r, ended := d.newRunning(ctx), make(chan error, 1)
	go func() { ended <- errors.Join(r.run(ctx), d.Close()) }()
	w.kill, w.ended = kill, ended
	w.isRunning(r)
}

// stop ends the daemon in good order.
func (w *wire) stop() error {
	close(w.stopping)
	return w.hasEnded()
}

// crash ends it at once.
func (w *wire) crash() {
	w.kill()
	if err := w.hasEnded(); !errors.Is(err, context.Canceled) {
		w.t.Errorf("killed: %v", err)
	}
}

func (w *wire) hasEnded() error {
	err := <-w.ended
	w.kill()
	w.isRunning(nil)
	return err
}

func (w *wire) isRunning(r *running) {
	w.acting.Lock()
	defer w.acting.Unlock()
	w.running = r
}

// intents are those in the state now, unless the daemon is just opening or
// closing it.
func (w *wire) intents() (list []mail.Intent, known bool) {
	read := func(store *state.Store) (err error) {
		list, err = store.Intents()
		return err
	}
	var err error
	if r := w.running; r != nil {
		f, ferr := r.follower("u")
		if ferr != nil || !f.storeMu.TryLock() {
			return nil, false
		}
		defer f.storeMu.Unlock()
		if f.work != nil {
			err = read(f.work.store)
		} else {
			err = r.inspect(*f.account, read)
		}
	} else {
		err = w.readState(read)
	}
	return list, err == nil || errors.Is(err, fs.ErrNotExist)
}

// readState lends the state while the daemon does not run.
func (w *wire) readState(use func(*state.Store) error) error {
	store, err := state.Open(StatePath(w.config.StateDir, "u"), state.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	return errors.Join(use(store), store.Close())
}

// act has the people at work, unless they are already.
func (w *wire) act(what func()) {
	if w.acting.TryLock() {
		defer w.acting.Unlock()
		what()
	}
}

// check ends the daemon, compares both servers with what should be there and
// with the state, and has the daemon run once more, which must change nothing.
func (w *wire) check() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := w.stop(); err != nil {
		fail("the daemon ends: %w", err)
	}
	errs = append(errs, w.people.Check()...)
	if err := w.readState(w.checkState); err != nil {
		fail("state: %w", err)
	}
	changes := w.new.Count(imapsim.Changing...)
	w.run()
	time.Sleep(time.Minute)
	if health := w.health(); health != mail.HealthOK {
		holds, err := w.running.operator().Holds(context.Background())
		fail("the account is %s: %+v, %v", health, holds, err)
	}
	if err := w.stop(); err != nil {
		fail("the daemon ends again: %w", err)
	}
	if n := w.new.Count(imapsim.Changing...) - changes; n != 0 {
		fail("a second run has sent %d commands that change something", n)
	}
	for side, server := range map[string]*imapsim.Server{"old": w.old, "new": w.new} {
		for _, v := range server.Violations() {
			fail("to the %s server: %s", side, v)
		}
	}
	if n := w.old.Count(imapsim.Changing...); n != 0 {
		fail("%d commands that change something were sent to the old server", n)
	}
	return errors.Join(errs...)
}

func (w *wire) health() mail.Health {
	f, err := w.running.follower("u")
	if err != nil {
		w.t.Fatal(err)
	}
	return f.Status().Health
}

// checkState compares the state with the new server: no open intent, and
// receipts one to one with the copies.
func (w *wire) checkState(store *state.Store) error {
	err := store.Check()
	intents, ierr := store.Intents()
	pairs, perr := store.Pairs()
	err = errors.Join(err, ierr, perr)
	for _, i := range intents {
		if i.Open() {
			err = errors.Join(err, fmt.Errorf("an intent is open: %+v", i))
		}
	}
	var named []simtest.Named
	for _, pair := range pairs {
		for r, rerr := range store.Receipts(pair.ID) {
			if rerr != nil {
				return errors.Join(err, rerr)
			}
			n := simtest.Named{Mailbox: pair.Destination, UIDValidity: pair.DestinationValidity, UID: r.Destination, Fingerprint: r.Fingerprint}
			if r.Mailbox != "" {
				n.Mailbox, n.UIDValidity = r.Mailbox, r.UIDValidity
			}
			n.Mailbox = w.new.Name(n.Mailbox)
			named = append(named, n)
		}
	}
	return errors.Join(append(w.people.CheckNamed(named), err)...)
}
