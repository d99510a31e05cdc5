// Package pass carries the news of one account from the source to the
// destination. It reads top to bottom in pass.go; what it needs of the two
// servers and of the store stands in this file.
package pass

import (
	"context"
	"iter"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Reader is what both servers are asked. Every method that takes a mail.Ref
// opens the mailbox when it is not open already and fails with
// mail.ErrUIDValidity when it shows another UIDVALIDITY (invariant I5).
// A Reader is used by one goroutine at a time.
type Reader interface {
	// Mailboxes lists every mailbox with its role, subscription and status, in
	// a number of round trips that does not depend on how many there are.
	Mailboxes(ctx context.Context) (mail.Listing, error)
	// Status opens the mailbox afresh and says what it shows.
	Status(ctx context.Context, box mail.Ref) (mail.Status, error)
	// UIDs returns the UIDs at or above from, ascending (UID SEARCH).
	UIDs(ctx context.Context, box mail.Ref, from mail.UID) ([]mail.UID, error)
	// Survey answers questions about mailboxes, in their order, in a number of
	// round trips that does not depend on how many there are.
	Survey(ctx context.Context, questions []mail.Question) iter.Seq2[mail.Survey, error]
	// Messages yields the metadata of the given UIDs (ascending, of any
	// number), each at most once, with fingerprints when asked for. A UID that
	// the server does not answer for is left out.
	Messages(ctx context.Context, box mail.Ref, uids []mail.UID, fingerprints bool) iter.Seq2[mail.Message, error]
	// Headers yields the messages with their header keys (BODY.PEEK[HEADER]).
	Headers(ctx context.Context, box mail.Ref, uids []mail.UID) iter.Seq2[mail.Message, error]
	// Flags yields UID, flags and MODSEQ of the messages below a UID whose flags
	// have changed after since (CHANGEDSINCE, RFC 7162 §3.1.4.1); since 0 means
	// all of them.
	Flags(ctx context.Context, box mail.Ref, below mail.UID, since mail.ModSeq) iter.Seq2[mail.Message, error]
	// Bodies yields the messages themselves, each at most once. A UID that the
	// server does not answer for is left out.
	Bodies(ctx context.Context, box mail.Ref, uids []mail.UID) iter.Seq2[mail.Body, error]
}

// Source is the old server. By type it can only be read.
type Source interface {
	Reader
	// Identities tells which messages of different mailboxes are one: they have one
	// number. It is nil where the server does not tell, which asks nothing of it; a
	// message that is left out is like no other.
	Identities(ctx context.Context, box mail.Ref, uids []mail.UID) (map[mail.UID]uint64, error)
}

// Foreseer is a source that can be told what it is about to be asked by Survey, and by
// Bodies, so that Mailboxes asks it on the way.
type Foreseer interface {
	Foresee(mail.Question)
}

// Preparer is a destination that can be told for which mailbox Appender is about to be
// called, so that Mailboxes opens it on the way.
type Preparer interface {
	Prepare(mailbox string)
}

// Destination is the new server.
type Destination interface {
	Reader
	// Name spells a path as this server does: prefix of the personal namespace,
	// separator, encoding. No level holds the separator. It is known once
	// Mailboxes has been called.
	Name(path []string) string
	// Folds tells whether the server takes names for one that differ only by
	// case, as far as the mailboxes that it has listed show it.
	Folds(ctx context.Context, listed mail.Listing) (bool, error)
	// Create makes mailboxes; one that exists already is no error, unless it has
	// another name (mail.ErrOtherMailbox), and a server that cannot take a role is
	// not asked to. What it refuses is returned for each, err is what ended it all.
	Create(ctx context.Context, boxes []mail.Creation) (refused []error, err error)
	// Personal tells whether a mailbox of that name would be the account's own. It is
	// known once Mailboxes has been called.
	Personal(name string) bool
	// Subscribe subscribes to mailboxes, and returns errors as Create does.
	Subscribe(ctx context.Context, names []string) (refused []error, err error)
	// CanCopy tells whether the server can copy messages with their INTERNALDATE, and
	// says where (COPYUID, RFC 4315). It is known once Mailboxes has been called.
	CanCopy() bool
	// Editor opens a mailbox for changes to messages that are in it.
	Editor(ctx context.Context, box mail.Ref) (mail.Editor, error)
	Opener
}

// Opener opens mailboxes for writing, one at a time. An Appender is of use until the
// server is asked anything else.
type Opener interface {
	Appender(ctx context.Context, box mail.Ref) (Appender, error)
	// Make is Create of a mailbox whose name is Personal, and Appender, in one round
	// trip. The error is what Create would have returned for it where that is a
	// *mail.Refused whose command is CREATE.
	Make(ctx context.Context, box mail.Creation) (Appender, error)
}

// Lane is a pair of sessions over which one mailbox after the other is carried,
// beside other lanes.
type Lane struct {
	Source      Reader
	Destination Opener
	// Yield, when closed, ends the lane once what has been fetched is sent; nil:
	// never.
	Yield <-chan struct{}
	// Close begins to end both sessions, and waits for nothing.
	Close func()
}

// Appender appends to one mailbox. It is a noun of package mail, since a
// method that returns it must name the type that is asked for here.
type Appender = mail.Appender

// Journal is the durable memory of one account.
type Journal interface {
	Pairs() ([]mail.Pair, error)
	// Receipts yields the receipts of a pair by ascending source UID, first
	// those whose source has vanished (UID 0).
	Receipts(pair mail.PairID) iter.Seq2[mail.Receipt, error]
	// Intents returns all intents by ascending ID.
	Intents() ([]mail.Intent, error)
	Holds() ([]mail.Hold, error)
	Absences() ([]mail.Absence, error)
	DestinationAnchors() (map[string]mail.Anchor, error)
	// Commit makes a change durable, all or nothing. After an error the
	// outcome is unknown: the journal is of no further use until it is opened
	// again (invariant I6).
	Commit(mail.Change) error
}

// Nobody is an observer that is not interested; others embed it.
type Nobody struct{}

func (Nobody) Pending(int, int64)              {}
func (Nobody) Copied(string, int64, time.Time) {}
func (Nobody) Appended(int, time.Duration)     {}
func (Nobody) Mended(mail.Fixups)              {}
func (Nobody) Held(mail.Hold)                  {}
func (Nobody) Recognised(int)                  {}
func (Nobody) Reflagged(int)                   {}
func (Nobody) Moved(int)                       {}
func (Nobody) Removed(int)                     {}
func (Nobody) InDoubt(string, int)             {}
