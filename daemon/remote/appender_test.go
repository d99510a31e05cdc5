package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

const (
	appendCaps  = "LITERAL+ UIDPLUS"
	selectShown = "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft Listed)\r\n* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft Listed \\*)]\r\n" +
		"* 0 EXISTS\r\n* OK [UIDVALIDITY 7]\r\n* OK [UIDNEXT 1]\r\nTAG OK [READ-WRITE] done\r\n"
)

// dovecotLike reads commands as Dovecot 2.3 does: an APPEND whose line cannot
// be parsed is answered BAD at once, and then the parser goes on with whatever
// comes next, be it the literal that had been announced with {n+}.
type dovecotLike struct {
	mu       sync.Mutex
	stored   []string // "flags: body"
	created  []string
	commands []string
	waited   int // literals that waited for "+"
	multi    int // commands with several messages
	hidden   int // UIDs that were given to others meanwhile
	// refuse is an answer to a message with that body.
	refuse map[string]string
	// likeCyrus: NUL is taken in a literal8 only, and what is marked as binary
	// there is not stored as it is.
	likeCyrus  bool
	literal8s  int
	noLiteral8 string // the answer to a literal8; empty: it is taken
}

func (d *dovecotLike) serve(conn net.Conn, in *bufio.Reader) {
	out := bufio.NewWriter(conn)
	defer out.Flush()
	for {
		if in.Buffered() == 0 && out.Flush() != nil {
			return
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		tag, command, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		verb, args, _ := strings.Cut(command, " ")
		d.mu.Lock()
		d.commands = append(d.commands, command)
		d.mu.Unlock()
		switch strings.ToUpper(verb) {
		case "SELECT", "EXAMINE":
			d.mu.Lock()
			next := fmt.Sprintf("[UIDNEXT %d]", len(d.stored)+1+d.hidden)
			d.mu.Unlock()
			fmt.Fprint(out, strings.NewReplacer("TAG", tag, "[UIDNEXT 1]", next).Replace(selectShown))
		case "UID":
			fmt.Fprintf(out, "* SEARCH 1\r\n%s OK\r\n", tag)
		case "CREATE":
			d.mu.Lock()
			d.created = append(d.created, args)
			d.mu.Unlock()
			fmt.Fprintf(out, "%s OK\r\n", tag)
		case "LOGOUT":
			fmt.Fprintf(out, "* BYE\r\n%s OK\r\n", tag)
			return
		case "APPEND":
			if !d.append(tag, args, in, out) {
				return
			}
		default:
			fmt.Fprintf(out, "%s BAD unknown command\r\n", tag)
		}
	}
}

// append serves APPEND, of several messages too (RFC 3502), all or none; false
// ends the connection.
func (d *dovecotLike) append(tag, args string, in *bufio.Reader, out *bufio.Writer) bool {
	var messages []string
	for refuse := ""; ; {
		message, answer, goOn := d.message(tag, args, in, out)
		if !goOn {
			return answer != ""
		}
		messages = append(messages, message)
		if refuse == "" {
			refuse = answer
		}
		end, err := in.ReadString('\n')
		if err != nil {
			return false
		}
		if rest, more := strings.CutPrefix(strings.TrimRight(end, "\r\n"), " "); more {
			args = `"box" ` + rest
			continue
		} else if rest != "" {
			fmt.Fprintf(out, "%s BAD trailing %q\r\n", tag, end)
			return true
		}
		if refuse != "" {
			fmt.Fprintf(out, "%s %s\r\n", tag, refuse)
			return true
		}
		d.mu.Lock()
		first := len(d.stored) + 1 + d.hidden
		d.stored = append(d.stored, messages...)
		if len(messages) > 1 {
			d.multi++
		}
		d.mu.Unlock()
		if len(messages) == 1 {
			fmt.Fprintf(out, "%s OK [APPENDUID 7 %d] Append completed.\r\n", tag, first)
		} else {
			fmt.Fprintf(out, "%s OK [APPENDUID 7 %d:%d] Append completed.\r\n", tag, first, first+len(messages)-1)
		}
		return true
	}
}

// message reads one message of APPEND. Without goOn the command has been
// answered, unless the answer is empty, which ends the connection; else the
// answer is why the message is refused.
func (d *dovecotLike) message(tag, args string, in *bufio.Reader, out *bufio.Writer) (message, answer string, goOn bool) {
	open := strings.LastIndexByte(args, '{')
	if open < 0 || !strings.HasSuffix(args, "}") {
		fmt.Fprintf(out, "%s BAD missing literal\r\n", tag)
		return "", "BAD", false
	}
	digits, plus := strings.CutSuffix(args[open+1:len(args)-1], "+")
	size, err := strconv.Atoi(digits)
	before, literal8 := strings.CutSuffix(args[:open], "~")
	flags, ok := dovecotFlags(before)
	if err != nil || !ok {
		fmt.Fprintf(out, "%s BAD Error in IMAP command APPEND: Invalid arguments.\r\n", tag)
		return "", "BAD", false // and the literal, if it comes, is read as commands
	}
	if literal8 && d.noLiteral8 != "" {
		fmt.Fprintf(out, "%s %s unknown literal\r\n", tag, d.noLiteral8)
		return "", d.noLiteral8, false
	}
	refuse := ""
	switch {
	case strings.ContainsAny(flags, "]"):
		refuse = "NO [CANNOT] Invalid keyword name"
	case size == 0:
		refuse = "NO Can't save a zero byte message"
	}
	if !plus {
		if refuse != "" {
			fmt.Fprintf(out, "%s %s\r\n", tag, refuse)
			return "", refuse, false
		}
		fmt.Fprint(out, "+ OK\r\n")
		d.mu.Lock()
		d.waited++
		d.mu.Unlock()
		if out.Flush() != nil {
			return "", "", false
		}
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(in, body); err != nil {
		return "", "", false
	}
	if refuse == "" {
		refuse = d.refuse[string(body)]
	}
	switch {
	case literal8:
		d.mu.Lock()
		d.literal8s++
		d.mu.Unlock()
		body = bytes.ReplaceAll(body, []byte("binary"), []byte("base64"))
	case d.likeCyrus && refuse == "" && bytes.IndexByte(body, 0) >= 0:
		refuse = "NO Message contains NUL characters"
	}
	return flags + ": " + string(body), refuse, true
}

// dovecotFlags parses what stands between APPEND and its literal, and returns
// the flags.
func dovecotFlags(args string) (string, bool) {
	rest, ok := strings.CutPrefix(args, `"box" (`)
	if !ok {
		return "", false
	}
	flags, date, ok := strings.Cut(rest, `) "`)
	if !ok || !strings.HasSuffix(date, `" `) {
		return "", false
	}
	t, err := time.Parse("02-Jan-2006 15:04:05 -0700", strings.TrimSuffix(date, `" `))
	if err != nil || t.Year() < 1970 || t.Year() > 2105 {
		return "", false
	}
	for _, flag := range strings.Fields(flags) {
		name, system := strings.CutPrefix(flag, `\`)
		if system && !slices.Contains([]string{"Seen", "Answered", "Flagged", "Deleted", "Draft"}, name) {
			return "", false
		}
		for _, c := range []byte(name) {
			if c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\`, c) >= 0 {
				return "", false
			}
		}
	}
	return flags, true
}

// TestTheHole: the server of these tests does execute mail.
func TestTheHole(t *testing.T) {
	d := &dovecotLike{}
	s := newFakeServer(t, SideDestination, appendCaps, d.serve)
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "A1 APPEND \"box\" (\\Recent) \"01-Jan-2020 00:00:00 +0000\" {24+}\r\n\r\nZ1 CREATE pwned\r\n.....\r\nA2 LOGOUT\r\n")
	io.Copy(io.Discard, conn)
	if d.mu.Lock(); !slices.Equal(d.created, []string{"pwned"}) {
		t.Errorf("created %q", d.created)
	}
	d.mu.Unlock()
}

// newAppender opens "box" for appending.
func newAppender(t *testing.T, s *fakeServer) (*Destination, mail.Appender) {
	t.Helper()
	d := NewDestination(DestinationOptions{Open: s.dial, Logger: quiet()})
	closing(t, d)
	a, err := d.Appender(t.Context(), mail.Ref{Name: "box"})
	if err != nil {
		t.Fatal(err)
	}
	return d, a
}

// outcomesOf waits for the answer to an Append.
func outcomesOf(answer <-chan mail.Answer) ([]mail.Appended, error) {
	a := <-answer
	return a.Outcomes, a.Err
}

func text(body string, flags ...string) mail.Upload {
	return mail.Upload{Size: int64(len(body)), Date: noon, Flags: mail.ParseFlags(flags), Content: strings.NewReader(body)}
}

const hostileBody = "Subject: hello\r\n\r\nZ1 CREATE pwned\r\nZ2 CREATE pwned\r\n"

// TestMailIsNeverExecuted: whatever flags or dates a message has, and wherever
// it stands in a batch, the server never takes mail for commands, and the
// others are stored.
func TestMailIsNeverExecuted(t *testing.T) {
	type nasty struct {
		name    string
		spoil   func(*mail.Upload)
		refused string // Text of the refusal holds this; "": stored
	}
	keyword := func(k string) func(*mail.Upload) {
		return func(m *mail.Upload) { m.Flags.Keywords = k }
	}
	var list []nasty
	for _, k := range []string{`\Recent`, `\*`, "gr\xfcn", "grün", "a(", "a)b", `a"b`, "a{5+}", "a{5}", "%", "a*", `a\b`, "a\tb", "a\r\nZ3 CREATE x", "a\x00", "a\x7f", strings.Repeat("k", 2000)} {
		list = append(list, nasty{fmt.Sprintf("%.20q", k), keyword(k), "cannot be sent"})
	}
	list = append(list,
		nasty{"bracket", keyword("a]"), "Invalid keyword"},
		nasty{"long", keyword(strings.Repeat("k", 200)), ""},
		nasty{"slash", keyword("a/b"), ""},
		nasty{"new", keyword("New"), ""},
		nasty{"year 1", func(m *mail.Upload) { m.Date = time.Time{} }, "cannot be sent"},
		nasty{"year 1969", func(m *mail.Upload) { m.Date = time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC) }, "cannot be sent"},
		nasty{"year 2106", func(m *mail.Upload) { m.Date = time.Date(2106, 1, 1, 0, 0, 0, 0, time.UTC) }, "cannot be sent"},
		nasty{"year 12345", func(m *mail.Upload) { m.Date = time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC) }, "cannot be sent"},
		nasty{"empty", func(m *mail.Upload) { m.Size = 0 }, "zero byte"},
		nasty{"negative", func(m *mail.Upload) { m.Size = -1 }, "without content"},
	)
	const batch = 4
	for i, n := range slices.Concat(list, list) {
		caps := appendCaps
		if i >= len(list) {
			caps += " MULTIAPPEND"
		}
		t.Run(n.name, func(t *testing.T) {
			t.Parallel()
			for at := range batch {
				d := &dovecotLike{}
				_, a := newAppender(t, newFakeServer(t, SideDestination, caps, d.serve))
				messages := make([]mail.Upload, batch)
				for i := range messages {
					messages[i] = text(fmt.Sprint(i, hostileBody), `\Seen`, "Listed")
				}
				n.spoil(&messages[at])
				outcomes, err := outcomesOf(a.Append(t.Context(), messages))
				if err != nil {
					t.Fatalf("at %d: %v", at, err)
				}
				stored := 0
				for i, o := range outcomes {
					var refused *mail.Refused
					if i == at && n.refused != "" {
						if !errors.As(o.Err, &refused) || !strings.Contains(refused.Text, n.refused) {
							t.Errorf("at %d: %v", at, o.Err)
						}
						continue
					}
					stored++
					if o.Err != nil || o.UID != mail.UID(stored) || o.UIDValidity != 7 {
						t.Errorf("at %d: message %d: %+v", at, i, o)
					}
				}
				d.mu.Lock()
				if len(d.created) != 0 || len(d.stored) != stored {
					t.Errorf("at %d: created %q, stored %q", at, d.created, d.stored)
				}
				for _, command := range d.commands {
					if !strings.HasPrefix(command, "APPEND ") && !strings.HasPrefix(command, "SELECT ") {
						t.Errorf("at %d: the server executed %q", at, command)
					}
				}
				d.mu.Unlock()
			}
		})
	}
}

// TestLiteralsWait: only flags that the mailbox has taken go before a literal
// that does not wait.
func TestLiteralsWait(t *testing.T) {
	for _, c := range []struct {
		name     string
		caps     string
		messages []mail.Upload
		waited   int
	}{
		{"known flags", appendCaps, []mail.Upload{text("a", `\Seen`), text("b", "listed"), text("c")}, 0},
		{"a new keyword waits once", appendCaps, []mail.Upload{text("a", "New"), text("b", "new"), text("c", "New", "Listed")}, 1},
		{"no LITERAL+", "", []mail.Upload{text("a"), text("b")}, 2},
		{"LITERAL-", "LITERAL-", []mail.Upload{text(strings.Repeat("a", 4096)), text(strings.Repeat("a", 4097))}, 1},
		{"keyword that is not plain", appendCaps, []mail.Upload{text("a", "a/b"), text("b", "a/b")}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &dovecotLike{}
			_, a := newAppender(t, newFakeServer(t, SideDestination, c.caps, d.serve))
			outcomes, err := outcomesOf(a.Append(t.Context(), c.messages))
			if err != nil {
				t.Fatal(err)
			}
			for i, o := range outcomes {
				if o.Err != nil {
					t.Errorf("message %d: %v", i, o.Err)
				}
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.waited != c.waited || len(d.stored) != len(c.messages) {
				t.Errorf("%d literals waited, want %d; stored %d", d.waited, c.waited, len(d.stored))
			}
		})
	}
}

// TestRefusedLiteral: after a literal that the server did not want, commands
// are commands again, for us too.
func TestRefusedLiteral(t *testing.T) {
	d := &dovecotLike{}
	_, a := newAppender(t, newFakeServer(t, SideDestination, appendCaps, d.serve))
	outcomes, err := outcomesOf(a.Append(t.Context(), []mail.Upload{text(strings.Repeat("x", 100), "a]")}))
	if err != nil || outcomeOf(outcomes[0].Err) != "NO CANNOT" {
		t.Fatal(outcomes, err)
	}
	if _, err := a.(*Appender).conn.Raw(t.Context(), "DELETE box"); !errors.Is(err, errForbidden) {
		t.Errorf("DELETE passes for the rest of a literal: %v", err)
	}
}

// scriptedAppends serves SELECT and then reads n pipelined APPENDs whole
// before it writes answer and ends.
func scriptedAppends(n int, answer func(tags []string) string) func(net.Conn, *bufio.Reader) {
	return func(conn net.Conn, in *bufio.Reader) {
		var tags []string
		for len(tags) < n {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			tag, command, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
			if !strings.HasPrefix(command, "APPEND") {
				io.WriteString(conn, strings.ReplaceAll(selectShown, "TAG", tag))
				continue
			}
			size, _ := strconv.Atoi(strings.TrimSuffix(line[strings.LastIndexByte(line, '{')+1:], "+}\r\n"))
			io.CopyN(io.Discard, in, int64(size)+2)
			tags = append(tags, tag)
		}
		io.WriteString(conn, answer(tags))
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.CloseWrite()
		}
		io.Copy(io.Discard, in)
	}
}

