package remote

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// surveyed reads n commands before it answers the first, by what script has for
// them; no round trip is to be spent on one mailbox.
func surveyed(n int, script func(command string) string) func(net.Conn, *bufio.Reader) {
	return func(conn net.Conn, in *bufio.Reader) {
		var replies strings.Builder
		for range n {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			tag, command, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
			replies.WriteString(strings.ReplaceAll(script(command), "TAG", tag))
		}
		io.WriteString(conn, replies.String())
		answers(script)(conn, in)
	}
}

func survey(t *testing.T, src *Source, questions ...mail.Question) ([]mail.Survey, error) {
	t.Helper()
	var all []mail.Survey
	for answer, err := range src.Survey(t.Context(), questions) {
		if err != nil {
			return all, err
		}
		all = append(all, answer)
	}
	return all, nil
}

// TestSurvey: many mailboxes are asked in one round trip, and what is wrong with
// one is nothing to the others.
func TestSurvey(t *testing.T) {
	question := func(name string, from mail.UID) mail.Question {
		return mail.Question{Ref: mail.Ref{Name: name, UIDValidity: 7}, From: from, Messages: 3}
	}
	open := ""
	script := func(command string) string {
		verb, rest, _ := strings.Cut(command, " ")
		if verb == "EXAMINE" {
			switch open = strings.Trim(rest, `"`); open {
			case "gone":
				return "TAG NO [NONEXISTENT] gone\r\n"
			case "rebuilt":
				return "* OK [UIDVALIDITY 8]\r\nTAG OK\r\n"
			}
			return examined
		}
		search := strings.HasPrefix(rest, "SEARCH RETURN (ALL) UID ")
		switch {
		case open == "gone":
			return "TAG BAD nothing is open\r\n"
		case open == "late" && search:
			return "TAG OK\r\n"
		case open == "late":
			return "* 1 FETCH (UID 3 RFC822.SIZE 30)\r\n* ESEARCH (TAG \"x\") UID ALL 3,5\r\n* 2 FETCH (FLAGS (\\Seen))\r\n* 2 FETCH (RFC822.SIZE 5000000000 UID 5)\r\nTAG OK\r\n"
		case open == "untold" && !search:
			return "* 1 FETCH (UID 3 RFC822.SIZE NIL)\r\nTAG NO some of them\r\n"
		case search:
			return "* ESEARCH (TAG \"TAG\") UID ALL 3,5\r\nTAG OK\r\n"
		}
		return "* 2 FETCH (UID 5 RFC822.SIZE 50)\r\n* 1 FETCH (UID 3 RFC822.SIZE 30)\r\n* 9 FETCH (UID 77 RFC822.SIZE 1)\r\nTAG OK\r\n"
	}
	names := []string{"box", "gone", "rebuilt", "late", "untold", "last"}
	src := newTestSource(t, newFakeServer(t, SideSource, everything, surveyed(commandsEach*len(names), script)))
	var questions []mail.Question
	for _, name := range names {
		questions = append(questions, question(name, 1))
	}
	questions[5].From = 4
	questions = slices.Insert(questions, 1, question("not\r\nto be sent", 1))
	got, err := survey(t, src, questions...)
	if err != nil || len(got) != len(questions) {
		t.Fatal(got, err)
	}
	for i, want := range []struct {
		uids  []mail.UID
		sizes []uint32
		err   string
	}{
		{[]mail.UID{3, 5}, []uint32{30, 50}, ""},
		{nil, nil, "BAD"},
		{nil, nil, "NO NONEXISTENT"},
		{nil, nil, "UIDVALIDITY"},
		{[]mail.UID{3, 5}, []uint32{30, 4294967295}, ""},
		{[]mail.UID{3, 5}, []uint32{0, 0}, ""},
		{[]mail.UID{5}, []uint32{50}, ""},
	} {
		a := got[i]
		outcome := ""
		if errors.Is(a.Err, mail.ErrUIDValidity) {
			outcome = "UIDVALIDITY"
		} else if a.Err != nil {
			outcome = outcomeOf(a.Err)
		}
		if !slices.Equal(a.UIDs, want.uids) || !slices.Equal(a.Sizes, want.sizes) || outcome != want.err {
			t.Errorf("%q: %+v", questions[i].Name, a)
		}
	}
	// The last mailbox is open.
	if err := src.examine(t.Context(), mail.Ref{Name: "last", UIDValidity: 7}); err != nil || open != "last" {
		t.Errorf("%v, %q is open", err, open)
	}
}

