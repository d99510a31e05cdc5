package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
)

// simulated starts a simulated server for as many accounts, and returns its port.
func simulated(t *testing.T, o imapsim.Options, first mail.UIDValidity, accounts int) (*imapsim.Server, int) {
	t.Helper()
	o.Users, o.Password, o.Capabilities = make(map[string]*simtest.Server, accounts), `p;"w`, imapsim.Capabilities
	for i := range accounts {
		o.Users[fmt.Sprintf("user%d@example.org", i)] = simtest.NewServer(first)
	}
	server := imapsim.New(o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		l.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		for _, violation := range server.Violations() {
			t.Error(violation)
		}
	})
	return server, l.Addr().(*net.TCPAddr).Port
}

// TestLists: a list of accounts, 500 with -storm, is carried in each of the
// formats: by [accounts] file, and as import makes a configuration of it.
func TestLists(t *testing.T) {
	t.Parallel()
	accounts := 40
	if *storm {
		accounts = 500
	}
	password := `p;"w`
	rows := func(comma, quoted string, fields ...string) string {
		var list strings.Builder
		for i := range accounts {
			for j, field := range fields {
				if j > 0 {
					list.WriteString(comma)
				}
				list.WriteString(strings.NewReplacer("USER", fmt.Sprintf("user%d@example.org", i), "PASSWORD", quoted).Replace(field))
			}
			list.WriteString("\n")
		}
		return list.String()
	}
	csv := func(comma string) string {
		return strings.Join([]string{"source_user", "source_password", "destination_password"}, comma) + "\n" + rows(comma, `"p;""w"`, "USER", "PASSWORD", "PASSWORD")
	}
	excel := "\xef\xbb\xbfsep=;\r\n# M\u00fcller\r\n" + strings.ReplaceAll(csv(";"), "\n", "\r\n")
	latin1 := "# M\xfcller\n" + csv("\t")
	// imapsync's lists quote nothing, so that no password has a semicolon.
	imapsync4 := rows(";", `p"w`, "USER", "PASSWORD", "USER", "PASSWORD")
	imapsync6 := rows(";", `p"w`, "127.0.0.1", "USER", "PASSWORD", "127.0.0.1", "USER", "PASSWORD", "", "")
	for _, c := range []struct {
		name, list, password string
		imported             bool
	}{
		{"commas", csv(","), password, false},
		{"semicolons, as Excel", excel, password, false},
		{"tabs, Latin-1", latin1, password, false},
		{"imapsync, 4 fields", imapsync4, `p"w`, false},
		{"imapsync, 6 fields", imapsync6, `p"w`, false},
		{"imapsync, 6 fields, imported", imapsync6, `p"w`, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			old, oldPort := simulated(t, imapsim.Options{Source: true}, 10, accounts)
			new, newPort := simulated(t, imapsim.Options{}, 20, accounts)
			old.Password, new.Password = c.password, c.password
			for user, box := range old.Users {
				box.Deliver("INBOX", "Subject: x\r\n\r\nfor "+user+"\r\n", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), mail.Flags{})
			}
			dir := t.TempDir()
			file, list := filepath.Join(dir, "c.toml"), filepath.Join(dir, "accounts")
			if err := os.WriteFile(list, []byte(c.list), 0o600); err != nil {
				t.Fatal(err)
			}
			command := func(args ...string) string {
				var stdout, stderr bytes.Buffer
				if code := run(&common{stopping: t.Context(), quiet: quiet, lookAgain: lookAgain}, args, &stdout, &stderr); code != exitDone {
					t.Fatalf("%v: exit %d: %.2000s%.2000s", args, code, stdout.String(), stderr.String())
				}
				return stdout.String()
			}
			if c.imported {
				command("import", list, "--output", file, "--port1", fmt.Sprint(oldPort), "--nossl1", "--notls1", "--port2", fmt.Sprint(newPort), "--nossl2", "--notls2")
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, append([]byte("state_dir = \"state\"\n"), text...), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if err := os.WriteFile(file, fmt.Appendf(nil, "state_dir = \"state\"\n[source]\n%s[destination]\n%s[accounts]\nfile = \"accounts\"\n", near(oldPort), near(newPort)), 0o600); err != nil {
				t.Fatal(err)
			}
			out := command("sync", "--config", file)
			if want := fmt.Sprintf("%d accounts: %d messages copied", accounts, accounts); !strings.Contains(out, want) {
				t.Errorf("lacks %q: %.2000s", want, out)
			}
			for user, box := range new.Users {
				if messages := box.Boxes["INBOX"].Messages; len(messages) != 1 || !strings.Contains(messages[0].Data, "for "+user+"\r\n") {
					t.Errorf("%s has %d messages", user, len(messages))
				}
			}
		})
	}
}