// TestCutAnywhere: wherever the answers are cut off, a message is stored for
// certain or in doubt, and the first answer that is missing is where doubt
// begins.
func TestCutAnywhere(t *testing.T) {
	const n = 5
	answer := func(tags []string) string {
		var b strings.Builder
		for i, tag := range tags {
			fmt.Fprintf(&b, "* %d EXISTS\r\n", i+1)
			if i == 2 {
				fmt.Fprintf(&b, "%s NO [OVERQUOTA] full\r\n", tag)
			} else {
				fmt.Fprintf(&b, "%s OK [APPENDUID 7 %d] done\r\n", tag, i+10)
			}
		}
		return b.String()
	}
	whole := answer([]string{"R2", "R3", "R4", "R5", "R6"})
	for _, together := range []int{n, 2, 1} { // in one call, or several before the first is answered
		for cut := 0; cut <= len(whole); cut++ {
			s := newFakeServer(t, SideDestination, appendCaps, scriptedAppends(n, func(tags []string) string { return answer(tags)[:cut] }))
			_, a := newAppender(t, s)
			messages := make([]mail.Upload, n)
			for i := range messages {
				messages[i] = text("body")
			}
			var calls []<-chan mail.Answer
			for part := range slices.Chunk(messages, together) {
				calls = append(calls, a.Append(t.Context(), part))
			}
			var outcomes []mail.Appended
			var err error
			for _, call := range calls {
				some, cerr := outcomesOf(call)
				outcomes, err = append(outcomes, some...), errors.Join(err, cerr)
			}
			if (err == nil) != (cut >= len(whole)) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			answered := 0
			for _, line := range strings.SplitAfter(whole[:cut], "\n") {
				if strings.HasPrefix(line, "R") && strings.HasSuffix(line, "\n") {
					answered++
				}
			}
			for i, o := range outcomes {
				var refused *mail.Refused
				switch {
				case i >= answered:
					if !errors.Is(o.Err, mail.ErrInDoubt) {
						t.Errorf("cut at %d: message %d: %v", cut, i, o.Err)
					}
				case i == 2:
					if !errors.As(o.Err, &refused) || refused.Code != "OVERQUOTA" {
						t.Errorf("cut at %d: message %d: %v", cut, i, o.Err)
					}
				case o.Err != nil || o.UID != mail.UID(i+10):
					t.Errorf("cut at %d: message %d: %+v", cut, i, o)
				}
			}
			if _, err := outcomesOf(a.Append(t.Context(), messages)); err != nil != (cut < len(whole)) && cut < len(whole) {
				t.Errorf("cut at %d: the appender goes on", cut)
			}
		}
	}
}

