package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

func TestServerOffersWhatAMigrationNeeds(t *testing.T) {
	w := start(t, Options{Accounts: 1, Messages: 20})
	c := logIn(t, w.new, w.accounts[0].new)
	for _, want := range []imap.Cap{imap.CapUIDPlus, imap.CapListStatus, imap.CapSpecialUse, imap.CapNamespace, imap.CapLiteralPlus, imap.CapIdle, imap.CapMove} {
		if !c.Caps().Has(want) {
			t.Errorf("%s is not offered", want)
		}
	}
	boxes, err := c.List("", "*", &imap.ListOptions{ReturnSpecialUse: true, ReturnSubscribed: true, ReturnStatus: &imap.StatusOptions{UIDNext: true, UIDValidity: true, NumMessages: true}}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(boxes, func(l *imap.ListData) bool { return slices.Contains(l.Attrs, imap.MailboxAttrSent) })
	if i < 0 || boxes[i].Mailbox != "Sent" || boxes[i].Status == nil || boxes[i].Status.UIDNext != 1 || !slices.Contains(boxes[i].Attrs, imap.MailboxAttrSubscribed) {
		t.Errorf("LIST shows no good Sent: %+v", boxes)
	}
	selected, err := c.Select("Sent", nil).Wait()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []imap.Flag{imap.FlagSeen, imap.FlagDraft, imap.FlagWildcard} {
		if !slices.Contains(selected.PermanentFlags, want) {
			t.Errorf("an empty mailbox lacks the permanent flag %s: %v", want, selected.PermanentFlags)
		}
	}
	old, err := logIn(t, w.old, w.accounts[0].old).Select("INBOX", nil).Wait()
	if err != nil {
		t.Fatal(err)
	}
	if old.UIDValidity < 1000 || selected.UIDValidity > 100 {
		t.Errorf("UIDVALIDITY %d on the old and %d on the new server: too much alike", old.UIDValidity, selected.UIDValidity)
	}

	if err := c.Create("Archiv", &imap.CreateOptions{SpecialUse: []imap.MailboxAttr{imap.MailboxAttrArchive}}).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Rename("Archiv", "Ablage", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Subscribe("Ablage").Wait(); err != nil {
		t.Fatal(err)
	}
	if err := c.Subscribe("Archiv").Wait(); err == nil {
		t.Error("SUBSCRIBE to a mailbox that is no more went well")
	}
	if err := c.Unsubscribe("Sent").Wait(); err != nil {
		t.Fatal(err)
	}
	subscribed, err := c.List("", "*", &imap.ListOptions{SelectSubscribed: true}).Collect()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range subscribed {
		names = append(names, l.Mailbox)
	}
	if want := []string{"Ablage", "Drafts", "INBOX", "Junk", "Trash"}; !slices.Equal(names, want) {
		t.Errorf("subscribed %v, want %v", names, want)
	}
	if err := c.Delete("Ablage").Wait(); err != nil {
		t.Fatal(err)
	}
	if boxes, err = c.List("", "Abl%", nil).Collect(); err != nil || len(boxes) != 0 {
		t.Errorf("after DELETE: %v, %v", boxes, err)
	}
}

func TestWrongPassword(t *testing.T) {
	w := start(t, Options{Accounts: 2, Messages: 1})
	for _, login := range []string{"nobody@example.org", w.accounts[0].old.login} {
		c, err := imapclient.DialInsecure(w.old.addr.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Login(login, w.accounts[1].old.password).Wait(); err == nil {
			t.Errorf("%s is let in with another's password", login)
		}
		c.Close()
	}
}

func TestWriteDoesNotWaitForTheClient(t *testing.T) {
	near, far := net.Pipe() // without any buffer of its own
	near.SetWriteDeadline(time.Now().Add(10 * time.Second))
	l := &listener{Listener: &oneConn{near}, open: map[*conn]bool{}}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"* 1 FETCH ", "(UID 1)\r\n"} {
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
	}
	c.Close() // what was written before is still sent
	got, err := io.ReadAll(far)
	if err != nil || string(got) != "* 1 FETCH (UID 1)\r\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := c.Write([]byte("x")); err == nil {
		t.Error("a closed connection takes more")
	}
	l.closeAll()
}

// oneConn is a listener that accepts the one connection it holds.
type oneConn struct{ conn net.Conn }

func (l *oneConn) Accept() (net.Conn, error) { return l.conn, nil }

func (l *oneConn) Close() error { return nil }

func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

func TestAppendDelay(t *testing.T) {
	const delay = 30 * time.Millisecond
	w := start(t, Options{Accounts: 1, Messages: 1, AppendDelay: delay})
	c := logIn(t, w.new, w.accounts[0].new)
	began := time.Now()
	appendTo(t, c, "INBOX", "Subject: y\r\n\r\n", nil)
	if took := time.Since(began); took < delay {
		t.Errorf("APPEND took %v, want at least %v", took, delay)
	}
}

func TestNothingOutlivesTheWorld(t *testing.T) {
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(t.Context())
	w, err := Start(ctx, Options{Dir: t.TempDir(), Accounts: 1, Messages: 1, AppendDelay: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var clients []net.Conn
	for _, s := range []*server{w.old, w.new} {
		c, err := net.Dial("tcp", s.addr.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients = append(clients, c)
		if _, err := c.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	u := w.accounts[0].new
	// One connection stands in the middle of an APPEND that takes an hour.
	fmt.Fprintf(clients[1], "a LOGIN %s %s\r\nb APPEND INBOX {1+}\r\nx\r\n", quoted(u.login), quoted(u.password))
	cancel()
	w.Close()
	w.Close()
	for _, c := range clients {
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("a connection did not end")
		}
	}
	for deadline := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines before, %d after", before, runtime.NumGoroutine())
		}
	}
	if _, err := w.Compare(t.Context()); err == nil {
		t.Error("the servers still answer")
	}
}

// TestCutAppendStoresNothing: a client that is gone in the middle of a message
// leaves nothing of it, as on real servers.
func TestCutAppendStoresNothing(t *testing.T) {
	w, err := Start(t.Context(), Options{Dir: t.TempDir(), Accounts: 1, Messages: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	c, err := net.Dial("tcp", w.new.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	u := w.accounts[0].new
	fmt.Fprintf(c, "a LOGIN %s %s\r\nb APPEND INBOX {100+}\r\nSubject: half", quoted(u.login), quoted(u.password))
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	c.Close()
	boxes, err := look(t.Context(), w.new, u)
	if err != nil {
		t.Fatal(err)
	}
	for _, box := range boxes {
		if len(box.messages) > 0 {
			t.Errorf("%s holds %d messages", box.name, len(box.messages))
		}
	}
}
