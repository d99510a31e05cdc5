package daemon

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// slots bounds the connections to each server, over all accounts
// (max_connections).
type slots struct {
	mu      sync.Mutex
	servers map[string]*server
	waiting atomic.Int32 // accounts that wait for room
}

// server is the room for connections to one server, by address.
type server struct {
	free     *semaphore.Weighted
	size     int64
	watching int64 // of them in use by watchers; under slots.mu
}

// need is what an account needs of a server.
type need struct {
	address     string
	connections int
	limit       int // max_connections of that server
}

// acquire waits until the connections for both sides of an account are free
// and returns how many each side got, at least one, and how to give them back.
// What one server gives is taken at once, and the servers are taken in the
// order of their addresses, so that no two accounts wait for one another.
func (s *slots) acquire(ctx context.Context, source, destination need) (sourceGot, destinationGot int, release func(), err error) {
	s.waiting.Add(1)
	defer s.waiting.Add(-1)
	from, to := s.at(source.address, source.limit), s.at(destination.address, destination.limit)
	if from == to {
		if from.size < 2 {
			return 0, 0, nil, fmt.Errorf("max_connections of %s is 1, but source and destination are both there: allow at least 2", source.address)
		}
		m := min(int64(source.connections), from.size-1)
		n := min(int64(destination.connections), from.size-m)
		if err := from.free.Acquire(ctx, m+n); err != nil {
			return 0, 0, nil, err
		}
		return int(m), int(n), func() { from.free.Release(m + n) }, nil
	}
	m, n := min(int64(source.connections), from.size), min(int64(destination.connections), to.size)
	first, firstN, second, secondN := from, m, to, n
	if destination.address < source.address {
		first, firstN, second, secondN = to, n, from, m
	}
	if err := first.free.Acquire(ctx, firstN); err != nil {
		return 0, 0, nil, err
	}
	if err := second.free.Acquire(ctx, secondN); err != nil {
		first.free.Release(firstN)
		return 0, 0, nil, err
	}
	return int(m), int(n), func() {
		from.free.Release(m)
		to.free.Release(n)
	}, nil
}

// contended tells whether an account waits for room.
func (s *slots) contended() bool { return s.waiting.Load() > 0 }

// tryWatch takes one connection for listening, if there is room now. A quarter
// of the connections, at least as many as one pass needs, is left to passes:
// watchers keep theirs for days.
func (s *slots) tryWatch(n need) (release func(), ok bool) {
	at := s.at(n.address, n.limit)
	s.mu.Lock()
	defer s.mu.Unlock()
	reserved := max(at.size/4, sourceConnections+destinationConnections)
	if at.watching+1 > at.size-reserved || !at.free.TryAcquire(1) {
		return nil, false
	}
	at.watching++
	return func() {
		s.mu.Lock()
		at.watching--
		s.mu.Unlock()
		at.free.Release(1)
	}, true
}

// at returns the room at an address; its size is fixed by its first use.
func (s *slots) at(address string, limit int) *server {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.servers[address]
	if !ok {
		if s.servers == nil {
			s.servers = make(map[string]*server)
		}
		size := int64(max(limit, 1))
		at = &server{free: semaphore.NewWeighted(size), size: size}
		s.servers[address] = at
	}
	return at
}
