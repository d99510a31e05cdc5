package remote

import (
	"testing"
	"unicode/utf8"
)

func TestDecodeUTF7(t *testing.T) {
	for _, c := range []struct {
		raw, name string
		ok        bool
	}{
		{"", "", true},
		{"Sent", "Sent", true},
		{"&-", "&", true},
		{"R&-D", "R&D", true},
		{"Entw&APw-rfe", "Entwürfe", true},
		{"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語", true},
		{"&2D3cqQ-", "\U0001f4a9", true},
		{"&AEEAQg-", "AB", true},                 // not canonical: could have been written as itself
		{"&AOk-&AOg-", "éè", true},               // not canonical: two shifts in a row
		{"Envoy&AOk", "Envoyé", true},            // a shift that is not ended
		{"Envoy&AOk s", "Envoyé s", true},        // ended by something else
		{"Entwürfe", "Entwürfe", true},           // raw UTF-8
		{"R&D", "R&D", false},                    // no base64
		{"a & b", "a & b", false},                // nothing at all
		{"&", "&", false},                        //
		{"&2D0-x", "&2D0-x", false},              // half a surrogate pair
		{"caf\xe9", "caf=E9", false},             // Latin-1
		{"R&D &APw-", "R&D ü", false},            // the rest is still read
		{"&AAA-", "\x00", true},                  // whatever it says
		{"&AP8A-", "&AP8A-", false},              // one octet too many
		{"a\x01b", "a\x01b", true},               // controls are kept
		{"\xf0\x9f\x92\xa9", "\U0001f4a9", true}, // beyond the BMP
	} {
		name, ok := decodeUTF7(c.raw)
		if name != c.name || ok != c.ok {
			t.Errorf("%q: %q %v, want %q %v", c.raw, name, ok, c.name, c.ok)
		}
	}
}

func TestEncodeUTF7(t *testing.T) {
	for _, c := range []struct{ name, raw string }{
		{"", ""},
		{"Sent", "Sent"},
		{"R&D", "R&-D"},
		{"Entwürfe", "Entw&APw-rfe"},
		{"台北 日本語", "&U,BTFw- &ZeVnLIqe-"},
		{"\U0001f4a9", "&2D3cqQ-"},
		{"a\x00b\x7f", "a&AAA-b&AH8-"},
		{"é&è", "&AOk-&-&AOg-"},
	} {
		if raw := encodeUTF7(c.name); raw != c.raw {
			t.Errorf("%q: %q, want %q", c.name, raw, c.raw)
		}
	}
}

func FuzzUTF7(f *testing.F) {
	for _, s := range []string{"Entwürfe", "&-", "a & b", "&2D0-", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if name, _ := decodeUTF7(s); !utf8.ValidString(name) {
			t.Errorf("%q decodes to %q", s, name)
		}
		if !utf8.ValidString(s) {
			return
		}
		if name, ok := decodeUTF7(encodeUTF7(s)); name != s || !ok {
			t.Errorf("%q comes back as %q %v", s, name, ok)
		}
	})
}
