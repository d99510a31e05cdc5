package daemon

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
	"github.com/imapsyncd/imapsyncd/daemon/web"
	"github.com/imapsyncd/imapsyncd/metrics"
)

// limits keeps what is asked of the servers within what the configuration
// allows: log-ins, octets and messages a second, and octets a day.
type limits struct {
	now     func() time.Time
	metrics *metrics.Metrics
	usage   *usage

	source, destination atomic.Pointer[config.Limits] // for each server

	mu        sync.Mutex
	throttles map[string]*throttle // by their names
}

// throttle is what may be asked of one server, or by one account of it.
type throttle struct {
	of              *limits
	name            string
	side            remote.Side
	server, account string                        // account "": all of them together
	own             atomic.Pointer[config.Limits] // of an account; nil: none
	paces           atomic.Pointer[paces]         // nil: there has been no limit, as for most accounts
}

// paces are those at which a throttle lets pass what is limited.
type paces struct{ logins, octets, messages pace }

func newLimits(c *config.Config, now func() time.Time, m *metrics.Metrics, u *usage) *limits {
	l := &limits{now: now, metrics: m, usage: u, throttles: make(map[string]*throttle)}
	l.use(c)
	return l
}

// use takes the limits of a configuration in force. Those of accounts come with
// their servers.
func (l *limits) use(c *config.Config) {
	l.source.Store(&c.SourceLimits)
	l.destination.Store(&c.DestinationLimits)
	configured := make(map[string]bool, len(c.Accounts))
	for _, a := range c.Accounts {
		configured[a.Name] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.throttles, func(_ string, t *throttle) bool { return t.account != "" && !configured[t.account] })
}

func (l *limits) shared(side remote.Side) *config.Limits {
	if side == remote.SideSource {
		return l.source.Load()
	}
	return l.destination.Load()
}

// allowance is what one account may ask of one server.
type allowance []*throttle

// allowance returns what keeps an account within the limits of a server, and
// within its own.
func (l *limits) allowance(side remote.Side, s config.Server, account string) allowance {
	server := addressOf(s)
	l.mu.Lock()
	defer l.mu.Unlock()
	a := allowance{l.throttle(side, server, "", ""), l.throttle(side, server, s.User, account)}
	if a[1].own.Store(s.Limits); s.Limits != nil {
		a[1].paced()
	}
	return a
}

// throttle is named after the log-in, so that an account that is renamed keeps
// what it has used.
func (l *limits) throttle(side remote.Side, server, user, account string) *throttle {
	name := string(side) + " " + server
	if account != "" {
		name += " " + user
	}
	t := l.throttles[name]
	if t == nil || t.account != account {
		t = &throttle{of: l, name: name, side: side, server: server, account: account}
		if account == "" {
			t.paced()
		}
		l.throttles[name] = t
	}
	return t
}

// paced makes the paces where there are none; the caller holds the mutex of the
// limits.
func (t *throttle) paced() {
	if t.paces.Load() != nil {
		return
	}
	p := new(paces)
	for rate, p := range map[config.Rate]*pace{config.RateLogins: &p.logins, config.RateBytes: &p.octets, config.RateMessages: &p.messages} {
		p.rate = func() float64 { return t.rate(rate) }
	}
	p.logins.most = aheadMost
	t.paces.Store(p)
}

// rate is what is in force now.
func (t *throttle) rate(rate config.Rate) float64 {
	limits := t.own.Load()
	if t.account == "" {
		limits = t.of.shared(t.side)
	}
	if limits == nil {
		return 0
	}
	return limits.At(rate, t.of.now)
}

// daily is how many octets there may be in 24 hours; 0: any number.
func (t *throttle) daily() int64 {
	shared := t.of.shared(t.side)
	if t.account == "" {
		return shared.DailyBytes
	}
	if own := t.own.Load(); own != nil && own.DailyBytes > 0 {
		return own.DailyBytes
	}
	return shared.DailyBytesPerAccount
}

// spentError is that daily_bytes is used up.
type spentError struct {
	side  remote.Side
	of    string // whose
	bound int64
	news  bool
	until time.Time
}

