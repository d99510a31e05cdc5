package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/imapsyncd/imapsyncd/state"
)

// usage is how many octets have gone to and from each server, and each account
// on it that has a limit, by the hour of the last day. It is kept in a file of
// the state directory: a restart does not give the day back.
type usage struct {
	path   string
	logger *slog.Logger

	mu      sync.Mutex
	octets  map[string]map[int64]int64 // by name, and by hours since 1970
	changed bool
	written time.Time

	writing sync.Mutex
}

const (
	// hoursCounted are those that make up any 24 hours: the first and the last are
	// there in part.
	hoursCounted = 25
	// usageEvery is how much of the use a kill may have forgotten.
	usageEvery = 10 * time.Second
)

// readUsage reads the file. One that cannot be understood is as good as none:
// the mail matters more than the count.
func readUsage(stateDir string, logger *slog.Logger) (*usage, error) {
	u := &usage{path: filepath.Join(stateDir, "usage.json"), logger: logger, octets: make(map[string]map[int64]int64)}
	text, err := os.ReadFile(u.path)
	if errors.Is(err, fs.ErrNotExist) {
		return u, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read how much of daily_bytes is used: %w", err)
	}
	if err := json.Unmarshal(text, &u.octets); err != nil || u.octets == nil {
		logger.Warn("how much of daily_bytes is used is not known: counting begins anew", "file", u.path, "error", err)
		u.octets = make(map[string]map[int64]int64)
	}
	return u, nil
}

func hourOf(at time.Time) int64 { return at.Unix() / 3600 }

// add counts octets.
func (u *usage) add(name string, octets int64, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	hours := u.octets[name]
	if hours == nil {
		hours = make(map[int64]int64)
		u.octets[name] = hours
	}
	hours[hourOf(at)] += octets
	u.changed = true
}

// used is how many octets there were in the last 24 hours, at most.
func (u *usage) used(name string, now time.Time) (octets int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.forget(now)
	for _, n := range u.octets[name] {
		octets += n
	}
	return octets
}

// below returns when so little of the last 24 hours will be left that it is less
// than a bound.
func (u *usage) below(name string, bound int64, now time.Time) time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.forget(now)
	sum := int64(0)
	for hour := hourOf(now); hour > hourOf(now)-hoursCounted; hour-- {
		if sum += u.octets[name][hour]; sum >= bound {
			return time.Unix((hour+hoursCounted)*3600, 0)
		}
	}
	return now
}

func (u *usage) forget(now time.Time) {
	for name, hours := range u.octets {
		maps.DeleteFunc(hours, func(hour, _ int64) bool { return hour <= hourOf(now)-hoursCounted })
		if len(hours) == 0 {
			delete(u.octets, name)
		}
	}
}

// save makes the use durable, if it has not been for a while.
func (u *usage) save(atOnce bool) {
	u.mu.Lock()
	if !u.changed || !atOnce && time.Since(u.written) < usageEvery {
		u.mu.Unlock()
		return
	}
	u.changed, u.written = false, time.Now()
	u.mu.Unlock()
	u.writing.Lock()
	defer u.writing.Unlock()
	u.mu.Lock()
	text, err := json.Marshal(u.octets)
	u.mu.Unlock()
	if err == nil {
		err = state.ReplaceFile(u.path, text)
	}
	if err != nil {
		u.logger.Warn("how much of daily_bytes is used was not noted", "file", u.path, "error", err)
	}
}
