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

// appendSet appends the UIDs at or above from that a sequence-set names, such
// as "1:3,7" (RFC 4731 ALL), to uids.
func appendSet(uids []mail.UID, set string, from mail.UID) ([]mail.UID, error) {
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
		if a > b {
			a, b = b, a
		}
		if b < from {
			continue
		}
		a = max(a, from)
		if int64(b)-int64(a) >= int64(maxUIDs-len(uids)) {
			return nil, fmt.Errorf("parse UID set: more than %d UIDs", maxUIDs)
		}
		for uid := a; ; uid++ {
			uids = append(uids, uid)
			if uid == b {
				break
			}
		}
	}
	return uids, nil
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
