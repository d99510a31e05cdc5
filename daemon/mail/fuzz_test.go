package mail

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// FuzzFingerprint: whatever a message is, its fingerprint is the same in hand
// and as the beginning that a probe fetches, and none is needed beyond that. In
// each form that servers are known to give a message, what does not depend on
// its size is the same too.
func FuzzFingerprint(f *testing.F) {
	f.Add([]byte(""), int64(0))
	f.Add([]byte("Subject: x\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n\r\ntext\r\n"), int64(-1))
	f.Add([]byte("Received: by mx; Tue, 24 Nov 2026 10:00:00 +0000\nbroken header\n\n\x00\xff\r\r\n"), int64(1)<<40)
	f.Add(bytes.Repeat([]byte("\n"), PrefixLen+1), int64(1_500_000_000))
	f.Add([]byte("Date: "+strings.Repeat("x", PrefixLen)), int64(-62135596800))
	f.Fuzz(func(t *testing.T, text []byte, seconds int64) {
		date := time.Unix(seconds, 0)
		probe := text[:min(len(text), PrefixLen)]
		whole := NewFingerprint(int64(len(text)), date, text)
		if whole == 0 || whole != NewFingerprint(int64(len(text)), date, probe) {
			t.Error("the probe has another fingerprint than the message")
		}
		stored := StorableDate(date, text)
		if !DateStorable(stored) || !stored.Equal(StorableDate(date, probe)) {
			t.Errorf("the date %s is %s, and of the probe %s", date, stored, StorableDate(date, probe))
		}
		if whole != NewFingerprint(int64(len(text)), stored, text) {
			t.Error("a copy with the date that it is given has another fingerprint")
		}
		HeaderKey(text)
		var form normalForm
		if slow := octetByOctet(probe); Opening(text) != digest(bytes.TrimRight(slow[:min(len(slow), digestLen)], "\n")) || !bytes.Equal(form.end(form.add(nil, probe)), slow) {
			t.Error("its lines have another form than its octets")
		}

		content := contentOf(t, bytes.NewReader(text))
		if content != contentOf(t, iotest.OneByteReader(bytes.NewReader(text))) {
			t.Error("the content depends on how it is read")
		}
		for name, form := range forms(text) {
			if contentOf(t, bytes.NewReader(form)) != content {
				t.Errorf("%s: another content", name)
			}
			if Opening(form) != Opening(text) && bytes.Count(text, []byte("\r")) == 0 {
				t.Errorf("%s: another opening", name)
			}
		}
	})
}

func contentOf(t *testing.T, r io.Reader) Fingerprint {
	t.Helper()
	print, err := Content(r)
	if err != nil || print == 0 {
		t.Errorf("%d, %v", print, err)
	}
	return print
}

// forms are those in which servers are known to store a message.
func forms(text []byte) map[string][]byte {
	masked := bytes.Clone(text)
	for i, c := range masked {
		if c == 0 || c >= 0x80 {
			masked[i] = 'X'
		}
	}
	return map[string][]byte{
		"CRLF for LF":   bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")),
		"no CR":         bytes.ReplaceAll(text, []byte("\r"), nil),
		"X for 8 bits":  masked,
		"0x80 for NUL":  bytes.ReplaceAll(text, []byte{0}, []byte{0x80}),
		"a line's end":  append(bytes.Clone(text), "\r\n"...),
		"without end":   bytes.TrimRight(text, "\r\n"),
		"with more end": append(bytes.Clone(text), "\n\r\n\n"...),
	}
}

// octetByOctet is the normal form of a text, one octet after the other.
func octetByOctet(text []byte) (out []byte) {
	within, matched := false, 0
	for _, c := range text {
		if !within && c == invalidLine[matched] {
			if matched++; matched == len(invalidLine) {
				within, matched = true, 0
			}
			continue
		}
		if matched > 0 {
			out, within, matched = append(out, invalidLine[:matched]...), true, 0
		}
		switch {
		case c == '\r':
			continue
		case c == 0 || c >= 0x80:
			c = 'X'
		}
		out, within = append(out, c), c != '\n'
	}
	return append(out, invalidLine[:matched]...)
}
