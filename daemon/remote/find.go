package remote

import (
	"context"
	"fmt"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// WithMessageID returns the UIDs of the messages of a mailbox whose Message-ID
// contains the text, ascending.
func (s *session) WithMessageID(ctx context.Context, box mail.Ref, id string) ([]mail.UID, error) {
	text, err := quote(id)
	if err != nil {
		return nil, fmt.Errorf("search: Message-ID %q cannot be sent", id)
	}
	if err := s.examine(ctx, box); err != nil {
		return nil, err
	}
	replies, err := s.raw(ctx, "UID SEARCH HEADER MESSAGE-ID "+text)
	if err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	if err := verdict("UID SEARCH", replies[0].Tagged); err != nil {
		return nil, err
	}
	uids, _, err := parseSearch(replies[0], 1, 0)
	return uids, err
}