// TestCutBeforeProceed: a literal that was never asked for was not sent.
func TestCutBeforeProceed(t *testing.T) {
	s := newFakeServer(t, SideDestination, "", answers(func(command string) string {
		if strings.HasPrefix(command, "APPEND") {
			return ""
		}
		return selectShown
	}))
	_, a := newAppender(t, s)
	outcomes, err := outcomesOf(a.Append(t.Context(), []mail.Upload{text("a"), text("b")}))
	if err == nil {
		t.Error("no error")
	}
	for i, o := range outcomes {
		if !errors.Is(o.Err, mail.ErrNotSent) {
			t.Errorf("message %d: %v", i, o.Err)
		}
	}
}

// TestBAD: one BAD ends the connection at once and makes all literals of the
// server wait from then on.
func TestBAD(t *testing.T) {
	var lines transcript
	s := newFakeServer(t, SideDestination, appendCaps, func(conn net.Conn, in *bufio.Reader) {
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			tag, command, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
			if strings.HasPrefix(command, "APPEND") {
				lines.add(command)
				fmt.Fprintf(conn, "%s BAD no\r\n", tag)
			} else {
				io.WriteString(conn, strings.ReplaceAll(selectShown, "TAG", tag))
			}
		}
	})
	d, a := newAppender(t, s)
	endless := mail.Upload{Size: 1 << 30, Date: noon, Content: endlessMail{}}
	outcomes, err := outcomesOf(a.Append(t.Context(), []mail.Upload{text("a"), endless, text("c")}))
	if err == nil {
		t.Error("no error")
	}
	var refused *mail.Refused
	if !errors.As(outcomes[0].Err, &refused) || refused.Type != "BAD" || refused.Text != "no" {
		t.Errorf("refused: %v", outcomes[0].Err)
	}
	if !errors.Is(outcomes[1].Err, mail.ErrInDoubt) && !errors.Is(outcomes[1].Err, mail.ErrNotSent) {
		t.Errorf("sent in part: %v", outcomes[1].Err)
	}
	if !errors.Is(outcomes[2].Err, mail.ErrNotSent) {
		t.Errorf("never sent: %v", outcomes[2].Err)
	}
	if a, err = d.Appender(t.Context(), mail.Ref{Name: "box"}); err != nil {
		t.Fatal(err)
	}
	if outcomes, err := outcomesOf(a.Append(t.Context(), []mail.Upload{text("a")})); err == nil || outcomes[0].Err == nil {
		t.Errorf("%v %v", outcomes, err)
	}
	all := lines.all()
	if last := all[len(all)-1]; !strings.HasSuffix(last, "{1}") {
		t.Errorf("after a BAD: %s", last)
	}
	if s.dials.Load() != 2 {
		t.Errorf("%d connections", s.dials.Load())
	}
}

