package remote

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// TestWholeAhead: small messages that are new come together with the listing, and only
// the others are asked for: what is too large, or not as the server says, or not all
// there.
func TestWholeAhead(t *testing.T) {
	const from = 3
	small, large := strings.Repeat("s", 300), strings.Repeat("l", wholeOctets+1)
	row := func(uid int, items, content string) string {
		return fmt.Sprintf("* %d FETCH (UID %d %s BODY[]<0> {%d}\r\n%s)\r\n", uid, uid, items, min(len(content), wholeOctets), content[:min(len(content), wholeOctets)])
	}
	items := func(size int) string {
		return fmt.Sprintf(`FLAGS (\Seen) INTERNALDATE "06-May-1990 07:08:09 +0000" RFC822.SIZE %d`, size)
	}
	for name, c := range map[string]struct {
		ahead []string // of the messages from 3 on, what is said of each ahead
		asked string   // the set that is asked for; empty: nothing is
	}{
		"all are small":              {[]string{row(3, items(300), small), row(4, items(300), small)}, ""},
		"one is large":               {[]string{row(3, items(300), small), row(4, items(wholeOctets+1), large), row(5, items(300), small)}, "4:5"},
		"its size is told wrong":     {[]string{row(3, items(299), small), row(4, items(300), small)}, "3:4"},
		"flags are not told":         {[]string{row(3, `INTERNALDATE "06-May-1990 07:08:09 +0000" RFC822.SIZE 300`, small)}, "3"},
		"more than is asked ahead":   {[]string{row(3, items(300), small), row(4, items(300), small), row(5, items(300), small)}, "5"},
		"more than its size":         {[]string{row(3, items(wholeOctets), large)}, "3"},
		"twice, and another":         {[]string{row(3, items(300), small) + row(3, items(300), small) + row(9, items(300), small), row(4, items(300), small)}, ""},
		"not cut where it was to be": {[]string{fmt.Sprintf("* 3 FETCH (UID 3 %s BODY[] {%d}\r\n%s)\r\n", items(len(large)), len(large), large)}, "3"},
		"the server says nothing":    {[]string{"", ""}, "3:4"},
		"nothing but what it is of":  {[]string{"* 3 FETCH (UID 3 " + items(300) + " BODY[]<0> NIL)\r\n"}, "3"},
	} {
		t.Run(name, func(t *testing.T) {
			var said transcript
			uids := []mail.UID{}
			sizes := ""
			for i := range c.ahead {
				uids = append(uids, mail.UID(from+i))
				sizes += fmt.Sprintf("* %d FETCH (UID %d RFC822.SIZE 300)\r\n", from+i, from+i)
			}
			next := from + len(c.ahead)
			contentOf := func(uid mail.UID) string {
				if strings.Contains(c.ahead[uid-from], "lll") {
					return large
				}
				return small
			}
			server := newFakeServer(t, SideSource, "IMAP4rev1 LIST-EXTENDED LIST-STATUS ESEARCH", answers(func(command string) string {
				said.add(command)
				verb, _, _ := strings.Cut(command, " ")
				switch {
				case verb == "LIST":
					return fmt.Sprintf("* LIST () \"/\" INBOX\r\n* STATUS INBOX (MESSAGES 4 UIDVALIDITY 7 UIDNEXT %d)\r\nTAG OK\r\n", next)
				case verb == "EXAMINE":
					return fmt.Sprintf("* 4 EXISTS\r\n* OK [UIDVALIDITY 7] .\r\n* OK [UIDNEXT %d] .\r\nTAG OK [READ-ONLY] .\r\n", next)
				case strings.HasPrefix(command, "UID SEARCH"):
					return fmt.Sprintf("* ESEARCH (TAG \"TAG\") UID ALL %d:%d\r\nTAG OK\r\n", from, next-1)
				case strings.Contains(command, "<0."):
					return strings.Join(c.ahead, "") + "TAG OK\r\n"
				case strings.Contains(command, "BODY.PEEK[]"):
					if asked := strings.Fields(command)[2]; asked != c.asked {
						t.Errorf("asked for %s, not %q", asked, c.asked)
					}
					text := ""
					for _, uid := range uids {
						if content := contentOf(uid); strings.HasPrefix(c.asked, fmt.Sprint(uid)) || strings.HasSuffix(c.asked, fmt.Sprint(uid)) {
							text += fmt.Sprintf("* %d FETCH (UID %d %s BODY[] {%d}\r\n%s)\r\n", uid, uid, items(len(content)), len(content), content)
						}
					}
					return text + "TAG OK\r\n"
				}
				return sizes + "TAG OK\r\n"
			}))
			s := NewSource(SourceOptions{Open: server.dial, Logger: quiet()})
			defer closing(t, s)
			ref := mail.Ref{Name: "INBOX", UIDValidity: 7}
			s.Foresee(mail.Question{Ref: ref, From: from})
			if _, err := s.Mailboxes(t.Context()); err != nil {
				t.Fatal(err)
			}
			var came []mail.UID
			for body, err := range s.Bodies(t.Context(), ref, uids) {
				if err != nil {
					t.Fatal(err)
				}
				content, err := io.ReadAll(body.Content)
				if want := contentOf(body.UID); err != nil || string(content) != want || body.Size != int64(len(want)) || body.Flags.System != mail.Seen || body.InternalDate.Year() != 1990 {
					t.Errorf("message %d: %+v, %d octets, %v", body.UID, body.Message, len(content), err)
				}
				came = append(came, body.UID)
			}
			if !slices.Equal(came, uids) {
				t.Errorf("%v came, of %v", came, uids)
			}
		})
	}
	t.Run("of another UIDVALIDITY", func(t *testing.T) {
		l := &wholeList{Ref: mail.Ref{Name: "INBOX", UIDValidity: 7}, messages: []wholeMessage{{Message: mail.Message{UID: 3}}}}
		if _, ok := l.first(mail.Ref{Name: "INBOX", UIDValidity: 8}, []mail.UID{3}); ok {
			t.Error("it is taken for that message")
		}
	})
}

// TestForesight: contents are asked for ahead no more where that comes to nothing again
// and again.
func TestForesight(t *testing.T) {
	whole := wholeList{messages: make([]wholeMessage, 1)}
	asks := func(f *Foresight, times int, came *wholeList) (asked int) {
		for range times {
			if f.asks() {
				if asked++; came != nil {
					f.came(came)
				}
			}
		}
		return asked
	}
	var f Foresight
	for _, c := range []struct {
		what  string
		times int
		came  *wholeList // nil: the connection has ended
		asked int
	}{
		{"there is nothing new", 9, &wholeList{}, 9},
		{"the connection ends once", 1, nil, 1},
		{"there is nothing new", 9, &wholeList{}, 9},
		{"messages are whole", 9, &whole, 9},
		{"they are not as the server says, once", 1, &wholeList{odd: true}, 1},
		{"they are again", 1, &whole, 1},
		{"the connection ends again and again", 9, nil, vainMost},
	} {
		if asked := asks(&f, c.times, c.came); asked != c.asked {
			t.Errorf("%s: asked for %d times, not %d", c.what, asked, c.asked)
		}
	}
	if f = (Foresight{}); asks(&f, 9, &wholeList{odd: true}) != vainMost {
		t.Error("what is not as the server says is asked for on and on")
	}
}
