package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// footprint is what a program takes at a moment.
type footprint struct {
	at         time.Time
	anonymous  int64 // octets of memory
	mapped     int64 // octets of files in memory
	cpu        time.Duration
	goroutines int
	live       int64 // octets of the heap after the last collection, and of stacks
	stacks     int64
}

// clockTick is the unit of times in /proc/PID/stat, which is fixed.
const clockTick = 10 * time.Millisecond

func (p *program) footprint() footprint {
	p.t.Helper()
	f := footprint{at: time.Now()}
	proc := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	kilobytes := func(key string) int64 {
		m := regexp.MustCompile(`(?m)^` + key + `:\s*(\d+) kB$`).FindStringSubmatch(readFile(p.t, proc+"smaps_rollup"))
		if m == nil {
			p.t.Fatalf("no %s in smaps_rollup", key)
		}
		n, _ := strconv.ParseInt(m[1], 10, 64)
		return n << 10
	}
	f.anonymous = kilobytes("Anonymous")
	f.mapped = kilobytes("Rss") - f.anonymous
	_, stat, _ := strings.Cut(readFile(p.t, proc+"stat"), ") ") // behind the name
	fields := strings.Fields(stat)
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	f.cpu = time.Duration(user+system) * clockTick
	values, _ := p.scrape()
	f.goroutines = int(values["go_goroutines"])
	f.stacks, f.live = int64(values["go_memstats_stack_inuse_bytes"]), int64(values["go_memstats_heap_alloc_bytes"])
	return f
}

// since says what was taken between two moments, in all and for an account.
func (f footprint) since(before footprint, accounts int) string {
	share := 0.0
	if d := f.at.Sub(before.at); d > 0 {
		share = 100 * float64(f.cpu-before.cpu) / float64(d)
	}
	return fmt.Sprintf("%.1f KB of anonymous memory an account (%.1f MB; %.1f KB and %.1f MB before), %.1f MB of files mapped, %.1f KB of heap and %.1f KB of stacks an account, %d goroutines (%d before), %.2f %% of a core",
		kb(f.anonymous)/float64(accounts), kb(f.anonymous)/1000, kb(before.anonymous)/float64(accounts), kb(before.anonymous)/1000,
		kb(f.mapped)/1000, kb(f.live)/float64(accounts), kb(f.stacks)/float64(accounts), f.goroutines, before.goroutines, share)
}

func kb(octets int64) float64 { return float64(octets) / 1000 }

// settles waits until what it holds does not become less any more.
func (p *program) settles() {
	p.t.Helper()
	for least, steady := p.footprint().anonymous, 0; steady < 9; {
		time.Sleep(10 * time.Second) // the heap is swept by the clock
		if now := p.footprint().anonymous; now < least-least/100 {
			least, steady = now, 0
		} else {
			steady++
		}
	}
}

// carried is how long after the push or the sweep that showed it each message
// had its receipt, by whether connections had to be opened for it, and how many
// messages there were. Where one pass carried several it is the last of them.
func carried(log string) (kept, opened []time.Duration, messages int) {
	for line := range strings.Lines(log) {
		var said struct {
			Msg    string
			Copied int
			After  time.Duration
			Opened int
		}
		if json.Unmarshal([]byte(line), &said) != nil || said.Msg != "pass done" || said.After == 0 {
			continue
		}
		messages += said.Copied
		if said.Opened == 0 {
			kept = append(kept, said.After)
		} else {
			opened = append(opened, said.After)
		}
	}
	return kept, opened, messages
}

// quantiles says how durations are spread.
func quantiles(all []time.Duration) string {
	if len(all) == 0 {
		return "none"
	}
	slices.Sort(all)
	at := func(q float64) time.Duration {
		return all[min(len(all)-1, int(q*float64(len(all))))].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("p50 %s, p90 %s, p99 %s, most %s, of %d", at(0.5), at(0.9), at(0.99), at(1), len(all))
}
