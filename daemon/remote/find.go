package remote

import (
	"context"
	"fmt"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// WithMessageID returns the UIDs of the messages of a mailbox that have this
// Message-ID, with or without its angle brackets, ascending.
func (s *session) WithMessageID(ctx context.Context, box mail.Ref, id string) ([]mail.UID, error) {
	id = withoutBrackets(id)
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
	candidates, _, err := parseSearch(replies[0], 1, 0)
	if err != nil || len(candidates) == 0 {
		return nil, err
	}
	// SEARCH finds what contains the text (RFC 3501 §6.4.4).
	var uids []mail.UID
	for m, err := range s.Headers(ctx, box, candidates) {
		if err != nil {
			return nil, err
		}
		if isMessageID(m.MessageID, id) {
			uids = append(uids, m.UID)
		}
	}
	return ascending(uids), nil
}

// isMessageID tells whether a header's Message-ID, of which a long one is cut, is
// the one that is looked for. Where the header cannot be read, the server's word
// stands.
func isMessageID(found, id string) bool {
	begin, cut := strings.CutSuffix(found, "…")
	if begin = withoutBrackets(begin); cut {
		id = id[:min(len(id), len(begin))]
	}
	return begin == "" || strings.EqualFold(begin, id)
}

// withoutBrackets is a Message-ID without what stands around it (RFC 5322 §3.6.4).
func withoutBrackets(id string) string {
	if _, after, ok := strings.Cut(id, "<"); ok {
		id = after
	}
	id, _, _ = strings.Cut(id, ">")
	return strings.TrimSpace(id)
}
