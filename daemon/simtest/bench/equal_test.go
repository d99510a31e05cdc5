package bench

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
)

// content is an account as it can be read: mailbox by mailbox, the messages in
// the order of their UIDs.
type content map[string][]corpus.Stored

func read(t testing.TB, address, user string) content {
	boxes, _ := corpus.Read(t, address, user, dovecot.Password)
	return boxes
}

// differences names what kinds of differences a copy has; empty: it is equal,
// octet by octet. The order is that of UIDs (invariant I9), and no peer
// promises it: it is told and not counted.
func differences(old, new content) (kinds []string, ordered bool) {
	var altered, missing, extra, dates, flags, boxes int
	ordered = true
	for name, messages := range old {
		copies, ok := new[name]
		if !ok && len(messages) == 0 {
			boxes++
			continue
		}
		sums := func(list []corpus.Stored) (all [][32]byte) {
			for _, m := range list {
				all = append(all, m.Sum)
			}
			return all
		}
		ordered = ordered && slices.Equal(sums(messages), sums(copies))
		rest := make(map[[32]byte][]corpus.Stored)
		for _, c := range copies {
			rest[c.Sum] = append(rest[c.Sum], c)
		}
		unmatched, left := 0, len(copies)
		for _, m := range messages {
			same := rest[m.Sum]
			if len(same) == 0 {
				unmatched++
				continue
			}
			// Among equal ones the one that has the most in common.
			best := slices.IndexFunc(same, func(c corpus.Stored) bool { return c.Date.Equal(m.Date) && c.Flags == m.Flags })
			if best = max(best, 0); !same[best].Date.Equal(m.Date) {
				dates++
			}
			if same[best].Flags != m.Flags {
				flags++
			}
			rest[m.Sum] = slices.Delete(same, best, best+1)
			left--
		}
		both := min(unmatched, left) // a message and something in its place
		altered, missing, extra = altered+both, missing+unmatched-both, extra+left-both
	}
	for name, copies := range new {
		if _, ok := old[name]; !ok {
			extra += len(copies)
		}
	}
	for _, kind := range []struct {
		n    int
		what string
	}{{altered, "altered"}, {missing, "missing"}, {extra, "too many"}, {dates, "with another date"}, {flags, "with other flags"}, {boxes, "empty mailboxes missing"}} {
		if kind.n > 0 {
			kinds = append(kinds, fmt.Sprintf("%d %s", kind.n, kind.what))
		}
	}
	return kinds, ordered
}

// verdict is what differences comes to in a table.
func verdict(old, new content) string {
	kinds, ordered := differences(old, new)
	switch {
	case len(kinds) > 0:
		return strings.Join(kinds, ", ")
	case !ordered:
		return "yes, in another order"
	}
	return "yes"
}
