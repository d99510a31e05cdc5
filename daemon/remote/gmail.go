package remote

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Gmail (capability X-GM-EXT-1) has no mailboxes but labels, and shows each as a
// mailbox: a message is in as many as it has labels. \Flagged and \Important show
// what is in others as well. \All has everything but Trash and Junk, and alone what
// was archived without a label. So on a source of that kind the former are views,
// and the latter is shown without what another mailbox has: by X-GM-LABELS, as far
// as a label's mailbox is listed.

// gmailExtension is the capability.
const gmailExtension = "X-GM-EXT-1"

// labelsFor is for how long what has been read of labels is brought up to date by
// what has changed since, before all of it is read anew.
const labelsFor = time.Hour

// gmail is what is known of the labels of an account.
type gmail struct {
	all   string          // raw name of All Mail; empty: it is not listed
	shown map[string]bool // labels that have a mailbox, as X-GM-LABELS spells them, in lower case

	// What has been read of All Mail: of all UIDs below upTo, as they were at a
	// HIGHESTMODSEQ, those that no other mailbox has.
	validity mail.UIDValidity
	upTo     mail.UID
	asOf     mail.ModSeq
	since    time.Time // when it was read whole
	rest     []mail.UID
	agrees   bool // the last look found as many messages as All Mail is said to have
}

// systemLabels are the labels that stand for mailboxes of a role.
var systemLabels = map[string][]string{
	`\Sent`: {`\sent`}, `\Drafts`: {`\draft`, `\drafts`}, `\Junk`: {`\spam`, `\junk`}, `\Trash`: {`\trash`},
}

// sort tells the mailboxes apart.
func (g *gmail) sort(listing *mail.Listing) {
	all, shown := "", make(map[string]bool)
	for i := range listing.Mailboxes {
		switch m := &listing.Mailboxes[i]; {
		case m.NoSelect:
		case m.Role == `\Flagged`, m.Role == `\Important`:
			m.View = true
		case m.Role == `\All`:
			all, m.Rest = m.Name, true
		case isInbox(m.Name):
			shown[`\inbox`] = true
		default:
			shown[strings.ToLower(m.Name)] = true
			for _, label := range systemLabels[m.Role] {
				shown[label] = true
			}
		}
	}
	listing.Hides = all == ""
	if all != g.all || !maps.Equal(shown, g.shown) {
		*g = gmail{all: all, shown: shown}
	}
	for i := range listing.Mailboxes {
		if m := &listing.Mailboxes[i]; m.Rest {
			// How many there are of the rest is known after a look only.
			m.Status.Messages, m.Status.MessagesKnown = uint32(len(g.rest)), false
		}
	}
}

// isShown tells whether a message with these labels is in another mailbox.
func (g *gmail) isShown(labels []string) bool {
	return slices.ContainsFunc(labels, func(label string) bool { return g.shown[strings.ToLower(label)] })
}

// isRest tells whether of a mailbox only what no other has is shown.
func (s *session) isRest(name string) bool {
	return s.gmail != nil && s.gmail.all != "" && s.gmail.all == name
}