// endlessMail is content of any size without memory.
type endlessMail struct{}

func (endlessMail) ReadAt(p []byte, _ int64) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// shortMail ends before its announced size.
type shortMail struct{ size int64 }

func (s shortMail) ReadAt(p []byte, off int64) (int, error) {
	n := int(max(0, min(int64(len(p)), s.size-off)))
	endlessMail{}.ReadAt(p[:n], off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// TestShortContent: after content that falls short not one more octet is sent,
// since the server would store the next command as the rest of the message.
func TestShortContent(t *testing.T) {
	for _, c := range []struct {
		name          string
		size, has     int64
		first, second error
	}{
		{"found out before", 100, 50, mail.ErrNotSent, mail.ErrNotSent},
		{"found out while sending", 3 * chunk, 2*chunk + 7, mail.ErrInDoubt, mail.ErrNotSent},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &dovecotLike{}
			_, a := newAppender(t, newFakeServer(t, SideDestination, appendCaps, d.serve))
			outcomes, err := outcomesOf(a.Append(t.Context(), []mail.Upload{
				{Size: c.size, Date: noon, Content: shortMail{c.has}}, text(strings.Repeat("y", 3*chunk)),
			}))
			if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(outcomes[0].Err, c.first) || !errors.Is(outcomes[1].Err, c.second) {
				t.Errorf("%v, %v", outcomes, err)
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if len(d.stored) != 0 {
				t.Errorf("%d stored", len(d.stored))
			}
		})
	}
}

// TestUnreadableContent: what was written before a content that cannot be read is
// answered; nothing waits for the server.
func TestUnreadableContent(t *testing.T) {
	for _, caps := range []string{appendCaps, multiCaps} {
		for _, keyword := range []string{`\Seen`, "New"} {
			d := &dovecotLike{}
			_, a := newAppender(t, newFakeServer(t, SideDestination, caps, d.serve))
			before, unread := text("before", "New"), text("unread", keyword)
			unread.Content = shortMail{0}
			outcomes, err := outcomesOf(a.Append(t.Context(), []mail.Upload{before, unread, text("behind")}))
			if !errors.Is(err, io.ErrUnexpectedEOF) || outcomes[0].Err != nil || !errors.Is(outcomes[1].Err, mail.ErrNotSent) || !errors.Is(outcomes[2].Err, mail.ErrNotSent) {
				t.Errorf("%s, %s: %v, %v", caps, keyword, outcomes, err)
			}
		}
	}
}

// TestNoDeadlock: a server that talks more than buffers hold before it reads
// on is listened to.
func TestNoDeadlock(t *testing.T) {
	s := newFakeServer(t, SideDestination, appendCaps, func(conn net.Conn, in *bufio.Reader) {
		conn.(*net.TCPConn).SetWriteBuffer(8 << 10)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			tag, command, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
			if !strings.HasPrefix(command, "APPEND") {
				io.WriteString(conn, strings.ReplaceAll(selectShown, "TAG", tag))
				continue
			}
			io.WriteString(conn, strings.Repeat("* 1 EXISTS\r\n", 40_000))
			size, _ := strconv.Atoi(strings.TrimSuffix(line[strings.LastIndexByte(line, '{')+1:], "+}\r\n"))
			io.CopyN(io.Discard, in, int64(size)+2)
			fmt.Fprintf(conn, "%s OK done\r\n", tag)
		}
	})
	_, a := newAppender(t, s)
	big := func() mail.Upload { return mail.Upload{Size: 4 << 20, Date: noon, Content: endlessMail{}} }
	outcomes, err := outcomesOf(a.Append(t.Context(), []mail.Upload{big(), big(), big()}))
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outcomes {
		if o.Err != nil || o.UID != 0 {
			t.Errorf("message %d: %+v", i, o)
		}
	}
}

