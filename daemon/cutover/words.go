package cutover

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Look takes in what a round has shown of a domain, and what follows from it.
func (m Memory) Look(d Domain, r Round) (Memory, []Change) {
	if !d.Watched() {
		return m, nil
	}
	was := m
	seenOld := slices.ContainsFunc(m.DNS.Servers, func(k ServerSeen) bool { return !k.OldUntil.IsZero() })
	m.DNS.note(d, r)
	answer, why := m.DNS.evidence()
	if answer == AnswerUnknown {
		return m, nil
	}
	if m.DNS.First.IsZero() {
		m.DNS.First = r.At
		switch {
		case answer == AnswerOld:
			m.learnOld(d, r)
		case !seenOld && (answer == AnswerNew || answer == AnswerMixed):
			m.FirstSight = Event{r.At, why}
		}
	}
	if m.Aborted.Happened() {
		if !m.DNS.trusted() {
			return m, nil
		}
		m.Aborted = Event{}
	}
	if m.FirstSight.Happened() {
		if answer == AnswerNew || answer == AnswerMixed {
			return m, changes(r.At, d, was, m)
		}
		m.FirstSight = Event{}
	}
	if answer != m.Delivery {
		m.Delivery, m.Since = answer, Event{r.At, why}
		if answer == AnswerNew {
			m.Moved = m.Since
		}
	}
	if (answer == AnswerNew || answer == AnswerMixed) && d.Handover == HandoverMX && !m.Handover.Happened() {
		m.Handover, m.Lost = Event{r.At, "the delivery moves: " + why}, Event{}
	}
	return m, changes(r.At, d, was, m)
}

// learnOld takes the first authoritative answer for that of the old server.
func (m *Memory) learnOld(d Domain, r Round) {
	if len(d.OldMX) > 0 {
		return
	}
	for _, o := range r.Observations {
		if o.Server.Role != RoleAuthority || o.Answer != AnswerOld {
			continue
		}
		for _, h := range o.Hosts {
			if d.Switch != SwitchAddress {
				m.DNS.OldMX = append(m.DNS.OldMX, h.Name)
				continue
			}
			for _, a := range h.Addresses {
				m.DNS.OldMX = append(m.DNS.OldMX, a.String())
			}
		}
		return
	}
}

// trusted tells whether, since an abort, every authority has shown the old
// answer; where none ever answers, two resolvers.
func (s Seen) trusted() bool {
	authorities := s.with(func(k ServerSeen) bool { return k.Role == RoleAuthority && k.Answer != "" })
	if len(authorities) == 0 {
		return len(s.with(func(k ServerSeen) bool {
			return k.Role == RoleResolver && k.Trusted && k.Answer == AnswerOld && k.Rounds >= 2
		})) >= 2
	}
	return !slices.ContainsFunc(authorities, func(k ServerSeen) bool { return !k.Trusted })
}

// changes are what sets one memory apart from the one before.
func changes(at time.Time, d Domain, was, is Memory) []Change {
	var list []Change
	note := func(was, is Event, what, undone string) {
		switch {
		case is.Happened() && is != was:
			list = append(list, Change{At: is.At, Domain: d.Name, What: what, Why: is.Why})
		case was.Happened() && !is.Happened() && undone != "":
			list = append(list, Change{At: at, Domain: d.Name, What: undone, Why: was.Why})
		}
	}
	note(was.FirstSight, is.FirstSight, "new at first sight", "")
	if is.Delivery != was.Delivery {
		what := "delivery is " + string(is.Delivery)
		if was.Moved.Happened() && is.Delivery.servesOld() {
			what = "delivery reverted to " + string(is.Delivery)
		}
		list = append(list, Change{At: is.Since.At, Domain: d.Name, What: what, Why: is.Since.Why})
	}
	note(was.Handover, is.Handover, "handed over", "")
	note(was.Finish, is.Finish, "may finish", "")
	note(was.Finished, is.Finished, "finished", "begun again")
	note(was.Aborted, is.Aborted, "aborted", "counts again")
	note(was.Lost, is.Lost, "record lost", "record settled")
	return list
}

// Reverted tells whether the delivery had moved and names the old server again.
func (m Memory) Reverted() bool {
	return m.Moved.Happened() && (m.Delivery == AnswerOld || m.Delivery == AnswerMixed && m.Moved.At.Before(m.Since.At))
}

var errFinished = errors.New("is finished: nothing is carried any more")

