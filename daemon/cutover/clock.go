package cutover

import (
	"fmt"
	"time"
)

// Clock tells until when a cache may still send mail to the old server, and
// from when that is counted; zero before the delivery has moved. It is a lower
// bound: some caches ignore TTLs, and senders keep mail in their queues.
//
// It runs from the last moment at which an authority gave the old answer, plus
// the largest TTL that was ever seen. Who left the delegation is asked for no
// longer than the TTL of the delegation. Where no authority ever answers, the
// resolvers count; where the old answer was never seen, the first round.
func (m Memory) Clock(d Domain) (from, until time.Time) {
	if !m.Moved.Happened() {
		return time.Time{}, time.Time{}
	}
	if !d.Watched() {
		return m.Moved.At, m.Moved.At
	}
	authorities := m.DNS.with(func(k ServerSeen) bool { return k.Role != RoleResolver && k.Answer != "" })
	witnesses := authorities
	if len(witnesses) == 0 {
		witnesses = m.DNS.with(func(k ServerSeen) bool { return k.Answer != "" })
	}
	for _, k := range witnesses {
		old := k.OldUntil
		if left := k.Left.Add(m.DNS.NSTTL); k.Role == RoleFormer && left.Before(old) {
			old = left
		}
		if old.After(from) {
			from = old
		}
	}
	if from.IsZero() {
		if from = m.DNS.First; from.IsZero() { // nothing was ever seen
			from = m.Moved.At
		}
	}
	return from, from.Add(max(m.DNS.MXTTL, m.DNS.AddressTTL))
}

// Advice is what the TTL adviser says before the switch.
type Advice struct {
	// Earliest is when the switch may come, with the TTL as it is now.
	Earliest time.Time
	// Text says what to do; empty: the TTL is low, and has been for long enough.
	Text string
}

// Advise looks at the TTL of the records that are to be changed. It is low when
// it is at most 5 minutes; a cache may go on with the one before for as long as
// that was.
func (m Memory) Advise(d Domain, now time.Time) Advice {
	record := "MX"
	if d.Switch == SwitchAddress {
		record = "the addresses behind the MX"
	}
	seen := m.DNS
	switch wait := seen.Lowered.Add(seen.Before); {
	case !d.Watched():
		return Advice{Earliest: now}
	case seen.TTL == 0:
		return Advice{Text: fmt.Sprintf("the TTL of %s is not known: no authority has told it; make sure that it is %d or less", record, int(ttlLow.Seconds()))}
	case seen.TTL > ttlLow:
		earliest := now.Add(seen.TTL)
		return Advice{earliest, fmt.Sprintf("TTL of %s is %d: lower it to %d now, and do not switch before %s", record, int(seen.TTL.Seconds()), int(ttlLow.Seconds()), moment(earliest, now))}
	case now.Before(wait):
		return Advice{wait, fmt.Sprintf("TTL of %s was %d and is %d now; caches may keep the old one: do not switch before %s", record, int(seen.Before.Seconds()), int(seen.TTL.Seconds()), moment(wait, now))}
	}
	return Advice{Earliest: now}
}

// QuietUntil is when a silence that began at from has lasted for quiet and has
// had one whole working day, from midnight to midnight. Without workdays there
// is no such condition. Days are those of from's zone.
func QuietUntil(from time.Time, quiet time.Duration, workdays []time.Weekday) time.Time {
	until := from.Add(quiet)
	if len(workdays) == 0 {
		return until
	}
	year, month, day := from.Date()
	midnight := time.Date(year, month, day, 0, 0, 0, 0, from.Location())
	if midnight.Before(from) {
		midnight = midnight.AddDate(0, 0, 1)
	}
	for range 7 {
		next := midnight.AddDate(0, 0, 1)
		for _, w := range workdays {
			if midnight.Weekday() == w {
				if next.After(until) {
					return next
				}
				return until
			}
		}
		midnight = next
	}
	return until
}
