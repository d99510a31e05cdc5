package remote

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

const examined = "* 3 EXISTS\r\n* FLAGS (\\Seen)\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 9] x\r\n* OK [HIGHESTMODSEQ 44] x\r\nTAG OK [READ-ONLY] done\r\n"

var box = mail.Ref{Name: "box", UIDValidity: 7}

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer string
		want   mail.Status
		err    error // ErrUIDValidity, or any other for *mail.Refused
	}{
		{"whole", examined, mail.Status{UIDValidity: 7, UIDNext: 9, HighestModSeq: 44, Messages: 3, MessagesKnown: true}, nil},
		{"little", "* OK [UIDVALIDITY 7]\r\nTAG OK\r\n", mail.Status{UIDValidity: 7}, nil},
		{"no modification sequences", "* OK [UIDVALIDITY 7]\r\n* OK [NOMODSEQ] no\r\nTAG OK\r\n", mail.Status{UIDValidity: 7}, nil},
		{"nonsense", "* OK [UIDVALIDITY 7]\r\n* OK [UIDNEXT]\r\n* OK [HIGHESTMODSEQ -1]\r\n* OK [UIDNEXT 99999999999]\r\nTAG OK\r\n", mail.Status{UIDValidity: 7}, nil},
		{"another", "* OK [UIDVALIDITY 8]\r\nTAG OK\r\n", mail.Status{}, mail.ErrUIDValidity},
		{"none", "* 3 EXISTS\r\nTAG OK\r\n", mail.Status{}, mail.ErrUIDValidity},
		{"refused", "TAG NO [NONEXISTENT] gone\r\n", mail.Status{}, errors.ErrUnsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log transcript
			src := newTestSource(t, listServer(t, SideSource, everything, &log, [2]string{`EXAMINE "box"`, c.answer}))
			status, err := src.Status(t.Context(), box)
			var refused *mail.Refused
			switch {
			case c.err == nil && err == nil:
			case c.err == mail.ErrUIDValidity && errors.Is(err, mail.ErrUIDValidity):
			case c.err == errors.ErrUnsupported && errors.As(err, &refused) && refused.Code == "NONEXISTENT":
			default:
				t.Fatal(err)
			}
			if status != c.want {
				t.Errorf("%+v, want %+v", status, c.want)
			}
		})
	}
}

// TestMailboxIsRemembered: calls in a row open the mailbox once, Status always
// does, and a failure is not remembered as an open mailbox.
func TestMailboxIsRemembered(t *testing.T) {
	var log transcript
	src := newTestSource(t, listServer(t, SideSource, "", &log,
		[2]string{`EXAMINE "gone"`, "TAG NO\r\n"}, [2]string{"EXAMINE", examined},
		[2]string{"NOOP", "TAG OK\r\n"}, [2]string{"UID SEARCH", "* SEARCH 1\r\nTAG OK\r\n"}))
	uids := func(name string) error {
		_, err := src.UIDs(t.Context(), mail.Ref{Name: name}, 1)
		return err
	}
	for _, step := range []func() error{
		func() error { return uids("box") },
		func() error { return uids("box") },
		func() error { _, err := src.Status(t.Context(), box); return err },
		func() error { return uids("other") },
		func() error { uids("gone"); return nil },
		func() error { return uids("other") },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		`EXAMINE "box"`, "UID SEARCH UID 1:*", "NOOP", "UID SEARCH UID 1:*", `EXAMINE "box"`,
		`EXAMINE "other"`, "UID SEARCH UID 1:*", `EXAMINE "gone"`, `EXAMINE "other"`, "UID SEARCH UID 1:*",
	}
	if got := log.all(); !slices.Equal(got, want) {
		t.Errorf("sent %q\nwant %q", got, want)
	}
}