// TestAppendMemory: the size of a message does not show in memory.
func TestAppendMemory(t *testing.T) {
	s := newFakeServer(t, SideDestination, appendCaps, scriptedAppends(1, func(tags []string) string { return tags[0] + " OK done\r\n" }))
	_, a := newAppender(t, s)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := outcomesOf(a.Append(t.Context(), []mail.Upload{{Size: 64 << 20, Date: noon, Content: endlessMail{}}})); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 2<<20 {
		t.Errorf("64 MiB took %d octets of memory", grown)
	}
}

// unclosed keeps the server's side open when a script has come to its end.
type unclosed struct{ net.Conn }

// TestAppendCancelled: the end of the context ends the connection and leaves
// what was sent in doubt.
func TestAppendCancelled(t *testing.T) {
	got := make(chan struct{})
	serve := scriptedAppends(1, func([]string) string { close(got); return "* 1 EXISTS\r\n" })
	s := newFakeServer(t, SideDestination, appendCaps, func(conn net.Conn, in *bufio.Reader) { serve(unclosed{conn}, in) })
	_, a := newAppender(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-got
		cancel()
	}()
	outcomes, err := outcomesOf(a.Append(ctx, []mail.Upload{text("a")}))
	if !errors.Is(err, context.Canceled) || !errors.Is(outcomes[0].Err, mail.ErrInDoubt) {
		t.Errorf("%v, %v", outcomes, err)
	}
}

