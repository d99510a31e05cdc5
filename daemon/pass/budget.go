package pass

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// Budget bounds the octets of mail that wait in memory between the servers,
// over all accounts that share it.
type Budget struct {
	weighted *semaphore.Weighted
	size     int64
}

// NewBudget returns a budget of so many octets.
func NewBudget(size int64) *Budget {
	return &Budget{weighted: semaphore.NewWeighted(size), size: size}
}

// acquire waits for n octets, or for the whole budget when n is more than it.
// It returns how to give them back, once.
func (b *Budget) acquire(ctx context.Context, n int64) (release func(), err error) {
	n = min(n, b.size)
	if err := b.weighted.Acquire(ctx, n); err != nil {
		return nil, err
	}
	return func() { b.weighted.Release(n) }, nil
}