func TestUIDs(t *testing.T) {
	for _, c := range []struct {
		name, caps string
		from       mail.UID
		answer     string
		want       string
	}{
		{"SEARCH", "", 1, "* SEARCH 3 1 2\r\nTAG OK\r\n", "[1 2 3]"},
		{"several lines, repeated", "", 1, "* SEARCH 3 1\r\n* SEARCH\r\n* SEARCH 1 2\r\nTAG OK\r\n", "[1 2 3]"},
		{"the last message is always named", "", 9, "* SEARCH 8\r\nTAG OK\r\n", "[]"},
		{"MODSEQ and rubbish", "", 1, "* SEARCH 4 x 0 -1 4294967296 (MODSEQ 917)\r\nTAG OK\r\n", "[4]"},
		{"ESEARCH", "ESEARCH", 2, "* ESEARCH (TAG \"R2\") UID ALL 1:4,9\r\nTAG OK\r\n", "[2 3 4 9]"},
		{"ESEARCH, nothing", "ESEARCH", 2, "* ESEARCH (TAG \"R2\") UID\r\nTAG OK\r\n", "[]"},
		{"ESEARCH, the last message", "ESEARCH", 9, "* ESEARCH (TAG \"R2\") UID ALL 8\r\nTAG OK\r\n", "[]"},
		{"SEARCH for ESEARCH", "ESEARCH", 1, "* SEARCH 5\r\nTAG OK\r\n", "[5]"},
		{"all there can be", "ESEARCH", 1, "* ESEARCH (TAG \"R2\") UID ALL 1:4294967295\r\nTAG OK\r\n", "error"},
		{"rubbish", "ESEARCH", 1, "* ESEARCH (TAG \"R2\") UID ALL 1:*\r\nTAG OK\r\n", "error"},
		{"refused", "", 1, "TAG NO\r\n", "error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log transcript
			src := newTestSource(t, listServer(t, SideSource, c.caps, &log, [2]string{"EXAMINE", examined}, [2]string{"UID SEARCH", c.answer}))
			uids, err := src.UIDs(t.Context(), box, c.from)
			got := fmt.Sprint(uids)
			if err != nil {
				got = "error"
			}
			if got != c.want {
				t.Errorf("%s (%v), want %s", got, err, c.want)
			}
		})
	}
}

// TestSearchAnnouncedNotDone: a server that says OK to SEARCH RETURN and
// nothing else, or refuses it, is asked in the old way, and only so from then
// on.
func TestSearchAnnouncedNotDone(t *testing.T) {
	for _, answer := range []string{"TAG OK\r\n", "TAG BAD\r\n"} {
		var log transcript
		src := newTestSource(t, listServer(t, SideSource, "ESEARCH", &log, [2]string{"EXAMINE", examined}, [2]string{"NOOP", "TAG OK\r\n"},
			[2]string{"UID SEARCH RETURN", answer}, [2]string{"UID SEARCH UID", "* SEARCH 5\r\nTAG OK\r\n"}))
		for range 2 {
			if uids, err := src.UIDs(t.Context(), box, 1); err != nil || !slices.Equal(uids, []mail.UID{5}) {
				t.Errorf("%v %v", uids, err)
			}
		}
		if n := strings.Count(log.String(), "RETURN"); n != 1 {
			t.Errorf("asked %d times: %s", n, log.String())
		}
	}
}

// TestManyUIDs: a mailbox whose UIDs do not fit one line is asked in parts
// that leave no gap.
func TestManyUIDs(t *testing.T) {
	for _, uidNext := range []string{"* OK [UIDNEXT 200001]\r\n", ""} {
		src := newTestSource(t, newFakeServer(t, SideSource, "", answers(func(command string) string {
			var first, last int
			switch {
			case strings.HasPrefix(command, "EXAMINE"):
				return "* 200000 EXISTS\r\n* OK [UIDVALIDITY 7]\r\n" + uidNext + "TAG OK\r\n"
			case command == "LOGOUT":
				return ""
			case command == "UID SEARCH UID *:*":
				return "* SEARCH 200000\r\nTAG OK\r\n"
			}
			if n, _ := fmt.Sscanf(command, "UID SEARCH UID %d:%d", &first, &last); n < 2 {
				last = 200_007 // seven more came meanwhile
			}
			var b strings.Builder
			b.WriteString("* SEARCH")
			for uid := first; uid <= last; uid++ {
				fmt.Fprint(&b, " ", uid)
			}
			return b.String() + "\r\nTAG OK\r\n"
		})))
		uids, err := src.UIDs(t.Context(), box, 5)
		if err != nil {
			t.Fatal(err)
		}
		if len(uids) != 200_003 || uids[0] != 5 || uids[len(uids)-1] != 200_007 || !slices.IsSorted(uids) {
			t.Errorf("%d UIDs from %d", len(uids), uids[0])
		}
	}
}

