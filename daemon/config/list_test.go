package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const listTOML = `
[source]
host = "old.example.org"
[destination]
host = "new.example.org"
[accounts]
file = "accounts.csv"
`

// withList writes a configuration with a list of accounts.
func withList(t testing.TB, toml, list string) string {
	t.Helper()
	path := write(t, toml)
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "accounts.csv"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// spell shows the accounts of a configuration with their passwords.
func spell(t *testing.T, c *Config) string {
	t.Helper()
	var lines []string
	for _, a := range c.Accounts {
		lines = append(lines, fmt.Sprintf("%s %s|%s|%s %s|%s|%s %s", a.Name, a.Source.Host, a.Source.User, read(t, a.Source.Password),
			a.Destination.Host, a.Destination.User, read(t, a.Destination.Password), strings.Join(a.Domains, "+")))
	}
	return strings.Join(lines, "\n")
}

func TestLists(t *testing.T) {
	const header = "name,source_user,source_password,destination_user,destination_password\n"
	const two = "foo old.example.org|foo@example.org|p1 new.example.org|foo|p2 example.org\nbar old.example.org|bar@example.org|q1 new.example.org|bar|q2 example.org"
	const rows = "foo,foo@example.org,p1,foo,p2\nbar,bar@example.org,q1,bar,q2\n"
	for name, c := range map[string]struct{ list, want string }{
		"commas":       {header + rows, two},
		"semicolons":   {strings.ReplaceAll(header+rows, ",", ";"), two},
		"tabs":         {strings.ReplaceAll(header+rows, ",", "\t"), two},
		"as Excel":     {"\xef\xbb\xbfsep=;\r\n" + strings.ReplaceAll(strings.ReplaceAll(header+rows, ",", ";"), "\n", "\r\n"), two},
		"old Mac":      {strings.ReplaceAll(header+rows, "\n", "\r"), two},
		"no last line": {strings.TrimSuffix(header+rows, "\n"), two},
		"comments":     {"# accounts of 2026\n\n" + header + "  # the first\n" + rows + "\n#foo,\n", two},
		"quotes":       {header + "foo,foo@example.org,\"a,\"\"b\"\";c\",foo,\" p \"\n", "foo old.example.org|foo@example.org|a,\"b\";c new.example.org|foo| p  example.org"},
		"blanks":       {header + "foo , foo@example.org ,p q, foo,p\n", "foo old.example.org|foo@example.org|p q new.example.org|foo|p example.org"},
		"upper case":   {"Name,Source_User,Source_Password,Destination_User,Destination_Password\n" + rows, two},
		"other order":  {"destination_password,source_password,source_user,name,destination_user\np2,p1,foo@example.org,foo,foo\n", strings.SplitN(two, "\n", 2)[0]},
		"no names":     {"source_user,source_password,destination_user,destination_password\nfoo@example.org,p,x,y\n", "foo@example.org old.example.org|foo@example.org|p new.example.org|x|y example.org"},
		"one user":     {"source_user,source_password,destination_password\nfoo@example.org,p,q\n", "foo@example.org old.example.org|foo@example.org|p new.example.org|foo@example.org|q example.org"},
		"domains":      {strings.TrimSpace(header) + ",domains\nfoo,foo,p,foo,q,example.org  EXAMPLE.net\n", "foo old.example.org|foo|p new.example.org|foo|q example.org+example.net"},
		"hosts":        {"source_host,source_user,source_password,destination_host,destination_password\n192.0.2.1,foo,p,,q\n", "foo 192.0.2.1|foo|p new.example.org|foo|q default"},
		"UTF-8":        {header + "foo,jürgen,päß€,foo,q\n", "foo old.example.org|jürgen|päß€ new.example.org|foo|q default"},
		"Latin-1":      {header + "foo,j\xfcrgen,p\xe4\xdf\x80,foo,q\n", "foo old.example.org|jürgen|päß€ new.example.org|foo|q default"},
		"imapsync, 4":  {"foo@example.org;p1;foo;p2\n# bar\nbar@example.org;\"q;bar;\"q\"\n", "foo@example.org old.example.org|foo@example.org|p1 new.example.org|foo|p2 example.org\nbar@example.org old.example.org|bar@example.org|\"q new.example.org|bar|\"q\" example.org"},
		"imapsync, 6":  {"a.example;foo@example.org;p1;b.example;foo;p2;;\r\na.example;bar@example.org; q ;b.example;bar;q2;\r\n", "foo@example.org a.example|foo@example.org|p1 b.example|foo|p2 example.org\nbar@example.org a.example|bar@example.org| q  b.example|bar|q2 example.org"},
	} {
		cfg, err := Load(withList(t, listTOML, c.list))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := spell(t, cfg); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
	}
	// A list beside [[account]]s, an administrator for those without a password.
	cfg, err := Load(withList(t, strings.Replace(good, "[source]\n", "[accounts]\nfile = \"accounts.csv\"\n[source]\nadmin_user = \"cyrus\"\nadmin_password = \"m\"\n", 1),
		"source_user,source_password,destination_password\nbar,,x\nbaz,own,x\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := spell(t, cfg), "foo 192.0.2.10|foo@Example.org|hunter2 new.example.org|foo|s3cret example.org\nbar 192.0.2.10|bar|m new.example.org|bar|x default\nbaz 192.0.2.10|baz|own new.example.org|baz|x default"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	if cfg.Accounts[1].Source.Admin.User != "cyrus" || cfg.Accounts[2].Source.Admin.User != "" {
		t.Errorf("%+v", cfg.Accounts)
	}
}

// TestBadLines: every line that is wrong is told of, with its number, and no
// password with it.
func TestBadLines(t *testing.T) {
	const header = "name,source_user,source_password,destination_user,destination_password\n"
	const ok = "ok,ok,Zq7cret,ok,Zq7cret\n"
	for name, c := range map[string]struct {
		list string
		want []string
	}{
		"several": {header + "a,a,Zq7cret\n" + ok + "b,b,\"Zq7cret,b,x\n" + "c,c,Zq7c\"ret,c,x\n\n# comment\nd,,Zq7cret,d,x\n", []string{
			"accounts.csv:2:1: there are 3 fields, but 5 columns", "accounts.csv:4:1: a quote is not closed", "accounts.csv:5:1: a quote is not closed", "accounts.csv:8:1: source_user is empty"}},
		"names":            {header + "../a,a,Zq7cret,a,x\n" + ok + "OK,b,Zq7cret,b,x\nc,c,Zq7cret,ok,x\n", []string{"accounts.csv:2:1: account \"../a\": a name has", "accounts.csv:4:1: account \"OK\" has the name of account \"ok\" in line 3", "accounts.csv:5:1: account c fills the same mailbox on the new server as account ok"}},
		"no password":      {header + ok + "a,a,,a,Zq7cret\n", []string{"accounts.csv:3:1: account a: [source] there is no password; write password_file"}},
		"no header":        {"foo,Zq7cret\n", []string{"accounts.csv:1:1: this is neither a header line"}},
		"unknown column":   {"source_user,sorce_password\nfoo,Zq7cret\n", []string{"accounts.csv:1:1: unknown column \"sorce_password\"; there are destination_host, destination_password, "}},
		"a column twice":   {"source_user,source_user\na,b\n", []string{"accounts.csv:1:1: there are two columns \"source_user\""}},
		"UTF-16":           {"\xff\xfen\x00a\x00", []string{"accounts.csv:1:1: the file is UTF-16; save it as CSV in UTF-8"}},
		"NUL":              {header + "a,a,Zq7\x00cret,a,x\n", []string{"accounts.csv:2:1: source_password has a NUL in it"}},
		"imapsync":         {"a;Zq7cret;a;x\nb;Zq7;cret;b;x\nc;Zq7cret;;x\nd;Zq7cret\n", []string{"accounts.csv:2:1: there are 5 fields, but 4 in the first line; a password with a semicolon", "accounts.csv:3:1: destination_user is empty", "accounts.csv:4:1: there are 2 fields"}},
		"imapsync options": {"h;a;Zq7cret;i;a;x;\nh;b;Zq7cret;i;b;x;--automap;\n", []string{"accounts.csv:2:1: there are options in a seventh field"}},
		"only a header":    {header, []string{"c.toml:7:1: there is no account; every mailbox"}},
		"host":             {"source_host,source_user,source_password\na b,a,Zq7cret\n", []string{"accounts.csv:2:1: account a: [source] host: \"a b\" is no name or address"}},
	} {
		toml := listTOML
		if name == "host" {
			toml = strings.Replace(toml, "[destination]\n", "[destination]\npassword = \"x\"\n", 1)
		}
		_, err := Load(withList(t, toml, c.list))
		var problems Problems
		if !errors.As(err, &problems) || len(problems) != len(c.want) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(problems[i].String(), "/"+want) {
				t.Errorf("%s: lacks %q: %v", name, want, problems[i])
			}
		}
		if strings.Contains(err.Error(), "Zq7") {
			t.Errorf("%s shows a password: %v", name, err)
		}
	}
}

// TestSharedProblems: what is wrong with what ten thousand lines inherit is
// told of once.
func TestSharedProblems(t *testing.T) {
	list := "source_user,source_password\n"
	for i := range 1000 {
		list += fmt.Sprintf("u%d,x\n", i)
	}
	toml := strings.NewReplacer("host = \"old.example.org\"\n", "", "[destination]\n", "[destination]\ntls_ca_file = \"none.pem\"\npassword_file = \"none\"\n").Replace(listTOML)
	_, err := Load(withList(t, toml, list))
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 3 || !strings.Contains(err.Error(), "c.toml:2:2: account u0: [source] host is missing") {
		t.Errorf("%d problems: %v", len(problems), err)
	}
}

func TestListFile(t *testing.T) {
	const one = "source_user,source_password,destination_password\nfoo,p,q\n"
	path := withList(t, listTOML, one)
	list := filepath.Join(filepath.Dir(path), "accounts.csv")
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, watched := c.SecretFiles()[list]; !watched {
		t.Error("the list is not watched")
	}
	for _, c := range []struct {
		spoil func()
		want  string
	}{
		{func() { os.Chmod(list, 0o644) }, "c.toml:7:1: accounts.file: " + list + " can be read by everybody; mend it with: chmod 600"},
		{func() { os.Chmod(list, 0o600); os.Truncate(list, 0) }, "c.toml:7:1: accounts.file: " + list + ": it is empty"},
		{func() { os.Remove(list) }, "c.toml:7:1: accounts.file: stat " + list},
	} {
		c.spoil()
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("lacks %q: %v", c.want, err)
		}
	}
}

