package main

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// inInbox makes a Dovecot put everything into INBOX, with dots, as Courier does.
const inInbox = `namespace inbox {
  prefix = INBOX.
  separator = .
}
`

// withPublic gives every user the mailboxes below "Public.", and withQuota a quota.
const (
	withPublic = `namespace public {
  type = public
  prefix = Public.
  separator = .
  location = maildir:$DIR/mail/public
  subscriptions = no
}
`
	withQuota = `protocol imap {
  mail_plugins = quota imap_quota
}
plugin {
  quota = maildir:User quota
  quota_rule = *:storage=10M
}
`
)

// byFolders makes it take names with dots, and long ones.
const byFolders = "mail_location = maildir:$DIR/mail/%u:LAYOUT=fs\n"

// withRoles makes it announce roles.
const withRoles = `namespace inbox {
  mailbox Sent {
    special_use = \Sent
    auto = create
  }
  mailbox Trash {
    special_use = \Trash
    auto = create
  }
}
`

// mapped is a site whose messages are told apart by the mailbox that they were
// put into.
type mapped struct {
	*site
	texts map[[sha256.Size]byte]string
}

func newMapped(t *testing.T, old, new dovecot.Options) *mapped {
	return &mapped{newSite(t, old, new), make(map[[sha256.Size]byte]string)}
}

// in puts one message into each of these mailboxes, "|" between their levels.
func (s *mapped) in(server *dovecot.Server, user, prefix, separator string, mailboxes ...string) {
	s.t.Helper()
	c := s.client(server, user)
	for i, text := range mailboxes {
		name := prefix + strings.ReplaceAll(text, "|", separator)
		if text == "INBOX" {
			name = text
		} else {
			c.Do(`CREATE "` + corpus.Encode(name) + `"`)
		}
		data := []byte("Subject: " + text + "\r\n\r\n" + text + "\r\n")
		s.texts[sha256.Sum256(data)] = text
		c.Append(name, corpus.Message{Data: data, Date: time.Date(2024, 5, 1, 0, i, 0, 0, time.UTC)})
	}
}

// there tells what is in each mailbox of a server.
func (s *mapped) there(server *dovecot.Server, user string) map[string]string {
	s.t.Helper()
	boxes, _ := corpus.Read(s.t, server.Address(), user, dovecot.Password)
	found := make(map[string]string)
	for name, messages := range boxes {
		var texts []string
		for _, m := range messages {
			texts = append(texts, s.texts[m.Sum])
		}
		if len(texts) > 0 {
			slices.Sort(texts)
			found[name] = strings.Join(texts, ", ")
		}
	}
	return found
}

// arrived fails unless the new server holds these messages, by mailbox, and the
// state agrees.
func (s *mapped) arrived(user string, want map[string]string) {
	s.t.Helper()
	if got := s.there(s.new, user); !maps.Equal(got, want) {
		for _, name := range slices.Sorted(maps.Keys(got)) {
			s.t.Logf("%s: %s", name, got[name])
		}
		s.t.Errorf("want %q", want)
	}
	s.checkState(user)
}

