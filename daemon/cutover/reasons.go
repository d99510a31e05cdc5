package cutover

// Verdict names one of the two verdicts.
type Verdict string

// The verdicts.
const (
	SafeToSwitch Verdict = "safe_to_switch" // the delivery may move to the new server
	SafeToStop   Verdict = "safe_to_stop"   // the old server may go
)

// Verdicts lists every [Verdict].
func Verdicts() []Verdict { return []Verdict{SafeToSwitch, SafeToStop} }

// Reason is why a verdict says no, or what the operator should know besides: a
// closed list, also a label of imapsyncd_verdict_reason.
type Reason string

// The reasons that accounts give, blocking in both verdicts.
const (
	ReasonCannotLogIn Reason = "cannot_log_in"    // a server refuses the log-in
	ReasonUnreachable Reason = "unreachable"      // a server has been away for longer than max_lag
	ReasonStopped     Reason = "account_stopped"  // by imapsyncd, until the operator has decided
	ReasonPaused      Reason = "paused"           // by the operator
	ReasonNoPass      Reason = "no_complete_pass" // the first copy is not done
	ReasonRemoved     Reason = "removed"          // from the configuration, unfinished
	ReasonNoRoom      Reason = "no_room"          // on the new server
	ReasonHeld        Reason = "held"             // more than held_allowed, without a word
	ReasonUnverified  Reason = "unverified"       // no verification, or an old one
	ReasonDifferences Reason = "differences"      // the verification found some
	ReasonNoAccounts  Reason = "no_accounts"      // the domain has none
	ReasonRecordLost  Reason = "record_lost"      // of the phases
)

// The other reasons that block the switch.
const (
	ReasonLag        Reason = "lag"                // a message has waited for longer than max_lag
	ReasonFirstSight Reason = "new_at_first_sight" // DNS names the new server, and nobody told
	ReasonAborted    Reason = "aborted"            // DNS has not shown the old server since
	ReasonSwitched   Reason = "already_switched"
)

// The other reasons that block the stop.
const (
	ReasonNotSwitched    Reason = "not_switched"
	ReasonNotHandedOver  Reason = "not_handed_over"
	ReasonUnconfirmed    Reason = "unconfirmed" // nobody tells where mail goes
	ReasonTakesNoMail    Reason = "takes_no_mail"
	ReasonOldMXServed    Reason = "old_mx_served" // by an authority
	ReasonReverted       Reason = "reverted"
	ReasonClock          Reason = "clock"             // caches may have the old answer
	ReasonLateMail       Reason = "late_mail"         // within quiet_period
	ReasonQuietPeriod    Reason = "quiet_period"      // not over since the switch
	ReasonNoWorkday      Reason = "no_workday"        // in the quiet period
	ReasonPending        Reason = "pending"           // a message
	ReasonUnverifiedBody Reason = "unverified_bodies" // no contents have been compared
)

// The reasons that only advise.
const (
	ReasonTTL             Reason = "ttl"
	ReasonServersDisagree Reason = "servers_disagree"
	ReasonServersSilent   Reason = "servers_silent"
	ReasonRoomUnknown     Reason = "room_unknown"
	ReasonDeletionsWait   Reason = "deletions_wait"
	ReasonFormerServesOld Reason = "former_authority"
	ReasonStillWorking    Reason = "still_working"
	ReasonDeliversLocally Reason = "delivers_locally"
	ReasonWaitsForFinish  Reason = "waits_for_finish"
)

// Reasons lists every [Reason] that a verdict may have, the blocking ones first.
func Reasons(v Verdict) []Reason { return append(BlockingReasons(v), AdvisoryReasons(v)...) }

// BlockingReasons lists the reasons for which a verdict says no.
func BlockingReasons(v Verdict) []Reason {
	both := []Reason{ReasonNoAccounts, ReasonRecordLost, ReasonStopped, ReasonCannotLogIn, ReasonUnreachable, ReasonPaused,
		ReasonNoPass, ReasonRemoved, ReasonNoRoom, ReasonHeld, ReasonDifferences, ReasonUnverified}
	if v == SafeToSwitch {
		return append([]Reason{ReasonSwitched, ReasonFirstSight, ReasonAborted}, append(both, ReasonLag)...)
	}
	return append([]Reason{ReasonNotSwitched, ReasonNotHandedOver, ReasonReverted, ReasonOldMXServed, ReasonTakesNoMail,
		ReasonUnconfirmed, ReasonClock, ReasonLateMail, ReasonQuietPeriod, ReasonNoWorkday},
		append(both, ReasonPending, ReasonUnverifiedBody)...)
}

// AdvisoryReasons lists the reasons that do not change a verdict.
func AdvisoryReasons(v Verdict) []Reason {
	both := []Reason{ReasonServersDisagree, ReasonServersSilent, ReasonDeletionsWait}
	if v == SafeToSwitch {
		return append([]Reason{ReasonTTL}, append(both, ReasonRoomUnknown)...)
	}
	return append([]Reason{ReasonWaitsForFinish, ReasonStillWorking, ReasonDeliversLocally, ReasonFormerServesOld}, both...)
}

// YouMustCheck is what no program can see, to be shown with both verdicts.
func YouMustCheck() []string {
	return []string{
		"The queue of the old mail server is flushed, and the domain is gone from its local domains: else its own programs go on delivering there.",
		"Aliases, catch-all and forwards of the domain are set up on the new server.",
		"MTA-STS policy, TLSA records and SPF fit the new MX.",
		"Autodiscover and autoconfig name the new server.",
		"Sieve scripts that train or re-file mail on APPEND are switched off on the new server while mail is copied.",
		"Sieve rules, calendars, contacts, vacation notices and the UIDLs of POP are not moved by IMAP: move them by other means.",
	}
}
