package daemon

import (
	"context"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/state"
)

// completed notes that a complete pass over an account has been done.
func (d *Daemon) completed(account string, copied bool) error {
	now := d.now()
	if copied {
		if err := d.copying(account, now); err != nil {
			return err
		}
	}
	return d.record.account(account, func(m *cutover.AccountMemory) []cutover.Change {
		if m.Following.Happened() {
			return nil
		}
		m.Following = cutover.Event{At: now, Why: "the first complete pass is done"}
		return []cutover.Change{{At: now, Account: account, What: "complete", Why: m.Following.Why}}
	})
}

// copying notes that messages of an account are about to be copied, or have
// been. What a later verification has to see is durable before the first of
// them is on the new server; that there were more is not written each time.
func (d *Daemon) copying(account string, now time.Time) error {
	d.record.mu.Lock()
	d.record.copied[account] = now
	d.record.mu.Unlock()
	return d.record.account(account, func(m *cutover.AccountMemory) []cutover.Change {
		if m.FirstCopy.IsZero() {
			m.FirstCopy = now
		}
		if !m.LastCopy.After(m.Quick.Began) {
			m.LastCopy = now
		}
		return nil
	})
}

// late watches an account whose users work on the new server: for mail that is
// still delivered to the old one, and for people who still work there.
type late struct {
	daemon  *Daemon
	account config.Account

	mu     sync.Mutex
	roles  map[string]string      // what mailboxes are for, by raw name
	names  map[mail.PairID]string // raw names of the source mailboxes
	in     map[lateKey]lateMail   // what has been read and has no receipt yet
	forget []lateKey              // of in, the oldest first
}

type lateKey struct {
	mailbox string
	uid     mail.UID
}

type lateMail struct {
	arrived time.Time
	origin  cutover.Origin
}

const (
	// originMost is how many octets of a message are looked at for its origin.
	originMost = 32 << 10
	// lateMost bounds what is remembered of messages without a receipt.
	lateMost = 4096
)

func (d *Daemon) newLate(a config.Account) *late {
	return &late{daemon: d, account: a, roles: make(map[string]string), names: make(map[mail.PairID]string), in: make(map[lateKey]lateMail)}
}

// lateSource reads the first octets of what is carried.
type lateSource struct {
	pass.Source
	late *late
}

func (s lateSource) Mailboxes(ctx context.Context) (mail.Listing, error) {
	listing, err := s.Source.Mailboxes(ctx)
	s.late.mu.Lock()
	defer s.late.mu.Unlock()
	for _, m := range listing.Mailboxes {
		s.late.roles[m.Name] = m.Use()
	}
	return listing, err
}

func (s lateSource) Bodies(ctx context.Context, box mail.Ref, uids []mail.UID) iter.Seq2[mail.Body, error] {
	return func(yield func(mail.Body, error) bool) {
		for body, err := range s.Source.Bodies(ctx, box, uids) {
			if err != nil || body.Refused != nil {
				if !yield(body, err) {
					return
				}
				continue
			}
			head := &headOf{left: originMost}
			content := body.Content
			body.Content = io.TeeReader(content, head)
			more := yield(body, nil)
			s.late.read(lateKey{box.Name, body.UID}, body.InternalDate, head.data)
			if !more {
				return
			}
		}
	}
}

// headOf keeps the first octets that are written to it.
type headOf struct {
	data []byte
	left int
}

func (h *headOf) Write(p []byte) (int, error) {
	n := min(len(p), h.left)
	h.data = append(h.data, p[:n]...)
	h.left -= n
	return len(p), nil
}

// read notes where a message came from that is being carried.
func (l *late) read(key lateKey, arrived time.Time, head []byte) {
	if arrived.IsZero() {
		arrived = l.daemon.now()
	}
	domains := l.daemon.record.allDomains()
	m := lateMail{arrived: arrived, origin: cutover.OriginOf(head, l.oldHosts(domains), func(name string) bool {
		return slices.ContainsFunc(domains, func(d cutover.Domain) bool { return d.Name == name })
	})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.in[key]; !known {
		l.forget = append(l.forget, key)
	}
	l.in[key] = m
	for len(l.in) > lateMost {
		delete(l.in, l.forget[0])
		l.forget = l.forget[1:]
	}
}

// oldHosts are names and addresses of the old server, as far as they are known:
// those that the operator has written down, the old MX of the domains, and where the
// account's mailboxes are.
func (l *late) oldHosts(domains []cutover.Domain) []string {
	hosts := slices.Clone(l.daemon.record.policy().OldHosts)
	for _, d := range domains {
		hosts = append(hosts, l.daemon.record.knownDomain(d.Name).Exchanges(d).Old...)
	}
	return append(hosts, l.account.Source.Host, l.account.Source.TLSServerName)
}

// lateJournal counts what has its receipt.
type lateJournal struct {
	pass.Journal
	late *late
}

func (j lateJournal) Pairs() ([]mail.Pair, error) {
	pairs, err := j.Journal.Pairs()
	j.late.know(pairs)
	return pairs, err
}

func (j lateJournal) Commit(c mail.Change) error {
	err := j.Journal.Commit(c)
	if err == nil {
		j.late.know(c.Pairs)
		j.late.committed(c)
	}
	return err
}

func (l *late) know(pairs []mail.Pair) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range pairs {
		l.names[p.ID] = p.Source
	}
}