// TestRedial: the call that meets a dead connection fails, the next one dials
// again.
func TestRedial(t *testing.T) {
	calls := 0
	s := newFakeServer(t, SideSource, "", answers(func(command string) string {
		if calls++; calls == 2 {
			return ""
		}
		if strings.HasPrefix(command, "EXAMINE") {
			return examined
		}
		return "* SEARCH 1\r\nTAG OK\r\n"
	}))
	src := newTestSource(t, s)
	if _, err := src.UIDs(t.Context(), box, 1); err == nil {
		t.Error("no error")
	}
	if uids, err := src.UIDs(t.Context(), box, 1); err != nil || len(uids) != 1 {
		t.Errorf("%v %v", uids, err)
	}
	if n := s.dials.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// TestCancel: the end of the context ends a call that waits.
func TestCancel(t *testing.T) {
	for name, call := range map[string]func(context.Context, *Source) error{
		"search": func(ctx context.Context, src *Source) error {
			_, err := src.UIDs(ctx, box, 1)
			return err
		},
		"fetch": func(ctx context.Context, src *Source) (last error) {
			for _, err := range src.Messages(ctx, box, []mail.UID{1}, true) {
				last = err
			}
			return last
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		src := newTestSource(t, newFakeServer(t, SideSource, "", answers(func(command string) string {
			if strings.HasPrefix(command, "EXAMINE") {
				return examined
			}
			cancel()
			return "* OK wait\r\n"
		})))
		if err := call(ctx, src); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}

// fetchServer serves UID FETCH by a function of the UID set.
func fetchServer(t *testing.T, log *transcript, fetch func(set, items string) string) *fakeServer {
	return newFakeServer(t, SideSource, "", answers(func(command string) string {
		log.add(command)
		switch {
		case strings.HasPrefix(command, "EXAMINE"):
			return examined
		case command == "LOGOUT":
			return ""
		}
		set, items, _ := strings.Cut(strings.TrimPrefix(command, "UID FETCH "), " ")
		return fetch(set, items)
	}))
}

const when = `"17-Jul-1996 02:44:25 -0700"`

// full is a whole FETCH response.
func full(uid int, body string) string {
	return fmt.Sprintf("* %d FETCH (UID %d FLAGS (\\Seen $Label1) INTERNALDATE %s RFC822.SIZE %d BODY[] %s)\r\n", uid, uid, when, len(body), literal(body))
}

// bodiesOf collects, one line a message.
func bodiesOf(t *testing.T, src *Source, uids ...mail.UID) ([]string, error) {
	t.Helper()
	var got []string
	for body, err := range src.Bodies(t.Context(), box, uids) {
		if err != nil {
			return got, err
		}
		if body.Refused != nil {
			got = append(got, fmt.Sprintf("%d: %s", body.UID, body.Refused))
			continue
		}
		data, err := io.ReadAll(body.Content)
		if err != nil {
			return got, err
		}
		if int64(len(data)) != body.Size {
			t.Errorf("message %d: size %d, %d octets", body.UID, body.Size, len(data))
		}
		got = append(got, fmt.Sprintf("%d %s %s", body.UID, body.Flags, data))
	}
	return got, nil
}

func TestBodies(t *testing.T) {
	const tail = " (\\Seen $Label1) "
	for _, c := range []struct {
		name  string
		fetch func(set, items string) string
		want  []string
	}{
		{"plain", func(set, _ string) string { return full(1, "one") + full(2, "") + full(3, "three") + "TAG OK\r\n" },
			[]string{"1" + tail + "one", "2" + tail, "3" + tail + "three"}},
		{"left out", func(set, _ string) string { return full(2, "two") + "TAG OK\r\n" }, []string{"2" + tail + "two"}},
		{"not asked for, and twice", func(set, _ string) string {
			return full(1, "one") + full(8, "x") + full(1, "again") + full(2, "two") + full(3, "three") + "TAG OK\r\n"
		}, []string{"1" + tail + "one", "2" + tail + "two", "3" + tail + "three"}},
		{"RFC822.SIZE lies", func(set, _ string) string {
			return strings.Replace(full(1, "one"), "RFC822.SIZE 3", "RFC822.SIZE 3000", 1) + "TAG OK\r\n"
		}, []string{"1" + tail + "one"}},
		{"an unsolicited FETCH first", func(set, _ string) string {
			if set == "1:3" {
				return full(1, "one") + "* 2 FETCH (UID 2 FLAGS (\\Seen))\r\n" + full(2, "two") + full(3, "three") + "TAG OK\r\n"
			}
			if set == "2" {
				return full(2, "two") + "TAG OK\r\n"
			}
			return full(3, "three") + "TAG OK\r\n"
		}, []string{"1" + tail + "one", "2" + tail + "two", "3" + tail + "three"}},
		{"never the body", func(set, _ string) string {
			if set == "2" {
				return "* 2 FETCH (UID 2 FLAGS (\\Seen))\r\nTAG OK\r\n"
			}
			if set == "3" {
				return full(3, "three") + "TAG OK\r\n"
			}
			return full(1, "one") + "* 2 FETCH (UID 2 FLAGS ())\r\n" + full(3, "three") + "TAG OK\r\n"
		}, []string{"1" + tail + "one", "3" + tail + "three"}},
		{"body before the flags", func(set, items string) string {
			if !strings.Contains(items, "BODY") {
				return "* 1 FETCH (UID 1 RFC822.SIZE 3 FLAGS ($Label1 \\Seen) INTERNALDATE " + when + ")\r\n" +
					"* 3 FETCH (UID 3 RFC822.SIZE 5 FLAGS ($Label1 \\Seen) INTERNALDATE " + when + ")\r\nTAG OK\r\n"
			}
			return "* 1 FETCH (UID 1 BODY[] {3}\r\none FLAGS (\\Seen $Label1) INTERNALDATE " + when + ")\r\n" +
				"* 3 FETCH (UID 3 BODY[] {5}\r\nthree FLAGS (\\Seen $Label1) INTERNALDATE " + when + ")\r\nTAG OK\r\n"
		}, []string{"1" + tail + "one", "3" + tail + "three"}},
		{"one that is refused refuses all", func(set, _ string) string {
			out := ""
			for uid, body := range []string{"", "one", "two", "three"} {
				first, last, ranged := strings.Cut(set, ":")
				if !ranged {
					last = first
				}
				if s := fmt.Sprint(uid); body == "" || s < first || s > last {
					continue
				}
				if uid == 2 {
					return out + "TAG NO Retrieval using the IMAP4 protocol failed\r\n"
				}
				out += full(uid, body)
			}
			return out + "TAG OK\r\n"
		}, []string{"1" + tail + "one", "2: UID FETCH refused: NO Retrieval using the IMAP4 protocol failed", "3" + tail + "three"}},
		{"odd spelling", func(string, string) string {
			return "* 1 fetch (uid 1 flags ( \\seen x] \\Recent) modseq (5) x-gm-labels (a \"b\") internaldate \" 7-Jul-1996 02:44:25 +0000\" rfc822.size NIL body[] \"one\")\r\nTAG OK\r\n"
		}, []string{`1 (\Seen x]) one`}},
		{"literals in lists", func(string, string) string {
			return "* 3 FETCH (X-GM-LABELS ({5}\r\nA) (B \"x\" (y {0}\r\n) {1}\r\n{))\r\n" +
				"* 1 FETCH (X-GM-LABELS ({9}\r\n) BODY[] ( c {3}\r\nd\"e)) UID 1 FLAGS (\\Seen $Label1) INTERNALDATE " + when + " BODY[] {3}\r\none X-GM-LABELS ({1}\r\nf))\r\nTAG OK\r\n"
		}, []string{"1" + tail + "one"}},
		{"no date at all", func(string, string) string {
			return "* 1 FETCH (UID 1 FLAGS () INTERNALDATE NIL RFC822.SIZE 3 BODY[] {3}\r\none)\r\nTAG OK\r\n"
		}, []string{"1 () one"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log transcript
			s := fetchServer(t, &log, c.fetch)
			got, err := bodiesOf(t, newTestSource(t, s), 1, 2, 3)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%q %v\nwant %q\nsent %s", got, err, c.want, &log)
			}
			if n := s.dials.Load(); n != 1 {
				t.Errorf("%d connections", n)
			}
			for _, line := range log.all() {
				if strings.Contains(line, "BODY[") {
					t.Errorf("%s sets \\Seen", line)
				}
			}
		})
	}
}

func TestMessages(t *testing.T) {
	long := strings.Repeat("0123456789", 1000)
	var log transcript
	src := newTestSource(t, fetchServer(t, &log, func(set, items string) string {
		if !strings.Contains(items, "BODY.PEEK[]<0.2048>") {
			return fmt.Sprintf("* 1 FETCH (FLAGS () UID 1 RFC822.SIZE 10000 INTERNALDATE %s)\r\n* 2 FETCH (UID 2 FLAGS (\\Answered work) RFC822.SIZE 5 INTERNALDATE %s)\r\nTAG OK\r\n", when, when)
		}
		return fmt.Sprintf("* 1 FETCH (FLAGS () UID 1 RFC822.SIZE 10000 INTERNALDATE %s BODY[]<0> %s)\r\n", when, literal(long[:2048])) +
			fmt.Sprintf("* 2 FETCH (UID 2 FLAGS (\\Answered work) RFC822.SIZE 5 INTERNALDATE %s BODY[]<0> %s)\r\nTAG OK\r\n", when, literal("short"))
	}))
	for _, fingerprints := range []bool{false, true} {
		var got []mail.Message
		for m, err := range src.Messages(t.Context(), box, []mail.UID{1, 2, 3}, fingerprints) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, m)
		}
		if len(got) != 2 || got[0].Size != 10000 || got[1].UID != 2 || got[1].Flags.String() != `(\Answered work)` {
			t.Fatalf("%+v", got)
		}
		for i, body := range []string{long, "short"} {
			want := mail.NewFingerprint(int64(len(body)), got[i].InternalDate, []byte(body))
			if !fingerprints {
				want = 0
			}
			if got[i].Fingerprint != want || got[i].InternalDate.Unix() != 837596665 {
				t.Errorf("message %d: fingerprint %x, want %x; date %v", i, got[i].Fingerprint, want, got[i].InternalDate)
			}
		}
	}
}

