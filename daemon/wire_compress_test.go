package daemon

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// TestWireCompressed: what carries mail is compressed on both sides, what only
// listens is not.
func TestWireCompressed(t *testing.T) {
	dir := shm(t)
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, dir, rand.New(rand.NewPCG(1, smallSeed)), nil)
		defer w.close()
		w.compressed()
		w.small()
		time.Sleep(15 * time.Minute)
		if err := w.check(); err != nil {
			t.Errorf("%s\n%v\n%s", w.people.Trace(), err, &w.log)
		}
		// Each log-in ends with our ID.
		if all, n := w.new.Count("ID"), w.new.Count("COMPRESS"); n == 0 || n != all {
			t.Errorf("%d of %d connections to the new server are compressed", n, all)
		}
		if all, n := w.old.Count("ID"), w.old.Count("COMPRESS"); n == 0 || n >= all {
			t.Errorf("%d of %d connections to the old server are compressed, of which some only listen", n, all)
		}
	})
}
