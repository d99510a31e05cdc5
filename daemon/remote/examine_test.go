package remote

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// TestFetchBehindExamine: a mailbox is opened and read in one round trip. Nothing is
// taken from another one than was asked for, and a refusal costs no connection.
func TestFetchBehindExamine(t *testing.T) {
	const served = "* 1 FETCH (UID 1 FLAGS () INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" RFC822.SIZE 3 BODY[] {3}\r\nabc)\r\nTAG OK\r\n"
	voided := func(err error) bool { return errors.Is(err, mail.ErrUIDValidity) }
	refused := func(err error) bool {
		var r *mail.Refused
		return errors.As(err, &r) && r.Command == "EXAMINE"
	}
	for _, test := range []struct {
		name            string
		examine, fetch  string
		messages, dials int // of each time that it is asked, and of both together
		want            func(error) bool
	}{
		{"opened", examined, served, 1, 1, func(err error) bool { return err == nil }},
		{"of another UIDVALIDITY", strings.Replace(examined, "UIDVALIDITY 7", "UIDVALIDITY 8", 1), served, 0, 2, voided},
		{"of another UIDVALIDITY and empty", strings.Replace(examined, "UIDVALIDITY 7", "UIDVALIDITY 8", 1), "TAG OK\r\n", 0, 1, voided},
		{"refused", "TAG NO [INUSE] later\r\n", "TAG BAD nothing is open\r\n", 0, 1, refused},
		{"refused, and another is open still", "TAG NO [INUSE] later\r\n", served, 0, 2, refused},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newFakeServer(t, SideSource, "", func(conn net.Conn, in *bufio.Reader) {
				for {
					var tags []string
					for _, verb := range []string{"EXAMINE", "UID FETCH"} { // nothing is answered before both are there
						line, err := in.ReadString('\n')
						if err != nil || strings.HasSuffix(line, " LOGOUT\r\n") {
							return
						}
						tag, command, _ := strings.Cut(line, " ")
						if !strings.HasPrefix(command, verb) {
							t.Errorf("%q where %s is due", command, verb)
						}
						tags = append(tags, tag)
					}
					io.WriteString(conn, strings.ReplaceAll(test.examine, "TAG", tags[0])+strings.ReplaceAll(test.fetch, "TAG", tags[1]))
				}
			})
			src := newTestSource(t, s)
			for range 2 {
				src.isOpen = src.isOpen && test.messages == 0 // it is opened again
				if got, err := bodiesOf(t, src, 1); len(got) != test.messages || !test.want(err) {
					t.Errorf("%q, %v", got, err)
				}
			}
			if n := s.dials.Load(); int(n) != test.dials {
				t.Errorf("%d connections, want %d", n, test.dials)
			}
		})
	}
}
