package remote

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// flagsMost is how many flags a message may have. No server keeps a tenth of that.
const flagsMost = 1000

// flagsAtOnce bounds how many messages the answer to one command is about, for
// the sake of memory: each takes less than a kilobyte until it is read.
const flagsAtOnce = 20_000

// Flags yields UID, flags and MODSEQ of the messages below a UID whose flags
// have changed after since (CHANGEDSINCE, RFC 7162 §3.1.4.1), ascending, each
// at most once. With since 0 it yields all of them, and so it does where the
// mailbox has no modification sequences. The mailbox is opened afresh, so that
// what it shows is at least as new as any status asked for before.
func (s *session) Flags(ctx context.Context, box mail.Ref, below mail.UID, since mail.ModSeq) iter.Seq2[mail.Message, error] {
	return func(yield func(mail.Message, error) bool) {
		fail := func(err error) { yield(mail.Message{}, fmt.Errorf("fetch flags: %w", err)) }
		if below <= 1 {
			return
		}
		if err := s.reopen(ctx, box); err != nil {
			fail(err)
			return
		}
		status := s.opened.status
		if status.MessagesKnown && status.Messages == 0 {
			return
		}
		items := "(FLAGS)"
		if since > 0 && s.Has("CONDSTORE") && status.HighestModSeq > 0 {
			items = "(FLAGS MODSEQ) (CHANGEDSINCE " + strconv.FormatUint(uint64(since), 10) + ")"
		}
		left := int64(math.MaxInt64) // at most so many messages are to come
		if status.MessagesKnown {
			left = int64(status.Messages)
		}
		window := int64(flagsAtOnce) // UIDs
		for first, last := int64(1), int64(below)-1; first <= last; {
			end := min(first+window-1, last)
			if left <= flagsAtOnce {
				end = last
			}
			// Its user may have opened another mailbox since the last window.
			if err := s.examine(ctx, box); err != nil {
				fail(err)
				return
			}
			rows, err := s.flagRows(ctx, mail.UID(first), mail.UID(end), items)
			if err != nil {
				fail(err)
				return
			}
			for _, m := range rows {
				if !yield(m, nil) {
					return
				}
			}
			// UIDs can lie far apart, and few may have changed.
			if len(rows) < flagsAtOnce/4 {
				window *= 4
			} else {
				window = flagsAtOnce
			}
			left -= int64(len(rows))
			first = end + 1
		}
	}
}

// flagRows asks for the flags of the UIDs from first to last.
func (s *session) flagRows(ctx context.Context, first, last mail.UID, items string) ([]mail.Message, error) {
	replies, err := s.raw(ctx, fmt.Sprintf("UID FETCH %d:%d %s", first, last, items))
	if err != nil {
		return nil, err
	}
	if err := verdict("UID FETCH", replies[0].Tagged); err != nil {
		return nil, err
	}
	return parseFlagRows(replies[0], func(uid mail.UID) bool { return first <= uid && uid <= last }), nil
}

// parseFlagRows reads FETCH responses, ascending, each message once as it was
// shown last. One without UID or FLAGS, or about another message, is no answer
// but news that nobody asked for.
func parseFlagRows(reply Reply, asked func(mail.UID) bool) []mail.Message {
	var rows []mail.Message
	for _, r := range reply.Untagged {
		if r.Type != "FETCH" || len(r.Data) == 0 {
			continue
		}
		if m, ok := parseFlagRow(r.Data[0].List); ok && asked(m.UID) {
			rows = append(rows, m)
		}
	}
	slices.Reverse(rows)
	slices.SortStableFunc(rows, func(a, b mail.Message) int { return cmp.Compare(a.UID, b.UID) })
	return slices.CompactFunc(rows, func(a, b mail.Message) bool { return a.UID == b.UID })
}

// parseFlagRow reads the items of one FETCH response; false without UID or
// FLAGS.
func parseFlagRow(items []Value) (m mail.Message, ok bool) {
	for i := 0; i+1 < len(items); i += 2 {
		switch value := items[i+1]; strings.ToUpper(items[i].Text) {
		case "UID":
			m.UID = mail.UID(number(value, 32))
		case "FLAGS":
			if len(value.List) > flagsMost {
				return m, false
			}
			m.Flags, ok = mail.ParseFlags(texts(value.List)), value.IsList
		case "MODSEQ":
			if len(value.List) > 0 {
				m.ModSeq = mail.ModSeq(number(value.List[0], 63))
			}
		}
	}
	return m, ok && m.UID != 0
}
