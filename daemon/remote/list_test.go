package remote

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

const everything = "LIST-EXTENDED LIST-STATUS SPECIAL-USE CONDSTORE NAMESPACE ESEARCH UNSELECT"

// listServer answers each command by the first rule whose key it begins with.
func listServer(t *testing.T, side Side, caps string, log *transcript, rules ...[2]string) *fakeServer {
	return newFakeServer(t, side, caps, answers(func(command string) string {
		log.add(command)
		for _, rule := range rules {
			if strings.HasPrefix(command, rule[0]) {
				return rule[1]
			}
		}
		if command == "LOGOUT" {
			return ""
		}
		return "TAG BAD what?\r\n"
	}))
}

func newTestSource(t *testing.T, s *fakeServer) *Source {
	src := NewSource(SourceOptions{Open: s.dial, Logger: quiet()})
	closing(t, src)
	return src
}

// show makes a mailbox one line.
func show(m mail.Mailbox) string {
	s := fmt.Sprintf("%q=%s", m.Name, strings.Join(m.Path, "|"))
	switch {
	case m.RoleByName:
		s += " (" + m.Role + ")"
	case m.Role != "":
		s += " " + m.Role
	}
	if m.NoSelect {
		s += " noselect"
	}
	if m.Subscribed {
		s += " subscribed"
	}
	if m.Status != (mail.Status{}) {
		s += fmt.Sprintf(" %d/%d/%d", m.Status.UIDValidity, m.Status.UIDNext, m.Status.HighestModSeq)
		if m.Status.MessagesKnown {
			s += fmt.Sprintf(" %d", m.Status.Messages)
		}
	}
	return s
}