func (e *spentError) Error() string {
	text := fmt.Sprintf("daily_bytes of %s on the %s, %d octets, is used up", e.of, e.side, e.bound)
	if !e.news {
		text = fmt.Sprintf("nine tenths of daily_bytes of %s on the %s, %d octets, are used up, and the rest is for new mail", e.of, e.side, e.bound)
	}
	return fmt.Sprintf("%s: it goes on at %s by itself", text, e.until.Format("15:04 on 2006-01-02"))
}

// spent is a *spentError once no more may be carried today. A tenth of the day
// is kept for news.
func (a allowance) spent(news bool) error {
	for _, t := range a {
		daily := t.daily()
		if daily == 0 {
			continue
		}
		bound := daily
		if !news {
			bound -= daily / 10
		}
		if now := t.of.now(); t.of.usage.used(t.name, now) >= bound {
			whose := "all accounts"
			if t.account != "" {
				whose = "account " + t.account
			}
			return &spentError{t.side, whose, daily, news, t.of.usage.below(t.name, bound, now)}
		}
	}
	return nil
}

// logIn waits until one more log-in may be tried.
func (a allowance) logIn(ctx context.Context, news bool) error {
	return a.wait(ctx, func(p *paces) (time.Duration, error) { return p.logins.wait(ctx, news, 1) })
}

// carry waits until so many more messages may be carried. It is an error when
// daily_bytes is used up.
func (a allowance) carry(ctx context.Context, news bool, messages int) error {
	if err := a.spent(news); err != nil {
		return err
	}
	return a.wait(ctx, func(p *paces) (time.Duration, error) { return p.messages.wait(ctx, news, float64(messages)) })
}

// talk waits until octets may be read or written, and returns for how long.
func (a allowance) talk(ctx context.Context, news bool) (waited time.Duration, err error) {
	err = a.wait(ctx, func(p *paces) (time.Duration, error) {
		d, err := p.octets.wait(ctx, news, 0)
		waited += d
		return d, err
	})
	return waited, err
}

func (a allowance) wait(ctx context.Context, wait func(*paces) (time.Duration, error)) error {
	for _, t := range a {
		p := t.paces.Load()
		if p == nil {
			continue
		}
		d, err := wait(p)
		if d > 0 {
			t.of.metrics.Throttled(metrics.Side(t.side), d)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// talked counts octets that have been read or written.
func (a allowance) talked(octets int) {
	for _, t := range a {
		if p := t.paces.Load(); p != nil {
			p.octets.take(float64(octets))
		}
		if t.daily() > 0 {
			t.of.usage.add(t.name, int64(octets), t.of.now())
		}
	}
}

// servers lists the servers that have been used, without their limits.
func (l *limits) servers() (list []web.Limit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.throttles {
		if t.account == "" {
			list = append(list, web.Limit{Side: string(t.side), Server: t.server})
		}
	}
	return list
}

// status lists the limits that are in force, but for the log-ins of servers
// that have no other.
func (l *limits) status() []web.Limit {
	l.mu.Lock()
	all := make([]*throttle, 0, len(l.throttles))
	for _, t := range l.throttles {
		all = append(all, t)
	}
	l.mu.Unlock()
	slices.SortFunc(all, func(a, b *throttle) int {
		return cmp.Or(-cmp.Compare(a.side, b.side), cmp.Compare(a.account, b.account), cmp.Compare(a.server, b.server))
	})
	var list []web.Limit
	for _, t := range all {
		s := web.Limit{
			Side: string(t.side), Server: t.server, Account: t.account,
			LoginsPerSecond: t.rate(config.RateLogins), BytesPerSecond: t.rate(config.RateBytes), MessagesPerSecond: t.rate(config.RateMessages),
			DailyBytes: t.daily(),
		}
		if s.DailyBytes > 0 {
			now := l.now()
			s.UsedBytes = l.usage.used(t.name, now)
			if s.UsedBytes >= s.DailyBytes-s.DailyBytes/10 {
				s.Resumes = l.usage.below(t.name, s.DailyBytes-s.DailyBytes/10, now).UTC()
			}
		}
		if t.account == "" || s.LoginsPerSecond+s.BytesPerSecond+s.MessagesPerSecond > 0 || s.DailyBytes > 0 {
			list = append(list, s)
		}
	}
	return list
}
