package daemon

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// changesShown is how many changes of a domain the status has.
const changesShown = 50

// domainStatus is what is shown of a domain.
func (r *record) domainStatus(f cutover.Facts) web.DomainStatus {
	m := f.Memory
	_, caches := m.Clock(f.Domain)
	s := web.DomainStatus{
		Name: f.Domain.Name, AliasesOf: f.Domain.AliasesOf, Accounts: len(f.Accounts), Phase: domainPhase(f),
		Switch: string(f.Domain.Switch), Handover: string(f.Domain.Handover),
		Delivery: string(cmp.Or(m.Delivery, cutover.AnswerUnknown)), DeliverySince: m.Since.At, DeliveryWhy: m.Since.Why,
		TTLSeconds: int(m.DNS.TTL.Seconds()), CachesUntil: caches,
		SafeToSwitch: webVerdict(f.Rule(cutover.SafeToSwitch)), SafeToStop: webVerdict(f.Rule(cutover.SafeToStop)),
		LateMail: web.LateMail{Messages: m.Late.Total},
	}
	if f.Domain.AliasesOf != "" {
		s.Accounts = 0
	}
	for _, e := range []cutover.Event{m.Finished, m.Handover, m.Lost} {
		if e.Happened() {
			s.Since, s.Why = e.At, e.Why
			break
		}
	}
	for _, host := range slices.Sorted(maps.Keys(m.Late.Hosts)) {
		h := m.Late.Hosts[host]
		s.LateMail.Hosts = append(s.LateMail.Hosts, web.LateHost{Host: host, Messages: h.Messages, Last: h.Last, Acknowledged: h.Ack.Why})
	}
	for _, h := range m.Late.Hours {
		s.LateMail.Hours = append(s.LateMail.Hours, web.LateHour(h))
	}
	for _, a := range f.Accounts {
		if a.Working.Happened() {
			s.StillWorking = append(s.StillWorking, a.Name)
		}
	}
	s.LastVerify, _ = lastVerified(f)
	for _, k := range m.DNS.Servers {
		s.DNS = append(s.DNS, web.DNSServer{
			Role: string(k.Role), Name: k.Name, Address: k.Address.String(), Answer: string(cmp.Or(k.Answer, cutover.AnswerUnknown)),
			Hosts: k.Hosts, Answered: k.Answered, Problem: k.Problem,
		})
	}
	changes := r.history(f.Domain.Name)
	for _, c := range changes[max(0, len(changes)-changesShown):] {
		s.Changes = append(s.Changes, web.Change{At: c.At, Account: c.Account, What: c.What, Why: c.Why})
	}
	return s
}

// statusWithoutDaemon is what is shown of the domains while nobody looks: how
// far they have come, and no verdict.
func (r *record) statusWithoutDaemon(now time.Time) []web.DomainStatus {
	var list []web.DomainStatus
	for _, d := range r.allDomains() {
		f := cutover.Facts{Domain: d, Memory: r.knownDomain(d.Name), Policy: policyOf(r.policy()), Now: now}
		for _, name := range r.accountsOf(cmp.Or(d.AliasesOf, d.Name)) {
			known, _ := r.knownAccount(name)
			f.Accounts = append(f.Accounts, cutover.Account{AccountMemory: known, Name: name, Phase: r.phase(name)})
		}
		s := r.domainStatus(f)
		unknown := []web.Reason{{Reason: "no_daemon", Blocking: true, Text: "no daemon is running, so that it is not known: start it"}}
		s.SafeToSwitch, s.SafeToStop = web.Verdict{Reasons: unknown}, web.Verdict{Reasons: unknown}
		list = append(list, s)
	}
	return list
}

func webVerdict(r cutover.Ruling) web.Verdict {
	v := web.Verdict{OK: r.OK}
	for _, f := range r.Reasons {
		v.Reasons = append(v.Reasons, web.Reason{Reason: string(f.Reason), Blocking: f.Blocking, Text: f.Text})
	}
	return v
}
