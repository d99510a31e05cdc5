package mail

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestParseFlags(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{``, `()`},
		{`\Seen \Recent \Answered`, `(\Seen \Answered)`},
		{`\SEEN \draft`, `(\Seen \Draft)`},
		{`\*`, `()`},
		{`zebra Apple apple $Label1`, `($Label1 Apple zebra)`},
	} {
		if got := ParseFlags(strings.Fields(c.in)).String(); got != c.want {
			t.Errorf("%q: %s, want %s", c.in, got, c.want)
		}
	}
	f := ParseFlags([]string{"", " ", "b a", "c\r\nZ1 \\Seen", "\x00"})
	if got := strings.Join(f.KeywordList(), "|"); got != "a|b|c|Z1" || f.System != Seen || !f.With(f).Equal(f) {
		t.Errorf("of names that are none: %q, %v", got, f)
	}
}

func TestFlagsCompareAsKeywordsDo(t *testing.T) {
	a, b := ParseFlags([]string{`\Seen`, "Work", "Blue"}), ParseFlags([]string{"blue", "WORK", `\seen`})
	if !a.Equal(b) || a == b {
		t.Errorf("%v and %v differ in case only", a, b)
	}
	if a.Equal(ParseFlags([]string{`\Seen`, "Work"})) || a.Equal(ParseFlags([]string{"Work", "Blue"})) {
		t.Error("a missing keyword or flag goes unnoticed")
	}
}

func TestFlagsWith(t *testing.T) {
	got := ParseFlags([]string{`\Seen`, "b"}).With(ParseFlags([]string{`\Flagged`, "a", "B"}))
	if want := ParseFlags([]string{`\Seen`, `\Flagged`, "a", "b"}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestNoise(t *testing.T) {
	got := ParseFlags([]string{`\Seen`, "Work", "$HasAttachment", "nonjunk", "$X-ME-Annot-2", "$MDNSent"}).WithoutNoise()
	if want := ParseFlags([]string{`\Seen`, "Work"}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

var noon = time.Date(2020, 2, 29, 12, 0, 0, 0, time.UTC)

// TestFingerprintSurvivesAlterations: what servers are known to alter in place
// does not show, what makes another message does.
func TestFingerprintSurvivesAlterations(t *testing.T) {
	message := []byte("From: j\xfcrgen\r\nSubject: x\r\n\r\nnul \x00 here\r\n" + strings.Repeat("line\r\n", 1000))
	size := int64(len(message))
	original := NewFingerprint(size, noon, message)
	for name, altered := range map[string][]byte{
		"8-bit header replaced by X": bytes.ReplaceAll(message, []byte("\xfc"), []byte("X")),
		"NUL served as 0x80":         bytes.ReplaceAll(message, []byte("\x00"), []byte("\x80")),
		"bare LF":                    bytes.ReplaceAll(message, []byte("\r\n"), []byte("\n")),
		"only the beginning":         message[:PrefixLen],
	} {
		if NewFingerprint(size, noon, altered) != original {
			t.Errorf("%s: another fingerprint", name)
		}
	}
	if NewFingerprint(size, noon.In(time.FixedZone("", 7200)), message) != original {
		t.Error("the zone of INTERNALDATE shows")
	}
	for name, other := range map[string]Fingerprint{
		"size": NewFingerprint(size+1, noon, message),
		"date": NewFingerprint(size, noon.Add(time.Second), message),
		"text": NewFingerprint(size, noon, bytes.Replace(message, []byte("Subject: x"), []byte("Subject: y"), 1)),
	} {
		if other == original {
			t.Errorf("another %s: the same fingerprint", name)
		}
	}
}

func TestStorableDate(t *testing.T) {
	const header = "Received: from a by b; Tue, 3 Mar 2015 10:00:00 +0100\r\nDate: Mon, 2 Mar 2015 09:00:00 +0100\r\n"
	for _, c := range []struct {
		name     string
		internal time.Time
		prefix   string
		want     time.Time
	}{
		{"its own", noon, header, noon},
		{"the first second", time.Unix(0, 0), header, time.Unix(0, 0)},
		{"missing", time.Time{}, header, time.Date(2015, 3, 2, 8, 0, 0, 0, time.UTC)},
		{"30-Dec-1899", time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC), header, time.Date(2015, 3, 2, 8, 0, 0, 0, time.UTC)},
		{"far future", time.Date(2106, 1, 1, 0, 0, 0, 0, time.UTC), header, time.Date(2015, 3, 2, 8, 0, 0, 0, time.UTC)},
		{"no Date", time.Time{}, "Received: from a by b;\r\n Tue, 3 Mar 2015 10:00:00 +0100\r\nSubject: x\r\n\r\n", time.Date(2015, 3, 3, 9, 0, 0, 0, time.UTC)},
		{"a Date that cannot be stored", time.Time{}, "Date: Mon, 2 Mar 1908 09:00:00 +0100\r\n\r\n", undated},
		{"a header cut short", time.Time{}, "Date: Mon, 2 Mar 2015 09:00:00 +0100\r\nSub", time.Date(2015, 3, 2, 8, 0, 0, 0, time.UTC)},
		{"nothing at all", time.Time{}, "", undated},
	} {
		if got := StorableDate(c.internal, []byte(c.prefix)); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestHoldID(t *testing.T) {
	if id := (Hold{HoldKey: HoldKey{Pair: 3, UID: 1042}}).ID(); id != "3.1042" {
		t.Error(id)
	}
	if id := (Hold{HoldKey: HoldKey{Path: "a/b"}}).ID(); id != "a/b" {
		t.Error(id)
	}
}

// TestContentSurvivesAlterations: the forms in which servers are known to store
// one message have one content and one opening.
func TestContentSurvivesAlterations(t *testing.T) {
	for _, original := range []string{"a: b\r\n\r\ntext\r\n\r\nmore", "", "\n", "x", strings.Repeat("0123456789\r\n", 5000), strings.Repeat("\n", 40_000) + "x"} {
		want, err := Content(strings.NewReader(original))
		if err != nil {
			t.Fatal(err)
		}
		for name, altered := range map[string]string{
			"line end":    original + "\r\n",
			"bare LF":     strings.ReplaceAll(original, "\r\n", "\n"),
			"CR":          strings.ReplaceAll(original, "\n", "\r\r\n"),
			"last CR":     original + "\r",
			"two of them": strings.ReplaceAll(original, "\r\n", "\n") + "\n",
		} {
			got, err := Content(iotest.OneByteReader(strings.NewReader(altered)))
			if err != nil || got != want || Opening([]byte(altered)) != Opening([]byte(original)) {
				t.Errorf("%.20q, %s: %v", original, name, err)
			}
		}
		for name, other := range map[string]string{"before": "y" + original, "after": original + "y", "within": strings.Replace(original+"x\n\nx", "\n", "\n\n", 1)} {
			if got, _ := Content(strings.NewReader(other)); got == want {
				t.Errorf("%.20q, something %s: the same content", original, name)
			}
		}
	}
	if _, err := Content(iotest.ErrReader(io.ErrUnexpectedEOF)); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
}
