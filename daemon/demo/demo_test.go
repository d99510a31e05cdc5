package demo

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

func start(t *testing.T, o Options) *World {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	w, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

// logIn is a client of the library, as another look than our own reader's.
func logIn(t *testing.T, s *server, u *user) *imapclient.Client {
	t.Helper()
	c, err := imapclient.DialInsecure(s.addr.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Login(u.login, u.password).Wait(); err != nil {
		t.Fatal(err)
	}
	return c
}

// copyAll is a naive migration of one account.
func copyAll(t *testing.T, w *World, a account) {
	t.Helper()
	from, to := logIn(t, w.old, a.old), logIn(t, w.new, a.new)
	mailboxes, err := from.List("", "*", &imap.ListOptions{ReturnSpecialUse: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	there := map[imap.MailboxAttr]string{
		imap.MailboxAttrSent: "Sent", imap.MailboxAttrDrafts: "Drafts", imap.MailboxAttrTrash: "Trash", imap.MailboxAttrJunk: "Junk",
	}
	for _, m := range mailboxes {
		name, exists := m.Mailbox, m.Mailbox == "INBOX"
		for _, attr := range m.Attrs {
			if there[attr] != "" {
				name, exists = there[attr], true
			}
		}
		if !exists {
			if err := to.Create(name, nil).Wait(); err != nil {
				t.Fatal(err)
			}
		}
		selected, err := from.Select(m.Mailbox, &imap.SelectOptions{ReadOnly: true}).Wait()
		if err != nil {
			t.Fatal(err)
		}
		if selected.NumMessages == 0 {
			continue
		}
		messages, err := from.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{
			Flags: true, InternalDate: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}},
		}).Collect()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			appendTo(t, to, name, string(m.BodySection[0].Bytes), &imap.AppendOptions{Flags: m.Flags, Time: m.InternalDate})
		}
	}
}

func appendTo(t *testing.T, c *imapclient.Client, mailbox, text string, o *imap.AppendOptions) *imap.AppendData {
	t.Helper()
	command := c.Append(mailbox, int64(len(text)), o)
	if _, err := io.WriteString(command, text); err != nil {
		t.Fatal(err)
	}
	if err := command.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := command.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func compare(t *testing.T, w *World) []Difference {
	t.Helper()
	differences, err := w.Compare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return differences
}

func TestCompareSeesEveryKindOfDifference(t *testing.T) {
	w := start(t, Options{Seed: 1, Accounts: 4, Messages: 60})

	before := compare(t, w)
	count := map[Kind]int{}
	for _, d := range before {
		count[d.Kind]++
	}
	if count[KindMissing] < 4*50 || count[KindMailbox] < 15 || len(count) != 2 {
		t.Fatalf("before the copy: %v", count)
	}
	if !slices.Contains(before, Difference{Account: "anna.mueller", Mailbox: "Kunden/Müller & Söhne", Kind: KindMailbox}) {
		t.Error("the missing mailbox Kunden/Müller & Söhne is not named as people read it")
	}

	for _, a := range w.accounts {
		copyAll(t, w, a)
	}
	if d := compare(t, w); len(d) != 0 {
		t.Fatalf("after the copy %d differences, the first: %v", len(d), d[0])
	}

	a := w.accounts[1]
	for _, step := range []struct {
		name string
		do   func(t *testing.T, c *imapclient.Client)
		want []Difference
	}{
		{"new on the old server", func(t *testing.T, _ *imapclient.Client) {
			if err := w.Deliver(a.name, "INBOX", "Message-ID: <live@example>\r\n\r\nx\r\n"); err != nil {
				t.Fatal(err)
			}
		}, []Difference{{a.name, "INBOX", KindMissing, "<live@example>"}}},
		{"copied, but with another date and a flag", func(t *testing.T, c *imapclient.Client) {
			appendTo(t, c, "INBOX", "Message-ID: <live@example>\r\n\r\nx\r\n",
				&imap.AppendOptions{Time: time.Unix(1e9, 0), Flags: []imap.Flag{imap.FlagSeen}})
		}, []Difference{{a.name, "INBOX", KindDate, "<live@example>"}, {a.name, "INBOX", KindFlags, "<live@example>"}}},
		{"copied twice", func(t *testing.T, c *imapclient.Client) {
			appendTo(t, c, "INBOX", "Message-ID: <live@example>\r\n\r\nx\r\n", &imap.AppendOptions{Time: time.Unix(1e9, 0)})
		}, []Difference{{a.name, "INBOX", KindDate, "<live@example>"}, {a.name, "INBOX", KindFlags, "<live@example>"}, {a.name, "INBOX", KindSurplus, "<live@example>"}}},
		{"in a mailbox of its own", func(t *testing.T, c *imapclient.Client) {
			if err := c.Create("Über & über", nil).Wait(); err != nil {
				t.Fatal(err)
			}
			appendTo(t, c, "Über & über", "Message-ID: <own@example>\r\n\r\n", nil)
		}, []Difference{{a.name, "INBOX", KindDate, "<live@example>"}, {a.name, "INBOX", KindFlags, "<live@example>"}, {a.name, "INBOX", KindSurplus, "<live@example>"},
			{a.name, "Über & über", KindSurplus, "<own@example>"}}},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.do(t, logIn(t, w.new, a.new))
			if got := compare(t, w); !slices.Equal(got, step.want) {
				t.Errorf("got %v, want %v", got, step.want)
			}
		})
	}
}

