// Package demo is a small world for `imapsyncd demo`: an old and a new IMAP
// server in memory, on loopback ports of the kernel's choice, with accounts
// full of believable mail.
//
// Invariants:
//   - A seed gives the same mail, octet for octet, on every machine and day;
//     only passwords and what is delivered later differ.
//   - [World.Compare] asks the two servers over IMAP with code of its own and
//     knows nothing of the daemon or its state.
//   - After [World.Close] no goroutine and no connection is left.
package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
)

// domain is the domain of all accounts.
const domain = "example.org"

// Options says what kind of world [Start] makes.
type Options struct {
	// Dir is an existing directory: for Dir/secrets with the passwords and, by
	// the configuration, Dir/state.
	Dir string
	// Seed decides the mail.
	Seed uint64
	// Accounts is the number of accounts; 0: 4.
	Accounts int
	// Messages is the number of messages an account has; 0: 180.
	Messages int
	// AppendDelay is how much longer than needed the new server takes for each
	// APPEND, so that one can watch the copy.
	AppendDelay time.Duration
}

// World is two running servers.
type World struct {
	options  Options
	accounts []account
	old, new *server
	end      func()

	mutex sync.Mutex
	live  *mathrand.Rand // for DeliverNext
}

// account is a person with their log-ins on both servers.
type account struct {
	name     string
	person   person
	old, new *user
}

// Start fills the old server and starts both. They run until Close, or until
// ctx ends.
func Start(ctx context.Context, o Options) (*World, error) {
	if o.Accounts == 0 {
		o.Accounts = 4
	}
	if o.Messages == 0 {
		o.Messages = 180
	}
	w := &World{options: o, live: mathrand.New(mathrand.NewPCG(o.Seed, 1))}
	var oldUsers, newUsers []*user
	for i := range o.Accounts {
		a, err := newAccount(i, o)
		if err != nil {
			return nil, fmt.Errorf("make account %s: %w", a.name, err)
		}
		w.accounts = append(w.accounts, a)
		oldUsers, newUsers = append(oldUsers, a.old), append(newUsers, a.new)
	}
	if err := w.writeSecrets(); err != nil {
		return nil, err
	}
	var err error
	if w.old, err = startServer(oldUsers, 0); err != nil {
		return nil, fmt.Errorf("start the old server: %w", err)
	}
	if w.new, err = startServer(newUsers, o.AppendDelay); err != nil {
		w.old.close()
		return nil, fmt.Errorf("start the new server: %w", err)
	}
	end := sync.OnceFunc(func() { w.old.close(); w.new.close() })
	forget := context.AfterFunc(ctx, end)
	w.end = func() { forget(); end() }
	return w, nil
}

// Close ends both servers and waits for their connections. It may be called
// more than once.
func (w *World) Close() { w.end() }

// newAccount makes the i-th account and its mail.
func newAccount(i int, o Options) (account, error) {
	everybody := people()
	p := everybody[i%len(everybody)]
	if n := i / len(everybody); n > 0 {
		p.login += fmt.Sprint(n + 1)
	}
	login := p.login + "@" + domain
	a := account{name: p.login, person: p, old: newUser(login, rand.Text()), new: newUser(login, rand.Text())}

	// Two servers do not number alike: mailboxes made and deleted raise the
	// UIDVALIDITY of those that follow.
	for range 1000 {
		if err := a.old.memory.Create("x", nil); err != nil {
			return a, err
		}
		if err := a.old.memory.Delete("x"); err != nil {
			return a, err
		}
	}
	r := mathrand.New(mathrand.NewPCG(o.Seed, uint64(i)<<32))
	for _, f := range p.mailboxes {
		if err := fill(a.old, f, oldMail(r, p, f, o.Messages*f.share/100)); err != nil {
			return a, err
		}
	}
	if i == 0 {
		photos := folder{name: "Fotos"}
		if err := fill(a.old, photos, []message{largeMessage(r, p, photos)}); err != nil {
			return a, err
		}
	}
	// The new server has what most give a new account, in English.
	for _, f := range []folder{
		{name: "INBOX"}, {name: "Sent", role: imap.MailboxAttrSent}, {name: "Drafts", role: imap.MailboxAttrDrafts},
		{name: "Trash", role: imap.MailboxAttrTrash}, {name: "Junk", role: imap.MailboxAttrJunk},
	} {
		if err := fill(a.new, f, nil); err != nil {
			return a, err
		}
	}
	return a, nil
}