// TestOddAnswers: an answer that cannot be is no proof.
func TestOddAnswers(t *testing.T) {
	for _, c := range []struct {
		answer string
		ended  bool
		want   mail.Appended
	}{
		{"TAG OK done\r\n", false, mail.Appended{}},
		{"TAG OK [APPENDUID 7] done\r\n", false, mail.Appended{}},
		{"TAG OK [APPENDUID 7 0] done\r\n", false, mail.Appended{}},
		{"TAG OK [APPENDUID 0 3] done\r\n", false, mail.Appended{}},
		{"TAG OK [APPENDUID 7 3:4] done\r\n", false, mail.Appended{}},
		{"TAG OK [APPENDUID 7 4294967296] done\r\n", false, mail.Appended{}},
		{"TAG OK [APPENDUID x y] done\r\n", false, mail.Appended{}},
		{"tag ok [appenduid 7 3] done\r\n", true, mail.Appended{Err: mail.ErrInDoubt}},
		{"X9 OK [APPENDUID 7 3] done\r\n", true, mail.Appended{Err: mail.ErrInDoubt}},
		{"TAG PREAUTH\r\n", true, mail.Appended{Err: mail.ErrInDoubt}},
		{"* BYE going down\r\n", true, mail.Appended{Err: mail.ErrInDoubt}},
		{"+ go on\r\nTAG OK [APPENDUID 7 3]\r\n", false, mail.Appended{UID: 3, UIDValidity: 7}},
		{"* 9 FETCH (UID 3 FLAGS (\\Seen))\r\nTAG OK [APPENDUID 7 3]\r\n", false, mail.Appended{UID: 3, UIDValidity: 7}},
	} {
		s := newFakeServer(t, SideDestination, appendCaps, scriptedAppends(1, func(tags []string) string {
			return strings.ReplaceAll(c.answer, "TAG", tags[0])
		}))
		_, a := newAppender(t, s)
		outcomes, err := outcomesOf(a.Append(t.Context(), []mail.Upload{text("a")}))
		if (err != nil) != c.ended || outcomes[0] != c.want {
			t.Errorf("%q: %+v %v", c.answer, outcomes[0], err)
		}
	}
}

