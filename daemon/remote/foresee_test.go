package remote

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// TestForesee: what is foreseen is asked together with the listing, and Survey asks
// no more; anything else it asks, and what the search may have missed.
func TestForesee(t *testing.T) {
	const inbox, other = "INBOX", "Other"
	question := func(name string) mail.Question {
		return mail.Question{Ref: mail.Ref{Name: name, UIDValidity: 7}, From: 3}
	}
	for _, test := range []struct {
		name      string
		listed    string // UIDNEXT of the listing
		opened    string // what EXAMINE tells first
		questions []mail.Question
		again     int // EXAMINEs of Survey
	}{
		{"the same", "5", "5", []mail.Question{question(inbox)}, 0},
		{"mail has come since the listing", "4", "5", []mail.Question{question(inbox)}, 0},
		{"mail has come since the search", "6", "5", []mail.Question{question(inbox)}, 1},
		{"the listing tells nothing", "0", "5", []mail.Question{question(inbox)}, 1},
		{"another mailbox", "5", "5", []mail.Question{question(other)}, 1},
		{"several", "5", "5", []mail.Question{question(inbox), question(other)}, 2},
		{"from another UID on", "5", "5", []mail.Question{{Ref: mail.Ref{Name: inbox, UIDValidity: 7}, From: 2}}, 1},
		{"refused", "5", "", []mail.Question{question(inbox)}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			var said transcript
			examined := 0 // by the server, which has answered whenever this is read
			server := newFakeServer(t, SideSource, "IMAP4rev1 LIST-EXTENDED LIST-STATUS ESEARCH", answers(func(command string) string {
				said.add(command)
				switch verb, _, _ := strings.Cut(command, " "); {
				case verb == "LIST":
					return "* LIST () \"/\" INBOX\r\n* STATUS INBOX (MESSAGES 4 UIDVALIDITY 7 UIDNEXT " + test.listed + ")\r\nTAG OK\r\n"
				case verb == "STATUS":
					return "TAG OK\r\n"
				case verb == "EXAMINE":
					if examined++; examined == 1 && test.opened == "" {
						return "TAG NO [UNAVAILABLE] not now\r\n"
					}
					return "* 4 EXISTS\r\n* OK [UIDVALIDITY 7] .\r\n* OK [UIDNEXT 5] .\r\nTAG OK [READ-ONLY] .\r\n"
				case examined == 1 && test.opened == "":
					return "TAG BAD no mailbox is open\r\n"
				case strings.HasPrefix(command, "UID SEARCH"):
					return "* ESEARCH (TAG \"TAG\") UID ALL 3:4\r\nTAG OK\r\n"
				}
				return "* 3 FETCH (UID 3 RFC822.SIZE 30)\r\n* 4 FETCH (UID 4 RFC822.SIZE 40)\r\nTAG OK\r\n"
			}))
			s := NewSource(SourceOptions{Open: server.dial, Logger: quiet()})
			defer closing(t, s)
			s.Foresee(question(inbox))
			listing, err := s.Mailboxes(t.Context())
			if err != nil || len(listing.Mailboxes) != 1 {
				t.Fatalf("%+v, %v", listing, err)
			}
			if examined != 1 {
				t.Errorf("%d mailboxes were opened together with the listing", examined)
			}
			n := 0
			for survey, err := range s.Survey(t.Context(), test.questions) {
				if n++; err != nil || survey.Err != nil || !slices.Equal(survey.UIDs, []mail.UID{3, 4}) || !slices.Equal(survey.Sizes, []uint32{30, 40}) {
					t.Errorf("%+v, %v", survey, err)
				}
			}
			if n != len(test.questions) || examined != 1+test.again {
				t.Errorf("%d answers, %d mailboxes opened by Survey, want %d\n%s", n, examined-1, test.again, &said)
			}
			// It is known once: the next time it is asked anew.
			for _, err := range s.Survey(t.Context(), []mail.Question{question(inbox)}) {
				if err != nil {
					t.Error(err)
				}
			}
			if examined != 2+test.again {
				t.Errorf("a second Survey asks nothing\n%s", &said)
			}
		})
	}
}

// TestForeseeNothing: without LIST-STATUS it would be asked twice.
func TestForeseeNothing(t *testing.T) {
	var said transcript
	server := newFakeServer(t, SideSource, "IMAP4rev1 LIST-EXTENDED", answers(func(command string) string {
		said.add(command)
		switch verb, _, _ := strings.Cut(command, " "); verb {
		case "LIST":
			return "* LIST () \"/\" INBOX\r\nTAG OK\r\n"
		case "STATUS":
			return "* STATUS INBOX (MESSAGES 4 UIDVALIDITY 7 UIDNEXT 5)\r\nTAG OK\r\n"
		}
		return "TAG OK\r\n"
	}))
	s := NewSource(SourceOptions{Open: server.dial, Logger: quiet()})
	defer closing(t, s)
	s.Foresee(mail.Question{Ref: mail.Ref{Name: "INBOX", UIDValidity: 7}, From: 3})
	listing, err := s.Mailboxes(t.Context())
	if err != nil || len(listing.Mailboxes) != 1 || listing.Mailboxes[0].Status.UIDNext != 5 {
		t.Errorf("%+v, %v", listing, err)
	}
	if text := said.String(); strings.Contains(text, "EXAMINE") || strings.Contains(text, "FETCH") {
		t.Error(text)
	}
}

