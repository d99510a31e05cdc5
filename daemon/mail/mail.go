// Package mail holds the nouns that every other package shares: what a
// message, a mailbox, a receipt or an intent is. It does no I/O and imports
// the standard library only, so that the pure parts of the program can depend
// on it without depending on IMAP or on a store.
//
// Words are those of RFC 3501, RFC 4315 (UIDPLUS) and RFC 7162 (CONDSTORE).
package mail

import (
	"strconv"
	"strings"
	"time"
)

// UID is a unique identifier of a message in one mailbox under one
// UIDVALIDITY (RFC 3501 §2.3.1.1). 0 means "none".
type UID uint32

// UIDValidity is the UIDVALIDITY of a mailbox. 0 means "not known".
type UIDValidity uint32

// ModSeq is a modification sequence (RFC 7162). 0 means "not known".
type ModSeq uint64

// Ref names one mailbox under the UIDVALIDITY that a caller planned with.
// Every call that takes a Ref fails with [ErrUIDValidity] when the server
// shows another one (invariant I5). A zero UIDValidity accepts any.
type Ref struct {
	Name        string // raw name, octet for octet as LIST gave it
	UIDValidity UIDValidity
}

// Status is what STATUS or SELECT told of a mailbox. Zero values mean that the
// server did not say, except for Messages, which counts only when
// MessagesKnown.
type Status struct {
	UIDValidity   UIDValidity
	UIDNext       UID
	HighestModSeq ModSeq
	Messages      uint32
	MessagesKnown bool
}

// Mailbox is one row of LIST with what is known about it.
type Mailbox struct {
	// Name is the raw name, octet for octet as LIST gave it: modified UTF-7 or
	// UTF-8, canonical or not. Only this form is ever sent.
	Name string
	// Path is the decoded name below the personal namespace, one level an
	// element. INBOX is always {"INBOX"}.
	Path []string
	// Role is the SPECIAL-USE attribute (RFC 6154) such as `\Sent`, in that
	// case; empty when there is none. RoleByName tells that the server did not
	// announce it, its name did.
	Role       string
	RoleByName bool
	// NoSelect is true for \Noselect and \NonExistent names.
	NoSelect   bool
	Subscribed bool
	// View: everything in it is in other mailboxes as well. Rest: it is shown
	// without what others have. Both are of a source that has labels in the place of
	// mailboxes.
	View   bool
	Rest   bool
	Status Status
}

// DisplayName is the name that people see and write in the configuration:
// UTF-8 with "/" between levels.
func (m Mailbox) DisplayName() string { return strings.Join(m.Path, "/") }

// IsView tells whether the mailbox shows mail of other mailboxes (RFC 6154):
// what is seen in it is no message of its own.
func (m Mailbox) IsView() bool {
	switch strings.ToLower(m.Role) {
	case `\all`, `\flagged`, `\important`:
		return true
	}
	return false
}

// Listing is the answer to one look at all mailboxes of an account.
type Listing struct {
	Mailboxes []Mailbox
	// Separator is the hierarchy separator of the personal namespace, 0 when
	// the server is flat.
	Separator byte
	// Prefix is the raw prefix of the personal namespace, such as "INBOX.".
	Prefix string
	// UTF8 is true when raw names are UTF-8 (RFC 6855), false when they are
	// modified UTF-7.
	UTF8 bool
	// Folds is true when the server does not tell names apart that differ only
	// by case, or in how their characters are composed.
	Folds bool
	// Listed and LeftOut are the raw prefixes of the server's namespaces (RFC 2342)
	// that are listed, and of those that are not.
	Listed, LeftOut []string
	// Hides is true when the server may have mail that no mailbox shows: what is
	// not there to be seen may not have been deleted.
	Hides bool
}

// Covers tells whether a mailbox would be listed, were it there: the longest prefix
// that its raw name has decides.
func (l Listing) Covers(name string) bool {
	longest := func(prefixes []string) int {
		length := -1
		for _, prefix := range prefixes {
			if strings.HasPrefix(name, prefix) {
				length = max(length, len(prefix))
			}
		}
		return length
	}
	return longest(l.LeftOut) <= longest(l.Listed)
}

// Message is one message as FETCH shows it, without its body.
type Message struct {
	UID          UID
	Size         int64     // RFC822.SIZE in octets; some servers lie
	InternalDate time.Time // zero when the server gave none that can be read
	Flags        Flags
	ModSeq       ModSeq
	// Fingerprint and Opening are 0 when they were not asked for.
	Fingerprint Fingerprint
	Opening     Fingerprint
	// Key is its HeaderKey, and MessageID its Message-ID for people, when they were
	// asked for.
	Key       Fingerprint
	MessageID string
}

