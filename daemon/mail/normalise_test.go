package mail

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestNormalise: octet by octet, with and without room, whatever is in the text.
func TestNormalise(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		text := make([]byte, rng.IntN(40))
		for i := range text {
			text[i] = []byte{'\r', '\n', 0, 1, 0x7f, 0x80, 0x81, 0xff, 'a', ' '}[rng.IntN(10)]
			if rng.IntN(3) > 0 {
				text[i] = 'b'
			}
		}
		before := bytes.Clone(text)
		to := make([]byte, rng.IntN(40))
		var want []byte
		for _, c := range text {
			switch {
			case c == '\r' || len(want) == len(to):
			case c == 0 || c >= 0x80:
				want = append(want, 'X')
			default:
				want = append(want, c)
			}
		}
		if n := normalise(to, text); !bytes.Equal(to[:n], want) || !bytes.Equal(text, before) {
			t.Fatalf("%q with room for %d: %q, want %q", before, len(to), to[:n], want)
		}
	}
}
