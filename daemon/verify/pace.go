package verify

import (
	"context"
	"sync"
	"time"
)

// PerSecond is an [Options.Pace] for any number of comparisons at once that
// together read so many octets a second from each side.
func PerSecond(octets int64) func(ctx context.Context, octets int64) error {
	var mu sync.Mutex
	var free time.Time // when the next may begin
	return func(ctx context.Context, wanted int64) error {
		mu.Lock()
		now := time.Now()
		if free.Before(now) {
			free = now
		}
		wait := free.Sub(now)
		free = free.Add(time.Duration(float64(wanted) / float64(octets) * float64(time.Second)))
		mu.Unlock()
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
			return ctx.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
