package cutover

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Policy is [cutover] of the configuration.
type Policy struct {
	MaxLag      time.Duration
	VerifyEvery time.Duration
	QuietPeriod time.Duration
	Workdays    []time.Weekday
	HeldAllowed int
	Ask         bool // finish = "ask"
}

// Account is what is known now of an account of a domain.
type Account struct {
	*AccountMemory // not to be changed
	Name           string
	Phase          mail.Phase
	Health         mail.Health
	// Error is why it is not well, UnwellSince since when.
	Error       string
	UnwellSince time.Time
	// PendingSince is when the oldest of Pending was first seen.
	Pending      int
	PendingSince time.Time
	Held         int // without the operator's word
	Deletions    int // that wait for it
	// RoomKnown tells that the new server told how much room there is, Full that
	// it is not enough.
	RoomKnown, Full bool
}

// Facts are everything that the verdicts about a domain rest on. Times are
// shown in the zone of Now.
type Facts struct {
	Domain Domain
	Memory Memory
	Policy Policy
	// Accounts are those of the domain, or of the one that it is an alias of.
	Accounts []Account
	Now      time.Time
}

// Finding is one reason of a verdict, with what to do.
type Finding struct {
	Reason   Reason `json:"reason"`
	Blocking bool   `json:"blocking"`
	Text     string `json:"text"`
}

// Ruling is a verdict with its reasons, the blocking ones first.
type Ruling struct {
	OK      bool      `json:"ok"`
	Reasons []Finding `json:"reasons"`
}

// Rule gives a verdict.
func (f Facts) Rule(v Verdict) Ruling {
	r := &ruling{Facts: f, order: Reasons(v), blocking: BlockingReasons(v)}
	if skipped := func(a Account) bool { return a.Skipped.Happened() }; slices.ContainsFunc(f.Accounts, skipped) {
		r.Accounts = slices.DeleteFunc(slices.Clone(f.Accounts), skipped)
	}
	r.accounts(v)
	r.servers()
	if v == SafeToSwitch {
		r.switching()
	} else {
		r.stopping()
	}
	return r.result()
}

// ruling gathers the findings of one verdict.
type ruling struct {
	Facts
	order, blocking []Reason
	found           []Finding
}

func (r *ruling) find(reason Reason, format string, args ...any) {
	r.found = append(r.found, Finding{reason, slices.Contains(r.blocking, reason), fmt.Sprintf(format, args...)})
}

func (r *ruling) result() Ruling {
	slices.SortStableFunc(r.found, func(a, b Finding) int {
		return slices.Index(r.order, a.Reason) - slices.Index(r.order, b.Reason)
	})
	blocked := slices.ContainsFunc(r.found, func(f Finding) bool { return f.Blocking })
	return Ruling{OK: !blocked, Reasons: append([]Finding{}, r.found...)}
}

// who names the accounts for which is is true; empty: there are none.
func (r *ruling) who(is func(Account) bool) string {
	var names []string
	for _, a := range r.Accounts {
		if is(a) {
			names = append(names, a.Name)
		}
	}
	return some(names)
}