// TestMapping: from everything in INBOX, with dots and in German, to the roles of
// the new server; and what many share, once it is asked for.
func TestMapping(t *testing.T) {
	t.Parallel()
	s := newMapped(t, dovecot.Options{Extra: inInbox + withPublic}, dovecot.Options{Extra: withRoles + withQuota})
	s.in(s.old, "u", "Public.", ".", "Team")
	s.in(s.old, "u", "INBOX.", ".", "INBOX", "Gesendete Elemente", "Gesendete Elemente|2019", "Entwürfe", "Papierkorb", "Kunden|Ärger & Co")
	s.configure(near(s.old.Port), near(s.new.Port), "u")
	out := s.must("check")
	for _, want := range []string{
		"    Gesendete Elemente -> Sent\n", "    Gesendete Elemente/2019 -> Sent/2019\n", "    Papierkorb -> Trash\n", "    the names of 3 mailboxes stay as they are\n",
		"; quota there: 0 B of 10.5 MB used, room for 10.0 MB beside quota_reserve\n", "    connections: 4 to either server at once\n", ": 6 messages of 1 account to carry, ", ", as fast as one connection to the old server was, with 4 at once,",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("check says no %q\n%s", want, out)
		}
	}
	if out := s.must("plan"); !strings.Contains(out, "Gesendete Elemente/2019  -> Sent/2019") {
		t.Error(out)
	}
	s.must("sync")
	s.arrived("u", map[string]string{
		"INBOX": "INBOX", "Sent": "Gesendete Elemente", "Sent/2019": "Gesendete Elemente|2019", "Entwürfe": "Entwürfe",
		"Trash": "Papierkorb", "Kunden/Ärger & Co": "Kunden|Ärger & Co",
	})
	if code, out := s.run("verify", "--deep"); code != 0 {
		t.Errorf("verify: exit %d\n%s", code, out)
	}
	if out := s.must("sync"); !strings.Contains(out, " 0 messages copied") {
		t.Errorf("second sync: %s", out)
	}
	// What comes later goes the same way.
	s.in(s.old, "u", "INBOX.", ".", "Papierkorb|2020")
	s.must("sync")
	if got := s.there(s.new, "u")["Trash/2020"]; got != "Papierkorb|2020" {
		t.Errorf("%q", got)
	}
	s.write(strings.Replace(readFile(t, filepath.Join(s.dir, "c.toml")), "[source]\n", "[source]\nnamespaces = [\"personal\", \"shared\"]\n", 1))
	s.must("sync")
	if got := s.there(s.new, "u")["Public/Team"]; got != "Team" {
		t.Errorf("%q", got)
	}
}

// TestMappingInto: into a server where everything is in INBOX, under names that it
// has to spell, and that it refuses.
func TestMappingInto(t *testing.T) {
	t.Parallel()
	s := newMapped(t, dovecot.Options{Extra: byFolders}, dovecot.Options{Extra: inInbox})
	long := strings.Repeat("sehr lang ", 12) + "und"
	names := []string{"INBOX", "INBOX|in it", "v1.0", "v1.0|b", "a|b|c", "Éléments envoyés", "Отправленные|2019", long, long + "|" + long + "|" + long}
	s.in(s.old, "u", "", "/", names...)
	s.in(s.new, "u", "INBOX.", ".", "Sent")
	s.configure(near(s.old.Port), near(s.new.Port), "u")
	s.must("sync")
	got := s.there(s.new, "u")
	want := map[string]string{
		"INBOX": "INBOX", "INBOX.in it": "INBOX|in it", "INBOX.v1_0": "v1.0", "INBOX.v1_0.b": "v1.0|b", "INBOX.a.b.c": "a|b|c",
		"INBOX.Отправленные.2019": "Отправленные|2019",
		"INBOX.Sent":              "Sent, Éléments envoyés", "INBOX." + long: long,
	}
	for name, text := range got {
		if strings.HasPrefix(text, long+"|") { // where it goes is what this server takes
			if !strings.HasPrefix(name, "INBOX.sehr lang") || len(name) > 255 {
				t.Errorf("%q", name)
			}
			want[name] = text
		}
	}
	if len(got) != len(names) {
		t.Errorf("%d mailboxes with mail", len(got))
	}
	s.arrived("u", want)
	if out := s.must("sync"); !strings.Contains(out, " 0 messages copied") {
		t.Errorf("second sync: %s", out)
	}
}