// Switch takes in the operator's word that delivery has moved.
func (m Memory) Switch(d Domain, now time.Time) (Memory, []Change, error) {
	if m.Finished.Happened() {
		return m, nil, fmt.Errorf("%s %w", d.Name, errFinished)
	}
	if m.Delivery == AnswerNew && !m.FirstSight.Happened() {
		return m, nil, fmt.Errorf("the delivery of %s has moved already, on %s: %s", d.Name, moment(m.Moved.At, now), m.Moved.Why)
	}
	if d.Watched() && !m.FirstSight.Happened() {
		if answer, why := m.DNS.evidence(); answer != AnswerUnknown && answer != AnswerNew {
			return m, nil, fmt.Errorf("DNS does not show that the delivery of %s has moved: %s; switch = %q in its [[domain]] makes DNS count for nothing", d.Name, why, SwitchManual)
		}
	}
	was := m
	m.FirstSight, m.Aborted = Event{}, Event{}
	m.Delivery, m.Since = AnswerNew, Event{now, "the operator said so"}
	m.Moved = m.Since
	if d.Handover == HandoverMX && !m.Handover.Happened() {
		m.Handover, m.Lost = Event{now, "the operator said that the delivery has moved"}, Event{}
	}
	return m, changes(now, d, was, m), nil
}

// Start takes in the operator's word that the users of a domain work on the
// new server from now on.
func (m Memory) Start(d Domain, why string, now time.Time) (Memory, []Change, error) {
	switch {
	case m.Finished.Happened():
		return m, nil, fmt.Errorf("%s %w", d.Name, errFinished)
	case m.Handover.Happened() && !m.Lost.Happened():
		return m, nil, fmt.Errorf("%s has been handed over already, on %s: %s", d.Name, moment(m.Handover.At, now), m.Handover.Why)
	}
	was := m
	m.Handover, m.Lost = Event{now, why}, Event{}
	return m, changes(now, d, was, m), nil
}

// Abort takes the switch of a domain back: its users work on the old server
// again, and what DNS says counts only once every authority has shown the old
// answer. alone tells that some of its accounts were handed over alone.
func (m Memory) Abort(d Domain, alone bool, now time.Time) (Memory, []Change, error) {
	switch {
	case m.Finished.Happened():
		return m, nil, fmt.Errorf("%s %w; the way back is the rollback that the runbook describes", d.Name, errFinished)
	case !alone && !m.Handover.Happened() && !m.Moved.Happened() && !m.Lost.Happened() && !m.FirstSight.Happened():
		return m, nil, fmt.Errorf("%s has neither been switched nor handed over: there is nothing to take back", d.Name)
	}
	was := m
	m.Aborted, m.AbortedLast = Event{now, "the operator took the switch back"}, now
	m.Handover, m.Moved, m.Lost, m.FirstSight, m.Finish = Event{}, Event{}, Event{}, Event{}, Event{}
	m.Delivery, m.Since = "", Event{}
	m.DNS.Servers = slices.Clone(m.DNS.Servers)
	for i := range m.DNS.Servers {
		m.DNS.Servers[i].Trusted, m.DNS.Servers[i].Rounds = false, 0
	}
	list := changes(now, d, was, m)
	if !d.Watched() {
		m.Aborted = Event{} // nothing has to be waited for
	}
	return m, list, nil
}

// Ack takes in the operator's word that late mail of a delivering host is no
// reason to wait.
func (m Memory) Ack(d Domain, host, because string, now time.Time) (Memory, []Change, error) {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if len(m.Late.Hosts) == 0 {
		return m, nil, fmt.Errorf("no late mail of %s has come yet: there is nothing to acknowledge", d.Name)
	}
	if !m.Late.knows(host) {
		return m, nil, fmt.Errorf("no late mail of %s has come from %s; its hosts are: %s", d.Name, host, strings.Join(m.Late.hostNames(), ", "))
	}
	m.Late = m.Late.ack(host, Event{now, because})
	return m, []Change{{At: now, Domain: d.Name, What: "late mail from " + host + " acknowledged", Why: because}}, nil
}

// Handed tells the domain that every account of it has been handed over alone.
func (m Memory) Handed(d Domain, accounts []*AccountMemory, now time.Time) (Memory, []Change) {
	alone := !slices.ContainsFunc(accounts, func(a *AccountMemory) bool { return !a.Handover.Happened() })
	if !alone || len(accounts) == 0 || m.Handover.Happened() || m.Finished.Happened() {
		return m, nil
	}
	was := m
	m.Handover = Event{now, "every account has been handed over"}
	return m, changes(now, d, was, m)
}

// moment is a time as people read it, in the zone of now.
func moment(t, now time.Time) string { return t.In(now.Location()).Format("2006-01-02 15:04 MST") }
