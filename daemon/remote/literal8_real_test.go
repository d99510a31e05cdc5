package remote

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/foreign"
)

// TestLiteral8OfCyrus: it stores NUL so, octet for octet, and nothing that it
// would write anew is sent so.
func TestLiteral8OfCyrus(t *testing.T) {
	s := foreign.Cyrus(t, "s3cret", "jo")
	open := func(side Side) func(context.Context) (*Conn, error) {
		return func(ctx context.Context) (*Conn, error) {
			return Dial(ctx, Server{Side: side, Host: "127.0.0.1", Port: s.Port, TLS: TLSNone, User: "jo", Password: secret("s3cret")}, Options{Timeout: time.Minute})
		}
	}
	const header = "From: jo@example.org\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nMIME-Version: 1.0\r\n"
	stored := []string{
		header + "\r\na\x00b\xff\r\n", header + "\r\nno end \x00", header + "Content-Transfer-Encoding: 8bit\r\n\r\n\x00\r\n",
		header + "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: application/octet-stream\r\n\r\na\x00b\r\n--x--\r\n",
	}
	refused := []string{
		header + "Subject: \x00\r\n\r\n", header + "Content-Transfer-Encoding: (a)\r\n BiNary\r\n\r\n\x00\r\n",
		header + "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Transfer-Encoding: binary\r\n\r\na\x00b\r\n--x--\r\n",
	}
	d := NewDestination(DestinationOptions{Open: open(SideDestination), Logger: quiet()})
	closing(t, d)
	a, err := d.Appender(t.Context(), mail.Ref{Name: "INBOX"})
	if err != nil {
		t.Fatal(err)
	}
	var messages []mail.Upload
	for _, body := range append(stored, refused...) {
		messages = append(messages, text(body))
	}
	outcomes, err := outcomesOf(a.Append(t.Context(), messages))
	if err != nil {
		t.Fatal(err)
	}
	var uids []mail.UID
	for i, o := range outcomes {
		if (o.Err == nil) != (i < len(stored)) {
			t.Errorf("message %d: %+v", i, o)
		}
		if o.Err == nil {
			uids = append(uids, o.UID)
		}
	}
	source := NewSource(SourceOptions{Open: open(SideSource), Logger: quiet()})
	closing(t, source)
	n := 0
	for body, err := range source.Bodies(t.Context(), mail.Ref{Name: "INBOX"}, uids) {
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(body.Content)
		if err != nil || n == len(stored) || string(data) != stored[n] {
			t.Fatalf("message %d is %q, %v", n, data, err)
		}
		n++
	}
	if n != len(stored) {
		t.Errorf("%d messages", n)
	}
}
