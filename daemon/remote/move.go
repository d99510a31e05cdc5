package remote

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Move moves messages (ascending UIDs) to another mailbox, and returns their
// UIDs there, with the UIDVALIDITY. A message without one was not there, or
// its outcome is not known. Beside an error they are those that are known: the
// copy is there, and where MOVE is missing the message may still be here.
func (e *Editor) Move(ctx context.Context, uids []mail.UID, to string) (moved map[mail.UID]mail.UID, validity mail.UIDValidity, err error) {
	if !e.CanMove() {
		return nil, 0, errors.New("move messages: the server has no COPYUID (RFC 4315)")
	}
	quoted, err := quote(to)
	if err != nil {
		return nil, 0, unquotable("UID MOVE", err)
	}
	verb := "UID COPY"
	if e.conn.Has("MOVE") {
		verb = "UID MOVE"
	}
	moved = make(map[mail.UID]mail.UID, len(uids))
	for chunk := range slices.Chunk(uids, editedAtOnce) {
		sets, parts := uidSets(chunk)
		for i, set := range sets {
			// One at a time: what an answer has told is known, whatever becomes of
			// the next.
			replies, err := e.exchange(ctx, verb+" "+set+" "+quoted)
			if err != nil {
				return moved, validity, fmt.Errorf("move messages: %w", err)
			}
			pairs, v := copied(replies[0], parts[i])
			if len(pairs) > 0 {
				if validity == 0 {
					validity = v
				}
				if v != validity {
					return moved, validity, fmt.Errorf("move messages to %q: %w", to, mail.ErrUIDValidity)
				}
				maps.Copy(moved, pairs)
			}
			if err := verdict(verb, replies[0].Tagged); err != nil {
				return moved, validity, err
			}
			if verb == "UID COPY" {
				if err := e.expungeCopied(ctx, slices.Sorted(maps.Keys(pairs))); err != nil {
					return moved, validity, err
				}
			}
		}
	}
	return moved, validity, nil
}

// expungeCopied ends a move without MOVE, in one round trip.
func (e *Editor) expungeCopied(ctx context.Context, uids []mail.UID) error {
	if len(uids) == 0 {
		return nil
	}
	var lines []string
	sets, _ := uidSets(uids)
	for _, set := range sets {
		lines = append(lines, "UID STORE "+set+" "+markDeleted, "UID EXPUNGE "+set)
	}
	replies, err := e.exchange(ctx, lines...)
	if err != nil {
		return fmt.Errorf("remove moved messages: %w", err)
	}
	for i, reply := range replies {
		if err := verdict([]string{"UID STORE", "UID EXPUNGE"}[i%2], reply.Tagged); err != nil {
			return err
		}
	}
	return nil
}

// copied reads COPYUID (RFC 4315 §3), which stands in the tagged answer, or
// with MOVE in an untagged one (RFC 6851 §4.3). It counts only if it makes
// sense as a whole; otherwise nothing is known.
func copied(reply Reply, asked []mail.UID) (pairs map[mail.UID]mail.UID, validity mail.UIDValidity) {
	pairs = make(map[mail.UID]mail.UID)
	taken := make(map[mail.UID]bool) // on the other side
	for _, r := range append(slices.Clip(reply.Untagged), reply.Tagged) {
		if r.Type != "OK" || r.Code != "COPYUID" {
			continue
		}
		v, from, to := parseCopyUID(r, len(asked))
		if v == 0 || validity != 0 && v != validity {
			return nil, 0
		}
		validity = v
		for i, uid := range from {
			_, isAsked := slices.BinarySearch(asked, uid)
			known, again := pairs[uid]
			if !isAsked || again && known != to[i] || !again && taken[to[i]] {
				return nil, 0
			}
			pairs[uid], taken[to[i]] = to[i], true
		}
	}
	return pairs, validity
}

// parseCopyUID reads the arguments of COPYUID: UIDVALIDITY and two sets of
// equally many UIDs, at most so many; else 0.
func parseCopyUID(r Response, most int) (validity mail.UIDValidity, from, to []mail.UID) {
	if len(r.Args) != 3 {
		return 0, nil, nil
	}
	var err error
	if from, err = expandSet(r.Args[1].Text, most); err == nil {
		to, err = expandSet(r.Args[2].Text, most)
	}
	if err != nil || len(from) != len(to) {
		return 0, nil, nil
	}
	return mail.UIDValidity(number(r.Args[0], 32)), from, to
}