// fill makes a subscribed mailbox that holds the messages.
func fill(u *user, f folder, messages []message) error {
	if err := u.create(f.name, f.role); err != nil {
		return err
	}
	if err := u.subscribe(f.name, true); err != nil {
		return err
	}
	for _, m := range messages {
		if err := u.store(f.name, m); err != nil {
			return err
		}
	}
	return nil
}

// oldMail writes n messages in the order of their arrival. Some are there
// twice, as a mailing list and a careless thumb leave them.
func oldMail(r *mathrand.Rand, p person, f folder, n int) []message {
	var messages []message
	for len(messages) < n {
		m := oldMessage(r, p, f)
		messages = append(messages, m)
		if r.IntN(40) == 0 && len(messages) < n {
			messages = append(messages, m)
		}
	}
	slices.SortStableFunc(messages, func(a, b message) int { return a.arrived.Compare(b.arrived) })
	return messages
}

// writeSecrets writes Dir/secrets/ACCOUNT.old and .new, for the owner only.
func (w *World) writeSecrets() error {
	dir := filepath.Join(w.options.Dir, "secrets")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make secrets: %w", err)
	}
	for _, a := range w.accounts {
		for ending, u := range map[string]*user{".old": a.old, ".new": a.new} {
			path := filepath.Join(dir, a.name+ending)
			// A file that is there keeps its mode when it is written.
			if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
				return fmt.Errorf("replace secret: %w", err)
			}
			if err := os.WriteFile(path, []byte(u.password+"\n"), 0o600); err != nil {
				return fmt.Errorf("write secret: %w", err)
			}
		}
	}
	return nil
}

// Config returns the text of an imapsyncd.toml for this world. All its paths
// are absolute when Dir is.
func (w *World) Config() string {
	var b strings.Builder
	fmt.Fprintf(&b, "state_dir = %s\npoll_interval = \"2s\"\n\n[web]\nlisten = \"127.0.0.1:0\"\nlinger = \"0s\"\n",
		quote(filepath.Join(w.options.Dir, "state")))
	for _, side := range []struct {
		name   string
		server *server
	}{{"source", w.old}, {"destination", w.new}} {
		fmt.Fprintf(&b, "\n[%s]\nhost = %s\nport = %d\ntls = \"none\"\n", side.name, quote(side.server.addr.IP.String()), side.server.addr.Port)
	}
	for _, a := range w.accounts {
		secret := filepath.Join(w.options.Dir, "secrets", a.name)
		fmt.Fprintf(&b, "\n[[account]]\nname = %s\n", quote(a.name))
		fmt.Fprintf(&b, "[account.source]\nuser = %s\npassword_file = %s\n", quote(a.old.login), quote(secret+".old"))
		fmt.Fprintf(&b, "[account.destination]\nuser = %s\npassword_file = %s\n", quote(a.new.login), quote(secret+".new"))
	}
	return b.String()
}

// quote writes s as JSON does, which TOML reads as a basic string.
func quote(s string) string {
	b, _ := json.Marshal(s) // a string can always be written
	return string(b)
}

// Accounts returns the names of the accounts.
func (w *World) Accounts() []string {
	var names []string
	for _, a := range w.accounts {
		names = append(names, a.name)
	}
	return names
}

// Deliver puts a message with CRLF line ends into a mailbox of the old server,
// as mail that arrives now.
func (w *World) Deliver(account, mailbox, text string) error {
	for _, a := range w.accounts {
		if a.name == account {
			if err := a.old.store(mailbox, message{text: text, arrived: time.Now()}); err != nil {
				return fmt.Errorf("deliver to %s of %s: %w", mailbox, account, err)
			}
			return nil
		}
	}
	return fmt.Errorf("deliver: no account %q", account)
}

// DeliverNext writes a message and delivers it to the INBOX of somebody, whose
// account it returns.
func (w *World) DeliverNext() (account string, err error) {
	w.mutex.Lock()
	a := w.accounts[w.live.IntN(len(w.accounts))]
	text := compose(w.live, a.person, false, time.Now())
	w.mutex.Unlock()
	return a.name, w.Deliver(a.name, "INBOX", text)
}

// FileNext has somebody who still works on the old server send a message, and
// file it there. It returns whose account that is.
func (w *World) FileNext() (account string, err error) {
	w.mutex.Lock()
	a := w.accounts[w.live.IntN(len(w.accounts))]
	text := compose(w.live, a.person, true, time.Now())
	w.mutex.Unlock()
	sent := slices.IndexFunc(a.person.mailboxes, func(f folder) bool { return f.role == imap.MailboxAttrSent })
	return a.name, w.Deliver(a.name, a.person.mailboxes[sent].name, text)
}
