package remote

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

const (
	// maxSet bounds the UID set of one command so that the line stays below
	// 7 KB: RFC 2683 §3.2.1.5 allows 8,000 octets.
	maxSet = 6800
	// maxUIDs bounds what a server can make us believe to be in one mailbox.
	maxUIDs = 20_000_000
)

// uidSet spells as many of the first UIDs as fit into one command, runs as
// ranges, and returns the others. No UID is named that was not given.
func uidSet(uids []mail.UID) (set string, rest []mail.UID) {
	var b []byte
	for len(uids) > 0 && len(b) < maxSet {
		n := 1
		for n < len(uids) && uids[n] == uids[n-1]+1 {
			n++
		}
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(uids[0]), 10)
		if n > 1 {
			b = append(b, ':')
			b = strconv.AppendUint(b, uint64(uids[n-1]), 10)
		}
		uids = uids[n:]
	}
	return string(b), uids
}

// uidSets spells all the UIDs, each set with those that are in it.
func uidSets(uids []mail.UID) (sets []string, parts [][]mail.UID) {
	for len(uids) > 0 {
		set, rest := uidSet(uids)
		sets, parts = append(sets, set), append(parts, uids[:len(uids)-len(rest)])
		uids = rest
	}
	return sets, parts
}

// span is a range of UIDs, both ends included.
type span struct{ first, last mail.UID }

// parseSet reads a sequence-set of UIDs, such as "1:3,7" (RFC 3501 §9). The
// ends of a range may come in either order.
func parseSet(set string) ([]span, error) {
	var spans []span
	for part := range strings.SplitSeq(set, ",") {
		first, last, ranged := strings.Cut(part, ":")
		a, err := parseUID(first)
		b := a
		if err == nil && ranged {
			b, err = parseUID(last)
		}
		if err != nil {
			return nil, fmt.Errorf("parse UID set: %w", err)
		}
		spans = append(spans, span{min(a, b), max(a, b)})
	}
	return spans, nil
}

// appendSet appends the UIDs at or above from that a sequence-set names, such
// as "1:3,7" (RFC 4731 ALL), to uids.
func appendSet(uids []mail.UID, set string, from mail.UID) ([]mail.UID, error) {
	spans, err := parseSet(set)
	if err != nil {
		return nil, err
	}
	for _, s := range spans {
		if s.last < from {
			continue
		}
		s.first = max(s.first, from)
		if uids, err = s.appendTo(uids, maxUIDs); err != nil {
			return nil, err
		}
	}
	return uids, nil
}

// expandSet returns the UIDs that a sequence-set names, in its order; an error
// when they are more than most.
func expandSet(set string, most int) (uids []mail.UID, err error) {
	spans, err := parseSet(set)
	for _, s := range spans {
		if uids, err = s.appendTo(uids, most); err != nil {
			break
		}
	}
	return uids, err
}

// appendTo appends the UIDs of a span, unless they become more than most.
func (s span) appendTo(uids []mail.UID, most int) ([]mail.UID, error) {
	if int64(s.last)-int64(s.first) >= int64(most-len(uids)) {
		return nil, fmt.Errorf("parse UID set: more than %d UIDs", most)
	}
	for uid := s.first; ; uid++ {
		uids = append(uids, uid)
		if uid == s.last {
			return uids, nil
		}
	}
}

// namedBy returns those of ascending UIDs that a sequence-set names, whatever
// else it names.
func namedBy(uids []mail.UID, set string) ([]mail.UID, error) {
	spans, err := parseSet(set)
	if err != nil {
		return nil, err
	}
	depth := make([]int, len(uids)+1) // of spans over a UID: its own and those before it, summed
	for _, s := range spans {
		first, _ := slices.BinarySearch(uids, s.first)
		end, found := slices.BinarySearch(uids, s.last)
		if found {
			end++
		}
		depth[first]++
		depth[end]--
	}
	var named []mail.UID
	over := 0
	for i, uid := range uids {
		if over += depth[i]; over > 0 {
			named = append(named, uid)
		}
	}
	return named, nil
}

func parseUID(s string) (mail.UID, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is no UID", s)
	}
	return mail.UID(n), nil
}

// ascending sorts UIDs and drops repetitions.
func ascending(uids []mail.UID) []mail.UID {
	if !slices.IsSorted(uids) {
		slices.Sort(uids)
	}
	return slices.Compact(uids)
}
