package daemon

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
)

// TestComplaintsOnce: what lasts is logged once, and again when it comes back.
func TestComplaintsOnce(t *testing.T) {
	dir := shm(t)
	synctest.Test(t, func(t *testing.T) {
		var refuses atomic.Bool
		refuses.Store(true)
		w := newWire(t, dir, rand.New(rand.NewPCG(1, 1)), func(old, _ *imapsim.Options) {
			old.Capabilities = []string{"AUTH=PLAIN"} // nothing tells which flags have changed
			old.Before = func(c imapsim.Command) (r imapsim.Reaction) {
				if refuses.Load() && strings.HasSuffix(c.Line, "(FLAGS)") {
					r.Say = "NO not the flags"
				}
				return r
			}
		})
		defer w.close()
		w.config.PollInterval, w.config.FlagsInterval = time.Minute, 10*time.Minute
		w.people.DeliverTo("INBOX")
		w.run()
		for lines, refused := range []bool{true, false, true} {
			refuses.Store(refused)
			time.Sleep(2 * time.Hour)
			const complaint = `msg="flags cannot be compared"`
			if n, want := strings.Count(w.log.String(), complaint), 1+lines/2; n != want {
				t.Errorf("after %d hours it is logged %d times, want %d:\n%s", 2*lines+2, n, want, &w.log)
			}
		}
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		if log := w.log.String(); strings.Contains(log, `=""`) {
			t.Errorf("keys without a value are logged:\n%s", log)
		}
	})
}
