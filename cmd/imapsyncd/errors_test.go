package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// TestFailures: what goes wrong with one account is one clear line that says
// what to do, and the other account is copied all the same.
func TestFailures(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	expired := dovecot.Start(t, dovecot.Options{Expired: true})
	other := dovecot.Start(t, dovecot.Options{CertificateName: "mail.example.org"})
	boxes := corpus.Make(8, 25, 3000)
	s.client(s.old, "bad").Fill(boxes)
	for name, c := range map[string]struct {
		bad  string // keys of the bad account's source or destination
		want []string
	}{
		"wrong password": {"[account.source]\nuser = \"bad\"\npassword = \"nonsense\"\n[account.destination]\nuser = \"bad\"\n",
			[]string{"old server 127.0.0.1: log-in as bad refused: AUTHENTICATIONFAILED", "check user and password of the account"}},
		"unknown host": {"[account.source]\nuser = \"bad\"\nhost = \"no-such-host.invalid\"\nallow_cleartext = true\n[account.destination]\nuser = \"bad\"\n",
			[]string{"old server no-such-host.invalid: the name does not resolve", "check host in [source]"}},
		"server down": {"[account.source]\nuser = \"bad\"\n[account.destination]\nuser = \"bad\"\nport = 1\n",
			[]string{"new server 127.0.0.1: nothing listens at 127.0.0.1:1", "check that the server runs, and port and tls in [destination]"}},
		"expired certificate": {fmt.Sprintf("[account.source]\nuser = \"bad\"\ntls = \"implicit\"\nport = %d\ntls_ca_file = %q\n[account.destination]\nuser = \"bad\"\n", expired.TLSPort, expired.CAFile),
			[]string{"the certificate for localhost, 127.0.0.1 is valid from", "write into [source]: tls_fingerprint = \""}},
		"wrong name": {fmt.Sprintf("[account.source]\nuser = \"bad\"\ntls = \"starttls\"\nport = %d\ntls_ca_file = %q\n[account.destination]\nuser = \"bad\"\n", other.Port, other.CAFile),
			[]string{"the certificate is for mail.example.org, not for 127.0.0.1", "write into [source]: tls_server_name = \"mail.example.org\""}},
		"unknown authority": {fmt.Sprintf("[account.source]\nuser = \"bad\"\ntls = \"implicit\"\nport = %d\n[account.destination]\nuser = \"bad\"\n", s.old.TLSPort),
			[]string{"cannot be trusted", "tls_fingerprint = \""}},
		"no IMAP": {fmt.Sprintf("[account.source]\nuser = \"bad\"\ntls = \"implicit\"\nport = %d\n[account.destination]\nuser = \"bad\"\n", s.old.Port),
			[]string{"old server 127.0.0.1: TLS fails", "check port and tls in [source]"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lane := &site{t: t, old: s.old, new: s.new, dir: t.TempDir()}
			good := strings.ReplaceAll(name, " ", "-") // an account of its own
			lane.client(s.old, good).Fill(boxes)
			lane.start(good, c.bad)
			code, out := lane.run("sync")
			if code != exitHeld {
				t.Errorf("exit %d", code)
			}
			line := lineWith(out, "imapsyncd: account bad: ")
			for _, want := range c.want {
				if !strings.Contains(line, want) {
					t.Errorf("lacks %q: %s", want, line)
				}
			}
			if strings.Count(out, "imapsyncd: account") != 1 || !strings.Contains(out, good+": done") {
				t.Errorf("the other account is not done:\n%s", out)
			}
			if code, out := lane.run("check"); code != exitHeld || !strings.Contains(out, "bad: FAILED") || !strings.Contains(out, good+": ok") {
				t.Errorf("check: exit %d\n%s", code, out)
			}
		})
	}
}

// start writes a configuration of a good account and a bad one.
func (s *site) start(good, bad string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "password"), []byte(dovecot.Password), 0o600); err != nil {
		s.t.Fatal(err)
	}
	s.configure(near(s.old.Port), near(s.new.Port), good)
	s.write(readFile(s.t, filepath.Join(s.dir, "c.toml")) + "[[account]]\nname = \"bad\"\n" + bad)
}

func lineWith(text, part string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}

