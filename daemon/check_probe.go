package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
)

// Probe is what a first copy of one account can reckon with.
type Probe struct {
	Messages        int   // to be carried
	Octets, Largest int64 // of them together, and of the largest
	// AppendLimit is how many octets the new server takes of a message at most; 0: it
	// does not tell.
	AppendLimit int64
	Quota       remote.Quota // of the new server
	Room        int64        // octets of it that may be used, beside quota_reserve
	// Connections are how many were open to either side at once, for a try; 0: it was
	// not tried with this account. Refused is why there could not be as many as the
	// configuration has.
	Connections int
	Refused     string
	// Fetched are messages that were fetched for a try, FetchedOctets what they have,
	// and FetchSeconds how long that took over one connection.
	Fetched       int
	FetchedOctets int64
	FetchSeconds  float64
}

// What is fetched for a try, at most.
const (
	tryMessages = 100
	tryOctets   = 1 << 20
	tryTime     = 3 * time.Second
)

// probe finds out what a first copy can reckon with. connect has connections be
// tried as well.
func (a *account) probe(ctx context.Context, p pass.Preview, connect bool) (*Probe, error) {
	r := &Probe{AppendLimit: a.destination.AppendLimit()}
	for _, row := range p.Rows {
		r.Messages += row.New
		r.Octets, r.Largest = r.Octets+row.Octets, max(r.Largest, row.Largest)
	}
	var err error
	if r.Quota, err = a.destination.Quota(ctx); err != nil {
		return nil, fmt.Errorf("ask for the quota: %w", err)
	}
	if r.Quota.Limit > 0 {
		r.Room = max(0, int64(float64(r.Quota.Limit)*(1-a.Destination.QuotaReserve))-r.Quota.Used)
	}
	if err := a.tryFetch(ctx, r); err != nil && !errors.As(err, new(*mail.Refused)) {
		return nil, fmt.Errorf("fetch messages for a try: %w", err)
	}
	if connect {
		a.tryConnections(ctx, r)
	}
	return r, nil
}

// tryFetch fetches the newest messages of the largest mailbox.
func (a *account) tryFetch(ctx context.Context, r *Probe) error {
	listing, err := a.source.Mailboxes(ctx)
	if err != nil {
		return err
	}
	largest := slices.MaxFunc(append(listing.Mailboxes, mail.Mailbox{NoSelect: true}), func(x, y mail.Mailbox) int {
		return cmp.Compare(messagesIn(x), messagesIn(y))
	})
	if messagesIn(largest) == 0 {
		return nil
	}
	box := mail.Ref{Name: largest.Name}
	uids, err := a.source.UIDs(ctx, box, 1)
	if err != nil {
		return err
	}
	var chosen []mail.UID
	octets := int64(0)
	for m, err := range a.source.Messages(ctx, box, uids[max(0, len(uids)-tryMessages):], false) {
		if err != nil {
			return err
		}
		if octets+m.Size <= tryOctets {
			chosen, octets = append(chosen, m.UID), octets+m.Size
		}
	}
	slices.Sort(chosen)
	began := time.Now()
	for body, err := range a.source.Bodies(ctx, box, chosen) {
		if err != nil {
			return err
		}
		if body.Refused != nil {
			continue
		}
		n, err := io.Copy(io.Discard, body.Content)
		if err != nil {
			return err
		}
		r.Fetched++
		r.FetchedOctets += n
		if r.FetchSeconds = time.Since(began).Seconds(); time.Since(began) > tryTime {
			break
		}
	}
	return nil
}

// messagesIn is how many messages are in a mailbox that can be opened and is no
// view of others.
func messagesIn(m mail.Mailbox) uint32 {
	if m.NoSelect || m.View || m.Rest {
		return 0
	}
	return m.Status.Messages
}

