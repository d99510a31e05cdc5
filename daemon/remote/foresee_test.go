package remote

import (
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
