package remote

import (
	"bufio"
	"io"
	"net"
	"testing"
)

// TestLogoutIsNoLoss: a connection that we have taken leave of is not lost, whether
// its server answers in full or not.
func TestLogoutIsNoLoss(t *testing.T) {
	for _, answer := range []string{"", "* BYE\r\n", "* BYE\r\nR1 OK\r\n"} {
		server := newFakeServer(t, SideSource, "IMAP4rev1", func(conn net.Conn, in *bufio.Reader) {
			if _, err := in.ReadString('\n'); err == nil {
				io.WriteString(conn, answer)
			}
		})
		server.options.Lost = func(err *Error) { t.Errorf("%q: %v", answer, err) }
		conn, err := server.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conn.inUse = true
		conn.Logout(t.Context())
	}
}
