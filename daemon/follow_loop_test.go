package daemon

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestWireAtRest: an account with nothing open has no loop that waits, and nothing due
// that is over, whether it is followed or was paused while its connections were kept
// open. What calls for it begins the loop again. The hours of it are simulated time.
func TestWireAtRest(t *testing.T) {
	if err := inBubble(t, func(t *testing.T) error {
		var errs []error
		w := newCrowd(t, 1, nil)
		defer w.close()
		w.run()
		name := w.names[0]
		is := func(when string, resting bool, missing int) {
			synctest.Wait()
			f := w.follower(name)
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.resting != resting {
				errs = append(errs, fmt.Errorf("%s: resting is %t", when, f.resting))
			} else if first := f.due.first(); resting && (f.work != nil || !f.due.cool.IsZero() || !first.After(time.Now())) {
				errs = append(errs, fmt.Errorf("%s: %+v is due, %v is open", when, f.due, f.work))
			}
			if n := w.missing(name); n != missing {
				errs = append(errs, fmt.Errorf("%s: %d messages are missing", when, n))
			}
		}
		time.Sleep(5 * time.Minute)
		is("followed", true, 0)
		w.deliver(name)
		time.Sleep(5 * time.Second)
		is("with connections kept open", false, 0)
		w.follower(name).Pause(true)
		if is("paused", true, 0); len(errs) > 0 {
			return errors.Join(errs...) // what is always due has time stand still
		}
		w.deliver(name)
		time.Sleep(time.Hour)
		is("paused for an hour", true, 1)
		w.follower(name).Pause(false)
		time.Sleep(5 * time.Second)
		is("resumed", false, 0)
		time.Sleep(time.Minute)
		is("followed again", true, 0)
		return w.complete(errs...)
	}); err != nil {
		t.Error(err)
	}
}
