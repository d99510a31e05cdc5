package daemon

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/metrics"
)

func TestCeiling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var c ceiling
		for _, step := range []struct {
			at    time.Duration // since the start
			lower int           // one more than so many was refused; 0: none was
			want  int           // of 50
		}{
			{0, 0, 50},
			{0, 7, 7},
			{time.Second, 9, 7}, // begun before
			{time.Second, 6, 6},
			{10 * time.Minute, 0, 6},
			{10*time.Minute + time.Second, 0, 7},
			{11 * time.Minute, 8, 6}, // it was too many again, whatever else was counted
			{21 * time.Minute, 0, 6}, // and is left alone twice as long
			{31 * time.Minute, 0, 7}, // until it is tried again
			{51 * time.Minute, 0, 9}, // and more
			{91 * time.Minute, 0, 21},
			{111 * time.Minute, 0, 37},
			{112 * time.Minute, 29, 21}, // as it was before it was raised last
			{113 * time.Minute, 30, 21}, // begun before
			{152 * time.Minute, 0, 22},
			{152*time.Minute + time.Second, 21, 21},
			{24 * time.Hour, 0, 50},
			{24 * time.Hour, 0, 50},
		} {
			time.Sleep(step.at - time.Since(start))
			if step.lower > 0 {
				c.lower(time.Now(), step.lower)
			}
			if got := c.of(50); got != step.want {
				t.Errorf("after %s: %d connections, want %d", step.at, got, step.want)
			}
		}
		c = ceiling{}
		for range 10 { // refused whenever one more is tried
			c.lower(time.Now(), 3)
			for c.of(50) == 3 {
				time.Sleep(time.Minute)
			}
		}
		if c.wait != raiseMost {
			t.Errorf("tried again after %s", c.wait)
		}
	})
	if got := new(ceiling).of(4); got != 4 {
		t.Errorf("%d connections where nothing has been refused", got)
	}
}

// TestPresence: what is being connected, is open, or was a moment ago may be
// counted by a server.
func TestPresence(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	l := newLearnt()
	enter := func(account string) {
		l.moved(now, account, metrics.Absent, metrics.Connecting)
		l.moved(now, account, metrics.Connecting, metrics.Busy)
	}
	enter("a")
	enter("a")
	enter("a")
	enter("b")
	l.moved(now, "b", metrics.Absent, metrics.Connecting)
	count := func(after time.Duration, all, a, b int) {
		t.Helper()
		own := func(account string) int {
			if p := l.presence[account]; p != nil {
				return p.count(now.Add(after))
			}
			return 0
		}
		if x, y, z := l.all.count(now.Add(after)), own("a"), own("b"); x != all || y != a || z != b {
			t.Errorf("after %s: %d, %d and %d, want %d, %d and %d", after, x, y, z, all, a, b)
		}
	}
	count(0, 5, 3, 2)
	l.moved(now, "b", metrics.Connecting, metrics.Absent)
	count(0, 4, 3, 1) // it never got in
	l.moved(now, "a", metrics.Busy, metrics.Absent)
	l.moved(now.Add(time.Second), "a", metrics.Idle, metrics.Absent)
	count(time.Second, 4, 3, 1)
	count(2500*time.Millisecond, 3, 2, 1)
	count(time.Minute, 2, 1, 1)
	now = now.Add(time.Minute)
	l.moved(now, "a", metrics.Watching, metrics.Absent)
	l.moved(now, "b", metrics.Busy, metrics.Absent)
	count(time.Minute, 0, 0, 0)
}