// TestForeseeRest: what shows the rest of other mailboxes is known once they are listed;
// what has been asked about it ahead is of no use.
func TestForeseeRest(t *testing.T) {
	const all = "[Gmail]/All Mail"
	server := newFakeServer(t, SideSource, "IMAP4rev1 X-GM-EXT-1 ESEARCH LIST-EXTENDED LIST-STATUS SPECIAL-USE UNSELECT", answers(func(command string) string {
		verb, _, _ := strings.Cut(command, " ")
		switch {
		case verb == "LIST":
			return "* LIST () \"/\" INBOX\r\n* LIST (\\All) \"/\" \"" + all + "\"\r\n* STATUS INBOX (MESSAGES 1 UIDVALIDITY 1 UIDNEXT 2)\r\n" +
				"* STATUS \"" + all + "\" (MESSAGES 4 UIDVALIDITY 7 UIDNEXT 5)\r\nTAG OK\r\n"
		case verb == "EXAMINE":
			return "* 4 EXISTS\r\n* OK [UIDVALIDITY 7] .\r\n* OK [UIDNEXT 5] .\r\nTAG OK [READ-ONLY] .\r\n"
		case strings.HasPrefix(command, "UID SEARCH"):
			return "* ESEARCH (TAG \"TAG\") UID ALL 3:4\r\nTAG OK\r\n"
		case strings.Contains(command, "X-GM-LABELS"):
			return "* 3 FETCH (UID 3 X-GM-LABELS (\"\\\\Inbox\"))\r\n* 4 FETCH (UID 4 X-GM-LABELS ())\r\nTAG OK\r\n"
		}
		return "TAG OK\r\n"
	}))
	s := NewSource(SourceOptions{Open: server.dial, Logger: quiet()})
	defer closing(t, s)
	q := mail.Question{Ref: mail.Ref{Name: all, UIDValidity: 7}, From: 3}
	s.Foresee(q)
	if _, err := s.Mailboxes(t.Context()); err != nil {
		t.Fatal(err)
	}
	for answer, err := range s.Survey(t.Context(), []mail.Question{q}) {
		if err != nil || answer.Err != nil || !slices.Equal(answer.UIDs, []mail.UID{4}) {
			t.Errorf("%+v, %v; message 3 is in INBOX", answer, err)
		}
	}
}

// TestForeseenAndRefused: where the listing is refused for now, another mailbox is open than
// before all the same.
func TestForeseenAndRefused(t *testing.T) {
	open, refuse := "", false
	server := newFakeServer(t, SideSource, "IMAP4rev1 LIST-EXTENDED LIST-STATUS", answers(func(command string) string {
		verb, rest, _ := strings.Cut(command, " ")
		switch {
		case verb == "LIST" && refuse:
			return "TAG NO [UNAVAILABLE] not now\r\n"
		case verb == "EXAMINE":
			open = strings.Trim(rest, `"`)
			return "* 3 EXISTS\r\n* OK [UIDVALIDITY 7] .\r\n* OK [UIDNEXT 4] .\r\nTAG OK [READ-ONLY] .\r\n"
		case strings.HasPrefix(command, "UID SEARCH"):
			return "* SEARCH 3\r\nTAG OK\r\n"
		case strings.HasSuffix(command, "BODY.PEEK[])"):
			content := "from " + open
			return fmt.Sprintf("* 3 FETCH (UID 3 FLAGS () INTERNALDATE \"06-May-1990 07:08:09 +0000\" RFC822.SIZE %d BODY[] {%d}\r\n%s)\r\nTAG OK\r\n", len(content), len(content), content)
		}
		return "TAG OK\r\n"
	}))
	s := NewSource(SourceOptions{Open: server.dial, Logger: quiet()})
	defer closing(t, s)
	inbox := mail.Ref{Name: "INBOX", UIDValidity: 7}
	if _, err := s.UIDs(t.Context(), inbox, 1); err != nil {
		t.Fatal(err)
	}
	refuse = true
	s.Foresee(mail.Question{Ref: mail.Ref{Name: "Sent", UIDValidity: 7}, From: 3})
	if _, err := s.Mailboxes(t.Context()); err == nil {
		t.Fatal("the listing is not refused")
	}
	for body, err := range s.Bodies(t.Context(), inbox, []mail.UID{3}) {
		if err != nil {
			t.Fatal(err)
		}
		if content, err := io.ReadAll(body.Content); err != nil || string(content) != "from INBOX" {
			t.Errorf("message 3 of INBOX is %q, %v", content, err)
		}
	}
}
