package remote

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// memServer starts go-imap's server in memory with one user, and returns how
// to log in.
func memServer(t *testing.T) Server {
	t.Helper()
	user := imapmemserver.NewUser("jo", "secret")
	if err := user.Create("INBOX", nil); err != nil {
		t.Fatal(err)
	}
	users := imapmemserver.New()
	users.AddUser(user)
	server := imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return users.NewSession(), nil, nil
		},
		Caps:         imap.CapSet{imap.CapIMAP4rev1: {}, imap.CapIMAP4rev2: {}},
		InsecureAuth: true,
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return Server{
		Side: SideDestination, Account: "jo", Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, TLS: TLSNone,
		User: "jo", Password: func(context.Context) (string, error) { return "secret", nil },
	}
}

// TestAgainstRealServer: what is appended over one connection is listed, found
// and read back over others, octet for octet.
func TestAgainstRealServer(t *testing.T) {
	server := memServer(t)
	open := func(ctx context.Context) (*Conn, error) { return Dial(ctx, server, Options{Timeout: 10 * time.Second}) }
	ctx := t.Context()
	d := NewDestination(DestinationOptions{Open: open, Logger: quiet()})
	closing(t, d)
	if _, err := d.Mailboxes(ctx); err != nil {
		t.Fatal(err)
	}
	name := d.Name([]string{"Entwürfe & mehr"})
	for range 2 { // the second time it exists
		if err := create(d, name, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := subscribe(d, name); err != nil {
		t.Fatal(err)
	}
	a, err := d.Appender(ctx, mail.Ref{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	const n = 150
	messages := make([]mail.Upload, n)
	bodies := make([]string, n)
	for i := range messages {
		bodies[i] = fmt.Sprintf("Subject: %d\r\n\r\n%s\r\n", i, strings.Repeat("line\r\n", i*20))
		messages[i] = text(bodies[i], `\Seen`, "$Label1")
		messages[i].Flags = a.Storable(messages[i].Flags)
		messages[i].Date = noon.Add(time.Duration(i) * time.Hour)
	}
	outcomes, err := outcomesOf(a.Append(ctx, messages))
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outcomes {
		if o.Err != nil || o.UID != mail.UID(i+1) || o.UIDValidity != a.Status().UIDValidity {
			t.Fatalf("message %d: %+v", i, o)
		}
	}

	server.Side = SideSource
	src := NewSource(SourceOptions{Open: open, Logger: quiet()})
	closing(t, src)
	listing, err := src.Mailboxes(ctx)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(listing.Mailboxes, func(m mail.Mailbox) bool { return m.Name == name })
	if i < 0 {
		t.Fatalf("%q is not in %+v", name, listing.Mailboxes)
	}
	if m := listing.Mailboxes[i]; m.DisplayName() != "Entwürfe & mehr" || !m.Subscribed || m.Status.UIDNext != n+1 || m.Status.Messages != n {
		t.Errorf("%+v", m)
	}
	ref := mail.Ref{Name: name, UIDValidity: a.Status().UIDValidity}
	uids, err := src.UIDs(ctx, ref, 11)
	if err != nil || len(uids) != n-10 || uids[0] != 11 {
		t.Fatalf("%v %v", uids, err)
	}
	at := 10
	for body, err := range src.Bodies(ctx, ref, uids) {
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(body.Content)
		if err != nil || string(data) != bodies[at] || !body.Flags.Equal(messages[at].Flags) || !body.InternalDate.Equal(messages[at].Date) {
			t.Fatalf("message %d came back different: %+v %v", at, body.Message, err)
		}
		at++
	}
	if at != n {
		t.Errorf("%d messages", at)
	}
	editor, err := d.Editor(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := editor.Flags(ctx, uids)
	if err != nil {
		t.Fatal(err)
	}
	var edits []mail.Edit
	for _, m := range rows {
		edits = append(edits, mail.Edit{UID: m.UID, From: m.Flags, To: mail.Flags{System: mail.Seen | mail.Flagged, Keywords: m.Flags.Keywords}})
	}
	if changed, err := editor.Store(ctx, edits); err != nil || len(changed) > 0 {
		t.Fatal(changed, err)
	}
	if err := editor.Close(); err != nil {
		t.Fatal(err)
	}
	at = 10
	for m, err := range d.Messages(ctx, ref, uids, true) {
		if err != nil {
			t.Fatal(err)
		}
		if want := mail.NewFingerprint(int64(len(bodies[at])), messages[at].Date, []byte(bodies[at])); m.Fingerprint != want || m.Flags.System != mail.Seen|mail.Flagged {
			t.Fatalf("message %d: %+v", at, m)
		}
		at++
	}
	if at != n {
		t.Errorf("%d messages", at)
	}
}
