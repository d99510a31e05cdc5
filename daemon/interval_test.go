package daemon

import (
	"testing"
	"time"
)

func TestLookInterval(t *testing.T) {
	const poll = time.Minute
	for quiet, want := range map[time.Duration]time.Duration{
		0: poll / 6, time.Minute: poll / 6, 100 * time.Second: poll / 6,
		5 * time.Minute: poll / 2, 9 * time.Minute: poll * 9 / 10,
		10 * time.Minute: poll, time.Hour: poll, time.Since(time.Time{}): poll, // which is as long as can be
		-time.Hour: poll / 6, // the clock has been set back
	} {
		if got := lookInterval(poll, quiet); got != want {
			t.Errorf("quiet for %s: looks every %s, want %s", quiet, got, want)
		}
	}
}
