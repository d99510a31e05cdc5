package simtest

import (
	"flag"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/proof"
)

var (
	worlds = flag.Int("worlds", 3000, "random worlds to simulate")
	replay = flag.Int64("seed", -1, "replay one random world")
)

// everySeed has one simulate every world asked for, each in a bubble of its
// own, until one fails; the seed of that one is printed as a command.
func everySeed(t *testing.T, one func(t *testing.T, seed int64) error) {
	// Hardly anything of a world outlives it: collecting seldom costs less.
	defer debug.SetGCPercent(debug.SetGCPercent(1600))
	begun := time.Now()
	first, last := int64(0), int64(*worlds)
	if *replay >= 0 {
		first, last = *replay, *replay+1
	}
	seed := first
	for ; seed < last && !t.Failed(); seed++ {
		synctest.Test(t, func(t *testing.T) {
			if err := one(t, seed); err != nil {
				t.Errorf("go test ./daemon/simtest -run %s -cpu %d -seed=%d\n%v", t.Name(), runtime.GOMAXPROCS(0), seed, err)
			}
		})
	}
	proof.Count(t, begun, "%d worlds", seed-first)
}

// oneIn says of how many worlds of an enumeration one is lived through. All are,
// but where the race detector watches, which makes a world six times as dear and
// needs each kind of them only: make test goes through all without it.
func oneIn() int {
	if raced || testing.Short() {
		return 20
	}
	return 1
}
