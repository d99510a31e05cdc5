package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
)

const (
	// crowdUID is the first of the users that the mail belongs to, and usersOfOne
	// is of how many accounts one is: Linux gives a user 128 instances of inotify,
	// and each account that is listened to needs one.
	crowdUID   = 20_000
	usersOfOne = 50
)

// crowdLimits are those of a Dovecot for some thousand users at a time.
const crowdLimits = asByDefault + `
default_client_limit = 60000
default_process_limit = 10000
mail_max_userip_connections = 20
imap_hibernate_timeout = 20s
service imap-login {
  service_count = 0
  process_min_avail = 2
  process_limit = 2
  client_limit = 20000
  vsz_limit = 0
}
service imap {
  process_limit = 10000
  unix_listener imap-master {
    user = $default_internal_user
  }
}
service imap-hibernate {
  process_limit = 1
  unix_listener imap-hibernate {
    mode = 0666
  }
}
`

// withoutNotify is what this Dovecot offers by itself, but for NOTIFY.
const withoutNotify = `imap_capability = IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE SORT SORT=DISPLAY THREAD=REFERENCES THREAD=REFS THREAD=ORDEREDSUBJECT MULTIAPPEND URL-PARTIAL CATENATE UNSELECT CHILDREN NAMESPACE UIDPLUS LIST-EXTENDED I18NLEVEL=1 CONDSTORE QRESYNC ESEARCH ESORT SEARCHRES WITHIN CONTEXT=SEARCH LIST-STATUS BINARY MOVE SNIPPET=FUZZY PREVIEW=FUZZY PREVIEW STATUS=SIZE SAVEDATE LITERAL+
`

// asByDefault undoes what the servers of other tests do for speed.
const asByDefault = "mail_fsync = optimized\n"

// dovecotCrowd is a crowd on two real servers. What arrives on the new one is
// seen in its Maildirs.
type dovecotCrowd struct {
	t         *testing.T
	old, new  *dovecot.Server
	agent     bool
	accounts  int
	mailboxes int
	arrived   chan time.Duration

	mu      sync.Mutex
	waiting map[crowdDelivery][]time.Time // when what is not there yet was delivered
	seen    map[string]bool               // names of files
	of      map[int32]crowdDelivery       // by descriptor of inotify
}

func newDovecotCrowd(t *testing.T, accounts, mailboxes int, notify, agent bool) *dovecotCrowd {
	t.Helper()
	c := &dovecotCrowd{
		t: t, agent: agent, accounts: accounts, mailboxes: mailboxes, arrived: make(chan time.Duration, *crowdDeliveries),
		waiting: make(map[crowdDelivery][]time.Time), seen: make(map[string]bool), of: make(map[int32]crowdDelivery),
	}
	start := func(extra string) *dovecot.Server {
		var people strings.Builder
		for i := range accounts {
			fmt.Fprintf(&people, "%s::%d:%[2]d::$DIR/mail/%[1]s::\n", crowdUser(i), crowdUID+i/usersOfOne)
		}
		s := dovecot.Start(t, dovecot.Options{Extra: crowdLimits + extra, Files: map[string]string{"people": people.String()}})
		s.Stop()
		s.Configure("userdb {\n", "userdb {\n  driver = passwd-file\n  args = username_format=%u "+s.Dir+"/people\n}\nuserdb {\n")
		for i := range accounts {
			c.maildir(s, i)
		}
		s.Restart()
		return s
	}
	without := ""
	if !notify {
		without = withoutNotify
	}
	c.old, c.new = start(without), start("")
	return c
}

// maildir makes what there is of an account at first: on the old server its
// mailboxes and a message.
func (c *dovecotCrowd) maildir(s *dovecot.Server, account int) {
	c.t.Helper()
	uid := crowdUID + account/usersOfOne
	make := func(dir string) {
		if err := os.Mkdir(dir, 0o700); err != nil {
			c.t.Fatal(err)
		}
		if err := os.Chown(dir, uid, uid); err != nil {
			c.t.Fatal(err)
		}
	}
	root := s.Maildir(crowdUser(account))
	make(root)
	if c.old != nil {
		return // the new server makes the rest itself
	}
	for i := range c.mailboxes {
		dir := filepath.Join(root, crowdFolder(i))
		if i > 0 {
			make(dir)
		}
		for _, sub := range []string{"cur", "new", "tmp"} {
			make(filepath.Join(dir, sub))
		}
	}
	c.drop(s, account, 0, []byte(crowdMessage(-1)))
}

