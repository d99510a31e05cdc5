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
	// Go collects (GOGC): what lies between what is kept is not given back later, and the
	// less is used before it is collected, the less of that there is.
	collectAt = 25
	// collectMuchAt is the same where more than much is held, in octets: thousands of
	// accounts take a second to look through.
	collectMuchAt = 50
	much          = 192 << 20
	// little, in octets, may be held by a command that ends by itself until it collects at
	// collectAt: it gives nothing back, and up to that it should rather be quick.
	little = 64 << 20
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
	at := collectAt
	collect(at)
	ticker := time.NewTicker(restEvery)
	defer ticker.Stop()
	before, left, gained := readHeap(), uint64(0), false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := readHeap()
		rests := (now.allocated-before.allocated)*restMost < now.held
		was := at
		switch {
		case rests:
			at = collectRestingAt
		case now.held > much:
			at = collectMuchAt
		default:
			at = collectAt
		}
		if at != was {
			collect(at)
		}
		if rests && (gained || now.held > left+left/worthwhile) {
			debug.FreeOSMemory()
			left = readHeap().held
			gained = now.held > left+left/worthwhile
		}
		before = now
	}
}

// holdLittle bounds what is used anew by a command that ends by itself, until ctx ends.
func holdLittle(ctx context.Context) {
	ticker := time.NewTicker(time.Second / 2)
	defer ticker.Stop()
	at := 100
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		was := at
		if at = 100; readHeap().held > little {
			at = collectAt
		}
		if at != was {
			collect(at)
		}
	}
}

// collect sets GOGC, unless the operator has.
func collect(at int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(at)
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
