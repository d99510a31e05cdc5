package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

const (
	// surveyedAtOnce is about how many mailboxes one round trip may ask, and
	// surveyedMessages how many messages they may hold together.
	surveyedAtOnce   = 100
	surveyedMessages = 200_000
)

// Survey answers questions about mailboxes, in their order. The commands for
// many are pipelined: EXAMINE, UID SEARCH, which knows what is there, and UID
// FETCH for the sizes. A mailbox of many messages is asked in parts.
func (s *session) Survey(ctx context.Context, questions []mail.Question) iter.Seq2[mail.Survey, error] {
	return func(yield func(mail.Survey, error) bool) {
		for len(questions) > 0 {
			n, messages := 0, uint32(0)
			for n < len(questions) && n < surveyedAtOnce && messages+questions[n].Messages <= surveyedMessages && questions[n].Messages <= searchedAtOnce {
				messages += questions[n].Messages
				n++
			}
			part := questions[:max(n, 1)]
			questions = questions[len(part):]
			answers, err := s.survey(ctx, part, n == 0)
			if err != nil {
				yield(mail.Survey{}, fmt.Errorf("survey mailboxes: %w", err))
				return
			}
			for _, answer := range answers {
				if !yield(answer, nil) {
					return
				}
			}
		}
	}
}

// survey asks about some mailboxes at once, or about one that is large.
func (s *session) survey(ctx context.Context, questions []mail.Question, large bool) ([]mail.Survey, error) {
	if answers, ok := s.foresaw(questions); ok {
		return answers, nil
	}
	answers := make([]mail.Survey, len(questions))
	if !large {
		var err error
		if answers, err = s.surveyTogether(ctx, questions); err != nil {
			return nil, err
		}
	}
	for i, q := range questions {
		a := &answers[i]
		if !large && !errors.Is(a.Err, errAskApart) {
			continue
		}
		a.UIDs, a.Err = s.UIDs(ctx, q.Ref, q.From)
		if a.Err == nil {
			a.Sizes, a.Err = s.sizes(ctx, q, a.UIDs)
		}
		if a.Err != nil && !concernsMailbox(a.Err) {
			return nil, a.Err
		}
	}
	return answers, nil
}

// errAskApart: what was asked together with others has no answer.
var errAskApart = errors.New("to be asked apart")

// concernsMailbox tells whether an error says nothing about other mailboxes.
func concernsMailbox(err error) bool {
	return errors.As(err, new(*mail.Refused)) || errors.Is(err, mail.ErrUIDValidity)
}

// commandsEach is how many commands surveyTogether has for a mailbox.
const commandsEach = 3

func (s *session) surveyTogether(ctx context.Context, questions []mail.Question) ([]mail.Survey, error) {
	conn, err := s.connection(ctx)
	if err != nil {
		return nil, err
	}
	answers := make([]mail.Survey, len(questions))
	extended := s.extendedSearch()
	var lines []string
	var asked []int // which questions have commands
	for i, q := range questions {
		commands, err := s.surveyCommands(conn, q)
		if err != nil {
			answers[i].Err = err
			continue
		}
		if s.isRest(q.Name) {
			answers[i].Err = errAskApart
			continue
		}
		asked = append(asked, i)
		lines = append(lines, commands...)
	}
	if len(lines) == 0 {
		return answers, nil
	}
	sizes := make([]sizeList, len(asked))
	s.calls++
	s.isOpen, s.at = false, ""
	replies, err := s.exchangeEach(ctx, conn, func(answered int, r Response) bool {
		return r.Type == "FETCH" && sizes[answered/commandsEach].take(r)
	}, lines)
	if err != nil {
		return nil, err
	}
	for k, i := range asked {
		answers[i] = s.surveyed(questions[i], replies[k*commandsEach:(k+1)*commandsEach], extended, &sizes[k])
	}
	if last := replies[len(replies)-commandsEach]; last.Tagged.Type == "OK" {
		s.at = questions[asked[len(asked)-1]].Name
		s.box, s.isOpen, s.opened = s.at, true, parseSelected(last)
	}
	return answers, nil
}