// committed looks at what a commit says of the old server.
func (l *late) committed(c mail.Change) {
	var delivered []lateMail
	working := ""
	if len(c.Drop) > 0 && len(c.Receipts) > 0 {
		working = "moved or deleted a message" // only a rebinding does both
	}
	l.mu.Lock()
	for _, of := range c.Receipts {
		for _, r := range of.Receipts {
			key := lateKey{l.names[of.Pair], r.Source}
			m, read := l.in[key]
			if !read {
				continue
			}
			delete(l.in, key)
			switch role := l.roles[key.mailbox]; strings.ToLower(role) {
			case `\sent`, `\drafts`, `\trash`:
				if !m.arrived.Before(l.daemon.handedOver(l.account).Truncate(time.Second)) {
					working = "filed a message into " + strings.TrimPrefix(role, `\`)
				}
			case `\junk`:
			default:
				delivered = append(delivered, m)
			}
		}
	}
	l.forget = slices.DeleteFunc(l.forget, func(key lateKey) bool { _, kept := l.in[key]; return !kept })
	l.mu.Unlock()
	if working != "" {
		l.daemon.stillWorking(l.account.Name, working)
	}
	l.daemon.countLate(l.account, delivered)
}

// handedOver is when the users of an account began to work on the new server.
func (d *Daemon) handedOver(a config.Account) (at time.Time) {
	m, _ := d.record.knownAccount(a.Name)
	events := []cutover.Event{m.Handover}
	for _, name := range a.Domains {
		events = append(events, d.record.knownDomain(name).Handover)
	}
	for _, e := range events {
		if e.Happened() && (at.IsZero() || e.At.Before(at)) {
			at = e.At
		}
	}
	return at
}

// lostSince tells, where the state of a draining account has been lost, what is
// not to be copied any more: what arrived before that time, the handover.
func (a *account) lostSince(store *state.Store) (time.Time, error) {
	if !a.with.draining || a.with.readOnly {
		return time.Time{}, nil
	}
	record, now := a.daemon.record, a.daemon.now()
	if m, _ := record.knownAccount(a.Name); store.Fresh() != (state.Fresh{}) && m.Following.Happened() && !m.StateLost.Happened() {
		err := record.account(a.Name, func(m *cutover.AccountMemory) []cutover.Change {
			m.StateLost = cutover.Event{At: now, Why: "there is no state any more, although the users work on the new server"}
			return []cutover.Change{{At: now, Account: a.Name, What: "state lost", Why: m.StateLost.Why}}
		})
		if err != nil {
			return time.Time{}, err
		}
		a.daemon.Logger.Warn("the state was lost after the handover: what arrived before and is not on the new server is held", "account", a.Name)
	}
	m, _ := record.knownAccount(a.Name)
	if !m.StateLost.Happened() {
		return time.Time{}, nil
	}
	if at := a.daemon.handedOver(a.Account); !at.IsZero() {
		return at, nil
	}
	return m.StateLost.At, nil
}

// stillWorking notes that somebody is at work on the old server. An hour's work
// is noted once.
func (d *Daemon) stillWorking(account, what string) {
	now := d.now()
	err := d.record.account(account, func(m *cutover.AccountMemory) []cutover.Change {
		if now.Sub(m.Working.At) >= time.Hour {
			m.Working = cutover.Event{At: now, Why: what}
		}
		return nil
	})
	if err != nil {
		d.Logger.Error("work on the old server was not noted", "account", account, "error", err)
	}
}

// countLate counts mail that was delivered to the old server after its domain
// had moved. It belongs to the domain that it was addressed to, else to the
// account's.
func (d *Daemon) countLate(a config.Account, delivered []lateMail) {
	byDomain := make(map[string][]lateMail)
	for _, m := range delivered {
		domain := m.origin.Domain
		if domain == "" {
			domain = a.Domains[0]
		}
		byDomain[domain] = append(byDomain[domain], m)
	}
	for domain, list := range byDomain {
		count := 0
		err := d.record.domain(domain, func(m cutover.Memory) (cutover.Memory, []cutover.Change, error) {
			since := m.Moved.At
			if h := m.Handover; h.Happened() && (since.IsZero() || h.At.Before(since)) {
				since = h.At
			}
			for _, one := range list {
				if arrived := one.arrived; !since.IsZero() && !arrived.Before(since.Truncate(time.Second)) {
					m.Late = m.Late.Add(one.origin.Host, arrived)
					count++
				}
			}
			return m, nil, nil
		})
		if err != nil {
			d.Logger.Error("late mail was not counted", "domain", domain, "error", err)
		} else if count > 0 {
			d.Logger.Info("late mail", "domain", domain, "account", a.Name, "messages", count)
		}
	}
}