// many is a list of so many accounts.
func many(n int) []string {
	lines := []string{"name,source_user,source_password,destination_user,destination_password"}
	for i := range n {
		lines = append(lines, fmt.Sprintf("user%05d,user%05d@example.org,old-%d,user%05d@example.org,\"new,%d\"", i, i, i, i, i))
	}
	return lines
}

// TestChangesOfALongList: three changes of ten thousand lines are three changed
// accounts, a list that is cut short takes nobody away without a word, and both
// is seen in little time.
func TestChangesOfALongList(t *testing.T) {
	const accounts = 10_000
	toml := strings.Replace(listTOML, "[source]\n", "[mailboxes]\nexclude = [\"\\\\Junk\", \"Public/**\"]\n[source]\n", 1)
	lines := many(accounts)
	before, err := Load(withList(t, toml, strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	next := slices.Clone(lines)
	next[17] = strings.Replace(next[17], "old-16", "another", 1)
	next[5000] = strings.Replace(next[5000], "user04999,", "renamed,", 1)
	next[9999] = "brand-new,brand-new,x,brand-new,y"
	path := withList(t, toml, strings.Join(next, "\r\n"))
	start := time.Now()
	after, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	after.StateDir, after.Socket = before.StateDir, before.Socket
	d := Diff(before, after)
	t.Logf("%d accounts read and compared in %s", accounts, time.Since(start).Round(time.Millisecond))
	if got := fmt.Sprint(names(d.Added), names(d.Changed), names(d.Removed)); got != "[renamed brand-new] [user00016] [user04999 user09998]" {
		t.Errorf("%s", got)
	}
	if err := d.Removals(accounts); err != nil {
		t.Error(err)
	}
	for _, keep := range []int{accounts / 2, 1} {
		cut, err := Load(withList(t, toml, strings.Join(lines[:keep+1], "\n")))
		if err != nil {
			t.Fatal(err)
		}
		if err := Diff(before, cut).Removals(accounts); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("lacks %d of %d accounts", accounts-keep, accounts)) {
			t.Errorf("cut to %d: %v", keep, err)
		}
	}
	if _, err := Load(withList(t, toml, strings.Join(lines, "\n")[:len(strings.Join(lines, "\n"))/2])); err == nil || strings.Count(err.Error(), "accounts.csv:") != 1 {
		t.Errorf("cut in a line: %v", err)
	}
}

func BenchmarkLoadList(b *testing.B) {
	path := withList(b, listTOML, strings.Join(many(10_000), "\n"))
	before, err := Load(path)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		c, err := Load(path)
		if err != nil {
			b.Fatal(err)
		}
		if d := Diff(before, c); len(d.Changed) > 0 {
			b.Fatal(d)
		}
	}
}

