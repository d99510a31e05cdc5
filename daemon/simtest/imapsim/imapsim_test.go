package imapsim

import (
	"bufio"
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/netsim"
)

var day = time.Date(1990, 5, 6, 7, 8, 9, 0, time.UTC)

// conversation is one session of a server with two mailboxes.
type conversation struct {
	t      *testing.T
	server *Server
	model  *simtest.Server
	conn   net.Conn
	in     *bufio.Reader
}

// converse runs a conversation in a bubble.
func converse(t *testing.T, name string, o Options, talk func(*conversation)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			model := simtest.NewServer(10)
			for i, data := range []string{"Subject: one\r\n\r\nfirst\r\n", "Message-ID: <two@x>\r\n\r\nsecond\r\n", "third"} {
				model.Deliver("INBOX", data, day, mail.Flags{System: mail.System(i)})
			}
			model.Make("a/b")
			o.Users, o.Password = map[string]*simtest.Server{"u": model}, "p"
			if o.Capabilities == nil {
				o.Capabilities = Capabilities
			}
			c := &conversation{t: t, server: New(o), model: model}
			var network netsim.Network
			l, err := network.Listen("tcp", "old:143")
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error)
			go func() { ended <- c.server.Serve(l) }()
			if c.conn, err = network.Dial(context.Background(), "tcp", "old:143"); err != nil {
				t.Fatal(err)
			}
			defer func() {
				c.conn.Close()
				l.Close()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if open := network.Open(); open != 0 {
					t.Errorf("%d connections are open", open)
				}
			}()
			c.in = bufio.NewReader(c.conn)
			c.hears("* OK [CAPABILITY *] ready")
			talk(c)
		})
	})
}

func (c *conversation) says(lines ...string) {
	io.WriteString(c.conn, strings.Join(lines, "\r\n")+"\r\n")
}

// hears expects these lines; "*" stands for anything at one place of a line.
func (c *conversation) hears(lines ...string) {
	c.t.Helper()
	for _, want := range lines {
		c.conn.SetReadDeadline(time.Now().Add(time.Hour))
		got, err := c.in.ReadString('\n')
		got = strings.TrimSuffix(got, "\r\n")
		begin, end, open := strings.Cut(strings.TrimPrefix(want, "* "), "*")
		if strings.HasPrefix(want, "* ") {
			begin = "* " + begin
		}
		if err != nil || !(got == want || open && strings.HasPrefix(got, begin) && strings.HasSuffix(got, end)) {
			c.t.Fatalf("hears %q (%v), wants %q", got, err, want)
		}
	}
}

// opened logs in and opens INBOX.
func (c *conversation) opened(verb string) {
	c.t.Helper()
	c.says("l LOGIN u p")
	c.hears("l OK *")
	c.says("s " + verb + " inbox")
	for line := ""; !strings.HasPrefix(line, "s OK"); {
		var err error
		if line, err = c.in.ReadString('\n'); err != nil {
			c.t.Fatal(err)
		}
	}
}

// violates expects so many violations, with these words.
func (c *conversation) violates(words ...string) {
	c.t.Helper()
	list := c.server.Violations()
	if len(list) != len(words) {
		c.t.Fatalf("violations: %q", list)
	}
	for i, word := range words {
		if !strings.Contains(list[i], word) {
			c.t.Errorf("violation %q, want %q", list[i], word)
		}
	}
}

func (c *conversation) contents(name string) (texts []string) {
	c.model.Look(func() {
		for _, m := range c.model.Boxes[name].Messages {
			texts = append(texts, m.Data)
		}
	})
	return texts
}

func without(names ...string) []string {
	return slices.DeleteFunc(slices.Clone(Capabilities), func(c string) bool { return slices.Contains(names, c) })
}