// surveyed reads the answers to the commands for one mailbox. That to SEARCH
// may stand among those to FETCH.
func (s *session) surveyed(q mail.Question, replies []Reply, extended bool, sizes *sizeList) mail.Survey {
	if err := verdict("EXAMINE", replies[0].Tagged); err != nil {
		return mail.Survey{Err: err}
	}
	if err := parseSelected(replies[0]).check(q.Ref); err != nil {
		return mail.Survey{Err: err}
	}
	all := Reply{Untagged: slices.Concat(replies[1].Untagged, replies[2].Untagged)}
	uids, answered, err := parseSearch(all, max(q.From, 1), 0)
	if err != nil || replies[1].Tagged.Type != "OK" || extended && !answered {
		return mail.Survey{Err: errAskApart} // which says what is wrong
	}
	return mail.Survey{UIDs: uids, Sizes: sizes.of(uids)}
}

// sizes asks for the sizes of many messages of the mailbox that is open.
func (s *session) sizes(ctx context.Context, q mail.Question, uids []mail.UID) ([]uint32, error) {
	var list sizeList
	for part := range slices.Chunk(uids, fetchedAtOnce) {
		if err := s.examine(ctx, q.Ref); err != nil {
			return nil, err
		}
		s.calls++
		line := fmt.Sprintf("UID FETCH %d:%d (RFC822.SIZE)", part[0], part[len(part)-1])
		if _, err := s.exchangeEach(ctx, s.conn, func(_ int, r Response) bool { return r.Type == "FETCH" && list.take(r) }, []string{line}); err != nil {
			return nil, err
		}
	}
	return list.of(uids), nil
}

// sizeList are sizes as they come.
type sizeList struct {
	uids  []mail.UID
	sizes []uint32
}

// take takes a FETCH response, if it is about a size.
func (l *sizeList) take(r Response) bool {
	if r.sized.uid != 0 {
		l.uids, l.sizes = append(l.uids, r.sized.uid), append(l.sizes, r.sized.size)
		return true
	}
	var uid mail.UID
	size, told := uint64(0), false
	if len(r.Data) == 0 {
		return false
	}
	items := r.Data[0].List
	for i := 0; i+1 < len(items); i += 2 {
		switch value := items[i+1]; strings.ToUpper(items[i].Text) {
		case "UID":
			uid = mail.UID(number(value, 32))
		case "RFC822.SIZE":
			size, told = number(value, 63), true
		}
	}
	if uid == 0 || !told {
		return false
	}
	l.uids, l.sizes = append(l.uids, uid), append(l.sizes, uint32(min(size, math.MaxUint32)))
	return true
}

// of returns the sizes of ascending UIDs.
func (l *sizeList) of(uids []mail.UID) []uint32 {
	sizes := make([]uint32, len(uids))
	next := 0 // mostly the rows come in order
	for i, uid := range l.uids {
		at := next
		if at >= len(uids) || uids[at] != uid {
			var found bool
			if at, found = slices.BinarySearch(uids, uid); !found {
				continue
			}
		}
		sizes[at], next = l.sizes[i], at+1
	}
	return sizes
}

// sizedRow is a FETCH response with UID and RFC822.SIZE alone. A first copy reads one for
// each message, so they are spared the scanner.
type sizedRow struct {
	number uint32
	uid    mail.UID
	size   uint32
}

// parseSizedRow reads such a response; false for what is spelled in any other way.
func parseSizedRow(line []byte) (row sizedRow, ok bool) {
	number, rest := cutNumber(line, "* ")
	uid, behind := cutNumber(rest, " FETCH (UID ")
	size, end := cutNumber(behind, " RFC822.SIZE ")
	if end == nil { // it has not been asked for by name, so it may as well stand last
		size, behind = cutNumber(rest, " FETCH (RFC822.SIZE ")
		uid, end = cutNumber(behind, " UID ")
	}
	return sizedRow{number, mail.UID(uid), size}, uid != 0 && string(end) == ")"
}

// cutNumber cuts a prefix and the number of up to nine digits that follows it; rest is
// nil where there is none.
func cutNumber(line []byte, prefix string) (n uint32, rest []byte) {
	line, ok := bytes.CutPrefix(line, []byte(prefix))
	digits := 0
	for digits < min(len(line), 10) && '0' <= line[digits] && line[digits] <= '9' {
		n = n*10 + uint32(line[digits]-'0')
		digits++
	}
	if !ok || digits == 0 || digits > 9 {
		return 0, nil
	}
	return n, line[digits:]
}
