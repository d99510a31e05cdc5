package remote

import (
	"context"
	"fmt"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// ahead is what is sent together with the commands of a listing.
type ahead struct {
	lines []string
	takes func(Response) bool // a FETCH response; nil: none is expected
	came  func(replies []Reply, statuses map[string]mail.Status)
}

// ahead is that for the next listing; nil: nothing is.
func (s *session) ahead(conn *Conn) *ahead {
	question, opens := s.expects, s.opens
	s.expects, s.known, s.inHand = nil, nil, nil
	s.opens, s.prepared = "", nil
	_, _, withStatus := s.list(conn)
	switch {
	case !withStatus:
		// STATUS comes behind the list then, and is not asked of an open mailbox.
	case question != nil:
		return s.foresee(conn, *question)
	case opens != "":
		return s.prepare(opens)
	}
	return nil
}

// foreseen is a question that was asked together with the listing, and the first of
// the messages that it is about, as far as they are small.
type foreseen struct {
	mail.Question
	answer mail.Survey
	sizes  sizeList
	whole  wholeList
	asked  bool // for the contents as well
}

// Foresee has the next Mailboxes ask what Survey and Bodies are about to be asked, by
// commands that are sent together with its own: where just one mailbox has news, that is
// two round trips less. Whether these are asked is up to its caller.
func (s *session) Foresee(q mail.Question) { s.expects = &q }

func (s *session) foresee(conn *Conn, q mail.Question) *ahead {
	lines, err := s.surveyCommands(conn, q)
	if err != nil || s.isRest(q.Name) {
		return nil
	}
	f := &foreseen{Question: q, whole: wholeList{Ref: q.Ref, from: max(q.From, 1)}}
	if f.asked = s.foresight.asks(); f.asked {
		lines = append(lines, f.whole.command())
	}
	return &ahead{
		lines: lines,
		takes: func(r Response) bool { return f.whole.take(r) || f.sizes.take(r) },
		came:  func(replies []Reply, statuses map[string]mail.Status) { f.came(s, replies, statuses) },
	}
}

// came takes the answers. What was refused Survey asks again, and says so. And no
// server need carry out commands in their order: what the listing knows of, and the
// search did not see, would be taken for gone.
func (f *foreseen) came(s *session, replies []Reply, statuses map[string]mail.Status) {
	opened := replies[0].Tagged.Type == "OK"
	if f.asked {
		f.whole.odd = f.whole.odd || opened && replies[commandsEach].Tagged.Type != "OK"
		s.foresight.came(&f.whole)
	}
	if !opened {
		return
	}
	s.box, s.at, s.isOpen, s.opened = f.Name, f.Name, true, parseSelected(replies[0])
	next := statuses[statusKey(f.Name)].UIDNext
	if next == 0 || next > s.opened.status.UIDNext {
		return
	}
	if f.answer = s.surveyed(f.Question, replies[:commandsEach], s.extendedSearch(), &f.sizes); f.answer.Err == nil {
		s.known, s.inHand = f, &f.whole
	}
}

// foresaw is the answer to a question that has been asked already.
func (s *session) foresaw(questions []mail.Question) (answer []mail.Survey, ok bool) {
	f := s.known
	s.known = nil
	if f == nil || s.isRest(f.Name) || len(questions) != 1 || questions[0].Ref != f.Ref || max(questions[0].From, 1) != max(f.From, 1) || s.conn.Err() != nil {
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

// askList sends the commands of a listing, and with them what is to be sent ahead. came
// takes the answers to that; nil: nothing was.
func (s *session) askList(ctx context.Context, conn *Conn, lines []string) (replies []Reply, came func(map[string]mail.Status), err error) {
	a := s.ahead(conn)
	if a == nil {
		replies, err = s.raw(ctx, lines...)
		return replies, nil, err
	}
	s.calls++
	s.isOpen, s.at = false, "" // whatever becomes of the listing
	replies, err = s.exchangeEach(ctx, conn, func(answered int, r Response) bool {
		return r.Type == "FETCH" && answered >= len(lines) && a.takes != nil && a.takes(r)
	}, slices.Concat(lines, a.lines))
	if err != nil {
		return nil, nil, err
	}
	replies, more := replies[:len(lines)], replies[len(lines):]
	return replies, func(statuses map[string]mail.Status) { a.came(more, statuses) }, nil
}
