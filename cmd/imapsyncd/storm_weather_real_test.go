package main

import (
	"bytes"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/proxy"
)

// weather makes commits and answers late, breaks connections, and knows when
// the daemon is at something that is worth being killed at.
type weather struct {
	mu    sync.Mutex
	rng   *rand.Rand
	fair  bool // nothing happens
	tally map[string]int

	target   string // the command at which fire is called; "": none
	answered bool   // not when it is sent, but when it is answered
	skip     int    // so many of them
	sent     bool   // the answer has to come
	fire     func()
	hit      string
}

// changing are the commands that change the new server, the frequent ones
// first.
var changing = []string{"APPEND ", "UID STORE ", "UID MOVE ", "UID EXPUNGE ", "CREATE "}

func newWeather(seed uint64, source, destination *proxy.Proxy) *weather {
	w := &weather{rng: rand.New(rand.NewPCG(seed, 2)), tally: make(map[string]int)}
	source.Delay(time.Millisecond)
	destination.Delay(time.Millisecond)
	source.Cut = func(_, next []byte) bool { return w.chance(300, "connections cut") }
	destination.Cut = func(_, next []byte) bool { return w.chance(300, "connections cut") }
	// What is late is so by less than the daemon waits for lost answers.
	destination.Sent = func(next []byte) {
		if command := w.underway(next); command != "" && w.chance(10, "late commits") {
			w.sleep(250)
		}
	}
	destination.Drop = func(next []byte) bool {
		w.over(next)
		if w.chance(40, "late answers") {
			w.sleep(300)
		}
		return false
	}
	return w
}

func (w *weather) chance(of int, what string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fair || w.rng.IntN(of) > 0 {
		return false
	}
	w.tally[what]++
	return true
}

func (w *weather) sleep(most int) {
	w.mu.Lock()
	d := time.Duration(w.rng.IntN(most)) * time.Millisecond
	w.mu.Unlock()
	time.Sleep(d)
}

// aim has fire called at a command that changes the new server.
func (w *weather) aim(rng *rand.Rand, fire func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.target, w.answered, w.skip = changing[min(rng.IntN(len(changing)), rng.IntN(len(changing)+1))], rng.IntN(2) == 0, rng.IntN(3)
	w.sent, w.hit, w.fire = false, "", fire
}

// rest takes no aim any more, and tells what was hit; "": nothing.
func (w *weather) rest() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.target = ""
	return w.hit
}

// clear lets nothing happen, or lets it happen again.
func (w *weather) clear(fair bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fair = fair
}

func (w *weather) counts() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.tally)
}

// underway is told what a client sends, and returns which of the changing
// commands is in it.
func (w *weather) underway(next []byte) (command string) {
	for _, c := range changing {
		if bytes.Contains(next, []byte(" "+c)) {
			command = c
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if command == "" || command != w.target || w.hit != "" {
		return command
	}
	switch {
	case w.skip > 0:
		w.skip--
	case w.answered:
		w.sent = true
	default:
		w.hit = strings.TrimSpace(command)
		w.fire()
	}
	return command
}

// over is told what the new server answers.
func (w *weather) over(next []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.target != "" && w.sent && w.hit == "" && bytes.Contains(next, []byte(" OK ")) {
		w.hit = "the answer to " + strings.TrimSpace(w.target)
		w.fire()
	}
}