// TestImport: what a line says, the options of all and its own, and names that
// are of use.
func TestImport(t *testing.T) {
	dir := t.TempDir()
	list, file := filepath.Join(dir, "list.txt"), filepath.Join(dir, "c.toml")
	command := func(text string, args ...string) (int, string) {
		t.Helper()
		if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		os.Remove(file)
		var out bytes.Buffer
		code := run(&common{stopping: t.Context()}, append([]string{"import", list}, args...), &out, &out)
		return code, out.String()
	}
	const text = "# all of them\n" +
		"old.example;foo@example.org;p\"1;new.example;foo;'2\n" +
		"old.example;M\xfcller\\x;p1;new.example;b;p2;--exclude ^Trash$ --subfolder2 Old;\r\n" +
		"other.example;foo@example.org;p1;new.example;c;p2;--port1 143\n"
	code, out := command(text, "--host1", "old.example", "--exclude", `^INBOX\.Junk[^\.]*$`, "--tls2", "--tlsservername2", "mail.example")
	if code != exitDone {
		t.Fatalf("exit %d: %s", code, out)
	}
	const want = `[source]
host = 'old.example'

[destination]
tls = 'starttls'
tls_server_name = 'mail.example'

[mailboxes]
exclude = ['/^(?:INBOX[./])?Junk[^./]*$/']

[[account]]
name = 'foo@example.org'

[account.source]
user = 'foo@example.org'
password = 'p"1'

[account.destination]
host = 'new.example'
user = 'foo'
password = "'2"

[[account]]
name = 'M-ller-x'

[account.source]
user = 'Müller\x'
password = 'p1'

[account.destination]
host = 'new.example'
user = 'b'
password = 'p2'

[account.mailboxes]
exclude = ['/^(?:INBOX[./])?Junk[^./]*$/', '/^Trash$/']
prefix = 'Old'

[[account]]
name = 'foo@example.org-2'

[account.source]
host = 'other.example'
port = 143
tls = 'starttls'
user = 'foo@example.org'
password = 'p1'

[account.destination]
host = 'new.example'
user = 'c'
password = 'p2'
`
	if out != want {
		t.Errorf("%s", out)
	}
	if code, out := command(text, "--host1", "old.example", "--output", file); code != exitDone || !strings.Contains(out, "3 accounts in "+file) {
		t.Errorf("exit %d: %s", code, out)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	for _, c := range []struct {
		list string
		args []string
		want []string
	}{
		{"a;Zq7;b\nh;a;Zq7;i;b;Zq7;--delete1;\nh;a;;i;b;Zq7\nh;a;Zq7;i;b;Zq7;x y;\nh;a;Zq7;i;b;Zq7;--bogus;\n", nil, []string{
			"list.txt:1:1: there are 3 fields", "list.txt:2:1: --delete1: there is none: the old server is never changed", "list.txt:3:1: source_password is empty",
			`list.txt:4:1: "x" belongs to no option`, "list.txt:5:1: unknown flag: --bogus"}},
		{"a;Zq7;b;Zq7\n", nil, []string{"list.txt:1:1: there is no host1 in this line; write --host1 for all"}},
		{"h;a;Zq7;i;b;Zq7\nh x;c;Zq7;i;d;Zq7\nh;e;Zq7;i;b;Zq7\nh;f;Zq7;h;f;Zq7\n", nil, []string{
			`list.txt:2:1: account c: [source] host: "h x" is no name`, "list.txt:3:1: account e fills the same mailbox", "list.txt:4:1: account f: old and new server are the same log-in"}},
		{"h;a;Zq7;i;b;Zq7\n", []string{"--exclude", "a(?=b)"}, []string{"exclude", "invalid or unsupported Perl syntax"}},
		{"h;a;Zq7;i;b;Zq7\n", []string{"--ssl1", "--tls1"}, []string{"--ssl1, --tls1 and their opposites exclude one another"}},
		{"h;a;Zq7;i;b;Zq7\n", []string{"--maxage", "30"}, []string{"--maxage: there is none: every message is carried"}},
		{"# nothing\n", nil, []string{"list.txt: there is no account in it"}},
	} {
		code, out := command(c.list, append(slices.Clone(c.args), "--output", file)...)
		if code != exitUsage || strings.Contains(out, "Zq7") {
			t.Errorf("%q: exit %d: %s", c.list, code, out)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%q lacks %q:\n%s", c.list, want, out)
			}
		}
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%q: a configuration is written", c.list)
		}
	}
	if code, out := command(text, "--host1", "old.example", "--output", list); code != exitFailed || !strings.Contains(out, "file exists") {
		t.Errorf("onto the list: exit %d: %s", code, out)
	}
}