// TestSurveyApart: a mailbox of many messages is asked in parts, and a server
// that does not know ESEARCH after all without it.
func TestSurveyApart(t *testing.T) {
	var log transcript
	src := newTestSource(t, newFakeServer(t, SideSource, everything, answers(func(command string) string {
		log.add(command)
		switch {
		case strings.HasPrefix(command, "EXAMINE"):
			return "* 100000 EXISTS\r\n* OK [UIDVALIDITY 7]\r\n* OK [UIDNEXT 100001]\r\nTAG OK\r\n"
		case strings.Contains(command, "RETURN"):
			return "TAG BAD what?\r\n"
		case strings.HasPrefix(command, "UID SEARCH"):
			var first, last int
			if n, _ := fmt.Sscanf(command, "UID SEARCH UID %d:%d", &first, &last); n == 1 {
				last = 100_000
			}
			return "* SEARCH" + sequence(first, last) + "\r\nTAG OK\r\n"
		}
		var first, last int
		fmt.Sscanf(command, "UID FETCH %d:%d ", &first, &last)
		return fmt.Sprintf("* 1 FETCH (UID %d RFC822.SIZE 11)\r\n* 2 FETCH (UID %d RFC822.SIZE 22)\r\nTAG OK\r\n", first, last)
	})))
	got, err := survey(t, src, mail.Question{Ref: box, Messages: 100_000})
	if err != nil || len(got) != 1 || got[0].Err != nil {
		t.Fatal(err)
	}
	a := got[0]
	if len(a.UIDs) != 100_000 || len(a.Sizes) != 100_000 || a.Sizes[0] != 11 || a.Sizes[fetchedAtOnce-1] != 22 || a.Sizes[fetchedAtOnce] != 11 || a.Sizes[99_999] != 22 {
		t.Errorf("%d UIDs, %d sizes\n%v", len(a.UIDs), len(a.Sizes), log.String())
	}
}

func sequence(first, last int) string {
	var b strings.Builder
	for i := first; i <= last; i++ {
		fmt.Fprintf(&b, " %d", i)
	}
	return b.String()
}

// TestSurveyCut: what is cut off is an error, not an empty mailbox.
func TestSurveyCut(t *testing.T) {
	src := newTestSource(t, newFakeServer(t, SideSource, everything, answers(func(command string) string {
		if strings.HasPrefix(command, "EXAMINE") {
			return examined
		}
		return ""
	})))
	if got, err := survey(t, src, mail.Question{Ref: box, Messages: 3}); err == nil {
		t.Error(got)
	}
}

// TestEndlessAnswer: more responses than there can be are the end of it.
func TestEndlessAnswer(t *testing.T) {
	k := &collector{index: map[string]int{"R1": 0}, replies: make([]Reply, 1), count: untaggedMost - 1}
	for _, full := range []bool{false, true} {
		if is := k.take(Response{Tag: "*", Type: "FETCH"}); is != full {
			t.Errorf("response %d: full %v", k.count, is)
		}
	}
}

// TestSizedRow: what is spared the scanner says what that would have said.
func TestSizedRow(t *testing.T) {
	for line, plain := range map[string]bool{
		"* 1 FETCH (UID 7 RFC822.SIZE 123)":                  true,
		"* 999999999 FETCH (RFC822.SIZE 999999999 UID 1)":    true,
		"* 1 FETCH (UID 999999999 RFC822.SIZE 0)":            true,
		"* 1 FETCH (UID 4294967295 RFC822.SIZE 4294967296)":  false,
		"* 1 FETCH (RFC822.SIZE 9999999999 UID 7)":           false,
		"* 1 fetch (uid 7 rfc822.size 5)":                    false,
		"* 1 FETCH (UID 7 RFC822.SIZE 5 FLAGS (\\Seen))":     false,
		"* 1 FETCH (FLAGS () UID 7 RFC822.SIZE 5)":           false,
		"* 1 FETCH (UID 0 RFC822.SIZE 5)":                    false,
		"* 1 FETCH (UID 7 RFC822.SIZE 5":                     false,
		"* 1 FETCH (UID 7 RFC822.SIZE )":                     false,
		"* 1 FETCH (UID 7  RFC822.SIZE 5)":                   false,
		"* 1 FETCH (UID 7 RFC822.SIZE 5) ":                   false,
		"* 1 FETCH (UID 7 RFC822.SIZE 5) FETCH (UID 8)":      false,
		"* 1 FETCH (UID -7 RFC822.SIZE 5)":                   false,
		"* 1 FETCH (UID 7 UID 8)":                            false,
		"* FETCH (UID 7 RFC822.SIZE 5)":                      false,
		"A1 FETCH (UID 7 RFC822.SIZE 5)":                     false,
		"* 1 FETCH (UID 7)":                                  false,
		"* 1 FETCH (RFC822.SIZE 7 RFC822.SIZE 8 UID 9)":      false,
		"* 1 FETCH (UID 7 RFC822.SIZE {1}":                   false,
		"* 1 FETCH (UID 00000000000000000007 RFC822.SIZE 5)": false,
	} {
		if _, ok := parseSizedRow([]byte(line)); ok != plain {
			t.Errorf("%q: plain %t", line, ok)
		}
		read := func(line string) (r Response, l sizeList) {
			r, err := parseResponse([][]byte{[]byte(line)})
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			l.take(r)
			return r, l
		}
		r, plainly := read(line)
		scanned, slowly := read(strings.Replace(line, "(", "( ", 1))
		if r.Num != scanned.Num || r.Type != scanned.Type || r.Tag != scanned.Tag || !slices.Equal(plainly.uids, slowly.uids) || !slices.Equal(plainly.sizes, slowly.sizes) {
			t.Errorf("%q: %+v %+v and %+v %+v", line, r, plainly, scanned, slowly)
		}
		if traced(r) != traced(scanned) {
			t.Errorf("traced %q and %q", traced(r), traced(scanned))
		}
	}
}
