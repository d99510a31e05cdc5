package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/demo"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
)

// show is what the demo tells, and what it hears of the passes.
type show struct {
	pace
	out    io.Writer
	world  *demo.World
	config *config.Config
	dns    *demoDNS

	mu       sync.Mutex
	changed  sync.Cond // of what follows
	copied   int
	outcomes map[string]int // of lost answers
	arrived  map[string]int // copies, by account
}

func (s *show) say(format string, args ...any) { fmt.Fprintf(s.out, format, args...) }

// progressLine draws how far a copy has come.
func (s *show) progressLine(done, total int) {
	const width = 40
	filled := 0
	if total > 0 {
		filled = width * done / total
	}
	s.say("  [%s%s] %4d of %d messages\n", strings.Repeat("#", filled), strings.Repeat(".", width-filled), done, total)
}

func (s *show) copiedSoFar() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.copied
}

func (s *show) outcome(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outcomes[name]
}

func (s *show) arrivals() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.arrived)
}

// awaitArrival waits until an account has so many copies.
func (s *show) awaitArrival(ctx context.Context, account string, copies int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.arrived[account] < copies {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.changed.Wait()
	}
	return nil
}

// observe returns the observer of one account's passes.
func (s *show) observe(account string) pass.Observer { return shown{show: s, account: account} }

type shown struct {
	pass.Nobody
	*show
	account string
}

func (s shown) Copied(string, int64, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.copied++
	s.arrived[s.account]++
	s.changed.Broadcast()
}

func (s shown) InDoubt(outcome string, messages int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomes[outcome] += messages
}
