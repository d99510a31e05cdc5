package remote

import (
	"cmp"
	"context"
	"log/slog"
)

// SourceOptions are what a [Source] needs.
type SourceOptions struct {
	// Open dials the old server and logs in.
	Open func(ctx context.Context) (*Conn, error)
	// Namespaces are those whose mailboxes are listed: "personal", "other", "shared"
	// (RFC 2342). Empty: the personal one.
	Namespaces []string
	// Foresight is shared by all sources of the account. Nil for one of its own.
	Foresight *Foresight
	Logger    *slog.Logger
}

// Source is one account of the old server. It has no method that could change
// anything there, and opens mailboxes by EXAMINE only.
type Source struct{ session }

// NewSource makes a Source. Nothing is dialed before the first call.
func NewSource(o SourceOptions) *Source {
	return &Source{session{open: o.Open, logger: o.Logger, lists: kindsOf(o.Namespaces), gmail: new(gmail), foresight: cmp.Or(o.Foresight, new(Foresight))}}
}
