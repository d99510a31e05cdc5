package daemon

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/verify"
	"github.com/imapsyncd/imapsyncd/metrics"
)

// migration leads the domains of a running daemon from the first copy to the
// end: it asks DNS, gives the verdicts, has both sides verified, and ends what
// is safe to stop. What has happened stands in the record; this is at work on
// it.
type migration struct {
	running *running
	poke    chan struct{}
	done    chan struct{} // receives when every domain is finished
	notices chan notice

	reviewed []cutover.Account // memory of review

	mu      sync.Mutex
	rulings map[string]map[cutover.Verdict]cutover.Ruling // the last ones, by domain
	healths map[string]mail.Health                        // of accounts, as last told
	asked   map[string]cutover.Domain                     // domains whose DNS is asked about
	ending  map[string]bool                               // domains that are being ended
	retry   map[string]time.Time                          // not before: by what has failed
}

const (
	// reviewEvery is how often the verdicts are looked at without any news: time
	// alone changes them.
	reviewEvery = 5 * time.Second
	// reviewShare is how many times as long as a look took there is none after it:
	// among thousands of accounts there is always one with news, and a look goes
	// over all of them.
	reviewShare = 20
	// askLeast is how often DNS is asked at most.
	askLeast = 5 * time.Second
	// retryAfter is the pause after a verification or an end that failed.
	retryAfter = 10 * time.Minute
)

func newMigration(r *running) *migration {
	return &migration{
		running: r, poke: make(chan struct{}, 1), notices: make(chan notice, noticesMost), done: make(chan struct{}, 1),
		rulings: make(map[string]map[cutover.Verdict]cutover.Ruling), healths: make(map[string]mail.Health),
		asked: make(map[string]cutover.Domain), ending: make(map[string]bool), retry: make(map[string]time.Time),
	}
}

// run is at work until ctx ends. Whatever it has begun has ended when it
// returns.
func (m *migration) run(ctx context.Context) {
	var work sync.WaitGroup
	defer work.Wait()
	work.Go(func() { m.verifying(ctx) })
	work.Go(func() { m.notifying(ctx) })
	ticker := time.NewTicker(reviewEvery)
	defer ticker.Stop()
	for {
		began := time.Now()
		m.watchDNS(ctx, &work)
		m.review(ctx, &work)
		rest := time.NewTimer(reviewShare * time.Since(began))
		select {
		case <-ctx.Done():
			rest.Stop()
			return
		case <-rest.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-m.poke:
		case <-ticker.C:
		}
	}
}

// look has the verdicts looked at soon. It never blocks.
func (m *migration) look() {
	select {
	case m.poke <- struct{}{}:
	default:
	}
}

// watchDNS asks about each domain that DNS tells something of.
func (m *migration) watchDNS(ctx context.Context, work *sync.WaitGroup) {
	if m.running.DNS == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.running.record.allDomains() {
		if _, already := m.asked[d.Name]; !already && d.Watched() {
			m.asked[d.Name] = d
			work.Go(func() { m.askAbout(ctx, d.Name) })
		}
	}
}

