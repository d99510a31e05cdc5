package daemon

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// office is slots for accounts that are all on two servers of one size.
type office struct {
	slots
	size int
}

func (o *office) needs(account string, source, destination int) (need, need) {
	return need{"old:993", "source " + account, source, o.size, 4}, need{"new:993", "destination " + account, destination, o.size, 4}
}

// ask asks for what a pass needs; the channel gets it.
func (o *office) ask(ctx context.Context, p purpose, account string) <-chan *grant {
	source, destination := o.needs(account, sourceConnections, destinationConnections)
	got := make(chan *grant, 1)
	go func() {
		if g, err := o.acquire(ctx, p, source, destination); err == nil {
			got <- g
		}
	}()
	synctest.Wait()
	return got
}

func (o *office) lane(account string) *grant {
	g, _ := o.tryLane(o.needs(account, 1, 1))
	return g
}

// now is what has been granted by now, nil when nothing has.
func now(got <-chan *grant) *grant {
	synctest.Wait()
	select {
	case g := <-got:
		return g
	default:
		return nil
	}
}

// toldOf are those that are to be given back.
func toldOf(grants []*grant) []*grant {
	return slices.DeleteFunc(slices.Clone(grants), func(g *grant) bool { return !g.told() })
}

func simulate(t *testing.T, size int, live bool, f func(t *testing.T, o *office)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, &office{slots: slots{live: live}, size: size}) })
}

// TestRoomForNews: first copies fill the servers but for what news needs.
func TestRoomForNews(t *testing.T) {
	simulate(t, 8, true, func(t *testing.T, o *office) {
		var copies []*grant
		for i := range 8 {
			got := o.ask(t.Context(), forCopy, fmt.Sprint("big", i))
			g := now(got)
			if (g != nil) != (i < 7) {
				t.Fatalf("first copy %d: %v", i, g)
			}
			if g != nil {
				copies = append(copies, g)
			}
		}
		live := now(o.ask(t.Context(), forLive, "news"))
		if live == nil {
			t.Fatal("no room for news")
		}
		second := o.ask(t.Context(), forLive, "more news")
		if now(second) != nil {
			t.Fatal("more than there is")
		}
		if !copies[0].told() || copies[1].told() {
			t.Error("one first copy should give way to news, and no other")
		}
		copies[0].release()
		if now(second) == nil {
			t.Error("news does not get ahead of the first copy that waited before")
		}
	})
}

// TestTurns: a first copy that waits gets the turn of the one that has gone on
// longest, after a minute; one that does not wait for it goes on.
func TestTurns(t *testing.T) {
	simulate(t, 2, false, func(t *testing.T, o *office) {
		first := now(o.ask(t.Context(), forCopy, "a"))
		time.Sleep(time.Second)
		second := now(o.ask(t.Context(), forCopy, "b"))
		third := o.ask(t.Context(), forCopy, "c")
		time.Sleep(57 * time.Second)
		if first.told() || second.told() || now(third) != nil {
			t.Fatal("before its turn")
		}
		time.Sleep(time.Minute)
		if !first.told() || second.told() {
			t.Fatalf("told: first %v, second %v", first.told(), second.told())
		}
		fourth := o.ask(t.Context(), forCopy, "d")
		first.release()
		if now(third) == nil || now(fourth) != nil {
			t.Error("not in order")
		}
	})
}