func TestConversations(t *testing.T) {
	converse(t, "log-in", Options{}, func(c *conversation) {
		c.says("a LOGIN u wrong", "b AUTHENTICATE PLAIN AHUAcA==", "c CAPABILITY", `d ID ("name" "x")`, "e NAMESPACE", "f ENABLE CONDSTORE", "g LOGOUT")
		c.hears("a NO [AUTHENTICATIONFAILED] *", "b OK *", "* CAPABILITY IMAP4rev1 *", "c OK done", "* ID *", "d OK done",
			`* NAMESPACE (("" "/")) NIL NIL`, "e OK done", "* ENABLED CONDSTORE", "f OK done", "* BYE *", "g OK done")
		if _, err := c.in.ReadByte(); err != io.EOF {
			t.Errorf("after LOGOUT: %v", err)
		}
		c.violates()
	})
	converse(t, "mailboxes", Options{Prefix: "INBOX.", Separator: '.'}, func(c *conversation) {
		c.says("l LOGIN u p", `a CREATE "INBOX.a.c" (USE (\Sent))`, `b SUBSCRIBE "INBOX.a.c"`, `c LIST "" "*" RETURN (SUBSCRIBED SPECIAL-USE STATUS (MESSAGES UIDNEXT HIGHESTMODSEQ))`,
			`d LSUB "" "*"`, `e STATUS "inbox" (UIDVALIDITY)`, `f LIST "" "INBOX.%"`, "g CREATE INBOX.a.c", `h STATUS "x" (MESSAGES)`)
		c.hears("l OK *", "a OK done", "b OK done",
			`* LIST (\HasNoChildren) "." "INBOX"`, `* STATUS "INBOX" (MESSAGES 3 UIDNEXT 4 HIGHESTMODSEQ 3)`,
			`* LIST (\HasNoChildren) "." "INBOX.a.b"`, `* STATUS "INBOX.a.b" (MESSAGES 0 UIDNEXT 1 HIGHESTMODSEQ 1)`,
			`* LIST (\HasNoChildren \Subscribed \Sent) "." "INBOX.a.c"`, `* STATUS "INBOX.a.c" (MESSAGES 0 UIDNEXT 1 HIGHESTMODSEQ 1)`, "c OK done",
			`* LSUB (\HasNoChildren \Sent) "." "INBOX.a.c"`, "d OK done", `* STATUS "INBOX" (UIDVALIDITY 11)`, "e OK done",
			"f OK done", "g NO [ALREADYEXISTS] *", "h NO [NONEXISTENT] *")
		c.violates()
	})
	converse(t, "reading", Options{Source: true}, func(c *conversation) {
		c.says("l LOGIN u p", "s EXAMINE INBOX")
		c.hears("l OK *", `* FLAGS *`, "* OK [PERMANENTFLAGS ()] none", "* 3 EXISTS", "* 0 RECENT", "* OK [UIDVALIDITY 11] valid", "* OK [UIDNEXT 4] next",
			"* OK [HIGHESTMODSEQ 3] highest", "s OK [READ-ONLY] open")
		c.says("a UID FETCH 2:* (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[HEADER])", "b UID FETCH 1 (BODY.PEEK[]<3.4>)", "c UID FETCH 1:* (FLAGS) (CHANGEDSINCE 2)",
			"d UID SEARCH RETURN (ALL) UID 2:*", "e UID SEARCH UID 9:*", `f UID SEARCH HEADER MESSAGE-ID "two"`, "g UNSELECT")
		c.hears(`* 2 FETCH (UID 2 FLAGS (\Seen) INTERNALDATE " 6-May-1990 07:08:09 +0000" RFC822.SIZE 31 BODY[HEADER] {23}`, "Message-ID: <two@x>", "", ")",
			`* 3 FETCH (UID 3 FLAGS (\Answered) INTERNALDATE " 6-May-1990 07:08:09 +0000" RFC822.SIZE 5 BODY[HEADER] {5}`, "third)", "a OK done",
			"* 1 FETCH (UID 1 BODY[]<3> {4}", "ject)", "b OK done", `* 3 FETCH (UID 3 FLAGS (\Answered) MODSEQ (3))`, "c OK done",
			`* ESEARCH (TAG "d") UID ALL 2:3`, "d OK done", "* SEARCH 3", "e OK done", "* SEARCH 2", "f OK done", "g OK done")
		c.violates()
		c.says("h UID FETCH 1 (FLAGS)", "i EXAMINE INBOX", "j STATUS INBOX (MESSAGES)", "k UID FETCH 1 (BODY[])", "m UID STORE 1 FLAGS (\\Seen)", "n SELECT INBOX", "o CREATE x")
		c.hears("h BAD *", `* FLAGS *`)
		for range 100 {
			if line, err := c.in.ReadString('\n'); err != nil {
				t.Fatal(err)
			} else if strings.HasPrefix(line, "o OK") {
				break
			}
		}
		c.violates("out of place", "STATUS of the mailbox that is open", "BODY[]", "old server", "old server", "old server")
	})
	converse(t, "flags", Options{}, func(c *conversation) {
		c.opened("SELECT")
		c.says(`a UID STORE 1,2 +FLAGS.SILENT (\Flagged Work)`, "b ENABLE CONDSTORE")
		c.hears("a OK done", "* ENABLED CONDSTORE", "b OK done")
		c.model.Flag("INBOX", 2, mail.Flags{System: mail.Seen})
		c.says(`c UID STORE 1:3 (UNCHANGEDSINCE 5) FLAGS (\Answered)`)
		c.hears(`* 1 FETCH (UID 1 FLAGS (\Answered) MODSEQ (7))`, `* 2 FETCH (UID 2 FLAGS (\Answered) MODSEQ (8))`, `* 3 FETCH (UID 3 FLAGS (\Seen) MODSEQ (6))`, "c OK [MODIFIED 3] not all")
		c.says(`d UID STORE 1 -FLAGS.SILENT (\Answered)`, "e UID FETCH 1:3 (FLAGS)")
		c.hears("* 1 FETCH (UID 1 MODSEQ (9))", "d OK done", "* 1 FETCH (UID 1 FLAGS ())", `* 2 FETCH (UID 2 FLAGS (\Answered))`, `* 3 FETCH (UID 3 FLAGS (\Seen))`, "e OK done")
		c.violates()
	})
	converse(t, "moving and removing", Options{}, func(c *conversation) {
		c.opened("SELECT")
		c.says("a UID MOVE 1:9 a/b", "b UID COPY 9 a/b", "c SELECT a/b")
		c.hears("* OK [COPYUID 12 1:3 1:3] moved", "* 3 EXPUNGE", "* 2 EXPUNGE", "* 1 EXPUNGE", "a OK done", "b OK done",
			"* FLAGS *", "* OK [PERMANENTFLAGS *", "* 3 EXISTS", "* 0 RECENT", "* OK *", "* OK *", "* OK *", "c OK [READ-WRITE] open")
		c.says("d UID COPY 2,3 INBOX", `e UID STORE 1:2 +FLAGS.SILENT (\Deleted)`, "f UID EXPUNGE 2:3", "g UID MOVE 1 nowhere")
		c.hears("d OK [COPYUID 11 2:3 4:5] done", "e OK done", "* 2 EXPUNGE", "f OK done", "g NO [TRYCREATE] *")
		c.violates()
		c.says("h EXPUNGE")
		c.hears("* 1 EXPUNGE", "h OK done")
		c.violates("no server must see this")
		if texts := c.contents("a/b"); !slices.Equal(texts, []string{"third"}) {
			t.Errorf("%q", texts)
		}
	})
	converse(t, "appending", Options{}, func(c *conversation) {
		c.model.Refuse = func(data string) bool { return data == "no" }
		c.opened("SELECT")
		c.says(`a APPEND INBOX (\Seen Work) "06-May-1990 07:08:09 +0000" {3+}`, "one {2+}", "42", `b APPEND "a/b" {3+}`, "two", "c APPEND x {1+}", "y", "d APPEND INBOX {2+}", "no {3+}", "yes", "e APPEND INBOX {4}")
		c.hears("* 5 EXISTS", "a OK [APPENDUID 11 4:5] done", "b OK [APPENDUID 12 1] done", "c NO [TRYCREATE] *", "d NO not this one", "+ go on")
		c.says("five")
		c.hears("* 6 EXISTS", "e OK [APPENDUID 11 6] done")
		c.violates()
		if texts := c.contents("INBOX"); !slices.Equal(texts[3:], []string{"one", "42", "five"}) {
			t.Errorf("%q", texts)
		}
	})
	converse(t, "a literal after a line that cannot be parsed", Options{}, func(c *conversation) {
		c.opened("SELECT")
		c.says(`a APPEND INBOX (\Recent) {15+}`, "z CREATE pwned", "")
		c.hears("a BAD *", "z OK done")
		if c.model.Boxes["pwned"] == nil {
			t.Error("the literal was not read as a command")
		}
	})
	converse(t, "less", Options{Capabilities: without("UIDPLUS", "CONDSTORE", "MOVE", "LITERAL+", "LITERAL-", "ESEARCH", "IDLE", "MULTIAPPEND", "LIST-STATUS", "CHILDREN")}, func(c *conversation) {
		c.opened("SELECT")
		c.says("a UID COPY 1 a/b", "b APPEND a/b {1}")
		c.hears("a OK done", "+ go on")
		c.says("x", `c LIST "" "a*" RETURN (SUBSCRIBED)`)
		c.hears("b OK done", `* LIST () "/" "a/b"`, "c OK done")
		c.violates()
		c.says("d UID MOVE 1 a/b", "e UID EXPUNGE 1", "f IDLE", "g UID SEARCH RETURN (ALL) UID 1", "h UID FETCH 1 (FLAGS) (CHANGEDSINCE 1)", `i LIST "" "*" RETURN (STATUS (MESSAGES))`, "j APPEND a/b {1+}", "x")
		c.hears("d BAD *", "e BAD *", "f BAD *", "g BAD *", "h BAD *", "i BAD *", "j OK done")
		c.violates("not known", "not known", "not known", "RETURN", "FETCH", "RETURN", "did not wait")
	})
}

