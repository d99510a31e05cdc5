package remote

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// searchedAtOnce bounds how many UIDs one answer to SEARCH may hold: a line of
// a megabyte is more than is read.
const searchedAtOnce = 80_000

// UIDs returns the UIDs at or above from, ascending.
func (s *session) UIDs(ctx context.Context, box mail.Ref, from mail.UID) ([]mail.UID, error) {
	from = max(from, 1)
	uids, err := s.allUIDs(ctx, box, from)
	if err == nil && s.isRest(box.Name) {
		return s.unlabelled(ctx, box, from, uids)
	}
	return uids, err
}

// allUIDs is UIDs, whatever other mailboxes have. A mailbox that was open already
// shows new mail after NOOP only (Courier, Dovecot).
func (s *session) allUIDs(ctx context.Context, box mail.Ref, from mail.UID) ([]mail.UID, error) {
	was := s.isOpen && s.box == box.Name
	if err := s.examine(ctx, box); err != nil {
		return nil, err
	}
	var noop []string
	if was && s.conn != nil {
		noop = []string{"NOOP"}
	}
	status := s.opened.status
	if status.Messages <= searchedAtOnce {
		return s.search(ctx, from, 0, noop...)
	}
	last := max(status.UIDNext, 1) - 1
	if status.UIDNext == 0 {
		highest, err := s.search(ctx, 0, 0, noop...)
		if err != nil || len(highest) == 0 {
			return nil, err
		}
		last = highest[len(highest)-1]
	}
	// In parts, each of which fits one line; the last one is open, so that mail
	// which came meanwhile is in it.
	var uids []mail.UID
	for ; last >= from && last-from >= searchedAtOnce; from += searchedAtOnce {
		part, err := s.search(ctx, from, from+searchedAtOnce-1, noop...)
		if err != nil {
			return nil, err
		}
		uids = append(uids, part...)
		noop = nil
	}
	part, err := s.search(ctx, from, 0, noop...)
	return append(uids, part...), err
}

// search asks for the UIDs from first to last, where 0 is the highest there
// is. before are commands to be sent along.
func (s *session) search(ctx context.Context, first, last mail.UID, before ...string) ([]mail.UID, error) {
	bound := func(uid mail.UID) string {
		if uid == 0 {
			return "*"
		}
		return fmt.Sprint(uid)
	}
	key := "UID " + bound(first) + ":" + bound(last)
	extended := s.conn.Has("ESEARCH") && !s.noSearch
	line := "UID SEARCH " + key
	if extended {
		line = "UID SEARCH RETURN (ALL) " + key
	}
	replies, err := s.raw(ctx, append(before, line)...)
	if err != nil {
		return nil, fmt.Errorf("search: %w", err)
	}
	// The answer may stand before the tagged one of a command sent along.
	reply := Reply{Tagged: replies[len(replies)-1].Tagged}
	for _, r := range replies {
		reply.Untagged = append(reply.Untagged, r.Untagged...)
	}
	uids, answered, err := parseSearch(reply, first, last)
	switch {
	case err != nil:
		s.drop()
		return nil, fmt.Errorf("search: %w", err)
	case extended && (!answered || reply.Tagged.Type != "OK"):
		s.noSearch = true // announced, but not done
		return s.search(ctx, first, last)
	case reply.Tagged.Type != "OK":
		return nil, refusal("UID SEARCH", reply.Tagged)
	}
	return uids, nil
}

// parseSearch reads SEARCH (RFC 3501 §7.2.5) and ESEARCH (RFC 4731)
// responses, and leaves out what lies outside of first and last: "n:*" always
// names the last message. answered is false when there were none.
func parseSearch(reply Reply, first, last mail.UID) (uids []mail.UID, answered bool, err error) {
	for _, r := range reply.Untagged {
		switch r.Type {
		case "SEARCH":
			answered = true
			for _, v := range r.Data {
				uid := mail.UID(number(v, 32))
				if v.IsList || uid == 0 {
					continue // (MODSEQ n) among them
				}
				uids = append(uids, uid)
			}
		case "ESEARCH":
			answered = true
			for i := 0; i+1 < len(r.Data); i++ {
				if strings.EqualFold(r.Data[i].Text, "ALL") {
					if uids, err = appendSet(uids, r.Data[i+1].Text, first); err != nil {
						return nil, true, err
					}
					i++
				}
			}
		}
	}
	uids = slices.DeleteFunc(uids, func(uid mail.UID) bool { return uid < first || last != 0 && uid > last })
	return ascending(uids), answered, nil
}
