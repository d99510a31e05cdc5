package mail

import (
	"bytes"
	"strings"
	"testing"
)

func mended(t *testing.T, text string, which Fixups) (string, Fixups) {
	t.Helper()
	var out bytes.Buffer
	applied, err := Mend(&out, strings.NewReader(text), which)
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), applied
}

func TestMend(t *testing.T) {
	for _, c := range []struct {
		text    string
		which   Fixups
		want    string
		applied Fixups
	}{
		{"A: b\r\n\r\nc\r\n", Mendings, "A: b\r\n\r\nc\r\n", 0},
		{"", Mendings, "", 0},
		{"A: b\r\n\r\nc", FinalCRLF, "A: b\r\n\r\nc\r\n", FinalCRLF},
		{"A: b\r\n\r\nc\n", FinalCRLF, "A: b\r\n\r\nc\r\n", FinalCRLF},
		{"A: b\n\nc\r", FinalCRLF, "A: b\n\nc\r\n", FinalCRLF},
		{"A: b\n\nc\n", BareLF, "A: b\r\n\r\nc\r\n", BareLF},
		{"A: b\n\nc", BareLF, "A: b\r\n\r\nc", BareLF},
		{"A: b\n\nc", BareLF | FinalCRLF, "A: b\r\n\r\nc\r\n", BareLF | FinalCRLF},
		{"A: b\r\n\r\n\x00c\x00", NUL, "A: b\r\n\r\n\x80c\x80", NUL},
		{"A: b\r\n\r\n\x00", FinalCRLF, "A: b\r\n\r\n\x00\r\n", FinalCRLF},
		{"A: b\r\nno field\r\n c\r\nD: e\r\n\r\nnot this\r\n", HeaderLine, "A: b\r\nX-Invalid-Header-Line: no field\r\n c\r\nD: e\r\n\r\nnot this\r\n", HeaderLine},
		{">From a@b.example\r\nA: b\r\n\r\n", HeaderLine, "X-Invalid-Header-Line: >From a@b.example\r\nA: b\r\n\r\n", HeaderLine},
		{"Subject : a\r\n\r\n", HeaderLine, "X-Invalid-Header-Line: Subject : a\r\n\r\n", HeaderLine},
		{": a\r\n\r\n", HeaderLine, "X-Invalid-Header-Line: : a\r\n\r\n", HeaderLine},
		{" a\nB: c\n\n", HeaderLine, "X-Invalid-Header-Line:  a\nB: c\n\n", HeaderLine},
		{"A: b\r\n \r\n\r\n", HeaderLine, "A: b\r\n \r\n\r\n", 0},
		{"nothing\r\n\r\n", HeaderLine, "X-Invalid-Header-Line: nothing\r\n\r\n", HeaderLine},
		{"\r\nbody", HeaderLine, "\r\nbody", 0},
		{"\ra: b\r\n\r\n", HeaderLine, "X-Invalid-Header-Line: \ra: b\r\n\r\n", HeaderLine},
		{"A: b\r\n", HeaderLine, "A: b\r\n\r\n", HeaderLine},
		{"A: b", HeaderLine, "A: b\r\n\r\n", HeaderLine},
		{"x", HeaderLine, "X-Invalid-Header-Line: x\r\n\r\n", HeaderLine},
		{"x", Mendings, "X-Invalid-Header-Line: x\r\n\r\n", HeaderLine},
		{"A: b\nc", Mendings, "A: b\r\nX-Invalid-Header-Line: c\r\n\r\n", BareLF | HeaderLine},
		{strings.Repeat("n", 999) + ": v\r\n\r\n", HeaderLine, invalidLine + strings.Repeat("n", 999) + ": v\r\n\r\n", HeaderLine},
		{"\x00: v\r\n\r\n", Mendings, "X-Invalid-Header-Line: \x80: v\r\n\r\n", NUL | HeaderLine},
	} {
		got, applied := mended(t, c.text, c.which)
		if got != c.want || applied != c.applied {
			t.Errorf("%.60q with %v: %.80q (%v), not %.80q (%v)", c.text, c.which, got, applied, c.want, c.applied)
		}
	}
}

func TestFixupsNamed(t *testing.T) {
	for _, name := range AllFixups.Names() {
		if set, ok := FixupsNamed(name); !ok || len(set.Names()) != 1 || set.String() != name {
			t.Errorf("%s: %v, %v", name, set, ok)
		}
	}
	if _, ok := FixupsNamed("nul", "crlf"); ok {
		t.Error("crlf is known")
	}
}

// FuzzMend: what has been mended has nothing left to be mended, and is taken for
// the message that it was made of.
func FuzzMend(f *testing.F) {
	for _, text := range []string{
		"", "x", "\n", "\r", "A: b\r\n\r\nc", "A: b\nno field\n\n\x00\xff\n", "\x00\r\r\n: \n a\rb: c", "X-Invalid-Header-Line: ", "X-Invalid-\nX-Invalid-Header-Line: X-Invalid-Header-Line: a",
	} {
		f.Add([]byte(text), byte(Mendings))
	}
	f.Fuzz(func(t *testing.T, text []byte, set byte) {
		which := Fixups(set) & Mendings
		first, applied := mended(t, string(text), which)
		if applied&^which != 0 || applied == 0 && first != string(text) {
			t.Fatalf("%q with %v: %q, %v", text, which, first, applied)
		}
		if again, applied := mended(t, first, which); again != first || applied != 0 {
			t.Errorf("%q, mended with %v to %q: %q again, %v", text, which, first, again, applied)
		}
		was, _ := Content(bytes.NewReader(text))
		is, _ := Content(strings.NewReader(first))
		if was != is {
			t.Errorf("%q and its mended form %q have other contents", text, first)
		}
		if len(text) < PrefixLen/2 && len(first) < PrefixLen && Opening(text) != Opening([]byte(first)) {
			t.Errorf("%q and its mended form %q begin otherwise", text, first)
		}
	})
}
