package plan

import (
	"iter"
	"slices"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Missing compares the UIDs that a source mailbox shows, all of them and
// ascending, with the receipts of its pair by ascending source UID. It returns
// those receipts that have newly lost their message, and those whose message
// had been missing and is back.
func Missing(uids []mail.UID, receipts iter.Seq2[mail.Receipt, error]) (lost, back []mail.Receipt, err error) {
	for r, err := range receipts {
		if err != nil {
			return nil, nil, err
		}
		if r.Source == 0 {
			continue
		}
		for len(uids) > 0 && uids[0] < r.Source {
			uids = uids[1:]
		}
		switch there := len(uids) > 0 && uids[0] == r.Source; {
		case there && r.Gone:
			back = append(back, r)
		case !there && !r.Gone:
			lost = append(lost, r)
		}
	}
	return lost, back, nil
}

// Reflagging is what to do about the flags of one copy.
type Reflagging uint8

// The ways to treat the flags of a copy.
const (
	LeaveFlags Reflagging = iota // they are as they should be
	SetFlags                     // change them
	TouchFlags                   // its user has changed them: they are his from now on
)

// Reflag compares three sets of flags: those of a copy as we left them, those
// of its source message now, as far as the destination can store them, and
// those that the copy has. A copy counts as changed by its user when a system
// flag differs, or a keyword that the source message has or had; keywords that
// only servers and clients add do not count. Where both sides made the same
// change nothing is to be done. What the source message never had is kept.
func Reflag(left, source, found mail.Flags) (Reflagging, mail.Flags) {
	to := WithForeign(source, left, found)
	if found.Equal(to) {
		return LeaveFlags, to
	}
	differs := found.System != left.System || slices.ContainsFunc(left.With(source).WithoutNoise().KeywordList(), func(k string) bool {
		return found.Has(k) != left.Has(k)
	})
	if differs {
		return TouchFlags, found
	}
	return SetFlags, to
}

// The guard of removals: so many copies of a mailbox within 24 hours, and such
// a part of it, go without the operator's word.
const (
	removedAtMost = 20
	removedPart   = 10 // one in so many
)

// Guarded tells whether removing more copies of a mailbox needs the operator's
// word: it held so many messages, of which so many were removed within the
// last 24 hours. A role of \Trash or \Junk needs it never.
func Guarded(role string, messages, removed, more int) bool {
	if strings.EqualFold(role, `\Trash`) || strings.EqualFold(role, `\Junk`) {
		return false
	}
	n := removed + more
	return n > removedAtMost && n*removedPart > messages
}

// Between tells whether a copy has the flags that it had, those that it is to
// get, or some of both, as a change that was broken off leaves it. Keywords
// that are of neither do not count.
func Between(left, to, found mail.Flags) bool {
	if (found.System^left.System)&(found.System^to.System) != 0 {
		return false
	}
	return !slices.ContainsFunc(left.With(to).WithoutNoise().KeywordList(), func(k string) bool {
		return found.Has(k) != left.Has(k) && found.Has(k) != to.Has(k)
	})
}

// WithForeign returns flags with those keywords of a copy added that neither
// we nor its source message gave it.
func WithForeign(flags, left, found mail.Flags) mail.Flags {
	return flags.With(mail.Flags{Keywords: found.Keep(func(k string) bool { return !left.Has(k) && !flags.Has(k) }).Keywords})
}