// TestLanesGiveWay: what makes a copy faster goes as soon as another account
// needs it, what is kept in case before that; nothing goes that is not needed.
func TestLanesGiveWay(t *testing.T) {
	simulate(t, 7, false, func(t *testing.T, o *office) {
		first := now(o.ask(t.Context(), forCopy, "a"))
		lanes := []*grant{o.lane("a"), o.lane("a"), o.lane("a")}
		if lanes[2] == nil || o.lane("a") != nil {
			t.Fatal("an account has four connections to either side")
		}
		idle := now(o.ask(t.Context(), forCopy, "b"))
		now(o.ask(t.Context(), forCopy, "c"))
		now(o.ask(t.Context(), forCopy, "d"))
		idle.rest()
		if idle.told() {
			t.Fatal("nobody needs it")
		}
		got := o.ask(t.Context(), forCopy, "e")
		if !idle.told() || len(toldOf(lanes)) > 0 {
			t.Fatal("what is kept in case should go, and nothing else")
		}
		if o.lane("c") != nil {
			t.Error("a lane while another account waits")
		}
		if idle.use(forCopy) {
			t.Error("it is wanted by others and used all the same")
		}
		idle.release()
		if now(got) == nil {
			t.Fatal("no room where it was given back")
		}
		got = o.ask(t.Context(), forCopy, "f")
		going := toldOf(lanes)
		if len(going) != 1 || first.told() {
			t.Fatal("a lane should go, and nothing else")
		}
		going[0].release()
		if now(got) == nil {
			t.Error("no room where it was given back")
		}
	})
}

// TestWatchersLeaveRoom: passes always find room beside them.
func TestWatchersLeaveRoom(t *testing.T) {
	simulate(t, 8, true, func(t *testing.T, o *office) {
		watchers := 0
		for i := range 8 {
			if now(o.listen(t.Context(), fmt.Sprint("w", i), new(time.Time))) != nil {
				watchers++
			}
		}
		if watchers != 6 {
			t.Fatalf("%d watchers", watchers)
		}
		if now(o.ask(t.Context(), forCopy, "a")) == nil || now(o.ask(t.Context(), forLive, "b")) == nil {
			t.Error("no room beside the watchers")
		}
	})
}

// TestOwnConnections: what an account does beside its pass keeps to
// max_connections_per_account, for which its lanes give way; other accounts have
// nothing to do with that.
func TestOwnConnections(t *testing.T) {
	simulate(t, 50, true, func(t *testing.T, o *office) {
		now(o.ask(t.Context(), forCopy, "a"))
		lanes := []*grant{o.lane("a"), o.lane("a"), o.lane("a")}
		look := o.ask(t.Context(), forLive, "a")
		going := toldOf(lanes)
		if now(look) != nil || len(going) != 1 {
			t.Fatal("more connections than an account may have, or no lane gives way")
		}
		if now(o.ask(t.Context(), forCopy, "b")) == nil {
			t.Error("another account has to wait for that")
		}
		going[0].release()
		if now(look) == nil {
			t.Error("no room where it was given back")
		}
	})
}

// TestWaitingEnds: who has given up takes nothing, and keeps nobody waiting.
func TestWaitingEnds(t *testing.T) {
	simulate(t, 1, false, func(t *testing.T, o *office) {
		first := now(o.ask(t.Context(), forCopy, "a"))
		ctx, cancel := context.WithCancel(t.Context())
		second := o.ask(ctx, forCopy, "b")
		third := o.ask(t.Context(), forCopy, "c")
		cancel()
		synctest.Wait()
		first.release()
		if now(second) != nil || now(third) == nil {
			t.Error("room went to the one that had given up")
		}
	})
}

// BenchmarkSlots is what one pass takes while thousands are listened to and
// thousands more wait for their first copy.
func BenchmarkSlots(b *testing.B) {
	const accounts = 10_000
	s := slots{live: true}
	need := func(side string, i, n, size int) need {
		return need{side + ":993", fmt.Sprint(side, i), n, size, 8}
	}
	var copies []*grant
	for i := range accounts {
		if _, _, err := s.watch(b.Context(), need("source", i, 1, 2*accounts), func() time.Time { return time.Time{} }); err != nil {
			b.Fatal(err)
		}
		g, err := s.grant(forCopy, need("source", i, sourceConnections, 2*accounts), need("destination", i, destinationConnections, 600))
		if err != nil {
			b.Fatal(err)
		}
		s.enqueue(&request{g, make(chan struct{})})
		copies = append(copies, g)
	}
	s.share()
	for b.Loop() {
		copies[0].release()
		g := copies[0]
		copies = append(copies[1:], g)
		s.enqueue(&request{g, make(chan struct{})})
	}
}
