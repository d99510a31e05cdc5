package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Labels compares All Mail with all mailboxes that show a label.
type Labels struct {
	Hidden bool // All Mail is not listed: archived mail cannot be seen
	All    int  // messages in All Mail
	Rest   int  // of these, in no mailbox that is listed
	// Unshown have a label whose mailbox does not show them, Beyond are in such a
	// mailbox and not in All Mail. There should be none of either.
	Unshown, Beyond int
}

// Labels compares All Mail with the union of the other mailboxes, by X-GM-MSGID;
// nil: the server has no labels. It takes 8 octets of memory for each message of
// each mailbox.
func (s *Source) Labels(ctx context.Context) (*Labels, error) {
	listing, err := s.Mailboxes(ctx)
	if err != nil || !s.Has(gmailExtension) {
		return nil, err
	}
	if s.gmail.all == "" {
		return &Labels{Hidden: true}, nil
	}
	l := new(Labels)
	var all, labelled, shown []uint64
	for _, m := range listing.Mailboxes {
		if m.NoSelect || m.View || m.Role == `\Trash` || m.Role == `\Junk` {
			continue // the latter two are not in All Mail
		}
		err := s.gmailRows(ctx, mail.Ref{Name: m.Name}, "UID FETCH 1:* (X-GM-MSGID X-GM-LABELS)", func(_ mail.UID, id uint64, labels []string) {
			switch {
			case !m.Rest:
				shown = append(shown, id)
				return
			case s.gmail.isShown(labels):
				labelled = append(labelled, id)
			default:
				l.Rest++
			}
			all = append(all, id)
		})
		if err != nil && !errors.As(err, new(*mail.Refused)) { // an empty mailbox may refuse it
			return nil, fmt.Errorf("compare labels of %q: %w", m.DisplayName(), err)
		}
	}
	slices.Sort(shown)
	shown = slices.Compact(shown)
	slices.Sort(all)
	l.All = len(all)
	l.Unshown, l.Beyond = countMissing(labelled, shown), countMissing(shown, all)
	return l, nil
}

// Identities are the numbers of messages (ascending UIDs) that are the same in each
// mailbox that has the message (X-GM-MSGID); nil: the server has no labels.
func (s *Source) Identities(ctx context.Context, box mail.Ref, uids []mail.UID) (map[mail.UID]uint64, error) {
	if !s.Has(gmailExtension) {
		return nil, nil
	}
	ids := make(map[mail.UID]uint64, len(uids))
	sets, _ := uidSets(uids)
	for _, set := range sets {
		if err := s.gmailRows(ctx, box, "UID FETCH "+set+" (X-GM-MSGID X-GM-LABELS)", func(uid mail.UID, id uint64, _ []string) {
			if _, asked := slices.BinarySearch(uids, uid); asked {
				ids[uid] = id
			}
		}); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// countMissing is how many of some are not among sorted.
func countMissing(some, sorted []uint64) (n int) {
	for _, id := range some {
		if _, there := slices.BinarySearch(sorted, id); !there {
			n++
		}
	}
	return n
}