// TestOKBeforeTheMessage: a server that accepts what it has not been sent
// cannot be believed.
func TestOKBeforeTheMessage(t *testing.T) {
	s := newFakeServer(t, SideDestination, "", answers(func(command string) string {
		if strings.HasPrefix(command, "APPEND") {
			return "TAG OK [APPENDUID 7 3]\r\n"
		}
		return selectShown
	}))
	_, a := newAppender(t, s)
	outcomes, err := outcomesOf(a.Append(t.Context(), []mail.Upload{text("a")}))
	if err == nil || !errors.Is(outcomes[0].Err, mail.ErrNotSent) {
		t.Errorf("%+v %v", outcomes, err)
	}
}

func TestAppendedAsGiven(t *testing.T) {
	d := &dovecotLike{}
	_, a := newAppender(t, newFakeServer(t, SideDestination, appendCaps, d.serve))
	bodies := []string{"\x00\xff binary\n", strings.Repeat("0123456789", 20_000), "R9 APPEND {3+}\r\n", "x"}
	var messages []mail.Upload
	for _, body := range bodies {
		messages = append(messages, mail.Upload{Size: int64(len(body)), Date: noon, Content: bytes.NewReader([]byte(body + "and more than announced"))})
	}
	if _, err := outcomesOf(a.Append(t.Context(), messages)); err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, body := range bodies {
		if i >= len(d.stored) || d.stored[i] != ": "+body {
			t.Errorf("message %d is not what was given", i)
		}
	}
}