// TestFetchRefusedInTheMiddle: what is left of a range takes longer sets than the
// range. All of it is asked for, by lines that servers take.
func TestFetchRefusedInTheMiddle(t *testing.T) {
	const count = 8000
	var log transcript
	refused := false
	src := newTestSource(t, fetchServer(t, &log, func(set, _ string) string {
		uids, err := expandSet(set, count)
		if err != nil {
			t.Error(err)
		}
		var text strings.Builder
		for _, uid := range uids {
			if refused || uid%2 == 0 {
				text.WriteString(full(int(uid), "x"))
			}
		}
		if refused {
			return text.String() + "TAG OK\r\n"
		}
		refused = true
		return text.String() + "TAG NO one of them cannot be had\r\n"
	}))
	var uids []mail.UID
	for uid := range mail.UID(count) {
		uids = append(uids, uid+1)
	}
	came := make(map[mail.UID]int)
	for m, err := range src.Bodies(t.Context(), box, uids) {
		if err != nil {
			t.Fatal(err)
		}
		came[m.UID]++
	}
	for _, uid := range uids {
		if came[uid] != 1 {
			t.Fatalf("message %d came %d times; %d came", uid, came[uid], len(came))
		}
	}
	for _, line := range log.lines {
		if len(line) > 8000 {
			t.Errorf("a line of %d octets", len(line))
		}
	}
}