func TestMailboxes(t *testing.T) {
	for _, c := range []struct {
		name     string
		caps     string
		rules    [][2]string
		commands []string // sent, as prefixes
		want     []string
		prefix   string
		sep      byte
	}{
		{
			name: "everything in one round trip", caps: everything,
			rules: [][2]string{
				{"NAMESPACE", "* NAMESPACE ((\"\" \"/\")) NIL ((\"Public/\" \"/\"))\r\nTAG OK\r\n"},
				{"LIST", "* LIST (\\HasNoChildren \\subscribed) \"/\" INBOX\r\n* STATUS INBOX (MESSAGES 3 UIDNEXT 9 UIDVALIDITY 5 HIGHESTMODSEQ 77)\r\n" +
					"* LIST (\\SENT \\Subscribed) \"/\" {4}\r\nSent\r\n* STATUS \"Sent\" (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 6 HIGHESTMODSEQ 1)\r\n" +
					"* LIST (\\NoSelect) \"/\" a\r\n* LIST () \"/\" \"a/R&D\"\r\n* LIST () \"/\" \"a/R&D\"\r\n* STATUS a/R&D (UIDNEXT x UIDVALIDITY 4294967296 MESSAGES -1)\r\n" +
					"* LIST (\\NonExistent \\Subscribed) \"/\" gone\r\n* LIST () \"/\" Public/x\r\n* LIST () \"/\" \"qu\\\"o\\\\te\"\r\nTAG OK\r\n"},
			},
			commands: []string{"NAMESPACE", `LIST "" "*" RETURN (SUBSCRIBED SPECIAL-USE STATUS (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ))`},
			want: []string{
				`"INBOX"=INBOX subscribed 5/9/77 3`, `"Sent"=Sent \Sent subscribed 6/1/1 0`, `"a"=a noselect`, `"a/R&D"=a|R&D`,
				`"gone"=gone noselect subscribed`, `"qu\"o\\te"=qu"o\te`,
			},
			sep: '/',
		},
		{
			name: "Courier", caps: "NAMESPACE",
			rules: [][2]string{
				{"NAMESPACE", "* NAMESPACE ((\"INBOX.\" \".\")) NIL ((\"#shared.\" \".\")(\"shared.\" \".\"))\r\nTAG OK\r\n"},
				{"LIST", "* LIST (\\Unmarked \\HasChildren) \".\" \"INBOX\"\r\n* LIST (\\HasNoChildren) \".\" \"INBOX.Sent\"\r\n* LIST () \".\" \"INBOX.Entw&APw-rfe\"\r\nTAG OK\r\n"},
				{"LSUB", "* LSUB () \".\" \"INBOX.Sent\"\r\n* LSUB (\\Noselect) \".\" \"INBOX\"\r\nTAG OK\r\n"},
				{"STATUS \"INBOX.Sent\"", "TAG NO Unable to open this mailbox.\r\n"},
				{"STATUS \"INBOX\"", "* STATUS \"Inbox\" (MESSAGES 2 UIDNEXT 3 UIDVALIDITY 4)\r\nTAG OK\r\n"},
				{"STATUS", "* STATUS \"INBOX.Entw&APw-rfe\" (MESSAGES 1 UIDVALIDITY 8)\r\nTAG OK\r\n"},
			},
			commands: []string{"NAMESPACE", `LIST "" "*"`, `LSUB "" "*"`, `STATUS "INBOX" (MESSAGES UIDNEXT UIDVALIDITY)`, "STATUS", "STATUS"},
			want:     []string{`"INBOX"=INBOX 4/3/0 2`, `"INBOX.Entw&APw-rfe"=Entwürfe (\Drafts) 8/0/0 1`, `"INBOX.Sent"=Sent (\Sent) subscribed`},
			prefix:   "INBOX.", sep: '.',
		},
		{
			name: "everything in INBOX, without NAMESPACE",
			rules: [][2]string{
				{"LIST", "* LIST () \".\" Inbox\r\n* LIST () \".\" Inbox.a\r\n* LIST () \".\" inbox.a.b\r\nTAG OK\r\n"},
				{"LSUB", "TAG OK\r\n"},
				{"STATUS", "TAG NO\r\n"},
			},
			commands: []string{`LIST "" "*"`, "LSUB", "STATUS", "STATUS", "STATUS"},
			want:     []string{`"Inbox"=INBOX`, `"Inbox.a"=a`, `"inbox.a.b"=a|b`},
			prefix:   "INBOX.", sep: '.',
		},
		{
			name: "something beside INBOX, without NAMESPACE",
			rules: [][2]string{
				{"LIST", "* LIST () \"/\" INBOX\r\n* LIST () \"/\" INBOX/a\r\n* LIST () \"/\" b\r\nTAG OK\r\n"},
				{"LSUB", "TAG OK\r\n"},
				{"STATUS", "TAG NO\r\n"},
			},
			commands: []string{`LIST "" "*"`, "LSUB", "STATUS", "STATUS", "STATUS"},
			want:     []string{`"INBOX"=INBOX`, `"INBOX/a"=INBOX|a`, `"b"=b`},
			sep:      '/',
		},
		{
			name: "announced, not done", caps: "LIST-EXTENDED LIST-STATUS",
			rules: [][2]string{
				{`LIST "" "*" RETURN`, "* LIST () \"/\" Inbox\r\nTAG OK\r\n"},
				{"STATUS", "* STATUS INBOX (MESSAGES 2 UIDNEXT 3 UIDVALIDITY 4)\r\nTAG OK\r\n"},
			},
			commands: []string{`LIST "" "*" RETURN`, `STATUS "Inbox"`},
			want:     []string{`"Inbox"=INBOX 4/3/0 2`},
			sep:      '/',
		},
		{
			name: "announced, refused", caps: "LIST-EXTENDED LIST-STATUS",
			rules: [][2]string{
				{`LIST "" "*" RETURN`, "TAG BAD Command Argument Error\r\n"},
				{`LIST`, "* LIST () NIL INBOX\r\n* LIST () NIL other\r\nTAG OK\r\n"},
				{"LSUB", "TAG NO not today\r\n"},
				{"STATUS", "TAG NO\r\n"},
			},
			commands: []string{`LIST "" "*" RETURN`, `LIST "" "*"`, "LSUB", "STATUS", "STATUS"},
			want:     []string{`"INBOX"=INBOX`, `"other"=other`},
		},
		{
			name: "names that cannot be sent", caps: everything,
			rules: [][2]string{
				{"NAMESPACE", "TAG NO\r\n"},
				{"LIST", "* LIST () \"/\" {18}\r\na\r\nZ1 CREATE pwned\r\n\r\n* LIST () \"/\" \"\"\r\n* LIST () \"/\" NIL\r\n* LIST () \"/\"\r\n* LIST\r\n* LIST () \"/\" ok\r\n* STATUS\r\n* STATUS ok\r\n* STATUS ok (UIDNEXT)\r\nTAG OK\r\n"},
			},
			commands: []string{"NAMESPACE", "LIST"},
			want:     []string{"\"a\\r\\nZ1 CREATE pwned\"=a\r\nZ1 CREATE pwned noselect", `"ok"=ok`},
			sep:      '/',
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log transcript
			src := newTestSource(t, listServer(t, SideSource, c.caps, &log, c.rules...))
			listing, err := src.Mailboxes(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range listing.Mailboxes {
				got = append(got, show(m))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
			if listing.Prefix != c.prefix || listing.Separator != c.sep {
				t.Errorf("prefix %q separator %q", listing.Prefix, listing.Separator)
			}
			sent := log.all()
			if len(sent) != len(c.commands) {
				t.Fatalf("sent %q", sent)
			}
			for i := range sent {
				if !strings.HasPrefix(sent[i], c.commands[i]) {
					t.Errorf("sent %q, want %q", sent[i], c.commands[i])
				}
			}
		})
	}
}

// TestListRefused: a list that the server does not finish is no list.
func TestListRefused(t *testing.T) {
	var log transcript
	src := newTestSource(t, listServer(t, SideSource, "", &log,
		[2]string{"LIST", "* LIST () \"/\" INBOX\r\nTAG NO mount point is broken\r\n"}, [2]string{"LSUB", "TAG OK\r\n"}))
	listing, err := src.Mailboxes(t.Context())
	var refused *mail.Refused
	if !errors.As(err, &refused) || refused.Command != "LIST" {
		t.Errorf("%v %v", listing, err)
	}
}

// TestRoundTrips: with hundreds of mailboxes the server gets all STATUS
// commands before it has to answer one.
func TestRoundTrips(t *testing.T) {
	const boxes = statusesAtOnce
	var list strings.Builder
	for i := range boxes {
		fmt.Fprintf(&list, "* LIST () \"/\" box%d\r\n", i)
	}
	held, n := "", 0
	src := newTestSource(t, newFakeServer(t, SideSource, "", answers(func(command string) string {
		name, ok := strings.CutPrefix(command, "STATUS ")
		switch {
		case command == "LOGOUT":
			return ""
		case !ok:
			return map[bool]string{true: list.String()}[strings.HasPrefix(command, "LIST")] + "TAG OK\r\n"
		}
		held += "* STATUS " + strings.Replace(name, "(MESSAGES UIDNEXT UIDVALIDITY)", "(UIDNEXT 5)", 1) + "\r\nRtag OK\r\n"
		n++
		if n < boxes {
			return "* OK wait\r\n"
		}
		return numbered(held, n)
	})))
	listing, err := src.Mailboxes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range listing.Mailboxes {
		if m.Status.UIDNext != 5 {
			t.Fatalf("no status of %s", m.Name)
		}
	}
	if len(listing.Mailboxes) != boxes {
		t.Errorf("%d mailboxes", len(listing.Mailboxes))
	}
}

// numbered gives the n held answers their tags: LIST and LSUB had R1 and R2.
func numbered(held string, n int) string {
	for tag := 3; tag < n+3; tag++ {
		held = strings.Replace(held, "Rtag", fmt.Sprint("R", tag), 1)
	}
	return held
}

// TestListWhileOpen: no STATUS of a mailbox that is open, which would show what
// was there when it was opened.
func TestListWhileOpen(t *testing.T) {
	for how, open := range map[string]func(*Source) error{
		"Status": func(src *Source) error {
			_, err := src.Status(t.Context(), mail.Ref{Name: "INBOX"})
			return err
		},
		"Survey": func(src *Source) error {
			_, err := survey(t, src, mail.Question{Ref: mail.Ref{Name: "INBOX"}, From: 1})
			return err
		},
	} {
		for caps, leave := range map[string]string{"UNSELECT": "UNSELECT", "": "NOOP"} {
			var log transcript
			src := newTestSource(t, listServer(t, SideSource, caps, &log,
				[2]string{"EXAMINE", "* 0 EXISTS\r\n* OK [UIDVALIDITY 1]\r\nTAG OK\r\n"}, [2]string{"UID SEARCH", "* SEARCH\r\nTAG OK\r\n"}, [2]string{"UID FETCH", "TAG OK\r\n"},
				[2]string{"LIST", "TAG OK\r\n"}, [2]string{"LSUB", "TAG OK\r\n"}, [2]string{leave, "TAG OK\r\n"}))
			if err := open(src); err != nil {
				t.Fatal(how, err)
			}
			opened := len(log.all())
			if _, err := src.Mailboxes(t.Context()); err != nil {
				t.Fatal(how, err)
			}
			if sent := log.all(); sent[opened] != leave {
				t.Errorf("%s: sent %q", how, sent)
			}
		}
	}
}
