package mail

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"
)

// Body is one message in the middle of a FETCH. Content is valid until the
// iteration goes on; reading it to the end yields exactly Size octets or an
// error other than io.EOF.
type Body struct {
	Message
	Content io.Reader
	// Refused says why the server does not serve the message; then there is only
	// its UID.
	Refused *Refused
}

// Question asks which messages of a mailbox have a UID at or above From.
type Question struct {
	Ref
	From UID
	// Messages is how many there are in the mailbox, as far as is known: many
	// are asked about apart.
	Messages uint32
}

// Survey answers a [Question].
type Survey struct {
	UIDs []UID // ascending
	// Sizes are their RFC822.SIZE, which may lie; 0 where the server did not
	// tell, and at most 4 GiB.
	Sizes []uint32
	// Err is a *Refused or [ErrUIDValidity], and concerns this mailbox only.
	Err error
}

// Creation is a mailbox to be made.
type Creation struct {
	Name string // raw
	Role string // SPECIAL-USE attribute (RFC 6154), or empty
}

// Upload is one message to be appended. Size is exact, never a server's
// estimate, because an announced literal that falls short swallows the next
// command.
type Upload struct {
	Size    int64
	Date    time.Time // INTERNALDATE to be given, year 1970 to 2099
	Flags   Flags     // as the mailbox can store them
	Content io.ReaderAt
}

// Octets are a content in memory.
type Octets []byte

func (o Octets) ReadAt(p []byte, at int64) (int, error) {
	if at < 0 || at >= int64(len(o)) {
		return 0, io.EOF
	}
	n := copy(p, o[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Appended is the outcome of one Upload.
type Appended struct {
	// UID and UIDValidity are those of APPENDUID (RFC 4315); 0 when the server
	// said OK without them.
	UID         UID
	UIDValidity UIDValidity
	// Err is nil after a tagged OK, a *Refused when the server refused this
	// message and stored nothing, ErrNotSent when nothing of it was sent, and
	// ErrInDoubt when the answer was lost.
	Err error
}

// Appender appends to one mailbox.
type Appender interface {
	// Status is what SELECT showed; UIDNext is the floor of what is appended.
	Status() Status
	// Storable reduces flags to those that the mailbox can store
	// (PERMANENTFLAGS, RFC 3501 §7.1).
	Storable(flags Flags) Flags
	// Append sends messages in order and returns once they are on their way. The
	// answer comes through the channel, one for each call; until then their
	// contents are needed, and more may be sent. After an error, or an outcome
	// of ErrInDoubt, the appender is of no further use. One goroutine at a time
	// may call it.
	Append(ctx context.Context, messages []Upload) <-chan Answer
	// Next names the mailbox that is opened next, so that the server is asked for it
	// behind what was sent; with anew it is to be made, as that says. It changes nothing
	// but how long that takes.
	Next(ctx context.Context, mailbox string, anew *Creation)
	// Close ends the use of the mailbox without CLOSE, once all answers have
	// come.
	Close() error
}

// Answer is what became of the messages of one call of [Appender] Append.
type Answer struct {
	Outcomes []Appended // one for each message
	Err      error      // what ended the connection, nil while it has not
}

// Edit is a change of one message that is on the destination.
type Edit struct {
	UID  UID
	From Flags // as they were read
	To   Flags // as they shall be; Remove does not look at them
}

// Editor changes messages that are in one mailbox, as it stood when it was
// opened. Any other call to its server ends its use.
type Editor interface {
	// Status is what SELECT showed.
	Status() Status
	// Storable reduces flags to those that the mailbox can store.
	Storable(flags Flags) Flags
	// Flags reads the flags of messages (ascending UIDs); a message that is not
	// there is left out.
	Flags(ctx context.Context, uids []UID) ([]Message, error)
	// Store changes flags from From to To, but of those messages only whose
	// flags have not changed since they were read: by UNCHANGEDSINCE the
	// HIGHESTMODSEQ of Status (RFC 7162 §3.1.3), else by reading them again in
	// the round trip before. The others are returned.
	Store(ctx context.Context, edits []Edit) (changed []UID, err error)
	// NotAppended are the flags that the server drops when they come with APPEND.
	// No [Appender] takes them; a copy is given them by Store.
	NotAppended() System
	// CanMove and CanRemove tell whether the server can take single messages
	// out of a mailbox: MOVE (RFC 6851) or UID EXPUNGE (RFC 4315).
	CanMove() bool
	CanRemove() bool
	// Move moves messages (ascending UIDs) to another mailbox, flags and all,
	// and returns their UIDs there, with the UIDVALIDITY, as COPYUID gave them.
	// A message without one was not there, or its outcome is not known.
	Move(ctx context.Context, uids []UID, to string) (moved map[UID]UID, validity UIDValidity, err error)
	// Copy is Move without taking the messages out.
	Copy(ctx context.Context, uids []UID, to string) (copied map[UID]UID, validity UIDValidity, err error)
	// Remove marks messages \Deleted, under the condition of Store, and
	// expunges those that were marked. The others are returned.
	Remove(ctx context.Context, edits []Edit) (changed []UID, err error)
	// Close ends the use of the mailbox without CLOSE.
	Close() error
}

// Refused is a tagged NO or BAD.
type Refused struct {
	Command string // such as "APPEND"
	Type    string // "NO" or "BAD"
	Code    string // response code (RFC 5530) in upper case, without brackets; may be empty
	Text    string // the server's words, printable
}

func (e *Refused) Error() string {
	s := e.Command + " refused: " + e.Type
	if e.Code != "" {
		s += " [" + e.Code + "]"
	}
	if e.Text != "" {
		s += " " + e.Text
	}
	return s
}

// SuggestedBackoff is how long a server asks to be left alone: Exchange says
// "Suggested Backoff Time: N milliseconds". 0: it does not.
func SuggestedBackoff(words string) time.Duration {
	const before, after = "suggested backoff time: ", " millisecond"
	words = strings.ToLower(words)
	_, rest, said := strings.Cut(words, before)
	number, _, whole := strings.Cut(rest, after)
	n, err := strconv.ParseUint(number, 10, 32)
	if !said || !whole || err != nil {
		return 0
	}
	return time.Duration(n) * time.Millisecond
}

var (
	// ErrInDoubt: the message was sent, its answer never came.
	ErrInDoubt = errors.New("the answer to an APPEND was lost")
	// ErrLost: a connection that was in use has ended, and the server has not asked
	// for patience: what it was asked for may be why.
	ErrLost = errors.New("the connection ended")
	// ErrNotSent: nothing of the message was sent.
	ErrNotSent = errors.New("not sent")
	// ErrUIDValidity: the mailbox shows another UIDVALIDITY than the one the
	// call was planned for.
	ErrUIDValidity = errors.New("UIDVALIDITY has changed")
	// ErrReadOnly: SELECT gave a mailbox that cannot be changed.
	ErrReadOnly = errors.New("mailbox is read-only")
	// ErrOtherMailbox: the server takes the name for that of another mailbox.
	ErrOtherMailbox = errors.New("the new server takes this name for that of another mailbox")
)