func TestNews(t *testing.T) {
	converse(t, "by NOOP", Options{}, func(c *conversation) {
		c.opened("EXAMINE")
		c.model.Expunge("INBOX", 0)
		c.model.Deliver("INBOX", "fourth", day, mail.Flags{})
		c.model.Flag("INBOX", 0, mail.Flags{System: mail.Flagged})
		c.says("a NOOP", "b NOOP")
		c.hears("* 1 EXPUNGE", `* 1 FETCH (UID 2 FLAGS (\Flagged))`, "* 3 EXISTS", "a OK done", "b OK done")
	})
	converse(t, "unknown until told", Options{}, func(c *conversation) {
		c.opened("EXAMINE")
		c.model.Deliver("INBOX", "fourth", day, mail.Flags{})
		c.says("a UID SEARCH ALL", "b UID SEARCH ALL")
		c.hears("* SEARCH 1 2 3", "* 4 EXISTS", "a OK done", "* SEARCH 1 2 3 4", "b OK done")
	})
	converse(t, "eager", Options{Eager: true}, func(c *conversation) {
		c.opened("EXAMINE")
		c.model.Flag("INBOX", 0, mail.Flags{System: mail.Flagged})
		c.says("a UID FETCH 2 (FLAGS)")
		c.hears(`* 1 FETCH (UID 1 FLAGS (\Flagged))`, `* 2 FETCH (UID 2 FLAGS (\Seen))`, "a OK done")
	})
	converse(t, "by IDLE", Options{}, func(c *conversation) {
		c.opened("EXAMINE")
		c.says("a IDLE")
		c.hears("+ idling")
		time.Sleep(time.Minute)
		c.model.Deliver("INBOX", "fourth", day, mail.Flags{})
		c.hears("* 4 EXISTS")
		c.says("DONE")
		c.hears("a OK done")
	})
	converse(t, "by NOTIFY", Options{}, func(c *conversation) {
		c.opened("EXAMINE")
		c.says("a NOTIFY SET (selected (MessageNew MessageExpunge)) (personal (MessageNew MessageExpunge))")
		c.hears("a OK done")
		c.model.Deliver("a/b", "fourth", day, mail.Flags{})
		c.hears(`* STATUS "a/b" (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 12)`)
		c.model.Deliver("INBOX", "fifth", day, mail.Flags{})
		c.hears("* 4 EXISTS")
		c.says("b NOTIFY NONE")
		c.hears("b OK done")
		c.model.Deliver("INBOX", "sixth", day, mail.Flags{})
		synctest.Wait()
		c.says("c NOOP")
		c.hears("* 5 EXISTS", "c OK done")
		c.violates()
	})
	converse(t, "rebuilt", Options{}, func(c *conversation) {
		c.opened("EXAMINE")
		c.model.Rebuild("INBOX")
		c.says("a NOOP")
		c.hears("* BYE *")
	})
	converse(t, "silent for too long", Options{}, func(c *conversation) {
		time.Sleep(autologout - time.Second)
		c.says("a NOOP")
		c.hears("a OK done")
		if _, err := c.in.ReadByte(); err != io.EOF {
			t.Error(err)
		}
	})
}