// TestImapsyncOptions: what cannot be done is refused before anybody is asked,
// by name, with what to do.
func TestImapsyncOptions(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	ok := []string{"--host1", "192.0.2.1", "--user1", "a", "--password1", "x", "--host2", "192.0.2.2", "--user2", "b", "--password2", "x"}
	for _, c := range []struct {
		args []string
		want string
	}{
		{append(slices.Clone(ok), "--maxsize", "5000", "--delete2", "--nofoldersizes"), "--maxsize: there is none"},
		{append(slices.Clone(ok), "--maxsize", "5000", "--delete2", "--nofoldersizes"), "--delete2: what is deleted on the old server"},
		{append(slices.Clone(ok), "--regextrans2=s/a/b/"), "--regextrans2: write rename into [mailboxes]"},
		{append(slices.Clone(ok), "--config", "c.toml"), "it has no --config"},
		{append(slices.Clone(ok), "INBOX"), `"INBOX" belongs to no option`},
		{append(slices.Clone(ok), "--exclude", "["), "error parsing regexp"},
		{append(slices.Clone(ok), "--folder", "a*"), "write the whole name"},
		{append(slices.Clone(ok), "--port1", "0x"), "--port1"},
		{append(slices.Clone(ok), "--port1", "99999"), "port: 99999; write 1 to 65535"},
		{append(slices.Clone(ok), "--authmech1", "NTLM"), `auth: "ntlm"; write one of`},
		{append(slices.Clone(ok), "--tls1", "--notls1"), "exclude one another"},
		{append(slices.Clone(ok), "--tlsfingerprint2", "12"), "tls_fingerprint"},
		{append(slices.Clone(ok), "--passfile2", "x"), "--password2 and --passfile2 exclude one another"},
		{ok[2:], "--host1 is missing"},
		{slices.Concat(ok[:8], ok[10:]), "--user2 is missing"},
		{ok[:10], "--passfile2 or --password2 is missing"},
	} {
		var out bytes.Buffer
		if code := run(&common{stopping: t.Context()}, append([]string{"imapsync"}, c.args...), &out, &out); code != exitUsage || !strings.Contains(out.String(), c.want) {
			t.Errorf("%v: exit %d without %q:\n%s", c.args, code, c.want, out.String())
		}
	}
}

// TestLevels: expressions for names with dots fit those with slashes.
func TestLevels(t *testing.T) {
	for expression, want := range map[string]string{
		`^INBOX\.Junk`: `^(?:INBOX[./])?Junk`, `a\.b`: `a[./]b`, `[^\.]+`: `[^./]+`, `a\\.b`: `a\\.b`, `\[Gmail\]`: `\[Gmail\]`, `x\`: `x\`, `[a]\.`: `[a][./]`,
	} {
		if got := levels(expression); got != want {
			t.Errorf("%s becomes %s, not %s", expression, got, want)
		}
	}
	if got := strings.Join(spellings("INBOX.Work.2019"), " "); got != "INBOX.Work.2019 INBOX/Work/2019 Work/2019" {
		t.Error(got)
	}
}