// TestFull: a mailbox on the new server that is full, that cannot be written
// to, and a message that it finds too big.
func TestFull(t *testing.T) {
	t.Parallel()
	quota := dovecot.Options{Extra: `
protocol imap {
  mail_plugins = quota
}
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=300K
  quota_max_mail_size = 100K
}
`}
	s := newSite(t, dovecot.Options{}, quota)
	old := s.client(s.old, "u")
	big := corpus.Message{Data: []byte("Subject: big\r\n\r\n" + strings.Repeat("0123456789abcdef\r\n", 8000)), Date: boxDate}
	small := corpus.Message{Data: []byte("Subject: small\r\n\r\nx\r\n"), Date: boxDate}
	old.Append("INBOX", small, big, small)
	s.configure(near(s.old.Port), near(s.new.Port), "u")
	code, out := s.run("sync")
	if code != exitHeld || !strings.Contains(out, "2 messages copied") || !strings.Contains(out, "1 held") {
		t.Errorf("exit %d\n%s", code, out)
	}
	list := s.must("hold", "list")
	id := strings.Fields(lineWith(list, "u/"))
	if len(id) == 0 {
		t.Fatalf("hold list: %s", list)
	}
	if show := s.must("hold", "show", id[0]); !strings.Contains(show, "UID:      2 on the old server") || !strings.Contains(show, "size:     144.0 kB") {
		t.Errorf("hold show: %s", show)
	}
	// Tried again only when it is asked for, and then held again.
	if code, out := s.run("sync"); code != exitHeld || !strings.Contains(out, " 0 messages copied") {
		t.Errorf("exit %d\n%s", code, out)
	}
	s.must("hold", "retry", id[0])
	if code, out := s.run("sync"); code != exitHeld || !strings.Contains(out, "1 held") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if code, _ := s.run("hold", "skip", id[0]); code != exitUsage {
		t.Errorf("a skip without a word: exit %d", code)
	}
	s.must("hold", "skip", id[0], "--because", "too big for the new server")
	if out := s.must("sync"); !strings.Contains(out, " 0 messages copied") {
		t.Errorf("%s", out)
	}
	if out := s.must("verify"); !strings.Contains(out, "1 skipped") || !strings.Contains(out, "too big for the new server") {
		t.Errorf("verify: %s", out)
	}
	if code, out := s.run("hold", "retry", "u/9.9"); code != exitFailed || !strings.Contains(out, "nothing is held as u/9.9") {
		t.Errorf("exit %d: %s", code, out)
	}

	// Over quota: what fits is copied, the rest when there is room.
	var many []corpus.Message
	for i := range 30 {
		many = append(many, corpus.Message{Data: fmt.Appendf(nil, "Subject: %d\r\n\r\n%s", i, strings.Repeat("x", 20_000)), Date: boxDate})
	}
	old.Append("INBOX", many...)
	code, out = s.run("sync")
	if code != exitFailed || !strings.Contains(out, "account u: ") || !strings.Contains(out, "the mailbox on the new server is full") {
		t.Errorf("exit %d\n%s", code, out)
	}
	s.new.Stop()
	s.new.Configure("quota_rule = *:storage=300K", "quota_rule = *:storage=30M")
	s.new.Restart()
	if out := s.must("sync"); strings.Contains(out, " 0 messages copied") {
		t.Errorf("%s", out)
	}
	if out := s.must("verify", "--deep"); !strings.Contains(out, "32 equal") {
		t.Errorf("verify: %s", out)
	}

	// A mailbox that cannot be written to is held; the others go on.
	old.Do("CREATE locked")
	old.Append("locked", small)
	old.Append("INBOX", small)
	s.client(s.new, "u").Do("CREATE locked")
	locked := filepath.Join(s.new.Maildir("u"), ".locked")
	if err := exec.Command("chown", "-R", "0:0", locked).Run(); err != nil {
		t.Fatal(err)
	}
	os.Chmod(locked, 0o755)
	code, out = s.run("sync")
	if code != exitHeld || !strings.Contains(out, "1 message copied") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if list := s.must("hold", "list"); !strings.Contains(list, "locked") || !strings.Contains(list, "mailbox") {
		t.Errorf("hold list: %s", list)
	}
	if err := exec.Command("chown", "-R", "nobody", locked).Run(); err != nil {
		t.Fatal(err)
	}
	if out := s.must("sync"); !strings.Contains(out, "1 message copied") {
		t.Errorf("%s", out)
	}
}