// TestMappingRules: other names and a mailbox for everything, and two sources to
// one place.
func TestMappingRules(t *testing.T) {
	t.Parallel()
	s := newMapped(t, dovecot.Options{}, dovecot.Options{Extra: withRoles})
	for _, user := range []string{"u", "p", "c"} {
		s.in(s.old, user, "", "/", "INBOX", "Sent Items", "Kunden", "Kunden|A")
	}
	s.in(s.old, "c", "", "/", "Sent")
	s.configure(near(s.old.Port), near(s.new.Port), "p")
	s.write(readFile(t, filepath.Join(s.dir, "c.toml")) + "[account.mailboxes]\nprefix = \"Alt/2026\"\n" +
		"[[account]]\nname = \"u\"\n[account.source]\nuser = \"u\"\n[account.destination]\nuser = \"u\"\n" +
		"[account.mailboxes]\nrename = { \"Kunden\" = \"Archiv/Kunden\" }\n" +
		"[[account]]\nname = \"c\"\n[account.source]\nuser = \"c\"\n[account.destination]\nuser = \"c\"\n" +
		"[account.mailboxes]\nrename = { \"Sent Items\" = \"Sent\" }\n")
	const conflict = `"Sent Items" would go to "Sent" on the new server, which takes the mail of "Sent"; give one of them another name in [mailboxes] rename, or exclude it`
	code, out := s.run("check")
	if code != exitHeld || !strings.Contains(out, "c: FAILED\n    "+conflict) || !strings.Contains(out, "p: ok") || !strings.Contains(out, "INBOX -> Alt/2026/INBOX") {
		t.Errorf("check: exit %d\n%s", code, out)
	}
	if out := s.must("plan"); !strings.Contains(out, "HELD: "+conflict) {
		t.Errorf("%s", out)
	}
	if code, out := s.run("sync"); code != exitHeld || !strings.Contains(out, "1 held") {
		t.Errorf("sync: exit %d\n%s", code, out)
	}
	if _, out := s.run("hold", "list"); !strings.Contains(out, "Sent Items") {
		t.Error(out)
	}
	s.arrived("p", map[string]string{"Alt/2026/INBOX": "INBOX", "Alt/2026/Sent Items": "Sent Items", "Alt/2026/Kunden": "Kunden", "Alt/2026/Kunden/A": "Kunden|A"})
	s.arrived("u", map[string]string{"INBOX": "INBOX", "Sent": "Sent Items", "Archiv/Kunden": "Kunden", "Archiv/Kunden/A": "Kunden|A"})
	s.arrived("c", map[string]string{"INBOX": "INBOX", "Sent": "Sent", "Kunden": "Kunden", "Kunden/A": "Kunden|A"})
	// The way out.
	s.write(strings.Replace(readFile(t, filepath.Join(s.dir, "c.toml")), `"Sent Items" = "Sent"`, `"Sent Items" = "Sent/früher"`, 1))
	s.must("sync")
	if got := s.there(s.new, "c")["Sent/früher"]; got != "Sent Items" {
		t.Errorf("%q", got)
	}
	if out := s.must("hold", "list"); strings.Contains(out, "Sent") {
		t.Error(fmt.Sprint("still held: ", out))
	}
}

