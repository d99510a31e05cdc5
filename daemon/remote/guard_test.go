package remote

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

func TestQuote(t *testing.T) {
	for name, want := range map[string]string{
		"INBOX":        `"INBOX"`,
		`a "b" \c`:     `"a \"b\" \\c"`,
		"":             `""`,
		"x {3+}":       `"x {3+}"`,
		"caf\xe9\x01&": "\"caf\xe9\x01&\"",
	} {
		if got, err := quote(name); got != want || err != nil {
			t.Errorf("%q: %s %v, want %s", name, got, err, want)
		}
	}
	for _, name := range []string{"a\rb", "a\nb", "a\x00b", "a\r\nZ1 CREATE pwned"} {
		if got, err := quote(name); err == nil {
			t.Errorf("%q: %s", name, got)
		} else if strings.ContainsAny(err.Error(), "\r\n\x00") {
			t.Errorf("%q: the error would break a log line: %s", name, err)
		}
	}
}

var noon = time.Date(2020, 2, 29, 12, 0, 0, 0, time.FixedZone("", 3600))

func upload(flags ...string) mail.Upload {
	return mail.Upload{Size: 1, Date: noon, Flags: mail.ParseFlags(flags), Content: bytes.NewReader([]byte("x"))}
}

func TestKeywords(t *testing.T) {
	for _, c := range []struct {
		keyword         string
		plain, sendable bool
	}{
		{"$Label1", true, true},
		{"a_b.c+d-9", true, true},
		{strings.Repeat("k", 50), true, true},
		{strings.Repeat("k", 51), false, true},
		{"NIL", false, true},
		{"a]", false, true},
		{"a/b:c", false, true},
		{"[Gmail]", false, true},
		{"a b", false, false},
		{"a{5}", false, false},
		{"a(", false, false},
		{"a)", false, false},
		{`a"`, false, false},
		{`a\b`, false, false},
		{"a%", false, false},
		{"a*", false, false},
		{"a\r\nb", false, false},
		{"a\x00", false, false},
		{"a\x7f", false, false},
		{"gr\xfcn", false, false},
		{"grün", false, false},
		{"", false, false},
	} {
		if got := mail.PlainKeyword(c.keyword); got != c.plain {
			t.Errorf("plain %q: %v", c.keyword, got)
		}
		if got := sendableKeyword(c.keyword); got != c.sendable {
			t.Errorf("sendable %q: %v", c.keyword, got)
		}
	}
}

func TestUnsendable(t *testing.T) {
	bad := upload(`\Seen`)
	bad.Flags.Keywords = "ok gr\xfcn"
	if r := unsendable(bad); r == nil || r.Code != "FLAGS" || strings.Contains(r.Text, "\xfc") {
		t.Errorf("8-bit keyword: %v", r)
	}
	for _, date := range []time.Time{{}, time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(99999, 1, 1, 0, 0, 0, 0, time.UTC)} {
		m := upload()
		m.Date = date
		if unsendable(m) == nil {
			t.Errorf("%v would be sent", date)
		}
	}
	if r := unsendable(upload(`\Seen`, "$Label1")); r != nil {
		t.Error(r)
	}
}

func TestAppendArguments(t *testing.T) {
	if got, want := string(appendArguments(nil, upload(`\Recent`, `\Seen`, "work"))), `(\Seen work) "29-Feb-2020 11:00:00 +0000"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := string(appendArguments(nil, upload())), `() "29-Feb-2020 11:00:00 +0000"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestStorable(t *testing.T) {
	flags := mail.ParseFlags([]string{`\Seen`, `\Deleted`, "Work", "$Label1"})
	for _, c := range []struct {
		name      string
		permanent []string // nil: not sent
		want      string
	}{
		{"no PERMANENTFLAGS", nil, `(\Seen \Deleted $Label1 Work)`},
		{"all", []string{`\Seen`, `\Deleted`, `\*`}, `(\Seen \Deleted $Label1 Work)`},
		{"some keywords", []string{`\seen`, `\DELETED`, "WORK"}, `(\Seen \Deleted Work)`},
		{"new keywords but not all system flags", []string{`\Deleted`, `\*`}, `(\Deleted $Label1 Work)`},
		{"none", []string{}, `()`},
		{"new keywords and not one system flag", []string{`\*`, "other"}, `(\Seen \Deleted $Label1 Work)`},
	} {
		if got := newStorable(nil, c.permanent, new(Trust)).reduce(flags).String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestKnown: a literal is sent unasked for only after flags that this mailbox
// has taken before.
func TestKnown(t *testing.T) {
	s := newStorable([]string{`\Seen`, "Listed"}, []string{`\Seen`, `\*`, "Permanent", "odd]"}, new(Trust))
	for flags, want := range map[string]bool{
		"":                     true,
		`\Seen \Flagged`:       true, // system flags are of the grammar
		"listed PERMANENT":     true,
		"other":                false,
		"Listed other":         false,
		"odd]":                 false, // told by the server, but not plain
		`\Seen Listed $Label1`: false,
	} {
		if got := s.known(mail.ParseFlags(strings.Fields(flags))); got != want {
			t.Errorf("%q: %v", flags, got)
		}
	}
	s.accept(mail.ParseFlags([]string{"Other"}))
	if !s.known(mail.ParseFlags([]string{"other", "listed"})) {
		t.Error("what was accepted before is not known")
	}
	if next := newStorable(nil, []string{`\*`}, s.trust); !next.known(mail.ParseFlags([]string{"OTHER"})) {
		t.Error("what another mailbox has accepted is not known")
	}
	for _, permanent := range [][]string{nil, {`\Seen`}} {
		if next := newStorable(nil, permanent, s.trust); next.known(mail.ParseFlags([]string{"other"})) {
			t.Errorf("PERMANENTFLAGS %q: what another mailbox has accepted is known", permanent)
		}
	}
}