// unlabelled returns those of the UIDs at or above from that no other mailbox has.
// All Mail is open, and these are all UIDs there are at or above from. What was
// read before is asked for as far as it has changed since (RFC 7162 §3.1.4.1).
func (s *session) unlabelled(ctx context.Context, box mail.Ref, from mail.UID, uids []mail.UID) ([]mail.UID, error) {
	g, status := s.gmail, s.opened.status
	if g.validity != status.UIDValidity || status.HighestModSeq == 0 || g.asOf == 0 || time.Since(g.since) > labelsFor {
		g.validity, g.upTo, g.asOf, g.rest, g.since = status.UIDValidity, 1, 0, nil, time.Now()
	}
	if g.upTo > 1 {
		rows, err := s.labelRows(ctx, box, fmt.Sprintf("UID FETCH 1:%d (X-GM-LABELS) (CHANGEDSINCE %d)", g.upTo-1, g.asOf))
		if err != nil {
			return nil, err
		}
		g.take(rows)
	}
	counted, _ := slices.BinarySearch(uids, max(status.UIDNext, 1)) // what arrived since is not
	g.agrees = from == 1 && status.MessagesKnown && status.UIDNext != 0 && counted == int(status.Messages)

	rest := slices.Clone(g.rest)
	first, _ := slices.BinarySearch(uids, g.upTo)
	var untold []mail.UID
	for part := range slices.Chunk(uids[first:], fetchedAtOnce) {
		rows, err := s.labelRows(ctx, box, fmt.Sprintf("UID FETCH %d:%d (X-GM-LABELS)", part[0], part[len(part)-1]))
		if err != nil {
			return nil, err
		}
		for _, uid := range part {
			if labels, told := rows[uid]; !told {
				untold = append(untold, uid)
			} else if !g.isShown(labels) {
				rest = append(rest, uid)
			}
		}
	}
	if err := s.confirmGone(ctx, untold); err != nil {
		return nil, err
	}
	if from <= g.upTo && len(uids) > 0 {
		g.upTo, g.asOf, g.rest = max(g.upTo, uids[len(uids)-1]+1), status.HighestModSeq, rest
	}
	rest = slices.DeleteFunc(slices.Clone(rest), func(uid mail.UID) bool {
		_, there := slices.BinarySearch(uids, uid)
		return !there
	})
	if from == 1 && g.asOf != 0 {
		g.rest = slices.Clone(rest)
	}
	return rest, nil
}

// take corrects what was read before.
func (g *gmail) take(rows map[mail.UID][]string) {
	for uid, labels := range rows {
		i, is := slices.BinarySearch(g.rest, uid)
		switch shown := g.isShown(labels); {
		case uid >= g.upTo:
		case is && shown:
			g.rest = slices.Delete(g.rest, i, i+1)
		case !is && !shown:
			g.rest = slices.Insert(g.rest, i, uid)
		}
	}
}

// confirmGone fails when messages are there of which the labels were not told.
func (s *session) confirmGone(ctx context.Context, untold []mail.UID) error {
	for len(untold) > 0 {
		n, _ := slices.BinarySearch(untold, untold[0]+searchedAtOnce)
		present, err := s.search(ctx, untold[0], untold[n-1], "NOOP")
		if err != nil {
			return err
		}
		for _, uid := range untold[:n] {
			if _, there := slices.BinarySearch(present, uid); there {
				return &mail.Refused{Command: "UID FETCH", Type: "NO", Text: fmt.Sprintf("the labels of some messages are not told, the first with UID %d", uid)}
			}
		}
		untold = untold[n:]
	}
	return nil
}

// labelRows are the labels of messages, of all that the command is about or of
// those that have changed.
func (s *session) labelRows(ctx context.Context, box mail.Ref, line string) (map[mail.UID][]string, error) {
	rows := make(map[mail.UID][]string)
	err := s.gmailRows(ctx, box, line, func(uid mail.UID, _ uint64, labels []string) { rows[uid] = labels })
	return rows, err
}

// gmailRows sends a FETCH of X-GM-LABELS, and perhaps X-GM-MSGID, and hands on what
// is answered, as it comes.
func (s *session) gmailRows(ctx context.Context, box mail.Ref, line string, take func(uid mail.UID, id uint64, labels []string)) error {
	if err := s.examine(ctx, box); err != nil {
		return err
	}
	s.calls++
	replies, err := s.exchangeEach(ctx, s.conn, func(_ int, r Response) bool {
		if r.Type != "FETCH" || len(r.Data) == 0 {
			return false
		}
		var uid mail.UID
		var id uint64
		var labels []string
		told := false
		items := r.Data[0].List
		for i := 0; i+1 < len(items); i += 2 {
			switch value := items[i+1]; strings.ToUpper(items[i].Text) {
			case "UID":
				uid = mail.UID(number(value, 32))
			case "X-GM-MSGID":
				id = number(value, 64)
			case "X-GM-LABELS":
				labels, told = texts(value.List), value.IsList
			}
		}
		if told && uid != 0 { // else it is news that nobody asked for
			take(uid, id, labels)
		}
		return true
	}, []string{line})
	if err != nil {
		return fmt.Errorf("fetch labels: %w", err)
	}
	return verdict("UID FETCH", replies[0].Tagged)
}
