package cutover

import (
	"maps"
	"slices"
	"time"
)

const (
	lateHosts = 200 // that are remembered by name
	lateHours = 14 * 24
	// lateOthers stands for the hosts beyond; lateLocal for the old server itself.
	lateOthers = "(others)"
	lateLocal  = "(the old server itself)"
)

// LateMail is the mail of one domain that was delivered to the old server after
// the delivery had moved, or the users had.
type LateMail struct {
	Total int `json:"total,omitempty"`
	// Hours counts by the hour, the oldest first.
	Hours []LateHour          `json:"hours,omitempty"`
	Hosts map[string]LateHost `json:"hosts,omitempty"` // by who delivered it
}

// LateHour is one hour's late mail.
type LateHour struct {
	Hour     time.Time `json:"hour"`
	Messages int       `json:"messages"`
}

// LateHost is what one host delivered.
type LateHost struct {
	Messages int       `json:"messages"`
	Last     time.Time `json:"last"`
	Ack      Event     `json:"ack,omitzero"`
}

// Add counts a message from a host, empty for the old server itself, that
// arrived at a time. It returns another value.
func (l LateMail) Add(host string, arrived time.Time) LateMail {
	l.Total++
	l.Hosts, l.Hours = maps.Clone(l.Hosts), slices.Clone(l.Hours)
	if l.Hosts == nil {
		l.Hosts = make(map[string]LateHost)
	}
	if host == "" {
		host = lateLocal
	}
	if _, known := l.Hosts[host]; !known && len(l.Hosts) >= lateHosts {
		host = lateOthers
	}
	h := l.Hosts[host]
	h.Messages++
	if arrived.After(h.Last) {
		h.Last = arrived
	}
	l.Hosts[host] = h

	hour := arrived.UTC().Truncate(time.Hour)
	i, found := slices.BinarySearchFunc(l.Hours, hour, func(a LateHour, t time.Time) int { return a.Hour.Compare(t) })
	if !found {
		l.Hours = slices.Insert(l.Hours, i, LateHour{Hour: hour})
	}
	l.Hours[i].Messages++
	if over := len(l.Hours) - lateHours; over > 0 {
		l.Hours = l.Hours[over:]
	}
	return l
}

// Last is when the last of it arrived that nobody has acknowledged, and from
// whom.
func (l LateMail) Last() (at time.Time, host string) {
	for _, name := range l.hostNames() {
		if h := l.Hosts[name]; !h.Ack.Happened() && h.Last.After(at) {
			at, host = h.Last, name
		}
	}
	return at, host
}

// Local is how much the old server has delivered by itself.
func (l LateMail) Local() LateHost { return l.Hosts[lateLocal] }

func (l LateMail) knows(host string) bool { _, known := l.Hosts[host]; return known }

func (l LateMail) hostNames() []string { return slices.Sorted(maps.Keys(l.Hosts)) }

func (l LateMail) ack(host string, word Event) LateMail {
	l.Hosts = maps.Clone(l.Hosts)
	h := l.Hosts[host]
	h.Ack = word
	l.Hosts[host] = h
	return l
}
