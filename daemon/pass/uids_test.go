package pass

import (
	"math/rand/v2"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

func TestUIDSet(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var set uidSet
		in := make(map[mail.UID]bool)
		next := mail.UID(1)
		for range 100 {
			uid := next
			if next++; rng.IntN(3) == 0 {
				uid = mail.UID(1 + rng.IntN(60))
			}
			if set.add(uid) == in[uid] {
				t.Fatalf("seed %d: %d was added, in it already %v, runs %v", seed, uid, in[uid], set.runs)
			}
			in[uid] = true
		}
		count := 0
		for i, r := range set.runs {
			count += int(r.last-r.first) + 1
			if i > 0 && r.first <= set.runs[i-1].last+1 {
				t.Fatalf("seed %d: runs %v", seed, set.runs)
			}
		}
		if count != len(in) {
			t.Fatalf("seed %d: %d in the runs, %d added", seed, count, len(in))
		}
	}
}