func TestReactions(t *testing.T) {
	var seen []Command
	react := func(say string, after bool) Options {
		return Options{Before: func(k Command) Reaction {
			seen = append(seen, k)
			if k.Verb == "APPEND" {
				return Reaction{say, after}
			}
			return Reaction{}
		}}
	}
	converse(t, "refused", react("NO [LIMIT] later", false), func(c *conversation) {
		c.opened("SELECT")
		c.says("a APPEND INBOX {3+}", "one {3+}", "two", "b APPEND INBOX {3}", "c NOOP")
		c.hears("a NO [LIMIT] later", "b NO [LIMIT] later", "c OK done")
		if n := c.server.Count("APPEND"); n != 0 {
			t.Errorf("%d were carried out", n)
		}
	})
	if last := seen[3]; last.User != "u" || last.Verb != "APPEND" || last.Line != "APPEND INBOX {3+}" {
		t.Errorf("%+v", last)
	}
	converse(t, "done and then lost", react("BYE [UNAVAILABLE] sorry", true), func(c *conversation) {
		c.opened("SELECT")
		c.says("a APPEND INBOX {3+}", "one")
		c.hears("* BYE [UNAVAILABLE] sorry")
		if _, err := c.in.ReadByte(); err != io.EOF {
			t.Error(err)
		}
		if n := len(c.contents("INBOX")); n != 4 || c.server.Count("APPEND") != 1 {
			t.Errorf("%d messages", n)
		}
	})
	converse(t, "late", Options{Commit: func() time.Duration { return time.Minute }}, func(c *conversation) {
		c.opened("SELECT")
		c.says("a APPEND INBOX {3+}", "one", "b APPEND INBOX {3+}", "two")
		c.conn.Close()
		time.Sleep(90 * time.Second)
		if n := len(c.contents("INBOX")); n != 4 {
			c.t.Errorf("%d messages after 90 s", n)
		}
		time.Sleep(time.Minute)
		if n := len(c.contents("INBOX")); n != 5 {
			c.t.Errorf("%d messages after 150 s", n)
		}
	})
}
