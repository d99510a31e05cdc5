package daemon

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// listen asks for a watching connection; news is when the account had news last.
func (o *office) listen(ctx context.Context, account string, news *time.Time) <-chan *grant {
	source, _ := o.needs(account, 1, 0)
	got := make(chan *grant, 1)
	go func() {
		if g, _, err := o.watch(ctx, source, func() time.Time { return *news }); err == nil {
			got <- g
		}
	}()
	synctest.Wait()
	return got
}

func TestDisplaces(t *testing.T) {
	at := func(minutes int) time.Time { return time.Time{}.Add(time.Duration(minutes) * time.Minute) }
	for _, c := range []struct {
		seeker, seated time.Time
		listened       time.Duration
		want           bool
	}{
		{at(0), at(0), time.Hour, false},         // neither had any
		{at(10), at(0), time.Hour, true},         // only the other had
		{at(0), at(10), time.Hour, false},        // only he had
		{at(19), at(10), time.Hour, false},       // about the same
		{at(20), at(10), time.Hour, true},        // clearly later
		{at(20), at(10), 9 * time.Minute, false}, // he has only just begun
		{at(20), at(10), 10 * time.Minute, true}, // long enough
		{at(999), at(0), time.Minute, false},     // however much later
	} {
		if got := displaces(c.seeker, c.seated, c.listened); got != c.want {
			t.Errorf("news at %s and at %s, listens for %s: %v", c.seeker.Format("15:04"), c.seated.Format("15:04"), c.listened, got)
		}
	}
}

// TestSeats: five of six may listen, those that had news last, and they change
// places one by one.
func TestSeats(t *testing.T) {
	simulate(t, 7, true, func(t *testing.T, o *office) {
		var news [7]time.Time
		var seats []*grant
		for i := range 5 {
			g := now(o.listen(t.Context(), fmt.Sprint(i), &news[i]))
			if g == nil {
				t.Fatal("no seat although there is room")
			}
			if i != 3 { // who has not begun, is not asked to get up
				g.hears()
			}
			seats = append(seats, g)
		}
		ctx, cancel := context.WithCancel(t.Context())
		given := o.listen(ctx, "given up", &news[6])
		sixth := o.listen(t.Context(), "5", &news[5])
		pass := func(account string) { // what happens all the time
			if g := now(o.ask(t.Context(), forLive, account)); g != nil {
				g.release()
			}
		}
		time.Sleep(time.Hour)
		pass("5")
		if now(sixth) != nil || now(given) != nil {
			t.Fatal("more seats than there are")
		}
		for i := range 5 {
			if seats[i].told() {
				t.Fatal("made place for one without news")
			}
			news[i] = time.Now()
		}
		news[2] = time.Now().Add(-20 * time.Minute)
		news[5], news[6] = time.Now(), time.Now().Add(-time.Second)
		pass("5")
		for i := range 5 {
			if seats[i].told() != (i == 2) {
				t.Errorf("seat %d is to be free: %v", i, seats[i].told())
			}
		}
		cancel()
		synctest.Wait()
		seats[2].release()
		if now(given) != nil {
			t.Error("a seat for one that has given up")
		}
		if now(sixth) == nil {
			t.Error("the free seat is not that of the one with news")
		}
	})
}

// TestSeatOfBusyAccount: an account that has all of its connections in use seeks
// without effect on others, and listens once it may.
func TestSeatOfBusyAccount(t *testing.T) {
	simulate(t, 50, true, func(t *testing.T, o *office) {
		copying := now(o.ask(t.Context(), forCopy, "a"))
		lanes := []*grant{o.lane("a"), o.lane("a")}
		source, _ := o.needs("a", 1, 0)
		more, _ := o.tryLane(source, need{"new:993", "destination x", 1, o.size, 4})
		recently := time.Now()
		listens := o.listen(t.Context(), "a", &recently)
		if now(listens) != nil {
			t.Fatal("more connections than an account may have")
		}
		if now(o.listen(t.Context(), "b", new(time.Time))) == nil {
			t.Error("another account has to wait for that")
		}
		more.release()
		if now(listens) == nil {
			t.Error("no seat where there is one")
		}
		lanes[0].release()
		lanes[1].release()
		copying.release()
	})
}
