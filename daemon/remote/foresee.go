package remote

import (
	"context"
	"fmt"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// foreseen is a question that was asked together with the listing.
type foreseen struct {
	mail.Question
	answer mail.Survey
	sizes  sizeList
	lines  []string // its commands
}

// Foresee has the next Mailboxes ask what Survey is about to be asked, by commands
// that are sent together with its own: where just one mailbox has news, that is a
// round trip less. Whether Survey asks it is up to its caller.
func (s *session) Foresee(q mail.Question) { s.expects = &q }

// ahead is what is to be asked together with the listing, nil: nothing is.
func (s *session) ahead(conn *Conn) *foreseen {
	q := s.expects
	s.expects, s.known = nil, nil
	if q == nil || s.isRest(q.Name) {
		return nil
	}
	lines, err := s.surveyCommands(conn, *q)
	if err != nil {
		return nil
	}
	return &foreseen{Question: *q, lines: lines}
}

// came takes the answers. What was refused Survey asks again, and says so. And no
// server need carry out commands in their order: what the listing knows of, and the
// search did not see, would be taken for gone.
func (f *foreseen) came(s *session, replies []Reply, statuses map[string]mail.Status) {
	if replies[0].Tagged.Type != "OK" {
		s.isOpen, s.at = false, ""
		return
	}
	s.box, s.at, s.isOpen, s.opened = f.Name, f.Name, true, parseSelected(replies[0])
	next := statuses[statusKey(f.Name)].UIDNext
	if next == 0 || next > s.opened.status.UIDNext {
		return
	}
	if f.answer = s.surveyed(f.Question, replies, s.extendedSearch(), &f.sizes); f.answer.Err == nil {
		s.known = f
	}
}

// foresaw is the answer to a question that has been asked already.
func (s *session) foresaw(questions []mail.Question) (answer []mail.Survey, ok bool) {
	f := s.known
	s.known = nil
	if f == nil || len(questions) != 1 || questions[0].Ref != f.Ref || max(questions[0].From, 1) != max(f.From, 1) || s.conn.Err() != nil {
		return nil, false
	}
	return []mail.Survey{f.answer}, true
}

func (s *session) extendedSearch() bool { return s.conn.Has("ESEARCH") && !s.noSearch }

// surveyCommands are the commandsEach commands for one mailbox.
func (s *session) surveyCommands(conn *Conn, q mail.Question) ([]string, error) {
	name, err := quote(q.Name)
	if err != nil {
		return nil, unquotable("EXAMINE", err)
	}
	search := "UID SEARCH "
	if conn.Has("ESEARCH") && !s.noSearch {
		search += "RETURN (ALL) "
	}
	from := max(q.From, 1)
	return []string{"EXAMINE " + name, fmt.Sprintf("%sUID %d:*", search, from), fmt.Sprintf("UID FETCH %d:* (RFC822.SIZE)", from)}, nil
}

// askList sends the commands of a listing, and with them what is foreseen. came
// takes the answers to that; nil: nothing was.
func (s *session) askList(ctx context.Context, conn *Conn, lines []string) (replies []Reply, came func(map[string]mail.Status), err error) {
	f := s.ahead(conn)
	if f == nil {
		replies, err = s.raw(ctx, lines...)
		return replies, nil, err
	}
	s.calls++
	replies, err = s.exchangeEach(ctx, conn, func(answered int, r Response) bool {
		return r.Type == "FETCH" && answered >= len(lines) && f.sizes.take(r)
	}, slices.Concat(lines, f.lines))
	if err != nil {
		return nil, nil, err
	}
	replies, more := replies[:len(lines)], replies[len(lines):]
	return replies, func(statuses map[string]mail.Status) { f.came(s, more, statuses) }, nil
}
