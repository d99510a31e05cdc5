package main

import (
	"context"
	"time"
)

// graceTime is how long answers in flight are waited for after a signal. With
// what follows, the process has ended within ten seconds.
const graceTime = 8 * time.Second

// graceful returns a context that outlives stopping by graceTime, so that what
// is in flight can be finished.
func graceful(stopping context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(stopping))
	stop := context.AfterFunc(stopping, func() {
		timer := time.NewTimer(graceTime)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		stop()
		cancel()
	}
}
