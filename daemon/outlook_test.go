package daemon

import (
	"slices"
	"testing"
	"time"
)

// TestOutlooks reckons by hand what bounds the looks at those that are not
// listened to.
func TestOutlooks(t *testing.T) {
	one := func(accounts, deaf int, source, target room) prospect {
		return prospect{
			poll: time.Minute, look: time.Second / 2,
			sources: map[string]*clientele{"old:993": {accounts: accounts, deaf: deaf, room: source, targets: map[string]int{"new:993": accounts}}},
			targets: map[string]room{"new:993": target},
		}
	}
	for what, c := range map[string]struct {
		prospect
		listened      int
		delay         time.Duration
		raise, listen []string
	}{
		"all are listened to": {one(37, 0, room{50, 10}, room{50, 10}), 37, time.Minute, nil, nil},
		"a few are not":       {one(138, 0, room{50, 10}, room{50, 10}), 38, time.Minute, nil, []string{"max_connections in [source] to 183"}},
		// 962 accounts at 10 a second; 962 × 0.5 s on 12 connections take less.
		"log-ins": {one(1000, 0, room{50, 10}, room{500, 0}), 38, 96200 * time.Millisecond,
			[]string{"logins_per_second in [source.limits] to 17"}, []string{"max_connections in [source] to 1333"}},
		"on the new server": {one(1000, 0, room{50, 100}, room{500, 5}), 38, 192400 * time.Millisecond,
			[]string{"logins_per_second in [destination.limits] to 17"}, []string{"max_connections in [source] to 1333"}},
		// 9,962 × 0.5 s on 12 connections; with 328, 9,754 × 0.5 s on 82.
		"connections": {one(10000, 0, room{50, 0}, room{5000, 0}), 38, 415083 * time.Millisecond,
			[]string{"max_connections in [source] to 328"}, []string{"max_connections in [source] to 13333"}},
		// 962 × 0.5 s on 5 connections.
		"connections to the new server": {one(1000, 0, room{50, 0}, room{5, 0}), 38, 96200 * time.Millisecond,
			[]string{"max_connections in [destination] to 9"}, []string{"max_connections in [source] to 1333"}},
		"one connection an account": {one(5, 5, room{50, 10}, room{50, 10}), 0, time.Minute, nil, []string{"max_connections_per_account in [source] to 2"}},
		"next to nothing":           {one(5, 0, room{1, 0.01}, room{1, 0}), 0, 500 * time.Second, []string{"logins_per_second in [source.limits] to 1"}, []string{"max_connections in [source] to 7"}},
	} {
		t.Run(what, func(t *testing.T) {
			o := c.outlooks()[0]
			if delay := time.Duration(o.DelaySeconds * float64(time.Second)).Round(time.Millisecond); o.Listened != c.listened || delay != c.delay {
				t.Errorf("%d are listened to, the others asked about every %s; want %d, %s", o.Listened, delay, c.listened, c.delay)
			}
			if !slices.Equal(o.Raise, c.raise) || !slices.Equal(o.Listen, c.listen) {
				t.Errorf("raise %q, or to listen to all %q", o.Raise, o.Listen)
			}
		})
	}
}

// TestOutlookAdvice: who follows the advice meets poll_interval, or listens to
// all.
func TestOutlookAdvice(t *testing.T) {
	for _, accounts := range []int{4, 39, 60, 250, 1000, 9999} {
		for _, size := range []int{1, 2, 4, 7, 50, 300} {
			p := prospect{poll: time.Minute, look: time.Second}
			c := &clientele{accounts: accounts, room: room{connections: size}}
			var raised int
			if b := p.bySource(c); b.every > p.poll {
				raised = number(t, b.raise)
				c.room.connections = raised
				if b := p.bySource(c); b.every > p.poll {
					t.Errorf("%d accounts, %s: still every %s", accounts, b.raise, b.every)
				}
				c.room.connections--
				if b := p.bySource(c); b.every <= p.poll {
					t.Errorf("%d accounts: one less than %d would do", accounts, raised)
				}
			}
			if n := p.enough(accounts); c.polled(n) != 0 || c.polled(n-1) == 0 {
				t.Errorf("%d accounts: %d connections are not just enough to listen to all", accounts, n)
			}
		}
	}
}

func number(t *testing.T, text string) (n int) {
	t.Helper()
	for _, c := range text {
		if c >= '0' && c <= '9' {
			n = n*10 + int(c-'0')
		}
	}
	if n == 0 {
		t.Fatalf("no number in %q", text)
	}
	return n
}

func TestStretch(t *testing.T) {
	var s stretch
	const poll = time.Minute
	for i, c := range []struct {
		longest        time.Duration
		stretched, met bool
	}{
		{0, false, false},
		{95 * time.Second, false, false},
		{96 * time.Second, true, false},
		{3 * time.Minute, false, false}, // said once
		{70 * time.Second, false, false},
		{66 * time.Second, false, true},
		{66 * time.Second, false, false},
		{2 * time.Minute, true, false},
	} {
		if stretched, met := s.judge(poll, c.longest); stretched != c.stretched || met != c.met {
			t.Errorf("step %d, waits for %s: stretched %v, met %v", i, c.longest, stretched, met)
		}
	}
}
