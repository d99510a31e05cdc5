package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
)

// progress shows how a sync goes on: a bar per running account and a total on
// a terminal whose cursor can be moved, else a line when an account starts and ends
// and one every ten seconds.
type progress struct {
	out      io.Writer
	accounts int
	bars     *mpb.Progress // nil: plain lines
	total    *mpb.Bar
	ticker   *time.Ticker
	stop     chan struct{}
	ended    sync.WaitGroup

	mu      sync.Mutex
	bar     map[string]*mpb.Bar
	pending int64
	copied  int64
	bytes   int64
	done    int
	begin   time.Time
}

func newProgress(out io.Writer, accounts int) *progress {
	p := &progress{out: out, accounts: accounts, bar: make(map[string]*mpb.Bar), begin: time.Now(), stop: make(chan struct{})}
	if _, moves := screenOf(out); moves {
		p.bars = mpb.New(mpb.WithOutput(out), mpb.WithWidth(78))
		p.total = p.bars.New(0, mpb.BarStyle().Lbound("[").Rbound("]"), mpb.BarPriority(1<<20),
			mpb.PrependDecorators(decor.Name("total", decor.WC{W: 24, C: decor.DindentRight}), decor.CountersNoUnit("%d/%d")),
			mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return p.rate() })))
		return p
	}
	p.ticker = time.NewTicker(10 * time.Second)
	p.ended.Go(func() {
		for {
			select {
			case <-p.ticker.C:
				p.line()
			case <-p.stop:
				return
			}
		}
	})
	return p
}

// rate tells octets a second and how long the rest will take.
func (p *progress) rate() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	elapsed := time.Since(p.begin)
	if p.copied == 0 || elapsed < time.Second {
		return ""
	}
	s := size(int64(float64(p.bytes)/elapsed.Seconds())) + "/s"
	if left := p.pending - p.copied; left > 0 {
		eta := time.Duration(float64(elapsed) / float64(p.copied) * float64(left))
		s += ", " + eta.Round(time.Second).String() + " left"
	}
	return s
}

func (p *progress) line() {
	rate := p.rate()
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%d of %d accounts done, %d of %d messages copied, %s\n", p.done, p.accounts, p.copied, p.pending, rate)
}

func (p *progress) started(account string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bars == nil {
		fmt.Fprintf(p.out, "%s: started\n", account)
		return
	}
	p.bar[account] = p.bars.AddBar(0, mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(decor.Name(account, decor.WC{W: 24, C: decor.DindentRight}), decor.CountersNoUnit("%d/%d")))
}

func (p *progress) finished(o daemon.Outcome) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done++
	if bar := p.bar[o.Account]; bar != nil {
		bar.Abort(true)
		delete(p.bar, o.Account)
	}
	if p.bars != nil {
		return
	}
	outcome := "done"
	if o.Err != nil {
		outcome = "failed"
	}
	fmt.Fprintf(p.out, "%s: %s, %s copied (%s), %d there already, %d held, %s\n", o.Account, outcome,
		count(o.Copied, "message"), size(o.Bytes), o.Recognised, o.Held, o.Took.Round(time.Millisecond))
}

// close ends the display.
func (p *progress) close() {
	if p.bars != nil {
		p.total.Abort(false)
		p.bars.Wait()
		return
	}
	p.ticker.Stop()
	close(p.stop)
	p.ended.Wait()
}

// account returns the observer of one account's passes.
func (p *progress) account(name string) pass.Observer {
	return accountProgress{progress: p, name: name}
}

type accountProgress struct {
	pass.Nobody
	*progress
	name string
}

func (p accountProgress) Pending(messages int, _ int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending += int64(messages)
	if p.bars != nil {
		p.total.SetTotal(p.pending, false)
		if bar := p.bar[p.name]; bar != nil {
			bar.SetTotal(bar.Current()+int64(messages), false)
		}
	}
}

func (p accountProgress) Copied(_ string, bytes int64, _ time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.copied++
	p.bytes += bytes
	if p.bars != nil {
		p.total.Increment()
		if bar := p.bar[p.name]; bar != nil {
			bar.Increment()
		}
	}
}
