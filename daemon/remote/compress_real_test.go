package remote

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	server "github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/foreign"
)

// TestCompressionOfDovecot carries mail to and fro over compressed connections.
func TestCompressionOfDovecot(t *testing.T) {
	s := server.Start(t, server.Options{Extra: "protocol imap {\n  mail_plugins = imap_zlib\n}\n"})
	compressed(t, Server{Host: "127.0.0.1", Port: s.TLSPort, TLS: TLSImplicit, TLSServerName: "localhost", TLSCAFile: s.CAFile, Password: secret(server.Password)})
}

// TestCompressionOfCyrus does it with another server's idea of a flush.
func TestCompressionOfCyrus(t *testing.T) {
	s := foreign.Cyrus(t, server.Password, "jo")
	compressed(t, Server{Host: "127.0.0.1", Port: s.Port, TLS: TLSNone, Password: secret(server.Password)})
}

// compressed appends mail and fetches it again.
func compressed(t *testing.T, s Server) {
	s.User, s.Compress, s.Compression = "jo", CompressOn, new(Compression)
	var conns []*Conn
	opener := func(side Side) func(context.Context) (*Conn, error) {
		return func(ctx context.Context) (*Conn, error) {
			s := s
			s.Side = side
			conn, err := Dial(ctx, s, Options{Timeout: time.Minute})
			if err == nil && conn.inflating == nil {
				t.Error("not compressed")
			}
			conns = append(conns, conn)
			return conn, err
		}
	}
	rng := rand.New(rand.NewPCG(4, 9))
	random := make([]byte, 300_000)
	for i := range random {
		random[i] = byte(' ' + rng.IntN(95))
		if i%77 == 75 {
			copy(random[i-1:], "\r\n")
		}
	}
	bodies := []string{
		strings.Repeat("Z1 CREATE pwned\r\n", 10_000),
		string(random),
		"Subject: little\r\n\r\n{12+}\r\n",
	}
	for i := range 600 { // more than may await their answers
		bodies = append(bodies, strings.Repeat("x", i%7)+"\r\n")
	}
	for i := range bodies {
		bodies[i] = "From: jo@example.org\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\nSubject: x\r\n\r\n" + bodies[i]
	}
	d := NewDestination(DestinationOptions{Open: opener(SideDestination), Logger: quiet()})
	closing(t, d)
	a, err := d.Appender(t.Context(), mail.Ref{Name: "INBOX"})
	if err != nil {
		t.Fatal(err)
	}
	var messages []mail.Upload
	for _, body := range bodies {
		messages = append(messages, mail.Upload{Size: int64(len(body)), Date: noon, Content: bytes.NewReader([]byte(body))})
	}
	outcomes, err := outcomesOf(a.Append(t.Context(), messages))
	if err != nil {
		t.Fatal(err)
	}
	source := NewSource(SourceOptions{Open: opener(SideSource), Logger: quiet()})
	closing(t, source)
	listing, err := source.Mailboxes(t.Context())
	if err != nil || len(listing.Mailboxes) != 1 {
		t.Fatalf("%+v %v", listing, err)
	}
	var uids []mail.UID
	for _, outcome := range outcomes {
		if outcome.Err != nil {
			t.Fatal(outcome.Err)
		}
		uids = append(uids, outcome.UID)
	}
	var got []string
	for body, err := range source.Bodies(t.Context(), mail.Ref{Name: "INBOX"}, uids) {
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(body.Content)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(data))
	}
	if !slices.Equal(got, bodies) {
		t.Errorf("%d messages are not what was sent", len(got))
	}
	total := int64(len(strings.Join(bodies, "")))
	_, sent := conns[0].Bytes()
	received, _ := conns[1].Bytes()
	t.Logf("%d octets of mail: %d sent, %d received", total, sent, received)
	if sent > total*9/10 || received > total*9/10 {
		t.Errorf("%d octets of mail: %d sent, %d received", total, sent, received)
	}
}
