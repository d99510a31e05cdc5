package remote

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// TestNextIsAskedBehind: the SELECT of the next mailbox goes out before the last message
// of this one is answered, and once only.
func TestNextIsAskedBehind(t *testing.T) {
	for name, c := range map[string]struct {
		opened string // what becomes of the SELECT of box
		next   string // what is opened in fact
		want   string
		asked  int // how often box is SELECTed
	}{
		"the one that was named": {selectShown, "box", "ok", 1},
		"refused":                {"TAG NO [NONEXISTENT] gone\r\n", "box", "NO NONEXISTENT", 1},
		"read-only":              {strings.Replace(selectShown, "READ-WRITE", "READ-ONLY", 1), "box", "read-only", 1},
		"numbered anew":          {strings.Replace(selectShown, "UIDVALIDITY 7", "UIDVALIDITY 8", 1), "box", "uidvalidity", 1},
		"another one":            {selectShown, "other", "ok", 1},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			d := newTestDestination(t, newFakeServer(t, SideDestination, "LITERAL+", func(conn net.Conn, in *bufio.Reader) {
				var appended string
				for {
					line, err := in.ReadString('\n')
					tag, command, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
					switch {
					case err != nil:
						return
					case strings.HasPrefix(command, "APPEND"):
						in.ReadString('\n')
						appended = tag
					case command == `SELECT "box"`:
						asked++
						if appended == "" {
							t.Error("asked for before the message was sent")
						}
						fmt.Fprintf(conn, "%s OK [APPENDUID 7 1] done\r\n", appended)
						io.WriteString(conn, strings.ReplaceAll(c.opened, "TAG", tag))
					case command == "LOGOUT":
						fmt.Fprintf(conn, "* BYE\r\n%s OK\r\n", tag)
						return
					default:
						io.WriteString(conn, strings.ReplaceAll(selectShown, "TAG", tag))
					}
				}
			}))
			a, err := d.Appender(t.Context(), mail.Ref{Name: "before"})
			if err != nil {
				t.Fatal(err)
			}
			a.Next(t.Context(), "nothing was appended yet", nil)
			answer := a.Append(t.Context(), []mail.Upload{text("a")})
			a.Next(t.Context(), "box", nil)
			a.Next(t.Context(), "and no more than one", nil)
			if outcomes, err := outcomesOf(answer); err != nil || outcomes[0].Err != nil {
				t.Fatal(outcomes, err)
			}
			a.Close()
			b, err := d.Appender(t.Context(), mail.Ref{Name: c.next, UIDValidity: 7})
			if got := outcomeOf(err); got != c.want || asked != c.asked {
				t.Errorf("%s, asked for %d times; want %s, %d", got, asked, c.want, c.asked)
			}
			if err == nil && b.Status().UIDValidity != 7 {
				t.Errorf("%+v", b.Status())
			}
		})
	}
}

// TestNextIsAskedAnew: where anything was sent behind the SELECT, it says nothing of the
// mailbox any more.
func TestNextIsAskedAnew(t *testing.T) {
	for name, between := range map[string]func(*Destination) error{
		"nothing": func(*Destination) error { return nil },
		"a look":  func(d *Destination) error { _, err := d.UIDs(t.Context(), box, 1); return err },
		"the end": func(d *Destination) error { return d.conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			server := &dovecotLike{refuse: map[string]string{"b": "NO not this one"}}
			d := newTestDestination(t, newFakeServer(t, SideDestination, appendCaps+" MULTIAPPEND", server.serve))
			for _, messages := range [][]mail.Upload{{text("a"), text("c")}, {text("a"), text("b")}} { // all stored; one refused, and sent again
				a, err := d.Appender(t.Context(), box)
				if err != nil {
					t.Fatal(err)
				}
				answer := a.Append(t.Context(), messages)
				a.Next(t.Context(), "box", nil)
				if outcomes, err := outcomesOf(answer); err != nil || outcomes[0].Err != nil {
					t.Fatal(outcomes, err)
				}
				if err := between(d); err != nil {
					t.Fatal(err)
				}
				if a, err = d.Appender(t.Context(), box); err != nil {
					t.Fatal(err)
				}
				if outcomes, err := outcomesOf(a.Append(t.Context(), []mail.Upload{text("z")})); err != nil || outcomes[0].Err != nil {
					t.Error(outcomes, err)
				}
				server.mu.Lock()
				if n := len(server.stored); n == 0 || !strings.HasSuffix(server.stored[n-1], ": z") {
					t.Errorf("%q", server.stored)
				}
				server.mu.Unlock()
			}
		})
	}
}
