package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
)

// narrow is a server that bears three connections of a user, and on the new side
// gives everybody little room.
const narrow = `
mail_max_userip_connections = 3
default_client_limit = 4000
service imap {
  process_limit = 1000
}
service imap-login {
  service_count = 0
}
protocol imap {
  mail_plugins = quota imap_quota
}
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=%s
}
`

// TestNarrow: servers that bear fewer connections of a user than they are said to,
// and one of them gives less room than some need. Of a few accounts, 50 with
// -storm, nobody is locked out, nobody's mailbox is filled to the brim, and all are
// complete once there is room. Every other user has two connections to the new
// server open himself.
func TestNarrow(t *testing.T) {
	t.Parallel()
	const quota, messages, size = 1000 << 10, 600, 2000 // worth several connections
	accounts := 3
	if *storm {
		accounts = 50
	}
	fat := accounts / 3
	total := fat*messages + (accounts-fat)*messages/4
	s := newSite(t, dovecot.Options{Extra: fmt.Sprintf(narrow, "0")}, dovecot.Options{Extra: fmt.Sprintf(narrow, "1000K")})
	boxes := []string{"INBOX", "a", "b", "c", "d"}
	var names []string
	for i := range accounts {
		name := fmt.Sprintf("u%02d", i)
		names = append(names, name)
		client := corpus.Dial(t, s.old.Address(), name, dovecot.Password)
		n := messages / 4
		if i < fat {
			n = messages
		}
		for j, box := range boxes {
			if j > 0 {
				client.Do("CREATE " + box)
			}
			var all []corpus.Message
			for k := j; k < n; k += len(boxes) {
				all = append(all, corpus.Message{Data: fmt.Appendf(nil, "Message-ID: <%d.%d@narrow.example>\r\nSubject: %d\r\n\r\n%s\r\n", i, k, k, strings.Repeat("x", size)), Date: boxDate})
			}
			client.Append(box, all...)
		}
		client.Do("LOGOUT")
		for range 2 * (1 - i%2) {
			corpus.Dial(t, s.new.Address(), name, dovecot.Password)
		}
	}
	s.configure(near(s.old.Port)+"max_connections_per_account = 8\n", near(s.new.Port)+"max_connections_per_account = 8\n", names...)
	s.write("poll_interval = \"10s\"\n" + readFile(t, filepath.Join(s.dir, "c.toml")) + "[web]\nlisten = \"127.0.0.1:0\"\n[metrics]\naccount_label = \"none\"\n")
	began := time.Now()
	p := s.daemon()
	await(t, "it has begun", func() bool { return page.MatchString(p.log.String()) })
	p.showsWithin("all but those who need more room are complete", map[string]float64{
		`accounts{health="ok",phase="following"}`:                      float64(accounts - fat),
		`accounts{health="quota",phase="seeding"}`:                     float64(fat),
		`connection_errors_total{class="auth",side="source"}`:          0,
		`connection_errors_total{class="auth",side="destination"}`:     0,
		`connection_errors_total{class="protocol",side="destination"}`: 0,
	}, 5*time.Minute)
	took := time.Since(began)

	for i, name := range names {
		used := s.stored(name)
		if most := int64(quota) * 95 / 100; used > most || i < fat && used < quota/2 {
			t.Errorf("%s has %d octets on the new server, of %d that it may have", name, used, most)
		}
	}

	s.new.Stop()
	s.new.Configure("storage=1000K", "storage=10M")
	s.new.Restart()
	await(t, "all is there", func() bool {
		s.run("sync", "--now")
		values, _ := p.scrape()
		return values[`imapsyncd_accounts{health="ok",phase="following"}`] == float64(accounts)
	})
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	equal := 0
	for line := range strings.Lines(s.must("verify")) {
		n := 0
		if _, err := fmt.Sscanf(strings.TrimSpace(line), "%d equal", &n); err == nil {
			equal += n
		}
	}
	if equal != total {
		t.Errorf("%d of %d messages are equal", equal, total)
	}
	tooMany := func(d *dovecot.Server) int {
		return strings.Count(readFile(t, filepath.Join(d.Dir, "log")), "Maximum number of connections")
	}
	before, after := tooMany(s.old), tooMany(s.new)
	t.Logf("%d accounts after %s; connections too many: %d to the old server, %d to the new one", accounts, took.Round(time.Second), before, after)
	if most := 10 * accounts; before > most || after > most || after == 0 && !*storm { // with many, nobody needs a second
		t.Errorf("the servers were asked for too many connections, or never")
	}
}

// stored is how many octets of mail an account has on the new server.
func (s *site) stored(account string) (octets int64) {
	s.t.Helper()
	err := filepath.Walk(s.new.Maildir(account), func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() && (filepath.Base(filepath.Dir(path)) == "cur" || filepath.Base(filepath.Dir(path)) == "new") {
			octets += info.Size()
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return octets
}
