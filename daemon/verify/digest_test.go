package verify

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// TestDigestParts: a digest does not depend on the parts in which a message is
// read, however many line ends wait for what follows.
func TestDigestParts(t *testing.T) {
	text := "a\r\n" + strings.Repeat("\r\n", 200_000) + "b\x00\xff" + strings.Repeat("c", 70_000) + "\r\n\r\n"
	g := newDigester()
	want, err := g.digest(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if want.size != int64(len(text)) || want.lf != 200_003 || want.tail != 2 || want.tailCR != 2 || want.nul != 1 || want.eightBit != 1 {
		t.Errorf("%+v", want)
	}
	for _, r := range []io.Reader{iotest.OneByteReader(strings.NewReader(text)), iotest.DataErrReader(strings.NewReader(text)), iotest.HalfReader(strings.NewReader(text))} {
		if got, err := g.digest(r); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if got, _ := g.digest(strings.NewReader(strings.ReplaceAll(text, "\r", ""))); got.lenient != want.lenient || got.exact == want.exact {
		t.Error("without CR")
	}
	if got, _ := g.digest(strings.NewReader(strings.Replace(text, "b", "\nb", 1))); got.lenient == want.lenient {
		t.Error("a line more is not seen")
	}
}

func BenchmarkDigest(b *testing.B) {
	text := bytes.Repeat([]byte("The quick brown fox jumps over the lazy dog, again and again.\r\n"), 16_000)
	g := newDigester()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := g.digest(bytes.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
}
