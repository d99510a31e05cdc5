package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// restEvery is how often it is looked whether the program is at rest.
	restEvery = 20 * time.Second
	// restMost is which part of what it holds may be used anew meanwhile.
	restMost = 4
	// worthwhile is which part of it must have come, or gone the last time, for it
	// to be looked through for memory that can be given back.
	worthwhile = 16
	// collectAt is how much may be used anew, as a percentage of what is held, until
	// Go collects (GOGC).
	collectAt = 25
	// collectRestingAt is the same while the program is at rest: then it is not much
	// work, and what has been used and not collected is memory for nothing.
	collectRestingAt = 10
)

// giveBack gives memory back to the system while the program is at rest, until
// ctx ends. What the first copies of many accounts have taken would be kept for
// those to come: Go collects once as much again has been used as is held, which
// takes days when nothing happens, and halves the stacks that were deep when it
// does.
func giveBack(ctx context.Context) {
	collect := func(at int) {
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(at)
		}
	}
	collect(collectAt)
	ticker := time.NewTicker(restEvery)
	defer ticker.Stop()
	before, left, gained, rested := readHeap(), uint64(0), false, false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := readHeap()
		rests := (now.allocated-before.allocated)*restMost < now.held
		if rests != rested {
			if rested = rests; rests {
				collect(collectRestingAt)
			} else {
				collect(collectAt)
			}
		}
		if rests && (gained || now.held > left+left/worthwhile) {
			debug.FreeOSMemory()
			left = readHeap().held
			gained = now.held > left+left/worthwhile
		}
		before = now
	}
}

// heap is what Go says of its memory, in octets.
type heap struct {
	allocated uint64 // since the start
	held      uint64 // and not given back
}

func readHeap() heap {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"},
	}
	metrics.Read(samples)
	h := heap{allocated: samples[0].Value.Uint64()}
	for _, s := range samples[1:] {
		h.held += s.Value.Uint64()
	}
	return h
}