// askAbout asks DNS about a domain until it is finished or not watched any
// more.
func (m *migration) askAbout(ctx context.Context, name string) {
	defer func() {
		m.mu.Lock()
		delete(m.asked, name)
		m.mu.Unlock()
	}()
	record := m.running.record
	for ctx.Err() == nil {
		d, there := record.domainConfig(name)
		if known := record.knownDomain(name); !there || !d.Watched() || known.Finished.Happened() {
			return
		}
		wait := m.askOnce(ctx, d)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// askOnce asks all servers once and returns when to ask again: after the
// interval, or sooner where a TTL is shorter.
func (m *migration) askOnce(ctx context.Context, d cutover.Domain) time.Duration {
	r := m.running
	interval := r.Config.DNS.Interval
	round := r.DNS.Ask(ctx, r.record.knownDomain(d.Name).Question(d))
	if ctx.Err() != nil {
		return interval
	}
	round.At = r.now()
	var changes []cutover.Change
	var ttl time.Duration
	err := r.record.domain(d.Name, func(known cutover.Memory) (cutover.Memory, []cutover.Change, error) {
		known, changes = known.Look(d, round)
		ttl = known.DNS.TTL
		return known, changes, nil
	})
	if err == nil && len(changes) > 0 {
		var more []cutover.Change
		more, err = r.settleAccounts(d.Name)
		changes = append(changes, more...)
		r.operator().tell(changes)
		if terr := m.turn(ctx, r.record.accountsOf(d.Name)); terr != nil && ctx.Err() == nil {
			r.Logger.Warn("accounts have not taken up the phase of their domain yet", "domain", d.Name, "error", terr)
		}
	}
	if err != nil {
		r.Logger.Error("what DNS says was not noted", "domain", d.Name, "error", err)
	}
	m.look()
	if ttl > 0 {
		interval = min(interval, max(ttl, askLeast))
	}
	return interval
}

// turn has the followers of accounts go by what the record says of their phase.
// It returns once none goes by anything else.
func (m *migration) turn(ctx context.Context, accounts []string) error {
	var wait sync.WaitGroup
	errs := make([]error, len(accounts))
	for i, name := range accounts {
		f, err := m.running.follower(name)
		if err != nil {
			continue // removed from the configuration
		}
		wait.Go(func() {
			if err := f.Turn(ctx); err != nil && f.ending.Err() == nil {
				errs[i] = fmt.Errorf("account %s: %w", name, err)
			}
		})
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// told hears of what has changed.
func (m *migration) told(changes []cutover.Change) {
	for _, c := range changes {
		m.notify(notice{Event: "phase", Time: c.At, Domain: c.Domain, Account: c.Account, What: c.What, Text: c.Why})
	}
	m.look()
}

// facts are what the verdicts about a domain rest on.
func (m *migration) facts(d cutover.Domain) cutover.Facts { return m.factsIn(d, nil) }

// factsIn is facts with the accounts in memory that is used again: thousands of them
// are looked at every few seconds.
func (m *migration) factsIn(d cutover.Domain, accounts []cutover.Account) cutover.Facts {
	r := m.running
	f := cutover.Facts{Domain: d, Memory: r.record.knownDomain(d.Name), Policy: policyOf(r.record.policy()), Now: r.now()}
	having := d.Name
	if d.AliasesOf != "" {
		having = d.AliasesOf
	}
	names := r.record.accountsOf(having)
	f.Accounts = slices.Grow(accounts, len(names))
	for _, name := range names {
		known, _ := r.record.knownAccount(name)
		a := cutover.Account{AccountMemory: known, Name: name, Phase: r.record.phase(name), Health: mail.HealthOK}
		if follower, err := r.follower(name); err == nil {
			s := follower.Status()
			a.Health, a.Error, a.UnwellSince = s.Health, s.Error, s.UnwellSince
			a.Pending, a.PendingSince, a.Held, a.Deletions = s.Pending, s.PendingSince, s.Held, s.Deletions
			a.RoomKnown, a.Full = follower.quota.holds(s.PendingBytes)
			a.Full = a.Full || s.Health == mail.HealthQuota
		} else if known.Skipped.Happened() {
			continue // neither configured nor waited for
		}
		f.Accounts = append(f.Accounts, a)
	}
	return f
}

// review gives the verdicts, tells of those that have changed, and ends the
// domains that are safe to stop.
func (m *migration) review(ctx context.Context, work *sync.WaitGroup) {
	r := m.running
	domains := r.record.allDomains()
	for _, d := range domains {
		facts := m.factsIn(d, m.reviewed)
		m.reviewed = facts.Accounts[:0]
		rulings := rulingsOf(facts)
		m.measure(facts, rulings)
		m.judge(facts, rulings)
		if facts.Memory.Finished.Happened() {
			continue
		}
		if m.mayEnd(facts, rulings[cutover.SafeToStop]) {
			work.Go(func() { m.end(ctx, d) })
		}
	}
	for name := range m.known() {
		if !slices.ContainsFunc(domains, func(d cutover.Domain) bool { return d.Name == name }) {
			m.forget(name)
		}
	}
	m.attend()
	if r.record.allFinished() {
		select {
		case m.done <- struct{}{}:
		default:
		}
	}
}

// rulingsOf gives every verdict.
func rulingsOf(facts cutover.Facts) map[cutover.Verdict]cutover.Ruling {
	rulings := make(map[cutover.Verdict]cutover.Ruling)
	for _, v := range cutover.Verdicts() {
		rulings[v] = facts.Rule(v)
	}
	return rulings
}

// judge tells of verdicts that are other than they were.
func (m *migration) judge(facts cutover.Facts, now map[cutover.Verdict]cutover.Ruling) {
	name := facts.Domain.Name
	m.mu.Lock()
	before := m.rulings[name]
	m.rulings[name] = now
	m.mu.Unlock()
	for _, v := range cutover.Verdicts() {
		if was, known := before[v]; known && was.OK == now[v].OK || !known && !now[v].OK {
			continue
		}
		word := "no"
		if now[v].OK {
			word = "yes"
		}
		var reasons []string
		for _, f := range now[v].Reasons {
			reasons = append(reasons, string(f.Reason))
		}
		m.running.Logger.Info("verdict", "domain", name, "verdict", string(v), "ok", word, "reasons", reasons)
		ok := now[v].OK
		m.notify(notice{Event: "verdict", Time: facts.Now, Domain: name, Verdict: v, OK: &ok, Reasons: now[v].Reasons, YouMustCheck: cutover.YouMustCheck()})
	}
}

// attend tells of accounts that need the operator.
func (m *migration) attend() {
	for _, f := range m.running.all() {
		s := f.Status()
		m.mu.Lock()
		was := m.healths[f.account.Name]
		m.healths[f.account.Name] = s.Health
		m.mu.Unlock()
		switch s.Health {
		case mail.HealthAuth, mail.HealthStopped, mail.HealthQuota:
			if was != s.Health {
				m.notify(notice{Event: "attention", Time: m.running.now(), Account: f.account.Name, What: string(s.Health), Text: s.Error})
			}
		}
	}
}

// measure sets the metrics of a domain.
func (m *migration) measure(f cutover.Facts, rulings map[cutover.Verdict]cutover.Ruling) {
	d := m.running.Metrics.Domain(f.Domain.Name, domainLabels())
	d.SetPhase(domainPhase(f))
	for v, ruling := range rulings {
		var reasons []string
		for _, finding := range ruling.Reasons {
			reasons = append(reasons, string(finding.Reason))
		}
		d.SetVerdict(string(v), ruling.OK, reasons)
	}
	answers := make(map[string]int)
	for a, n := range f.Memory.DNS.Answers() {
		answers[string(a)] = n
	}
	d.SetDNS(answers, f.Memory.DNS.TTL)
	d.SetLate(f.Memory.Late.Total)
	oldest, found := lastVerified(f)
	d.SetVerified(oldest, found)
}

// domainLabels are the closed lists of the metrics of domains.
func domainLabels() metrics.DomainLabels {
	labels := metrics.DomainLabels{Reasons: make(map[string][]string)}
	for _, v := range cutover.Verdicts() {
		for _, r := range cutover.Reasons(v) {
			labels.Reasons[string(v)] = append(labels.Reasons[string(v)], string(r))
		}
	}
	for _, a := range cutover.Answers() {
		labels.Answers = append(labels.Answers, string(a))
	}
	for _, c := range verify.Classes() {
		labels.Classes = append(labels.Classes, string(c))
	}
	return labels
}

// domainPhase is how far the domain of some facts has come.
func domainPhase(f cutover.Facts) mail.Phase {
	var phases []mail.Phase
	for _, a := range f.Accounts {
		if !a.Skipped.Happened() && !a.Removed.Happened() {
			phases = append(phases, a.Phase)
		}
	}
	return f.Memory.Phase(phases)
}

// lastVerified is the oldest of the last verifications of a domain's accounts
// (zero: one has none), and what they found.
func lastVerified(f cutover.Facts) (oldest time.Time, found map[string]int64) {
	found = make(map[string]int64)
	for i, a := range f.Accounts {
		if i == 0 || a.Quick.Began.Before(oldest) {
			oldest = a.Quick.Began
		}
		for class, n := range a.Quick.Found {
			found[class] += n
		}
	}
	return oldest, found
}

// known are the domains that have been judged.
func (m *migration) known() map[string]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make(map[string]bool, len(m.rulings))
	for name := range m.rulings {
		names[name] = true
	}
	return names
}

// forget lets go of a domain that is not configured any more.
func (m *migration) forget(name string) {
	m.mu.Lock()
	delete(m.rulings, name)
	m.mu.Unlock()
	m.running.Metrics.RemoveDomain(name)
}
