package pass

import (
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Some servers drop a system flag when it comes with APPEND. A copy is sent without
// it there, its receipt says so, and then it is given the flag like any other that
// its source message got after it was carried: by a STORE with an intent of its own,
// and only while the copy has the flags that we left.

// withhold has all flags of the mailbox compared when something is sent without
// \Flagged. That becomes durable with the intents, so that it is done whatever
// becomes of the answers. It is the owner's.
func (w *writer) withhold(pieces []piece, change *mail.Change) {
	if w.Pair.SourceAnchor.HighestModSeq != compareAll && slices.ContainsFunc(pieces, func(m piece) bool {
		return m.Flags.System&^m.form.flags.System&mail.Flagged != 0
	}) {
		w.Pair.SourceAnchor.HighestModSeq = compareAll
		change.Pairs = append(change.Pairs, w.Pair)
	}
}

// toBe are the flags that a copy is to have, given those of its source message: where
// flags are carried once, those it was sent with, and those of them that had to wait.
func (p *Pass) toBe(editor mail.Editor, r reflagged) mail.Flags {
	flags := r.now
	if p.Policy.KeepFlags {
		flags = r.Flags
		flags.System |= r.now.System & editor.NotAppended()
	}
	return flags
}
