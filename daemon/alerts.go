package daemon

import (
	"log/slog"
	"sync"

	"github.com/imapsyncd/imapsyncd/daemon/remote"
)

// alertsMost is how many alerts of an account are shown that differ.
const alertsMost = 20

// alerts are those that an account has had (RFC 3501 §7.1). Some servers say the
// same with every mailbox that is opened: it is logged once.
type alerts struct {
	mu   sync.Mutex
	seen map[string]bool
}

// told logs an alert that is new.
func (a *alerts) told(logger *slog.Logger, side remote.Side, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := string(side) + " " + text
	if a.seen[key] || len(a.seen) > alertsMost {
		return
	}
	if a.seen == nil {
		a.seen = make(map[string]bool)
	}
	a.seen[key] = true
	logger.Warn("the server says", "side", string(side), "alert", text)
	if len(a.seen) > alertsMost {
		logger.Warn("the servers keep saying something else; no more of it is shown", "alerts", alertsMost)
	}
}
