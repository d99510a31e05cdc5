package remote

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// appendLineOf reads the line of an APPEND.
func appendLineOf(t *testing.T, in *bufio.Reader) (tag string, size int64, waits bool) {
	line, err := in.ReadString('\n')
	if err != nil {
		return "", 0, false
	}
	tag, command, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
	digits, plus := strings.CutSuffix(strings.TrimSuffix(command[strings.LastIndexByte(command, '{')+1:], "}"), "+")
	if size, err = strconv.ParseInt(digits, 10, 64); err != nil || !strings.HasPrefix(command, "APPEND ") {
		t.Errorf("no APPEND: %q", line)
	}
	return tag, size, !plus
}

// TestKeywordGoesOn: a new keyword waits for the server's word on one literal, and
// for no answer.
func TestKeywordGoesOn(t *testing.T) {
	_, a := newAppender(t, newFakeServer(t, SideDestination, "LITERAL+", func(conn net.Conn, in *bufio.Reader) {
		line, _ := in.ReadString('\n')
		tag, _, _ := strings.Cut(line, " ")
		io.WriteString(conn, strings.ReplaceAll(selectShown, "TAG", tag))
		var tags []string
		for i, want := range []bool{false, true, false, false} {
			tag, size, waits := appendLineOf(t, in)
			if waits != want {
				t.Errorf("message %d: its literal waits: %t", i+1, waits)
			}
			if waits { // it has been announced before the first message was answered
				fmt.Fprintf(conn, "%s OK [APPENDUID 7 1] done\r\n+ OK\r\n", tags[0])
			}
			io.CopyN(io.Discard, in, size+2)
			tags = append(tags, tag)
		}
		for i, tag := range tags[1:] {
			fmt.Fprintf(conn, "%s OK [APPENDUID 7 %d] done\r\n", tag, i+2)
		}
		io.Copy(io.Discard, in)
	}))
	messages := []mail.Upload{text("a"), text("b", "New"), text("c", "new"), text("d", "Listed", "NEW")}
	outcomes, err := outcomesOf(a.Append(t.Context(), messages))
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outcomes {
		if o.Err != nil || int(o.UID) != i+1 {
			t.Errorf("message %d: %+v", i+1, o)
		}
	}
}

// TestKeywordRefused: where a message is refused, its keywords are asked for once
// more, so that nothing is refused together with the next that has them.
func TestKeywordRefused(t *testing.T) {
	for answer, want := range map[string]int{"NO [LIMIT] Too many keywords": 2, "OK [APPENDUID 7 1] done": 1} {
		_, a := newAppender(t, newFakeServer(t, SideDestination, "LITERAL+", func(conn net.Conn, in *bufio.Reader) {
			line, _ := in.ReadString('\n')
			tag, _, _ := strings.Cut(line, " ")
			io.WriteString(conn, strings.ReplaceAll(selectShown, "TAG", tag))
			waited := 0
			for range 2 {
				tag, size, waits := appendLineOf(t, in)
				if waits {
					waited++
					io.WriteString(conn, "+ OK\r\n")
				}
				io.CopyN(io.Discard, in, size+2)
				fmt.Fprintf(conn, "%s %s\r\n", tag, answer)
			}
			if waited != want {
				t.Errorf("after %q %d literals have waited, want %d", answer, waited, want)
			}
			io.Copy(io.Discard, in)
		}))
		for range 2 {
			if _, err := outcomesOf(a.Append(t.Context(), []mail.Upload{text("a", "New")})); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestPlusForAnother: a server that says "+" to a literal which does not wait has not
// asked for the one behind it that does: nothing of that is sent before it has.
func TestPlusForAnother(t *testing.T) {
	_, a := newAppender(t, newFakeServer(t, SideDestination, "LITERAL+", func(conn net.Conn, in *bufio.Reader) {
		line, _ := in.ReadString('\n')
		tag, _, _ := strings.Cut(line, " ")
		io.WriteString(conn, strings.ReplaceAll(selectShown, "TAG", tag))
		first, size, _ := appendLineOf(t, in)
		io.WriteString(conn, "+ OK\r\n") // nobody waits for it
		io.CopyN(io.Discard, in, size+2)
		second, _, waits := appendLineOf(t, in)
		if !waits {
			t.Error("a new keyword does not wait")
		}
		fmt.Fprintf(conn, "%s OK [APPENDUID 7 1] done\r\n%s NO [CANNOT] not that keyword\r\n", first, second)
		third, size, waits := appendLineOf(t, in) // and no content before it
		if !waits {
			t.Error("what the server says is still believed")
		}
		io.WriteString(conn, "+ OK\r\n")
		io.CopyN(io.Discard, in, size+2)
		fmt.Fprintf(conn, "%s OK [APPENDUID 7 2] done\r\n", third)
		io.Copy(io.Discard, in)
	}))
	outcomes, err := outcomesOf(a.Append(t.Context(), []mail.Upload{text("a"), text("Z1 CREATE pwned", "New"), text("c")}))
	if err != nil {
		t.Fatal(err)
	}
	if outcomes[0].Err != nil || outcomeOf(outcomes[1].Err) != "NO CANNOT" || outcomes[2].Err != nil || outcomes[2].UID != 2 {
		t.Errorf("%+v", outcomes)
	}
}

// TestPlusAndNo: a server that asks for a literal and refuses it in one breath takes what
// comes next for the literal.
func TestPlusAndNo(t *testing.T) {
	d := &dovecotLike{}
	_, a := newAppender(t, newFakeServer(t, SideDestination, "LITERAL+", d.serve))
	b := &batch{Appender: a.(*Appender)}
	s := &sent{batch: b, waits: true, proceed: make(chan struct{}), answered: make(chan struct{})}
	s.mayProceed()
	close(s.answered)
	for range 100 { // which of the two is seen first is chance
		if !b.proceed(s) {
			t.Fatal("the literal is not sent")
		}
	}
}