// some names a few of many.
func some(names []string) string {
	const few = 3
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// accounts looks for what both verdicts want of the accounts.
func (r *ruling) accounts(v Verdict) {
	if len(r.Facts.Accounts) == 0 {
		r.find(ReasonNoAccounts, "no account belongs to %s: add its [[account]]s, name in aliases_of the domain that has them, or remove its [[domain]]", r.Domain.Name)
	}
	if lost := r.who(func(a Account) bool { return a.Lost.Happened() }); lost != "" || r.Memory.Lost.Happened() {
		r.find(ReasonRecordLost, "the record of the phases was lost, so nothing on the new server is changed: say 'imapsyncd cutover start %s' if the users work there, else 'imapsyncd cutover abort %[1]s'", r.Domain.Name)
	}
	r.findAccounts(ReasonStopped, "stopped until you decide: %s. 'imapsyncd status' says why and what to do",
		func(a Account) bool { return a.Health == mail.HealthStopped })
	r.findAccounts(ReasonCannotLogIn, "a server refuses the log-in of %s: correct user and password in the configuration, or leave it out with 'imapsyncd account skip'",
		func(a Account) bool { return a.Health == mail.HealthAuth })
	r.findAccounts(ReasonUnreachable, "a server of %s has not answered for longer than max_lag: 'imapsyncd status' has its words; mend it, or wait for its return",
		func(a Account) bool {
			return a.Health == mail.HealthBackoff && !a.UnwellSince.IsZero() && r.Now.Sub(a.UnwellSince) > r.Policy.MaxLag
		})
	r.findAccounts(ReasonPaused, "paused: %s. 'imapsyncd resume' lets it go on", func(a Account) bool { return a.Health == mail.HealthPaused })
	r.findAccounts(ReasonNoPass, "the first copy is not complete: %s. Wait for it", func(a Account) bool { return !a.Following.Happened() && !a.Removed.Happened() })
	r.findAccounts(ReasonRemoved, "removed from the configuration before it was finished: %s. Put it back, or leave it out with 'imapsyncd account skip'",
		func(a Account) bool { return a.Removed.Happened() })
	r.findAccounts(ReasonNoRoom, "the new mailbox has no room for %s: raise its quota", func(a Account) bool { return a.Full || a.Health == mail.HealthQuota })

	held, differences := 0, 0
	for _, a := range r.Accounts {
		held += a.Held
		differences += a.Quick.Differences + a.Contents.Differences
	}
	if held > r.Policy.HeldAllowed {
		r.find(ReasonHeld, "%s held (%s), %d allowed: 'imapsyncd hold list' says why; mend it and 'hold retry', or 'hold skip' it with a reason",
			messages(held), r.who(func(a Account) bool { return a.Held > 0 }), r.Policy.HeldAllowed)
	}
	if differences > 0 {
		r.find(ReasonDifferences, "the last verification found %d differences (%s): 'imapsyncd verify' lists them", differences,
			r.who(func(a Account) bool { return a.Quick.Differences+a.Contents.Differences > 0 }))
	}
	present := func(a Account) bool { return a.Following.Happened() && !a.Removed.Happened() }
	if v == SafeToSwitch {
		r.findAccounts(ReasonUnverified, "not verified within verify_every: %s. It is done by itself, or at once by 'imapsyncd verify --sample 1%%'",
			func(a Account) bool { return present(a) && r.Now.Sub(a.Quick.Began) > r.Policy.VerifyEvery })
	} else {
		r.findAccounts(ReasonUnverified, "not verified since the last copy: %s. It is done by itself before the end, or at once by 'imapsyncd verify'",
			func(a Account) bool { return present(a) && !a.Quick.Began.After(a.LastCopy) })
		r.findAccounts(ReasonUnverifiedBody, "no contents have been compared since the first copy: %s. Run 'imapsyncd verify --sample 1%%'",
			func(a Account) bool { return present(a) && !a.Contents.Began.After(a.FirstCopy) })
	}
	r.findAccounts(ReasonDeletionsWait, "many messages were deleted at once on the old server and wait for your word: %s. See 'imapsyncd deletions list'",
		func(a Account) bool { return a.Deletions > 0 })
}

// findAccounts notes a reason that some accounts give; the format names them.
func (r *ruling) findAccounts(reason Reason, format string, is func(Account) bool) {
	if names := r.who(is); names != "" {
		r.find(reason, format, names)
	}
}

func messages(n int) string {
	if n == 1 {
		return "1 message"
	}
	return fmt.Sprintf("%d messages", n)
}

// servers tells what the operator should know of the DNS servers.
func (r *ruling) servers() {
	if !r.Domain.Watched() {
		return
	}
	answers := make(map[Answer]bool)
	var said, silent []string
	for _, k := range r.Memory.DNS.with(func(k ServerSeen) bool { return k.Role != RoleFormer }) {
		if !k.answers() {
			silent = append(silent, fmt.Sprintf("%s (%s)", k.name(), k.Problem))
			continue
		}
		if !answers[k.Answer] {
			said = append(said, says(k))
		}
		answers[k.Answer] = true
	}
	if len(answers) > 1 {
		r.find(ReasonServersDisagree, "DNS servers disagree: %s. An authority that lags does not get its zone: look at its serial; a resolver may keep an answer for longer than its TTL", strings.Join(said, "; "))
	}
	if problem := r.Memory.DNS.ZoneProblem; problem != "" {
		silent = append(silent, "the delegation ("+problem+")")
	}
	if len(silent) > 0 {
		r.find(ReasonServersSilent, "no answer that can be used: %s. What they say is not known", some(silent))
	}
}

// switching looks for what else the switch wants.
func (r *ruling) switching() {
	m := r.Memory
	switch {
	case m.Moved.Happened() || m.Finished.Happened():
		r.find(ReasonSwitched, "the delivery has moved already: ask for safe-to-stop")
	case m.FirstSight.Happened():
		r.find(ReasonFirstSight, "DNS named the new server when it was first asked (%s): say 'imapsyncd cutover switched %s' if that is meant, else correct DNS", m.FirstSight.Why, r.Domain.Name)
	case m.Aborted.Happened():
		r.find(ReasonAborted, "the switch was taken back, and not every authority has shown the old server since: put the old records back; until then DNS counts for nothing")
	}
	for _, a := range r.Accounts {
		if a.Pending > 0 && !a.PendingSince.IsZero() && r.Now.Sub(a.PendingSince) > r.Policy.MaxLag {
			r.find(ReasonLag, "%s of %s not on the new server yet, the oldest since %s, longer than max_lag: wait, or look at 'imapsyncd status'", messages(a.Pending), a.Name, moment(a.PendingSince, r.Now))
			break
		}
	}
	if advice := m.Advise(r.Domain, r.Now); advice.Text != "" && !m.Moved.Happened() {
		r.find(ReasonTTL, "%s", advice.Text)
	}
	r.findAccounts(ReasonRoomUnknown, "how much room there is on the new server is not known: %s. Make sure that the quota there is larger than the old mailbox",
		func(a Account) bool { return !a.RoomKnown && !a.Removed.Happened() })
}

// stopping looks for what else the stop wants.
func (r *ruling) stopping() {
	m := r.Memory
	r.delivery()
	if !m.Handover.Happened() && !m.Lost.Happened() {
		r.find(ReasonNotHandedOver, "the users have not moved: say 'imapsyncd cutover start %s' when they have", r.Domain.Name)
	}
	if m.Moved.Happened() {
		r.quiet()
	}
	r.findAccounts(ReasonPending, "messages are still on their way: %s. Wait for them", func(a Account) bool { return a.Pending > 0 })
	r.findAccounts(ReasonStillWorking, "still at work on the old server: %s. Phone them: their mail programs have to be set up for the new one",
		func(a Account) bool { return a.Working.Happened() })
	if local := m.Late.Local(); local.Messages > 0 && !local.Ack.Happened() {
		r.find(ReasonDeliversLocally, "the old server has delivered %s by itself, the last on %s: take %s out of its local domains (forms, other sites, 'local mail exchanger')",
			messages(local.Messages), moment(local.Last, r.Now), r.Domain.Name)
	}
	if r.Policy.Ask && !m.Finish.Happened() {
		r.find(ReasonWaitsForFinish, "finish = \"ask\": when nothing blocks any more, 'imapsyncd cutover finish %s' ends the migration", r.Domain.Name)
	}
}

// delivery looks whether mail goes to the new server alone.
func (r *ruling) delivery() {
	m := r.Memory
	if !m.Moved.Happened() {
		switch {
		case m.FirstSight.Happened():
			r.find(ReasonNotSwitched, "DNS named the new server when it was first asked: say 'imapsyncd cutover switched %s' if that is meant", r.Domain.Name)
		case m.Delivery == AnswerMixed:
			r.find(ReasonNotSwitched, "the delivery has moved in part only, since %s: new mail goes to both servers", moment(m.Since.At, r.Now))
		case !r.Domain.Watched():
			r.find(ReasonNotSwitched, "the delivery has not moved: say 'imapsyncd cutover switched %s' once new mail arrives at the new server", r.Domain.Name)
		default:
			r.find(ReasonNotSwitched, "the delivery has not moved: ask for safe-to-switch, then change the records")
		}
	}
	if !r.Domain.Watched() {
		return
	}
	answer, why := m.DNS.evidence()
	switch {
	case answer == AnswerUnknown:
		r.find(ReasonUnconfirmed, "nobody tells where mail for %s goes: %s. See that they can be asked from here", r.Domain.Name, why)
	case answer == AnswerNull || answer == AnswerNone:
		r.find(ReasonTakesNoMail, "%s takes no mail at all (%s): publish the MX of the new server", r.Domain.Name, why)
	case answer.servesOld():
		if m.Reverted() {
			r.find(ReasonReverted, "DNS names the old server again since %s: change it back, or take the switch back with 'imapsyncd cutover abort %s'", moment(m.Since.At, r.Now), r.Domain.Name)
		}
		if answer == AnswerOld && !m.Moved.Happened() {
			break // nobody has begun
		}
		r.find(ReasonOldMXServed, "mail is still sent to the old server: %s. Take it out of the records, also as one of lower preference, and see that every authority has the new zone", why)
	}
	former := m.DNS.with(func(k ServerSeen) bool { return k.Role == RoleFormer && k.answers() && k.Answer.servesOld() })
	for _, k := range former[:min(len(former), 1)] {
		r.find(ReasonFormerServesOld, "%s is delegated to no more, but still names the old server: resolvers that remember it go on asking it; have the zone removed or corrected there", k.name())
	}
	if from, until := m.Clock(r.Domain); until.After(r.Now) {
		r.find(ReasonClock, "caches may send mail to the old server until %s (the old answer was last given on %s, its TTL was %d): wait", moment(until, r.Now), moment(from, r.Now), int(until.Sub(from).Seconds()))
	}
}

// quiet looks whether there has been no late mail for long enough.
func (r *ruling) quiet() {
	p := r.Policy
	since := r.Memory.Moved.At
	last, host := r.Memory.Late.Last()
	// An INTERNALDATE has whole seconds.
	late := !last.IsZero() && !last.Before(since.Truncate(time.Second))
	if late && last.After(since) {
		since = last
	}
	since = since.In(r.Now.Location())
	until := QuietUntil(since, p.QuietPeriod, p.Workdays)
	over := !r.Now.Before(since.Add(p.QuietPeriod))
	switch {
	case late && !over:
		r.find(ReasonLateMail, "mail was delivered to the old server on %s, by %s: it has to be silent until %s. Correct that host, or 'imapsyncd cutover ack %s --host %s --because …' if it does not count", moment(last, r.Now), host, moment(until, r.Now), r.Domain.Name, shellWord(host))
	case !over:
		r.find(ReasonQuietPeriod, "the delivery moved on %s: late mail has to stay away until %s", moment(since, r.Now), moment(until, r.Now))
	case r.Now.Before(until):
		r.find(ReasonNoWorkday, "no late mail since %s, but no whole working day was among it: wait until %s", moment(since, r.Now), moment(until, r.Now))
	}
}

// shellWord is a host as it is written in a command.
func shellWord(host string) string {
	if strings.Contains(host, " ") {
		return `"` + host + `"`
	}
	return host
}