// Anchor is what has been fully processed of one side of a pair: everything
// below UIDNext under UIDValidity, every change up to HighestModSeq
// (invariant I3). A zero Anchor means that nothing has been looked at.
type Anchor struct {
	UIDValidity   UIDValidity
	UIDNext       UID
	HighestModSeq ModSeq
	// Messages is how many messages below UIDNext there were: while it holds,
	// none of them has vanished. It is kept of the source only.
	Messages uint32
}

// PairID numbers the pairs of one account, from 1. It is never reused.
type PairID uint32

// Pair is a source mailbox and its destination mailbox. It is stored when
// first used and wins over every later rule (invariant I11).
type Pair struct {
	ID          PairID
	Source      string // raw name on the source
	Destination string // raw name on the destination
	// SourcePath and DestinationPath are the names that people see.
	SourcePath      string
	DestinationPath string
	// Rule is the name that the rules gave the destination mailbox, or have given
	// it since and the operator has it stay where it is; empty: none.
	Rule string
	// Moves tells that the operator has it go where Rule puts it. Then its copies
	// are moved out of the mailbox Left, until none is there that can be.
	Moves        bool
	Left         string // raw name on the destination
	LeftValidity UIDValidity
	// SourceAnchor says what of the source has been processed.
	SourceAnchor Anchor
	// DestinationValidity is the UIDVALIDITY under which the destination UIDs
	// of this pair's receipts hold; 0 before the first receipt.
	DestinationValidity UIDValidity
	// OwesSubscription tells that the subscription is still to be carried. It is carried
	// once, what its user does later is left alone.
	OwesSubscription bool
}

// Receipt proves that one source message is on the destination.
type Receipt struct {
	Source      UID // in the source mailbox of the pair; 0: it vanished with its UIDVALIDITY
	Destination UID // 0: the copy is no longer known (its mailbox lost its UIDs)
	// Mailbox is the raw name of the destination mailbox when the copy is not
	// in the pair's own, with its UIDVALIDITY; empty otherwise.
	Mailbox     string
	UIDValidity UIDValidity
	Fingerprint Fingerprint
	Flags       Flags // of the copy, as we left them
	Touched     bool  // its user has changed the copy since
	Gone        bool  // the source message is no longer in the mailbox of the pair
}

// Vanished tells whether the source message is no longer where the receipt
// names it.
func (r Receipt) Vanished() bool { return r.Gone || r.Source == 0 }

// IntentKind tells what an [Intent] is about to do.
type IntentKind uint8

// The kinds of intents. The numbers are stored; never renumber.
const (
	IntentAppend IntentKind = 1
	IntentStore  IntentKind = 2
	IntentMove   IntentKind = 3
	IntentRemove IntentKind = 4
)

// Intent is a durable note that a command which changes the destination is
// about to be sent (invariant I1). It is settled by a receipt, a hold, or
// [Change.Settle].
type Intent struct {
	ID   uint64 // unique within the account, ascending
	Kind IntentKind
	Pair PairID
	// Source is the UID of the source message. Of a move it is the new one, in
	// the mailbox of Pair.
	Source UID
	// FromPair and FromSource are the receipt that is moved, FromMailbox and
	// FromValidity where its copy was (move only).
	FromPair     PairID
	FromSource   UID
	FromMailbox  string
	FromValidity UIDValidity
	// Size, InternalDate and Fingerprint are those of the message as sent.
	Size         int64
	InternalDate time.Time
	Fingerprint  Fingerprint
	// Original is the fingerprint of the source message (append only; 0: the same),
	// and Mended what is done to it.
	Original Fingerprint
	Mended   Fixups
	// Flags are the flags as sent (append) or to be (store).
	Flags Flags
	// Mailbox is the raw name of the destination mailbox that the message is
	// in, or is to get into, UIDValidity its UIDVALIDITY and Floor its UIDNEXT,
	// both taken before anything was sent.
	Mailbox     string
	UIDValidity UIDValidity
	Floor       UID
	// Destination is the UID of the copy (store, move and remove).
	Destination UID
	// Resent is the time at which the message was sent again because the first
	// attempt had left no trace; zero while the intent is open. A resent
	// intent is kept to recognise a late twin, looked for Looks times so far.
	Resent time.Time
	Looks  uint8
}

// Print is the fingerprint of the source message.
func (i Intent) Print() Fingerprint {
	if i.Original != 0 {
		return i.Original
	}
	return i.Fingerprint
}