func FuzzList(f *testing.F) {
	for _, seed := range []string{
		"name,source_user,source_password,destination_user,destination_password,domains\na,b,\"c,\"\"d\",e,f,g h\n",
		"\xef\xbb\xbfsep=;\r\nsource_user;source_password\r\na;\xfc\r\n", "source_user\tname\na\t\n", "a;b;c;d\n", "h;a;b;i;c;d;;\n", "# x\n\nsource_user\n\"a\n", "\xff\xfea\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		accounts, bad := parseList(data)
		lines := strings.Count(strings.ReplaceAll(string(data), "\r", "\n"), "\n") + 1
		seen := make(map[int]bool)
		for _, b := range bad {
			if b.line < 1 || b.line > lines || seen[b.line] || b.text == "" {
				t.Errorf("line %d: %q", b.line, b.text)
			}
			seen[b.line] = true
		}
		for _, a := range accounts {
			if a.line < 1 || a.line > lines || seen[a.line] || a.keys.Source.User == nil || *a.keys.Source.User == "" || a.keys.Destination.User == nil || a.keys.Name == "" {
				t.Errorf("line %d: %+v", a.line, a.keys)
			}
			seen[a.line] = true
			for _, password := range []*string{a.keys.Source.Password, a.keys.Destination.Password} {
				if password != nil && strings.ContainsAny(*password, "\r\n\x00") {
					t.Errorf("a password of several lines")
				}
			}
		}
	})
}
