package pass

import (
	"context"
	"fmt"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// A server may list a message and not serve it: one that is damaged on its disk,
// or any while it is not well. Of such a message it is not known what it is, and
// so it is neither taken for another nor for one that is not there.

// roll is which of ascending UIDs a message has come for.
type roll struct {
	uids []mail.UID
	came []bool
}

func callRoll(uids []mail.UID) roll { return roll{uids, make([]bool, len(uids))} }

func (r roll) mark(uid mail.UID) {
	if i, asked := slices.BinarySearch(r.uids, uid); asked {
		r.came[i] = true
	}
}

// left are those that none has come for.
func (r roll) left() (uids []mail.UID) {
	for i, uid := range r.uids {
		if !r.came[i] {
			uids = append(uids, uid)
		}
	}
	return uids
}

// allServed fails when of the messages of a mailbox some did not come that are
// there still.
func allServed(ctx context.Context, reader Reader, ref mail.Ref, called roll) error {
	left := called.left()
	if len(left) == 0 {
		return nil
	}
	present, err := reader.UIDs(ctx, ref, left[0])
	if err != nil {
		return err
	}
	gone := func(uid mail.UID) bool { _, there := slices.BinarySearch(present, uid); return !there }
	if left = slices.DeleteFunc(left, gone); len(left) == 0 {
		return nil
	}
	return &mail.Refused{Command: "UID FETCH", Type: "NO", Text: fmt.Sprintf("%d messages are listed and not served, the first with UID %d", len(left), left[0])}
}

// unknown tells whether a message is held because it was not served: its copy may
// be there already, and has yet to be recognised.
func unknown(h mail.Hold) bool {
	return h.UID != 0 && !h.Skipped && (h.Reason == mail.ReasonMissing || h.Reason == mail.ReasonEmpty)
}