func TestSeedDecidesTheMail(t *testing.T) {
	read := func(seed uint64) string {
		w := start(t, Options{Seed: seed, Accounts: 2, Messages: 40})
		var all strings.Builder
		for _, a := range w.accounts {
			mailboxes, err := look(t.Context(), w.old, a.old)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range mailboxes {
				fmt.Fprintln(&all, m)
			}
		}
		return all.String()
	}
	first := read(7)
	if read(7) != first {
		t.Error("the same seed gave other mail")
	}
	if read(8) == first {
		t.Error("another seed gave the same mail")
	}
}

func TestMailIsAsVariedAsRealMail(t *testing.T) {
	w := start(t, Options{Seed: 1})
	wanted := map[string]bool{
		"=?utf-8?q?": false, "=?utf-8?b?": false, "filename*=utf-8''": false, "multipart/alternative": false,
		"quoted-printable": false, "base64": false, "ご返信": false, "€": false,
	}
	years, flags, messages, unended, raw := map[int]bool{}, map[string]bool{}, 0, 0, 0
	for _, a := range w.accounts {
		c := logIn(t, w.old, a.old)
		boxes, err := c.List("", "*", nil).Collect()
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range boxes {
			selected, err := c.Select(b.Mailbox, &imap.SelectOptions{ReadOnly: true}).Wait()
			if err != nil {
				t.Fatal(err)
			}
			if selected.NumMessages == 0 {
				continue
			}
			got, err := c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{
				Flags: true, InternalDate: true, BodySection: []*imap.FetchItemBodySection{{Peek: true}},
			}).Collect()
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range got {
				messages++
				years[m.InternalDate.Year()] = true
				for _, f := range m.Flags {
					flags[strings.ToLower(string(f))] = true
				}
				text := string(m.BodySection[0].Bytes)
				for part := range wanted {
					wanted[part] = wanted[part] || strings.Contains(text, part)
				}
				if strings.Contains(strings.ReplaceAll(text, "\r\n", ""), "\n") && !strings.Contains(text, "%PDF") {
					t.Errorf("bare LF in %.60q", text)
				}
				if !strings.HasSuffix(text, "\r\n") {
					unended++
				}
				header, _, _ := strings.Cut(text, "\r\n\r\n")
				if strings.ContainsFunc(header, func(c rune) bool { return c > 127 }) {
					raw++
				}
			}
		}
	}
	for part, there := range wanted {
		if !there {
			t.Errorf("no message has %q", part)
		}
	}
	if messages < 600 || len(years) < 6 || unended == 0 || raw == 0 {
		t.Errorf("%d messages of %d years, %d without a final CRLF, %d with a raw 8-bit header", messages, len(years), unended, raw)
	}
	for _, f := range []string{`\seen`, `\answered`, `\flagged`, `\draft`, `\deleted`, "$forwarded", "todo"} {
		if !flags[f] {
			t.Errorf("no message is %s", f)
		}
	}
}

func TestDeliverNext(t *testing.T) {
	w := start(t, Options{Seed: 3, Accounts: 2, Messages: 1})
	pushed := make(chan struct{}, 16)
	c, err := imapclient.DialInsecure(w.old.addr.String(), &imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(*imapclient.UnilateralDataMailbox) { pushed <- struct{}{} },
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	u := w.accounts[0].old
	if err := c.Login(u.login, u.password).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	idle, err := c.Idle()
	if err != nil {
		t.Fatal(err)
	}
	for {
		name, err := w.DeliverNext()
		if err != nil {
			t.Fatal(err)
		}
		if name == w.Accounts()[0] {
			break
		}
	}
	<-pushed
	if err := idle.Close(); err != nil {
		t.Fatal(err)
	}
	if err := idle.Wait(); err != nil {
		t.Fatal(err)
	}

	if err := w.Deliver("nobody", "INBOX", ""); err == nil {
		t.Error("nobody got a message")
	}
	if err := w.Deliver(w.Accounts()[0], "no such mailbox", ""); err == nil {
		t.Error("a mailbox that is not there took a message")
	}
}

func TestConfig(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `a "quoted" dir`)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w := start(t, Options{Dir: dir, Accounts: 5, Messages: 1})
	config := w.Config()
	for _, want := range []string{
		"state_dir = ", fmt.Sprintf("port = %d\n", w.old.addr.Port), fmt.Sprintf("port = %d\n", w.new.addr.Port),
		`name = "anna.mueller2"`, `a \"quoted\" dir/secrets/yuki.sato.new"`, `user = "anna.mueller@example.org"`,
	} {
		if !strings.Contains(config, want) {
			t.Errorf("config lacks %q", want)
		}
	}
	for _, a := range w.accounts {
		for ending, u := range map[string]*user{".old": a.old, ".new": a.new} {
			path := filepath.Join(dir, "secrets", a.name+ending)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if string(text) != u.password+"\n" || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %o, password right: %t", path, info.Mode().Perm(), string(text) == u.password+"\n")
			}
			if strings.Contains(config, u.password) {
				t.Error("a password stands in the configuration")
			}
		}
	}
}

func TestReadableNames(t *testing.T) {
	for name, want := range map[string]string{
		"INBOX": "INBOX", "Kunden/M&APw-ller &- S&APY-hne": "Kunden/Müller & Söhne", "&TxqLcA-": "会議",
		"&2DzfTA-": "🍌", "R&D": "R&D", "&!!-": "&!!-",
	} {
		if got := readable(name); got != want {
			t.Errorf("readable(%q) = %q, want %q", name, got, want)
		}
	}
}