// tryConnections opens as many connections at once as a first copy of the account
// may.
func (a *account) tryConnections(ctx context.Context, r *Probe) {
	var lanes []pass.Lane
	defer func() {
		for _, lane := range lanes {
			lane.Close()
		}
	}()
	r.Connections = 1
	for range min(a.Source.MaxConnectionsPerAccount-sourceConnections, a.Destination.MaxConnectionsPerAccount-destinationConnections) {
		lane, err := a.beside(ctx)
		switch {
		case err == nil:
			lanes = append(lanes, lane)
		case !errors.Is(err, errNoRoom): // else others of ours are open in its place
			r.Refused = err.Error()
			return
		}
		r.Connections++
	}
}

// firsts are the accounts that come first of those between the same two servers.
func firsts(accounts []config.Account) map[string]bool {
	seen, first := make(map[string]bool), make(map[string]bool)
	for _, a := range accounts {
		if pair := addressOf(a.Source) + " " + addressOf(a.Destination); !seen[pair] {
			seen[pair], first[a.Name] = true, true
		}
	}
	return first
}

// Forecast is how long the first copy from one old server may take.
type Forecast struct {
	Server   string
	Accounts int
	Messages int
	Octets   int64
	Seconds  float64 // 0: it is not known
	By       string  // what takes the longest
}

// forecasts are those of all old servers of which accounts were probed.
func (d *desk) forecasts(accounts []config.Account, results []CheckResult) []Forecast {
	type sum struct {
		Forecast
		seconds   float64 // over one connection
		lanes     int
		most      int // connections to the old server
		byAccount float64
	}
	sums := make(map[string]*sum)
	for i, a := range accounts {
		p := results[i].Probe
		if p == nil {
			continue
		}
		server := addressOf(a.Source)
		s := sums[server]
		if s == nil {
			s = &sum{Forecast: Forecast{Server: server}, most: a.Source.MaxConnections}
			sums[server] = s
		}
		s.Accounts++
		s.Messages += p.Messages
		s.Octets += p.Octets
		s.lanes = max(s.lanes, p.Connections)
		if p.Fetched > 0 {
			s.seconds += p.FetchSeconds * max(float64(p.Messages)/float64(p.Fetched), float64(p.Octets)/float64(max(p.FetchedOctets, 1)))
		}
		for side, server := range map[remote.Side]config.Server{remote.SideSource: a.Source, remote.SideDestination: a.Destination} {
			daily := d.limits.shared(side).DailyBytesPerAccount
			if server.Limits != nil && server.Limits.DailyBytes > 0 {
				daily = server.Limits.DailyBytes
			}
			s.byAccount = max(s.byAccount, days(p.Octets, daily))
		}
	}
	var list []Forecast
	for _, server := range slices.Sorted(maps.Keys(sums)) {
		s := sums[server]
		f := s.Forecast
		at := max(1, min(s.Accounts*max(s.lanes, 1), s.most))
		bound := func(seconds float64, by string) {
			if seconds > f.Seconds {
				f.Seconds, f.By = seconds, by
			}
		}
		bound(s.seconds/float64(at), fmt.Sprintf("as fast as one connection to the old server was, with %d at once, if the new server keeps up", at))
		bound(s.byAccount, "daily_bytes of an account")
		for side, table := range map[remote.Side]string{remote.SideSource: "source", remote.SideDestination: "destination"} {
			l := d.limits.shared(side)
			at := " in [" + table + ".limits]"
			bound(by(float64(f.Octets), l.At(config.RateBytes, d.Now)), "bytes_per_second"+at)
			bound(by(float64(f.Messages), l.At(config.RateMessages, d.Now)), "messages_per_second"+at)
			bound(days(f.Octets, l.DailyBytes), "daily_bytes"+at)
		}
		list = append(list, f)
	}
	return list
}

// by is how long so much takes at a rate; 0: no limit.
func by(n, rate float64) float64 {
	if rate == 0 {
		return 0
	}
	return n / rate
}

// days is how many seconds a first copy takes of which so much is allowed a day: up
// to nine tenths of it, and the first day at once.
func days(octets, daily int64) float64 {
	if daily == 0 {
		return 0
	}
	return float64(octets*10/9/daily) * (24 * time.Hour).Seconds()
}
