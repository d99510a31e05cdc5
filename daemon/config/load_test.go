package config

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const good = `
[source]
host = "192.0.2.10"
[destination]
host = "new.example.org"
[[account]]
name = "foo"
[account.source]
user = "foo@Example.org"
password_file = "pw"
[account.destination]
user = "foo"
password = "s3cret"
`

// write puts a configuration and a password file into a directory.
func write(t testing.TB, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"c.toml": text, "pw": "hunter2\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "c.toml")
}

func TestLoad(t *testing.T) {
	path := write(t, good)
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Accounts) != 1 || c.StateDir != "/var/lib/imapsyncd" || c.PollInterval != time.Minute || c.Memory != 32<<20 {
		t.Errorf("%+v", c)
	}
	a := c.Accounts[0]
	if a.Source.Port != 993 || a.Source.TLS != "implicit" || a.Source.MaxConnections != 50 || a.Destination.Host != "new.example.org" {
		t.Errorf("%+v", a)
	}
	if !slices.Equal(a.Domains, []string{"example.org"}) {
		t.Errorf("domains %q", a.Domains)
	}
	for want, secret := range map[string]Secret{"hunter2": a.Source.Password, "s3cret": a.Destination.Password} {
		if got, err := secret.Read(context.Background()); err != nil || got != want {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestInheritance(t *testing.T) {
	c, err := Load(write(t, strings.Replace(good, "[account.source]", "[account.source]\nhost = \"127.0.0.1\"\ntls = \"none\"", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if s := c.Accounts[0].Source; s.Host != "127.0.0.1" || s.TLS != "none" || s.Port != 143 {
		t.Errorf("%+v", s)
	}
}

func TestProblems(t *testing.T) {
	second := "\n[[account]]\nname = \"%s\"\n[account.source]\nuser = \"b\"\npassword_file = \"pw\"\n[account.destination]\nuser = \"%s\"\npassword_file = \"pw\"\n"
	for name, c := range map[string]struct {
		text string
		want []string // each a part of one line, in order
	}{
		"unknown key":         {strings.Replace(good, "host = \"192", "hots = \"192", 1), []string{"c.toml:3:1: unknown key source.hots; did you mean host?", "account foo: [source] host is missing"}},
		"unknown table":       {good + "[cutoff]\nmax_lag = \"5m\"\n", []string{"c.toml:14:2: unknown key cutoff"}},
		"wrong type":          {strings.Replace(good, "host = \"192.0.2.10\"", "host = 5", 1), []string{"c.toml:3:8: source.host:"}},
		"no TOML":             {"[source\n", []string{"c.toml:1:"}},
		"several at once":     {"poll_interval = \"5 minutes\"\n[log]\nlevel = \"loud\"\n" + good, []string{"c.toml:1:1: poll_interval: \"5 minutes\" is no duration", "c.toml:3:1: log.level: \"loud\"; write one of debug, info, warn, error"}},
		"policy":              {"[policy]\nflags = \"keep\"\n" + good, []string{"c.toml:2:1: policy.flags: \"keep\"; write one of follow, copy"}},
		"fixup":               {"[policy]\nfixups = [\"nul\", \"crlf\"]\n" + good, []string{"c.toml:2:1: policy.fixups: \"crlf\"; write any of final-crlf, bare-lf, nul, header-line"}},
		"size":                {"[limits]\nmemory = \"much\"\n" + good, []string{"c.toml:2:1: limits.memory: \"much\" is no size"}},
		"no account":          {"[source]\nhost = \"a\"\n", []string{"there is no account; every mailbox to be moved needs an [[account]]"}},
		"no password":         {strings.Replace(good, "password_file = \"pw\"\n", "", 1), []string{"c.toml:8:", "account foo: [source] there is no password"}},
		"two passwords":       {strings.Replace(good, "password_file = \"pw\"", "password_file = \"pw\"\npassword = \"x\"", 1), []string{"exclude one another"}},
		"directory":           {strings.Replace(good, "\"pw\"", "\"/dev\"", 1), []string{"password_file: /dev is a directory; name a file"}},
		"device":              {strings.Replace(good, "\"pw\"", "\"/dev/null\"", 1), []string{"password_file: /dev/null is a device; name a file"}},
		"host of two lines":   {strings.Replace(good, "host = \"192.0.2.10\"", `host = "a\nb"`, 1), []string{`host: "a\nb" is no name or address`}},
		"user of two lines":   {strings.Replace(good, "user = \"foo@Example.org\"", `user = "a\r\nZ1 LOGOUT"`, 1), []string{`user: "a\r\nZ1 LOGOUT" has a control character`}},
		"missing file":        {strings.Replace(good, "\"pw\"", "\"nowhere\"", 1), []string{"c.toml:10:1: account foo: [source] password_file: stat", "install -m 640 /dev/stdin "}},
		"missing CA":          {strings.Replace(good, "host = \"192", "tls_ca_file = \"no.pem\"\nhost = \"192", 1), []string{"c.toml:3:1: account foo: [source] tls_ca_file: open"}},
		"clear text":          {strings.Replace(good, "host = \"192", "tls = \"none\"\nhost = \"192", 1), []string{"c.toml:3:1: account foo: [source] tls = \"none\" would send the password"}},
		"fingerprint":         {strings.Replace(good, "host = \"192", "tls_fingerprint = \"abc\"\nhost = \"192", 1), []string{"64 hexadecimal digits"}},
		"port in host":        {strings.Replace(good, "192.0.2.10", "mail.example.org:993", 1), []string{"the port goes into port"}},
		"bad port":            {strings.Replace(good, "host = \"192", "port = 70000\nhost = \"192", 1), []string{"c.toml:3:1: account foo: [source] port: 70000"}},
		"no connections":      {strings.Replace(good, "host = \"192", "max_connections = 0\nhost = \"192", 1), []string{"max_connections: 0; at least 1"}},
		"name":                {strings.Replace(good, "\"foo\"", "\"../foo\"", 1), []string{"c.toml:7:1: account \"../foo\": a name has"}},
		"one name twice":      {good + fmt.Sprintf(second, "FOO", "other"), []string{"c.toml:16:1: account \"FOO\" has the name of account \"foo\" in line 6"}},
		"foreign words":       {strings.Replace(good, "[destination]", "namespaces = [\"public\"]\n[destination]", 1), []string{`[source] namespaces: "public"; write one of personal, shared, other`}},
		"no namespace":        {strings.Replace(good, "[destination]", "namespaces = []\n[destination]", 1), []string{"namespaces: it is empty"}},
		"into what is shared": {strings.Replace(good, "[destination]", "[destination]\nnamespaces = [\"shared\"]", 1), []string{"everything goes into what is its user's own"}},
		"one log-in twice":    {good + fmt.Sprintf(second, "bar", "foo"), []string{"account bar fills the same mailbox on the new server as account foo in line 6: the log-in foo on new.example.org; the mail of two would be mixed there: give one of them a log-in of its own, or take it out"}},
		"one in other words":  {good + fmt.Sprintf(second, "bar", "FOO"), []string{"account bar fills the same mailbox on the new server as account foo"}},
		"onto itself":         {strings.NewReplacer("new.example.org", "192.0.2.10", "foo@Example.org", "foo").Replace(good), []string{"old and new server are the same log-in"}},
		"pattern":             {good + "[account.mailboxes]\nexclude = [\"\"]\n", []string{"write a name, a glob, an expression between slashes or a role"}},
		"expression":          {good + "[account.mailboxes]\nexclude = [\"/[/\"]\n", []string{"account[0].mailboxes.exclude: \"/[/\": error parsing regexp: missing closing ]"}},
		"two onto one":        {"[mailboxes]\nrename = { \"a\" = \"c\", \"b\" = \"c\" }\n" + good, []string{"c.toml:2:1: mailboxes.rename: \"a\" and \"b\" would both become \"c\""}},
		"INBOX twice":         {good + "[account.mailboxes.rename]\ninbox = \"a\"\nINBOX = \"b\"\n", []string{"c.toml:14:2: account[0].mailboxes.rename: \"INBOX\" stands there twice"}},
		"a role renamed":      {good + "[account.mailboxes]\nrename = { '\\Sent' = \"Sent\" }\n", []string{"c.toml:15:1: account[0].mailboxes.rename: \"\\\\Sent\" is a role; write the name"}},
		"globs renamed":       {"[mailboxes]\nrename = { \"a/*\" = \"b\" }\n" + good, []string{"there are no globs here"}},
		"prefix":              {"[mailboxes]\nprefix = \"Old/\"\n" + good, []string{"c.toml:2:1: mailboxes.prefix: \"Old/\" is no name of a mailbox"}},
		"control character":   {"[mailboxes]\nprefix = \"a\\tb\"\n" + good, []string{"has a control character"}},
		"reserve":             {strings.Replace(good, "[destination]\n", "[destination]\nquota_reserve = \"5\"\n", 1), []string{"quota_reserve: \"5\"; write a part of the quota such as \"5%\""}},
		"compress":            {strings.Replace(good, "host = \"192", "compress = \"yes\"\nhost = \"192", 1), []string{"compress: \"yes\"; write one of auto, on, off"}},
		"reserve of the old":  {strings.Replace(good, "[source]\n", "[source]\nquota_reserve = \"5%\"\n", 1), []string{"nothing is written to the old server; write it below [destination]"}},
		"long socket":         {"socket = \"/" + strings.Repeat("x", 200) + "\"\n" + good, []string{"c.toml:1:1: socket:", "107 octets"}},
		"duration too short":  {"poll_interval = \"1ms\"\n" + good, []string{"too short; at least 1s"}},
		"empty command":       {strings.Replace(good, "password_file = \"pw\"", "password_command = []", 1), []string{"password_command is empty"}},
		"unknown in account":  {strings.Replace(good, "name = \"foo\"", "name = \"foo\"\nnmae = 1", 1), []string{"c.toml:8:1: unknown key account.nmae; did you mean name?"}},
		"listen":              {"[web]\nlisten = \"9143\"\n" + good, []string{"web.listen: \"9143\" is no address"}},
		"no web config":       {"[web]\nconfig_file = \"web.yml\"\n" + good, []string{"c.toml:2:1: web.config_file: stat"}},
		"wrong web config":    {"[web]\nconfig_file = \"pw\"\n" + good, []string{"c.toml:2:1: web.config_file:", "pw: yaml:"}},
		"inherited is blamed": {strings.Replace(good, "host = \"192", "auth = \"magic\"\nhost = \"192", 1), []string{"c.toml:3:1: account foo: [source] auth: \"magic\"; write one of auto, plain, login, cram-md5,"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(write(t, c.text))
			var problems Problems
			if !errors.As(err, &problems) {
				t.Fatalf("%v", err)
			}
			rest := err.Error()
			for _, want := range c.want {
				i := strings.Index(rest, want)
				if i < 0 {
					t.Fatalf("lacks %q:\n%v", want, err)
				}
				rest = rest[i+len(want):]
			}
		})
	}
}

func TestOthersMustNotRead(t *testing.T) {
	path := write(t, good)
	secret := filepath.Join(filepath.Dir(path), "pw")
	for _, file := range []string{path, secret} {
		if err := os.Chmod(file, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "chmod 600 "+file) {
			t.Errorf("%s: %v", file, err)
		}
		if err := os.Chmod(file, 0o640); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err != nil {
			t.Errorf("%s, readable for our own group: %v", file, err)
		}
		os.Chmod(file, 0o600)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(secret, 0o644)
	if _, err := c.Accounts[0].Source.Password.Read(context.Background()); err == nil {
		t.Error("a file that was opened to others after the start is read")
	}
}

func TestMissingConfig(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "none.toml"))
	if err == nil || !strings.Contains(err.Error(), "--config FILE") {
		t.Error(err)
	}
}

func TestSecretNeverShows(t *testing.T) {
	c, err := Load(write(t, good))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	all := string(text)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		all += fmt.Sprintf(verb, c) + fmt.Sprintf(verb, c.Accounts) + fmt.Sprintf(verb, c.Accounts[0].Destination.Password)
	}
	if strings.Contains(all, "s3cret") || strings.Contains(all, fmt.Sprintf("%x", "s3cret")) {
		t.Error("the password shows")
	}
}

func TestPasswordCommand(t *testing.T) {
	for command, want := range map[string]string{"printf 'a b\\n'": "a b", "printf 'x\\ny\\n'": "", "exit 3": "", "true": ""} {
		got, err := Secret{command: []string{"sh", "-c", command}}.Read(context.Background())
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", command, got, err)
		}
	}
}

func TestSelection(t *testing.T) {
	c, err := Load(write(t, good+"[account.mailboxes]\ninclude = [\"inbox\", \"Work/**\", \"\\\\Sent\"]\nexclude = [\"Work/*/Old\", \"Work/ü/ö\", \"\\\\Junk\", '/^Work/\\d{4}$|(?i)secret/']\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		"INBOX": true, "INBOX/x": false, "Work/a": true, "Work/a/b": true, "Work/a/Old": false, "Work/a/b/Old": true,
		"Gesendet|\\sent": true, "Work/Spam|\\Junk": false, "Other": false, "work/a": false, "Work/2019": false, "Work/2019/a": true, "Work/Top Secret": false,
		"Work/u\u0308": true, "Work/u\u0308/o\u0308": false,
	} {
		path, role, _ := strings.Cut(name, "|")
		if got := c.Accounts[0].Mailboxes.Match(strings.Split(path, "/"), role); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestPlaces: an account's own keys take the place of those for all, each for
// itself.
func TestPlaces(t *testing.T) {
	all := "[mailboxes]\nexclude = [\"x\"]\nprefix = \"Old\"\n[mailboxes.rename]\n\"inbox/Sent Items\" = \"Sent\"\n"
	for _, c := range []struct {
		own, prefix string
		rename      map[string]string
		excluded    bool
	}{
		{"", "Old", map[string]string{"INBOX/Sent Items": "Sent"}, true},
		{"[account.mailboxes]\nprefix = \"\"\n", "", map[string]string{"INBOX/Sent Items": "Sent"}, true},
		{"[account.mailboxes]\nrename = { a = \"inbox/b\" }\n", "Old", map[string]string{"a": "INBOX/b"}, true},
		{"[account.mailboxes]\nexclude = []\nrename = {}\n", "Old", nil, false},
	} {
		loaded, err := Load(write(t, all+good+c.own))
		if err != nil {
			t.Fatal(err)
		}
		s := loaded.Accounts[0].Mailboxes
		if s.Prefix != c.prefix || !maps.Equal(s.Rename, c.rename) || s.Match([]string{"x"}, "") == c.excluded {
			t.Errorf("%q: prefix %q, rename %v, excluded %v", c.own, s.Prefix, s.Rename, !s.Match([]string{"x"}, ""))
		}
	}
}

// TestExample: the example explains every key, and only keys that there are,
// and it loads both as it stands and with everything switched on.
func TestExample(t *testing.T) {
	data, err := os.ReadFile("../../imapsyncd.toml.example")
	if err != nil {
		t.Fatal(err)
	}
	key := regexp.MustCompile(`^#?(\w+) = `)
	table := regexp.MustCompile(`^#?\[+([a-z.]+)\]+`)
	var seen []string
	section := ""
	for line := range strings.Lines(string(data)) {
		if m := table.FindStringSubmatch(line); m != nil {
			section = m[1] + "."
		} else if m := key.FindStringSubmatch(line); m != nil {
			seen = append(seen, section+m[1])
		}
	}
	keys := Keys()
	for _, k := range keys {
		// What both servers and every account can have is explained once.
		explained := strings.TrimPrefix(strings.Replace(k, "destination.", "source.", 1), "account.")
		// Limits are explained where they are for both servers.
		if i := strings.Index(explained, "source.limits."); i >= 0 {
			explained = strings.TrimPrefix(explained, "source.")
		}
		if explained == "source.quota_reserve" {
			explained = "destination.quota_reserve" // where alone it may stand
		}
		if strings.HasPrefix(k, "account.") && !strings.Contains(explained, ".") {
			explained = k
		}
		if !slices.Contains(seen, explained) {
			t.Errorf("%s is not explained", k)
		}
	}
	for _, s := range seen {
		if !slices.Contains(keys, s) {
			t.Errorf("there is no key %s", s)
		}
	}

	path := write(t, string(data))
	secrets := filepath.Join(filepath.Dir(path), "secrets")
	os.Mkdir(secrets, 0o700)
	for _, f := range []string{"foo.old", "foo.new"} {
		if err := os.WriteFile(filepath.Join(secrets, f), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Load(path); err != nil {
		t.Errorf("the example does not load: %v", err)
	}
	// The defaults that it names are the defaults.
	defaults := regexp.MustCompile(`(?m)^#(\w+ = ("[^"]+"|\d+|false))`).ReplaceAll(data, []byte("$1"))
	plain, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, defaults, 0o600); err != nil {
		t.Fatal(err)
	}
	written, err := Load(path)
	if err != nil {
		t.Fatalf("the example with its defaults written out does not load: %v", err)
	}
	written.Sum = plain.Sum
	if a, b := fmt.Sprintf("%+v", plain), fmt.Sprintf("%+v", written); a != b {
		t.Errorf("the defaults differ:\n%s\n%s", a, b)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(good)
	f.Add("[[account]]\n[account.source]\nuser=1\n")
	f.Add("account = [[]]\n")
	f.Add("[a.b]\n[[a.b.c]]\n'x'.\"y\" = 1")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := parse("/etc/x.toml", "x.toml", []byte(text)); err == nil && len(c.Accounts) == 0 {
			t.Error("neither an account nor an error")
		}
	})
}