// TestFetchStopped: an iterator that is left early leaves the session usable.
func TestFetchStopped(t *testing.T) {
	var log transcript
	s := fetchServer(t, &log, func(set, _ string) string {
		return full(1, strings.Repeat("x", 100_000)) + full(2, "two") + full(3, strings.Repeat("y", 1<<20)) + "TAG OK\r\n"
	})
	src := newTestSource(t, s)
	for range 2 {
		for body, err := range src.Bodies(t.Context(), box, []mail.UID{1, 2, 3}) {
			if err != nil {
				t.Fatal(err)
			}
			io.ReadFull(body.Content, make([]byte, 10)) // and the rest never
			break
		}
	}
	n := 0
	for body, err := range src.Bodies(t.Context(), box, []mail.UID{1, 2, 3}) {
		if err != nil {
			t.Fatal(err)
		}
		if body.UID == 3 {
			io.Copy(io.Discard, body.Content)
		}
		n++
	}
	if n != 3 || s.dials.Load() != 3 {
		t.Errorf("%d messages, %d connections", n, s.dials.Load())
	}
	src.Close()
	for _, conn := range s.conns {
		if conn.Err() == nil {
			t.Error("a connection is left")
		}
	}
}

// TestEndedAtRest: what the server has closed while nothing was asked is no
// failure of the next question, whatever that is; what it has said meanwhile is none
// either. A mailbox that was open then is opened again.
func TestEndedAtRest(t *testing.T) {
	for name, ask := range map[string]func(*Source) error{
		"Status": func(src *Source) error { _, err := src.Status(t.Context(), box); return err },
		"UIDs":   func(src *Source) error { _, err := src.UIDs(t.Context(), box, 1); return err },
		"Bodies": func(src *Source) error { _, err := bodiesOf(t, src, 1); return err },
	} {
		for words, dials := range map[string]int32{"": 2, "* BYE Autologout\r\n": 2, "* 4 EXISTS\r\n": 1} {
			t.Run(name+" after "+words, func(t *testing.T) { endedAtRest(t, ask, words, dials) })
		}
	}
}

