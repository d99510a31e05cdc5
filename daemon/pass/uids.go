package pass

import (
	"cmp"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// uidSet is a set of UIDs that mostly follow one another.
type uidSet struct{ runs []uidRun }

type uidRun struct{ first, last mail.UID }

// add adds a UID; false when it is in the set already.
func (s *uidSet) add(uid mail.UID) bool {
	i, found := slices.BinarySearchFunc(s.runs, uid, func(r uidRun, uid mail.UID) int {
		if r.first <= uid && uid <= r.last {
			return 0
		}
		return cmp.Compare(r.first, uid)
	})
	if found {
		return false
	}
	switch {
	case i > 0 && s.runs[i-1].last+1 == uid:
		s.runs[i-1].last = uid
		if i < len(s.runs) && s.runs[i].first == uid+1 {
			s.runs[i-1].last = s.runs[i].last
			s.runs = slices.Delete(s.runs, i, i+1)
		}
	case i < len(s.runs) && s.runs[i].first == uid+1:
		s.runs[i].first = uid
	default:
		s.runs = slices.Insert(s.runs, i, uidRun{uid, uid})
	}
	return true
}