// TestQuotaReserve: copying pauses before the new mailbox is full, says so, and
// goes on once there is room.
func TestQuotaReserve(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{}, dovecot.Options{Extra: `
protocol imap {
  mail_plugins = quota imap_quota
}
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=300K
}
`})
	var many []corpus.Message
	for i := range 40 {
		many = append(many, corpus.Message{Data: fmt.Appendf(nil, "Subject: %d\r\n\r\n%s", i, strings.Repeat("x", 20_000)), Date: boxDate})
	}
	old, new := s.client(s.old, "u"), s.client(s.new, "u")
	old.Append("INBOX", many[:5]...)
	s.configure(near(s.old.Port), near(s.new.Port), "u")
	s.write(strings.Replace(readFile(t, filepath.Join(s.dir, "c.toml")), "[destination]\n", "[destination]\nquota_reserve = \"50%\"\n", 1) + "[web]\nlisten = \"127.0.0.1:0\"\n")
	if out := s.must("sync"); !strings.Contains(out, "5 messages copied") {
		t.Errorf("%s", out)
	}
	old.Append("INBOX", many[5:]...)
	p := s.daemon()
	p.until("it waits for room", func(a web.AccountStatus) bool {
		return a.Health == mail.HealthQuota && strings.Contains(a.Error, "full up to quota_reserve")
	})
	used := strings.Join(new.Do("GETQUOTAROOT INBOX"), " ")
	var kb int
	if _, err := fmt.Sscanf(used[strings.Index(used, "(STORAGE"):], "(STORAGE %d 300", &kb); err != nil || kb < 90 || kb > 150 {
		t.Errorf("%v: %s", err, used)
	}
	values, _ := p.scrape()
	if ratio := values[`imapsyncd_quota_used_ratio{account="u"}`]; ratio < 0.3 || ratio >= 1 {
		t.Errorf("%v of the quota is used", ratio)
	}
	if _, out := s.run("status", "--json"); !strings.Contains(out, `"no_room"`) || strings.Contains(out, `"room_unknown"`) {
		t.Errorf("status: %s", out)
	}
	s.new.Stop()
	s.new.Configure("quota_rule = *:storage=300K", "quota_rule = *:storage=30M")
	s.new.Restart()
	p.until("all is copied", func(a web.AccountStatus) bool {
		s.run("sync", "--account", "u", "--now")
		return a.Health == mail.HealthOK && a.Messages.Pending == 0 && a.Messages.Copied == 35
	})
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

var boxDate = corpus.Make(0, 25, 1000)[0].Messages[0].Date

// TestStateDirectory: one that cannot be written to, one that is in use, one on
// a disk that is full.
func TestStateDirectory(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	s.client(s.old, "u").Fill(corpus.Make(9, 2000, 2000))
	s.configure(near(s.old.Port), near(s.new.Port), "u")
	text := readFile(t, filepath.Join(s.dir, "c.toml"))

	s.write(strings.Replace(text, `state_dir = "state"`, `state_dir = "password/state"`, 1))
	if code, out := s.run("sync"); code != exitFailed || !strings.Contains(out, "state directory") || !strings.Contains(out, "set state_dir") {
		t.Errorf("exit %d: %s", code, out)
	}

	// 120 KiB hold the beginning of the state and no more.
	full := filepath.Join(s.dir, "full")
	if err := os.Mkdir(full, 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=120k", "tmpfs", full).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
	mounted := true
	defer func() {
		if mounted {
			exec.Command("umount", full).Run()
		}
	}()
	s.write(strings.Replace(text, `state_dir = "state"`, `state_dir = "full"`, 1))
	code, out := s.run("sync")
	if code != exitFailed || !strings.Contains(out, "no space left on device") || strings.Count(out, "imapsyncd: account u") != 1 {
		t.Errorf("exit %d: %s", code, out)
	}
	// With room again it goes on where it was.
	if out, err := exec.Command("mount", "-o", "remount,size=20m", full).CombinedOutput(); err != nil {
		t.Fatalf("remount: %v: %s", err, out)
	}
	s.must("sync")
	if differences := corpus.Compare(t, s.old.Address(), s.new.Address(), "u", dovecot.Password); len(differences) > 0 {
		t.Errorf("%d differences: %q", len(differences), differences[:min(3, len(differences))])
	}
	if err := exec.Command("umount", full).Run(); err != nil {
		t.Fatal(err)
	}
	mounted = false
}
