package remote

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// LogIns remembers what log-ins have shown, for all accounts of a process, so
// that no account and no administrator is locked out. A nil LogIns remembers
// nothing.
type LogIns struct {
	mu     sync.Mutex
	by     map[string]string // which mechanism works, by server and user, where the best does not
	shared map[sharedKey]*shared
	offers map[string]map[string]bool // sets of capabilities, by their names in order
	// Pause is how long an administrator who has been refused is left alone;
	// 0: ten minutes.
	Pause time.Duration
}

func userAt(s Server) string { return s.address() + " " + s.User }

// worked returns the mechanism that has worked for a user where the best that
// is offered has not; empty: the best does, or nothing is known.
func (l *LogIns) worked(s Server) string {
	if l == nil {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.by[userAt(s)]
}

func (l *LogIns) remember(s Server, mechanism string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.by == nil {
		l.by = make(map[string]string)
	}
	l.by[userAt(s)] = mechanism
}

// offersMost is how many sets of capabilities are kept for others that offer the
// same.
const offersMost = 50

// offer makes a set of the names of capabilities. All connections to which the
// same are offered have the same set, which must not be changed.
func (l *LogIns) offer(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	if l == nil {
		return set
	}
	key := strings.Join(names, " ")
	l.mu.Lock()
	defer l.mu.Unlock()
	if known := l.offers[key]; known != nil {
		return known
	}
	if l.offers == nil || len(l.offers) == offersMost {
		l.offers = make(map[string]map[string]bool)
	}
	l.offers[key] = set
	return set
}

// sharedKey names a credential that many accounts share: another password
// makes it another one.
type sharedKey struct {
	address, admin string
	secret         [sha256.Size]byte
}

// shared is how it goes with such a credential.
type shared struct {
	one chan struct{} // held by the log-in that is under way, until one has worked

	mu      sync.Mutex
	proven  bool // the last word about it was that it works
	refused int  // log-ins in a row
	until   time.Time
}

const (
	// sharedRefusals is how many log-ins in a row an administrator may be
	// refused before he is left alone: some users may not be there. Once one has
	// worked it may be provenRefusals.
	sharedRefusals = 5
	provenRefusals = 20
	sharedPause    = 10 * time.Minute
)

// enter waits until a log-in may be tried, and returns what is to be told of
// its end. An administrator whose credential has not worked yet logs in for one
// account at a time, and after some refusals not again for a while: else a
// thousand accounts would lock him out within seconds.
func (l *LogIns) enter(ctx context.Context, s Server, who credentials) (leave func(error), err error) {
	if l == nil || s.Admin.Style == "" {
		return func(error) {}, nil
	}
	at := l.credential(sharedKey{s.address(), s.Admin.User, sha256.Sum256([]byte(who.secret))})
	alone := !at.isProven()
	if alone {
		select {
		case at.one <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	release := func() {
		if alone {
			<-at.one
		}
	}
	if until, refused := at.pausing(); !until.IsZero() {
		release()
		return nil, s.fail(ClassAuth, nil, fmt.Sprintf("the administrator %s was refused %d times in a row and is not tried again before %s, lest he is locked out", s.Admin.User, refused, until.Format(time.TimeOnly)),
			"check admin_user and its password in ["+string(s.Side)+"]")
	}
	pause := l.Pause
	if pause == 0 {
		pause = sharedPause
	}
	return func(err error) {
		at.learn(err, pause)
		release()
	}, nil
}

func (l *LogIns) credential(key sharedKey) *shared {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.shared[key]
	if at == nil {
		if l.shared == nil {
			l.shared = make(map[sharedKey]*shared)
		}
		at = &shared{one: make(chan struct{}, 1)}
		l.shared[key] = at
	}
	return at
}

func (at *shared) isProven() bool {
	at.mu.Lock()
	defer at.mu.Unlock()
	return at.proven
}

// pausing tells until when nothing is tried; zero: it may be.
func (at *shared) pausing() (until time.Time, refused int) {
	at.mu.Lock()
	defer at.mu.Unlock()
	if time.Now().Before(at.until) {
		return at.until, at.refused
	}
	return time.Time{}, 0
}

func (at *shared) learn(err error, pause time.Duration) {
	at.mu.Lock()
	defer at.mu.Unlock()
	var far *Error
	switch {
	case err == nil:
		at.proven, at.refused = true, 0
	case errors.As(err, &far) && far.LogIn != nil && far.LogIn.Code == "AUTHORIZATIONFAILED":
		// The password is right, the user is not (RFC 5530).
	case errors.As(err, &far) && far.Class == ClassAuth:
		at.refused++
		if at.refused >= provenRefusals || !at.proven && at.refused >= sharedRefusals {
			at.proven, at.until = false, time.Now().Add(pause)
		}
	}
}
