package remote

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// keepDates are servers, by the name in their answer to ID (RFC 2971), of which it is
// known that COPY keeps the INTERNALDATE. It should everywhere (RFC 3501 §6.4.7), but
// a copy of another date would be no copy.
var keepDates = []string{"dovecot", "cyrus"}

// CanCopy tells whether the server can copy messages with their INTERNALDATE, and
// says where (COPYUID, RFC 4315).
func (d *Destination) CanCopy() bool {
	return d.Has("UIDPLUS") && slices.ContainsFunc(keepDates, func(name string) bool {
		return strings.Contains(strings.ToLower(d.conn.ServerID()), name)
	})
}

// Copy copies messages (ascending UIDs) to another mailbox, and returns their UIDs
// there, with the UIDVALIDITY. A message without one was not there, or its outcome is
// not known.
func (e *Editor) Copy(ctx context.Context, uids []mail.UID, to string) (there map[mail.UID]mail.UID, validity mail.UIDValidity, err error) {
	quoted, err := quote(to)
	if err != nil {
		return nil, 0, unquotable("UID COPY", err)
	}
	there = make(map[mail.UID]mail.UID, len(uids))
	sets, parts := uidSets(uids)
	for i, set := range sets {
		replies, err := e.exchange(ctx, "UID COPY "+set+" "+quoted)
		if err != nil {
			return there, validity, fmt.Errorf("copy messages: %w", err)
		}
		if err := verdict("UID COPY", replies[0].Tagged); err != nil {
			return there, validity, err
		}
		pairs, v := copied(replies[0], parts[i])
		if len(pairs) > 0 && validity != 0 && v != validity {
			return there, validity, fmt.Errorf("copy messages to %q: %w", to, mail.ErrUIDValidity)
		}
		validity = v
		maps.Copy(there, pairs)
	}
	return there, validity, nil
}