// Open tells whether the intent still awaits its outcome.
func (i Intent) Open() bool { return i.Resent.IsZero() }

// Reason is why something is held: a closed list, also the label of
// imapsyncd_messages_held.
type Reason string

// The reasons of holds.
const (
	ReasonRefused  Reason = "refused"   // the new server refused the message
	ReasonTooBig   Reason = "too_big"   // the new server's size limit
	ReasonFlags    Reason = "flags"     // the new server refused its flags
	ReasonMissing  Reason = "missing"   // listed by the old server, not served
	ReasonEmpty    Reason = "empty"     // served with no content
	ReasonMailbox  Reason = "mailbox"   // its mailbox cannot be opened or created
	ReasonName     Reason = "name"      // two mailboxes would become one
	ReasonLateTwin Reason = "late_twin" // a lost APPEND appeared after it was sent again
	// ReasonStateLost: it is not on the new server, and whether its user has deleted
	// it there went with the state.
	ReasonStateLost Reason = "state_lost"
)

// Reasons lists every [Reason].
func Reasons() []Reason {
	return []Reason{ReasonRefused, ReasonTooBig, ReasonFlags, ReasonMissing, ReasonEmpty, ReasonMailbox, ReasonName, ReasonLateTwin, ReasonStateLost}
}

// HoldKey names what is held: a message of a pair's source mailbox, or with
// UID 0 the whole mailbox. A mailbox that has no pair yet has Pair 0 and is
// named by its Path.
type HoldKey struct {
	Pair PairID
	UID  UID
	Path string // only with Pair 0
}

// Hold is a message or mailbox that cannot be copied now, with its reason.
type Hold struct {
	HoldKey
	Reason    Reason
	Text      string // the server's words, printable, at most 500 octets
	Mailbox   string // display name of the source mailbox
	Size      int64
	Since     time.Time
	Skipped   bool      // the operator's word: leave it out
	Because   string    // his reason
	SkippedAt time.Time // and when
	Retry     bool      // the next pass tries again
}

// ID is how the operator names a hold: "pair.uid", or "path" for a mailbox
// without pair.
func (h Hold) ID() string {
	if h.Pair == 0 {
		return h.Path
	}
	return strconv.FormatUint(uint64(h.Pair), 10) + "." + strconv.FormatUint(uint64(h.UID), 10)
}

// Absence is what has vanished from the source mailbox of a pair and has
// receipts still, and what was removed on the destination for that.
type Absence struct {
	Pair    PairID
	Missing []Missing
	Removed []Removal // of the last 24 hours
}

// Missing are messages that one look found missing.
type Missing struct {
	Since time.Time // the look
	UIDs  []UID     // ascending, of the source
	// Guarded tells that they were too many to be removed without the
	// operator's word; Apply that he has given it.
	Guarded, Apply bool
}

// Removal is a number of copies removed at once.
type Removal struct {
	At       time.Time
	Messages int
}

// PairUIDs are source UIDs of one pair.
type PairUIDs struct {
	Pair PairID
	UIDs []UID
}

// PairReceipts are receipts of one pair.
type PairReceipts struct {
	Pair     PairID
	Receipts []Receipt
}

// Change is everything that one commit makes durable, all or nothing.
// Applied in the order of the fields.
type Change struct {
	// Pairs are inserted or replaced whole. Anchors move here (I3).
	Pairs []Pair
	// Replace drops all receipts of a pair and writes these instead. Those
	// with Source 0 are kept apart, found by fingerprint only.
	Replace []PairReceipts
	// Drop removes receipts, those of them that there are.
	Drop []PairUIDs
	// Receipts are inserted or replaced by (pair, source UID).
	Receipts []PairReceipts
	// Settle removes intents.
	Settle []uint64
	// Intents are inserted or replaced by ID.
	Intents []Intent
	// Holds are inserted or replaced by key; Unhold removes.
	Holds  []Hold
	Unhold []HoldKey
	// Absences are inserted or replaced by pair; one without Missing and
	// Removed is removed.
	Absences []Absence
	// DestinationAnchors are set by raw destination mailbox name.
	DestinationAnchors map[string]Anchor
}

// Empty tells whether the change would write nothing.
func (c *Change) Empty() bool {
	return len(c.Pairs)+len(c.Replace)+len(c.Drop)+len(c.Receipts)+len(c.Settle)+len(c.Intents)+
		len(c.Holds)+len(c.Unhold)+len(c.Absences)+len(c.DestinationAnchors) == 0
}
