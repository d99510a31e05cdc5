package daemon

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
)

// quotaEvery is how long what the new server has said of its quota is believed.
const quotaEvery = 10 * time.Minute

// quota is how full the mailbox of an account is on the new server: what that
// has said, and what has been asked for since, which is to be sent.
type quota struct {
	reserve float64 // the part that is left to mail that arrives there

	mu      sync.Mutex
	said    remote.Quota
	asked   time.Time // zero: not yet
	sent    int64     // octets since
	refused bool      // something had no room
}

// learn asks the new server, if it is time to.
func (q *quota) learn(ctx context.Context, d *remote.Destination, now time.Time) error {
	q.mu.Lock()
	fresh := !q.asked.IsZero() && now.Sub(q.asked) < quotaEvery && !q.refused
	q.mu.Unlock()
	if fresh {
		return nil
	}
	said, err := d.Quota(ctx)
	if err != nil {
		return fmt.Errorf("ask for the quota: %w", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.said, q.asked, q.sent, q.refused = said, now, 0, false
	return nil
}

// fits tells whether so many octets more leave what is reserved alone. It is
// called under mu.
func (q *quota) fits(octets int64) bool {
	return q.said.Limit == 0 || float64(q.said.Used+q.sent+octets) <= float64(q.said.Limit)*(1-q.reserve)
}

// room takes room for so many octets. It is an error when there is none.
func (q *quota) room(octets int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fits(octets) {
		q.sent += octets
		return nil
	}
	q.refused = true
	return fmt.Errorf("%w up to quota_reserve: %d of %d kB are used, and %d kB are to be copied next; raise the quota", pass.ErrOverQuota, (q.said.Used+q.sent)>>10, q.said.Limit>>10, octets>>10)
}

// used is which part of the quota is used, 0 where there is none.
func (q *quota) used() float64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.said.Limit == 0 {
		return 0
	}
	return float64(q.said.Used+q.sent) / float64(q.said.Limit)
}

// holds tells whether the quota is known, and whether so many octets more would
// use what is reserved.
func (q *quota) holds(octets int64) (known, full bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.said.Known, !q.fits(octets)
}

// late takes room that may be of what is reserved.
func (q *quota) late(octets int64) {
	q.mu.Lock()
	q.sent += octets
	q.mu.Unlock()
}

// bounded is a destination whose quota is looked at with its mailboxes.
type bounded struct {
	*remote.Destination
	account *account
}

func (b bounded) Mailboxes(ctx context.Context) (mail.Listing, error) {
	listing, err := b.Destination.Mailboxes(ctx)
	if err != nil {
		return listing, err
	}
	a := b.account
	if err := a.quota.learn(ctx, b.Destination, time.Now()); err != nil {
		return listing, err
	}
	a.daemon.Metrics.Account(a.Name).SetQuotaUsed(a.quota.used())
	return listing, nil
}
