package remote

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestPlainDate: what plainDate reads is what time.Parse does, and it reads what
// RFC 3501 has.
func TestPlainDate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	read := 0
	for range 50_000 {
		at := time.Unix(rng.Int64N(1<<37)-1<<35, 0).In(time.FixedZone("", 60*(rng.IntN(2800)-1400)))
		text := at.Format([]string{"02-Jan-2006 15:04:05 -0700", "2-Jan-2006 15:04:05 -0700"}[rng.IntN(2)])
		altered := rng.IntN(2) == 0
		if altered {
			b := []byte(text)
			b[rng.IntN(len(b))] = "0123459 -+:aJn"[rng.IntN(14)]
			text = string(b)
		}
		got, ok := plainDate(text)
		want, err := time.Parse("2-Jan-2006 15:04:05 -0700", text)
		switch {
		case ok && (err != nil || !got.Equal(want)):
			t.Fatalf("%q: %v, want %v, %v", text, got, want, err)
		case !ok && !altered && at.Year() >= 1 && at.Year() <= 9999:
			t.Fatalf("%q is not read", text)
		case ok:
			read++
		}
	}
	if read < 10_000 {
		t.Errorf("%d were read", read)
	}
	for _, text := range []string{"", "31-Feb-2020 10:00:00 +0000", "01-Jan-0000 00:00:00 +0000", "01-Jan-2020 24:00:00 +0000", "01-Jan-2020 10:00:00 +2400", "01-anF-2020 10:00:00 +0000"} {
		if at, ok := plainDate(text); ok {
			t.Errorf("%q is read as %v", text, at)
		}
	}
}
