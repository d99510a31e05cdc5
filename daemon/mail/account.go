package mail

// Phase is how far an account has come.
type Phase string

// The phases, in their order.
const (
	PhaseSeeding   Phase = "seeding"   // the first complete pass is not done yet
	PhaseFollowing Phase = "following" // new mail is carried at once
	PhaseDraining  Phase = "draining"  // the users work on the new server
	PhaseFinished  Phase = "finished"  // nothing is carried any more
)

// Phases lists every [Phase].
func Phases() []Phase {
	return []Phase{PhaseSeeding, PhaseFollowing, PhaseDraining, PhaseFinished}
}

// Health is how an account is.
type Health string

// The states of health.
const (
	HealthOK      Health = "ok"
	HealthBackoff Health = "backoff" // a server is away or asks for patience; tried again by itself
	HealthAuth    Health = "auth"    // a server refuses the log-in
	HealthQuota   Health = "quota"   // the new mailbox is full
	HealthHeld    Health = "held"    // working, but something is held
	HealthPaused  Health = "paused"  // by the operator
	HealthStopped Health = "stopped" // by ourselves, until the operator has decided
)

// Healths lists every [Health].
func Healths() []Health {
	return []Health{HealthOK, HealthBackoff, HealthAuth, HealthQuota, HealthHeld, HealthPaused, HealthStopped}
}
