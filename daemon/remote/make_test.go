package remote

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// TestMake: one round trip makes a mailbox and opens it, and what Create makes of a
// refusal holds here too. What is appended goes to a mailbox that was SELECTed last.
func TestMake(t *testing.T) {
	const there, listed = "* OK [UIDVALIDITY 7]\r\nTAG OK\r\n", "* LIST () \"/\" \"a\"\r\nTAG OK\r\n"
	shown := [2]string{"SELECT", selectShown}
	for _, c := range []struct {
		name, mailbox, role string
		rules               [][2]string
		sent                []string
		want                string
	}{
		{"made", "a", `\Sent`, [][2]string{{"CREATE", "TAG OK\r\n"}, shown}, []string{`CREATE "a" (USE (\Sent))`, `SELECT "a"`}, "ok"},
		{"exists", "a", "", [][2]string{{"CREATE", "TAG NO [ALREADYEXISTS]\r\n"}, {"EXAMINE", there}, {"LIST", listed}, shown},
			[]string{`CREATE "a"`, `SELECT "a"`, `EXAMINE "a"`, `LIST "" "a"`, `SELECT "a"`}, "ok"},
		{"exists under another name", "A", "", [][2]string{{"CREATE", "TAG NO [ALREADYEXISTS]\r\n"}, {"EXAMINE", there}, {"LIST", listed}, shown},
			[]string{`CREATE "A"`, `SELECT "A"`, `EXAMINE "A"`, `LIST "" "A"`}, "other"},
		{"refused", "a", "", [][2]string{{"CREATE", "TAG NO [CANNOT]\r\n"}, {"EXAMINE", "TAG NO\r\n"}, {"SELECT", "TAG NO\r\n"}},
			[]string{`CREATE "a"`, `SELECT "a"`, `EXAMINE "a"`}, "NO CANNOT"},
		{"role refused", "a", `\Sent`, [][2]string{{`CREATE "a" (USE`, "TAG NO [USEATTR]\r\n"}, {"CREATE", "TAG OK\r\n"}, {"EXAMINE", there}, {"LIST", listed}, shown},
			[]string{`CREATE "a" (USE (\Sent))`, `SELECT "a"`, `CREATE "a"`, `SELECT "a"`}, "ok"},
		{"cannot be opened", "a", "", [][2]string{{"CREATE", "TAG OK\r\n"}, {"SELECT", "TAG NO [NOPERM]\r\n"}},
			[]string{`CREATE "a"`, `SELECT "a"`, `SELECT "a"`}, "NO NOPERM"},
		{"a name that cannot be sent", "a\r\nZ1 DELETE INBOX", "", nil, nil, "BAD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log transcript
			d := newTestDestination(t, listServer(t, SideDestination, "CREATE-SPECIAL-USE", &log, c.rules...))
			a, err := d.Make(t.Context(), mail.Creation{Name: c.mailbox, Role: c.role})
			if got := outcomeOf(err); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if err == nil && a.Status().UIDValidity != 7 {
				t.Errorf("%+v", a.Status())
			}
			if got := log.all(); !slices.Equal(got, c.sent) {
				t.Errorf("sent %q, want %q", got, c.sent)
			}
		})
	}
}

// TestMakeBehind: the CREATE of the next mailbox goes out behind the last message of this
// one, once, and may be answered before it. A refusal says nothing of the message.
func TestMakeBehind(t *testing.T) {
	for name, c := range map[string]struct {
		early   bool
		created string
		next    string // what is made in fact
		want    string
		sent    []string // after the message
	}{
		"in its turn":  {false, "OK", "box", "ok", []string{`CREATE "box"`, `SELECT "box"`}},
		"before it":    {true, "OK", "box", "ok", []string{`CREATE "box"`, `SELECT "box"`}},
		"refused":      {false, "NO [CANNOT]", "box", "NO CANNOT", []string{`CREATE "box"`, `SELECT "box"`, `EXAMINE "box"`}},
		"refused soon": {true, "NO [CANNOT]", "box", "NO CANNOT", []string{`CREATE "box"`, `SELECT "box"`, `EXAMINE "box"`}},
		"another one":  {true, "OK", "other", "ok", []string{`CREATE "box"`, `SELECT "box"`, `CREATE "other"`, `SELECT "other"`}},
	} {
		t.Run(name, func(t *testing.T) {
			var sent transcript
			d := newTestDestination(t, newFakeServer(t, SideDestination, "LITERAL+", func(conn net.Conn, in *bufio.Reader) {
				appended := ""
				answer := func() { // the message is stored once the next mailbox has been asked for
					if appended != "" {
						fmt.Fprintf(conn, "%s OK [APPENDUID 7 1] done\r\n", appended)
					}
					appended = ""
				}
				for {
					line, err := in.ReadString('\n')
					if err != nil {
						return
					}
					tag, command, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
					verb, _, _ := strings.Cut(command, " ")
					switch {
					case verb == "APPEND":
						in.ReadString('\n')
						appended = tag
						continue
					case command == "LOGOUT":
						fmt.Fprintf(conn, "* BYE\r\n%s OK\r\n", tag)
						return
					}
					if command != `SELECT "before"` {
						sent.add(command)
					}
					if verb != "CREATE" || !c.early {
						answer()
					}
					switch refused := c.created != "OK" && strings.HasSuffix(command, `"box"`); {
					case verb == "CREATE" && refused:
						fmt.Fprintf(conn, "%s %s no\r\n", tag, c.created)
					case refused:
						fmt.Fprintf(conn, "%s NO there is none\r\n", tag)
					case verb == "CREATE":
						fmt.Fprintf(conn, "%s OK made\r\n", tag)
					default:
						io.WriteString(conn, strings.ReplaceAll(selectShown, "TAG", tag))
					}
				}
			}))
			a, err := d.Appender(t.Context(), mail.Ref{Name: "before"})
			if err != nil {
				t.Fatal(err)
			}
			answer := a.Append(t.Context(), []mail.Upload{text("a")})
			a.Next(t.Context(), "box", &mail.Creation{Name: "box"})
			if outcomes, err := outcomesOf(answer); err != nil || outcomes[0].Err != nil || outcomes[0].UID != 1 {
				t.Fatal(outcomes, err)
			}
			a.Close()
			b, err := d.Make(t.Context(), mail.Creation{Name: c.next})
			if got := outcomeOf(err); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if err == nil && b.Status().UIDValidity != 7 {
				t.Errorf("%+v", b.Status())
			}
			if got := sent.all(); !slices.Equal(got, c.sent) {
				t.Errorf("sent %q, want %q", got, c.sent)
			}
		})
	}
}