// TestRulesChange: a rule that has changed since the first copy is refused, and
// both ways out lead out, without a daemon and with one (I11).
func TestRulesChange(t *testing.T) {
	t.Parallel()
	s := newMapped(t, dovecot.Options{}, dovecot.Options{Extra: withRoles})
	s.in(s.old, "u", "", "/", "INBOX", "Kunden", "Kunden|A", "B")
	s.configure(near(s.old.Port), near(s.new.Port), "u")
	plain := "poll_interval = \"1s\"\n" + readFile(t, filepath.Join(s.dir, "c.toml")) + "[web]\nlisten = \"127.0.0.1:0\"\n"
	rename := func(table string) { s.write(plain + "[mailboxes]\nrename = {" + table + "}\n") }
	s.write(plain)
	s.must("sync")
	s.arrived("u", map[string]string{"INBOX": "INBOX", "Kunden": "Kunden", "Kunden/A": "Kunden|A", "B": "B"})

	rename(`"Kunden" = "Archiv"`)
	const refusal = `"Kunden" is in "Kunden" and would go into "Archiv", "Kunden/A" is in "Kunden/A" and would go into "Archiv/A"; take that back, or`
	for _, command := range [][]string{{"sync"}, {"plan"}, {"check"}} {
		if code, out := s.run(command...); code == 0 || !strings.Contains(out, refusal) || !strings.Contains(out, "'imapsyncd mailboxes keep --account u'") {
			t.Errorf("%v: exit %d\n%s", command, code, out)
		}
	}
	if out := s.must("mailboxes", "keep"); !strings.HasPrefix(out, "2 mailboxes kept in place\n") {
		t.Error(out)
	}
	s.in(s.old, "u", "", "/", "Kunden|neu")
	s.must("sync")
	// What is new goes by the rule.
	s.arrived("u", map[string]string{"INBOX": "INBOX", "Kunden": "Kunden", "Kunden/A": "Kunden|A", "B": "B", "Archiv/neu": "Kunden|neu"})
	rename("")
	if code, out := s.run("sync"); code == 0 || !strings.Contains(out, `"Kunden/neu" is in "Archiv/neu" and would go into "Kunden/neu"`) {
		t.Errorf("exit %d\n%s", code, out)
	}

	// Once more, all of it, and moved.
	rename(`"Kunden" = "Archiv/Kunden"`)
	if out := s.must("mailboxes", "move", "--account", "u"); !strings.HasPrefix(out, "3 mailboxes to be moved by the next pass\n") {
		t.Error(out)
	}
	s.must("sync")
	in := map[string]string{"INBOX": "INBOX", "Archiv/Kunden": "Kunden", "Archiv/Kunden/A": "Kunden|A", "B": "B", "Archiv/Kunden/neu": "Kunden|neu"}
	s.arrived("u", in)
	if code, out := s.run("verify", "--deep"); code != 0 || strings.Contains(out, "moved") {
		t.Errorf("verify: exit %d\n%s", code, out)
	}

	// A daemon goes on by the old rules meanwhile.
	p := s.daemon()
	copied := func(n int) func(web.AccountStatus) bool {
		return func(a web.AccountStatus) bool {
			return a.Phase == mail.PhaseFollowing && a.Health == mail.HealthOK && a.Messages.Copied >= int64(n)
		}
	}
	p.until("it follows", copied(0))
	rename(`"Kunden" = "Archiv/Kunden", "B" = "C"`)
	if code, out := s.run("reload"); code != exitFailed || !strings.Contains(out, `"B" is in "B" and would go into "C"`) || !strings.Contains(out, "before stays in force") {
		t.Errorf("reload: exit %d\n%s", code, out)
	}
	s.in(s.old, "u", "", "/", "B|neu")
	p.until("mail is carried meanwhile", copied(1))
	in["B/neu"] = "B|neu"
	if got := s.there(s.new, "u"); !maps.Equal(got, in) {
		t.Errorf("%q", got)
	}
	if out := s.must("mailboxes", "move"); !strings.HasPrefix(out, "2 mailboxes to be moved by the next pass\n") {
		t.Error(out)
	}
	s.must("sync", "--now")
	delete(in, "B")
	delete(in, "B/neu")
	in["C"], in["C/neu"] = "B", "B|neu"
	if got := s.there(s.new, "u"); !maps.Equal(got, in) {
		t.Errorf("%q", got)
	}
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	s.arrived("u", in)

	// One that finds the change at its start stops the account until the word.
	rename(`"Kunden" = "Archiv/Kunden"`)
	p = s.daemon()
	p.until("the account has stopped", func(a web.AccountStatus) bool {
		return a.Health == mail.HealthStopped && strings.Contains(a.Error, `"B" is in "C" and would go into "B"`)
	})
	s.must("mailboxes", "keep")
	s.in(s.old, "u", "", "/", "B|mehr")
	p.until("it goes on", copied(1))
	in["C/mehr"] = "B|mehr" // which goes where the mailbox is that it is in
	if got := s.there(s.new, "u"); !maps.Equal(got, in) {
		t.Errorf("%q", got)
	}
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	s.arrived("u", in)
}