func endedAtRest(t *testing.T, ask func(*Source) error, words string, dials int32) {
	closed := make(chan struct{}, 2)
	var connections atomic.Int32
	s := newFakeServer(t, SideSource, "", func(conn net.Conn, in *bufio.Reader) {
		open, stays := false, dials == 1 || connections.Add(1) > 1
		for !open || stays {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			tag, command, _ := strings.Cut(line, " ")
			answer := "TAG OK\r\n"
			switch {
			case strings.HasPrefix(command, "EXAMINE"):
				open, answer = true, examined+words
			case !open:
				answer = "TAG BAD no mailbox is open\r\n"
			case strings.HasPrefix(command, "UID FETCH"):
				answer = full(1, "abc") + answer
			case strings.HasPrefix(command, "UID SEARCH"):
				answer = "* SEARCH 1\r\n" + answer
			}
			io.WriteString(conn, strings.ReplaceAll(answer, "TAG", tag))
		}
		conn.Close()
		closed <- struct{}{}
	})
	src := newTestSource(t, s)
	if _, err := src.Status(t.Context(), box); err != nil {
		t.Fatal(err)
	}
	if dials > 1 {
		<-closed
	}
	src.conn.rested = time.Time{}
	if err := ask(src); err != nil {
		t.Error(err)
	}
	if n := s.dials.Load(); n != dials {
		t.Errorf("%d connections, want %d", n, dials)
	}
}

// TestFetchCut: whatever octet the stream ends at, a message that is given is
// whole, or its content ends in an error.
func TestFetchCut(t *testing.T) {
	stream := full(1, "first message\r\n") + full(2, "second\r\n") + "TAG OK\r\n"
	whole := map[mail.UID]string{1: "first message\r\n", 2: "second\r\n"}
	for cut := range len(stream) - 2 {
		src := newTestSource(t, newFakeServer(t, SideSource, "", func(conn net.Conn, in *bufio.Reader) {
			line, _ := in.ReadString('\n')
			tag, _, _ := strings.Cut(line, " ")
			io.WriteString(conn, strings.ReplaceAll(examined, "TAG", tag))
			line, _ = in.ReadString('\n')
			tag, _, _ = strings.Cut(line, " ")
			io.WriteString(conn, strings.ReplaceAll(stream, "TAG", tag)[:cut])
		}))
		failed := false
		for body, err := range src.Bodies(t.Context(), box, []mail.UID{1, 2}) {
			if err != nil {
				failed = true
				break
			}
			data, err := io.ReadAll(body.Content)
			if err != nil {
				failed = true
			} else if string(data) != whole[body.UID] {
				t.Errorf("cut at %d: message %d is %q", cut, body.UID, data)
			}
		}
		if !failed {
			t.Errorf("cut at %d: no error", cut)
		}
	}
}

func TestFetchIsRefused(t *testing.T) {
	for _, answer := range []string{"TAG BAD what\r\n", "TAG NO [UNAVAILABLE] later\r\n"} {
		src := newTestSource(t, fetchServer(t, new(transcript), func(string, string) string { return answer }))
		_, err := bodiesOf(t, src, 1, 2)
		var refused *mail.Refused
		if !errors.As(err, &refused) || refused.Command != "UID FETCH" {
			t.Errorf("%q: %v", answer, err)
		}
	}
}

// TestNothingAsked: no UIDs, no command.
func TestNothingAsked(t *testing.T) {
	s := fetchServer(t, new(transcript), nil)
	if got, err := bodiesOf(t, newTestSource(t, s)); len(got) != 0 || err != nil || s.dials.Load() != 0 {
		t.Errorf("%v %v", got, err)
	}
}
