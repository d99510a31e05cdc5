package daemon

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func paceOf(rate *float64) *pace { return &pace{rate: func() float64 { return *rate }} }

// TestPaceKeepsTheRate: a second's worth at once, then one by one.
func TestPaceKeepsTheRate(t *testing.T) {
	for _, rate := range []float64{0.5, 1, 10, 1000} {
		synctest.Test(t, func(t *testing.T) {
			p, began := paceOf(&rate), time.Now()
			const n = 3000
			granted := 0
			for range n {
				if _, err := p.wait(t.Context(), true, 1); err != nil {
					t.Fatal(err)
				}
				granted++
				if most := max(1, rate) + rate*time.Since(began).Seconds() + 1e-3; float64(granted) > most {
					t.Fatalf("rate %v: %d after %s, at most %v", rate, granted, time.Since(began), most)
				}
			}
			want := time.Duration((n - max(1, rate)) / rate * float64(time.Second))
			if took := time.Since(began); took < want-time.Millisecond || took > want+want/100+time.Millisecond {
				t.Errorf("rate %v: %d took %s, want %s", rate, n, took, want)
			}
		})
	}
}

// TestPaceNewsFirst: news does not wait behind a thousand first copies.
func TestPaceNewsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rate := 1.0
		p := paceOf(&rate)
		ctx, cancel := context.WithCancel(t.Context())
		var copies atomic.Int64
		for range 1000 {
			go func() {
				if _, err := p.wait(ctx, false, 1); err == nil {
					copies.Add(1)
				}
			}()
		}
		synctest.Wait() // one went at once
		for i := range 5 {
			if waited, err := p.wait(t.Context(), true, 1); err != nil || waited > time.Second+time.Millisecond {
				t.Errorf("news waited for %s, %v", waited, err)
			}
			if synctest.Wait(); copies.Load() != 1 {
				t.Fatalf("after %d news: %d first copies went before", i+1, copies.Load())
			}
		}
		time.Sleep(10 * time.Second)
		if synctest.Wait(); copies.Load() < 10 || copies.Load() > 11 {
			t.Errorf("%d first copies went on within 10 s", copies.Load())
		}
		cancel()
		synctest.Wait()
		if len(p.queues[0])+len(p.queues[1]) != 0 {
			t.Error("who has gone still waits")
		}
	})
}

// TestPaceDebt: what could not be known before is waited for afterwards.
func TestPaceDebt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rate := 100.0
		p := paceOf(&rate)
		if waited, err := p.wait(t.Context(), true, 0); waited != 0 || err != nil {
			t.Fatal(waited, err)
		}
		p.take(1100) // 100 were there
		waited, err := p.wait(t.Context(), true, 0)
		if err != nil || waited < 9990*time.Millisecond || waited > 10010*time.Millisecond {
			t.Errorf("waited for %s, %v; want 10s", waited, err)
		}
	})
}

// TestPaceChanges: a rate that changes is in force soon for those who wait.
func TestPaceChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Bool
		p := &pace{rate: func() float64 {
			if free.Load() {
				return 0
			}
			return 1e-6
		}}
		if _, err := p.wait(t.Context(), true, 1); err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(time.Minute)
			free.Store(true)
		}()
		waited, err := p.wait(t.Context(), true, 1)
		if err != nil || waited > time.Minute+paceMost {
			t.Errorf("waited for %s, %v", waited, err)
		}
	})
}

// TestPaceEnds: who ends while he waits takes nothing.
func TestPaceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rate := 1.0
		p := paceOf(&rate)
		if _, err := p.wait(t.Context(), true, 1); err != nil {
			t.Fatal(err)
		}
		for range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if _, err := p.wait(ctx, true, 1); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			cancel()
		}
		if waited, err := p.wait(t.Context(), true, 1); err != nil || waited > time.Second {
			t.Errorf("waited for %s, %v", waited, err)
		}
	})
}