// drop delivers as an agent does that knows nothing of the server.
func (c *dovecotCrowd) drop(s *dovecot.Server, account, mailbox int, data []byte) {
	c.t.Helper()
	s.DropAs(crowdUID+account/usersOfOne, crowdUser(account), crowdFolder(mailbox), data)
}

// crowdFolder is the directory of a mailbox below the Maildir.
func crowdFolder(i int) string {
	if i == 0 {
		return ""
	}
	return "." + crowdBox(i)
}

func (c *dovecotCrowd) server(side string) *dovecot.Server {
	if side == "source" {
		return c.old
	}
	return c.new
}

func (c *dovecotCrowd) keys(side string) string {
	return fmt.Sprintf("tls_ca_file = %q\n", c.server(side).CAFile)
}
func (c *dovecotCrowd) port(side string) int { return c.server(side).TLSPort }
func (c *dovecotCrowd) password() string     { return dovecot.Password }

// ready begins to watch the Maildirs of the new server.
func (c *dovecotCrowd) ready() {
	c.t.Helper()
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err != nil {
		c.t.Fatal(err)
	}
	for account := range c.accounts {
		for mailbox := range c.mailboxes {
			for _, sub := range []string{"cur", "new"} {
				w, err := syscall.InotifyAddWatch(fd, filepath.Join(c.new.Maildir(crowdUser(account)), crowdFolder(mailbox), sub), syscall.IN_MOVED_TO|syscall.IN_CREATE)
				if err != nil {
					c.t.Fatal(err)
				}
				c.of[int32(w)] = crowdDelivery{account, mailbox}
			}
		}
	}
	events := os.NewFile(uintptr(fd), "inotify")
	ended := make(chan struct{})
	c.t.Cleanup(func() {
		events.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		buf := make([]byte, 64<<10)
		for {
			n, err := events.Read(buf)
			if err != nil {
				return
			}
			for rest := buf[:n]; len(rest) > 0; {
				event := (*syscall.InotifyEvent)(unsafe.Pointer(&rest[0]))
				end := syscall.SizeofInotifyEvent + int(event.Len)
				c.stored(event.Wd, strings.TrimRight(string(rest[syscall.SizeofInotifyEvent:end]), "\x00"))
				rest = rest[end:]
			}
		}
	}()
}

// stored notes that a file has come to a Maildir, from tmp or from new.
func (c *dovecotCrowd) stored(watch int32, file string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name, _, _ := strings.Cut(file, ":")
	at := c.of[watch]
	if waiting := c.waiting[at]; !c.seen[name] && len(waiting) > 0 {
		c.seen[name] = true
		c.arrived <- time.Since(waiting[0])
		c.waiting[at] = waiting[1:]
	}
}

func (c *dovecotCrowd) deliver(account, mailbox int) {
	c.t.Helper()
	at := crowdDelivery{account, mailbox}
	c.mu.Lock()
	n := len(c.seen) + len(c.waiting)
	c.mu.Unlock()
	message := []byte(crowdMessage(n))
	note := func() {
		c.mu.Lock()
		c.waiting[at] = append(c.waiting[at], time.Now())
		c.mu.Unlock()
	}
	if c.agent {
		note()
		c.drop(c.old, account, mailbox, message)
		return
	}
	client := corpus.Dial(c.t, c.old.Address(), crowdUser(account), dovecot.Password)
	note()
	client.Append(crowdBox(mailbox), corpus.Message{Data: message, Date: time.Now().Truncate(time.Second)})
	client.Do("LOGOUT")
}

func (c *dovecotCrowd) next() time.Duration { return <-c.arrived }
