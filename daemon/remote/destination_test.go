package remote

import (
	"bufio"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
)

var (
	_ pass.Source      = (*Source)(nil)
	_ pass.Destination = (*Destination)(nil)
	_ pass.Appender    = (*Appender)(nil)
)

func newTestDestination(t *testing.T, s *fakeServer) *Destination {
	d := NewDestination(DestinationOptions{Open: s.dial, Logger: quiet()})
	closing(t, d)
	return d
}

// outcomeOf makes an error one word.
func outcomeOf(err error) string {
	var refused *mail.Refused
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, mail.ErrOtherMailbox):
		return "other"
	case errors.As(err, &refused):
		return strings.TrimSpace(refused.Type + " " + refused.Code)
	case errors.Is(err, mail.ErrUIDValidity):
		return "uidvalidity"
	case errors.Is(err, mail.ErrReadOnly):
		return "read-only"
	}
	return err.Error()
}

// create makes one mailbox.
func create(d *Destination, name, role string) error {
	return one(d.Create(context.Background(), []mail.Creation{{Name: name, Role: role}}))
}

func subscribe(d *Destination, name string) error {
	return one(d.Subscribe(context.Background(), []string{name}))
}

func one(refused []error, err error) error {
	if err != nil {
		return err
	}
	return refused[0]
}

// TestCreateTogether: many mailboxes take one round trip, and each its own
// refusal.
func TestCreateTogether(t *testing.T) {
	var log transcript
	script := func(command string) string {
		log.add(command)
		switch {
		case strings.Contains(command, `"b"`) && strings.HasPrefix(command, "CREATE"):
			return "TAG NO [NOPERM] no\r\n"
		case strings.Contains(command, `"c"`) && strings.HasPrefix(command, "CREATE"):
			return "TAG NO [ALREADYEXISTS] it is there\r\n"
		case strings.HasPrefix(command, `EXAMINE "b"`):
			return "TAG NO [NONEXISTENT]\r\n"
		case strings.HasPrefix(command, "LIST"):
			return "* LIST () \"/\" \"c\"\r\nTAG OK\r\n"
		}
		return "TAG OK\r\n"
	}
	d := newTestDestination(t, newFakeServer(t, SideDestination, "", surveyed(4, script)))
	refused, err := d.Create(t.Context(), []mail.Creation{{Name: "a"}, {Name: "b"}, {Name: "x\ny"}, {Name: "c"}, {Name: "d"}})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, err := range refused {
		got = append(got, outcomeOf(err))
	}
	if want := []string{"ok", "NO NOPERM", "BAD", "ok", "ok"}; !slices.Equal(got, want) {
		t.Errorf("%q, not %q\n%v", got, want, log.String())
	}
}

func TestCreate(t *testing.T) {
	const there, missing, listed = "* OK [UIDVALIDITY 1]\r\nTAG OK\r\n", "TAG NO [NONEXISTENT]\r\n", "* LIST () \"/\" \"a\"\r\nTAG OK\r\n"
	for _, c := range []struct {
		name, caps, mailbox, role string
		rules                     [][2]string
		sent                      []string
		want                      string
	}{
		{"made", "", "a \"b\"", `\Sent`, [][2]string{{"CREATE", "TAG OK\r\n"}}, []string{`CREATE "a \"b\""`}, "ok"},
		{"exists, with a code", "", "a", "", [][2]string{{"CREATE", "TAG NO [ALREADYEXISTS]\r\n"}, {"EXAMINE", there}, {"LIST", listed}},
			[]string{`CREATE "a"`, `EXAMINE "a"`, `LIST "" "a"`}, "ok"},
		{"exists, without", "", "a", "", [][2]string{{"CREATE", "TAG NO Mailbox already exists\r\n"}, {"EXAMINE", there}, {"LIST", listed}},
			[]string{`CREATE "a"`, `EXAMINE "a"`, `LIST "" "a"`}, "ok"},
		{"exists under another name", "", "A", "", [][2]string{{"CREATE", "TAG NO [ALREADYEXISTS]\r\n"}, {"EXAMINE", there}, {"LIST", listed}},
			[]string{`CREATE "A"`, `EXAMINE "A"`, `LIST "" "A"`}, "other"},
		{"refused", "", "a", "", [][2]string{{"CREATE", "TAG NO [NOPERM]\r\n"}, {"EXAMINE", missing}},
			[]string{`CREATE "a"`, `EXAMINE "a"`}, "NO NOPERM"},
		{"with a role", "CREATE-SPECIAL-USE", "a", `\Sent`, [][2]string{{`CREATE "a" (USE (\Sent))`, "TAG OK\r\n"}},
			[]string{`CREATE "a" (USE (\Sent))`}, "ok"},
		{"role refused", "CREATE-SPECIAL-USE", "a", `\Sent`, [][2]string{{`CREATE "a" (USE`, "TAG NO [USEATTR]\r\n"}, {"CREATE", "TAG OK\r\n"}},
			[]string{`CREATE "a" (USE (\Sent))`, `CREATE "a"`}, "ok"},
		{"a name that cannot be sent", "", "a\r\nZ1 DELETE INBOX", "", nil, nil, "BAD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log transcript
			d := newTestDestination(t, listServer(t, SideDestination, c.caps, &log, c.rules...))
			if got := outcomeOf(create(d, c.mailbox, c.role)); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if got := log.all(); !slices.Equal(got, c.sent) {
				t.Errorf("sent %q, want %q", got, c.sent)
			}
		})
	}
}

func TestSubscribe(t *testing.T) {
	var log transcript
	d := newTestDestination(t, listServer(t, SideDestination, "", &log, [2]string{`SUBSCRIBE "a"`, "TAG OK\r\n"}, [2]string{"SUBSCRIBE", "TAG NO\r\n"}))
	for name, want := range map[string]string{"a": "ok", "b": "NO", "a\nb": "BAD"} {
		if got := outcomeOf(subscribe(d, name)); got != want {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
}

func TestAppenderOpens(t *testing.T) {
	for _, c := range []struct {
		shown string
		box   mail.Ref
		want  string
	}{
		{selectShown, box, "ok"},
		{selectShown, mail.Ref{Name: "box"}, "ok"},
		{selectShown, mail.Ref{Name: "box", UIDValidity: 8}, "uidvalidity"},
		{strings.Replace(selectShown, "READ-WRITE", "READ-ONLY", 1), box, "read-only"},
		{"TAG NO [NONEXISTENT] gone\r\n", box, "NO NONEXISTENT"},
		{"", mail.Ref{Name: "a\nb"}, "BAD"},
	} {
		var log transcript
		s := listServer(t, SideDestination, "", &log, [2]string{"SELECT", c.shown})
		a, err := newTestDestination(t, s).Appender(t.Context(), c.box)
		if got := outcomeOf(err); got != c.want || (err == nil) != (a != nil) {
			t.Errorf("%q: %s, want %s", c.shown, got, c.want)
		}
		if err == nil && a.Status() != (mail.Status{UIDValidity: 7, UIDNext: 1, MessagesKnown: true}) {
			t.Errorf("status %+v", a.Status())
		}
	}
}

// TestAppenderIsKept: mailboxes follow one another on one connection, an
// appender that is not in use any more sends nothing, and one that the server
// has dropped meanwhile is replaced.
func TestAppenderIsKept(t *testing.T) {
	d := &dovecotLike{}
	var last atomic.Pointer[net.Conn]
	s := newFakeServer(t, SideDestination, appendCaps, func(conn net.Conn, in *bufio.Reader) {
		last.Store(&conn)
		d.serve(conn, in)
	})
	dest := newTestDestination(t, s)
	var old mail.Appender
	for range 3 {
		a, err := dest.Appender(t.Context(), mail.Ref{Name: "box"})
		if err != nil {
			t.Fatal(err)
		}
		if outcomes, err := outcomesOf(a.Append(t.Context(), []mail.Upload{text("a")})); err != nil || outcomes[0].Err != nil {
			t.Fatal(outcomes, err)
		}
		old = a
	}
	if n := s.dials.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
	(*last.Load()).Close()
	a, err := dest.Appender(t.Context(), mail.Ref{Name: "box"})
	if err != nil {
		t.Fatal(err)
	}
	if outcomes, err := outcomesOf(old.Append(t.Context(), []mail.Upload{text("a")})); err == nil || !errors.Is(outcomes[0].Err, mail.ErrNotSent) {
		t.Errorf("the former appender: %v %v", outcomes, err)
	}
	if outcomes, err := outcomesOf(a.Append(t.Context(), []mail.Upload{text("a")})); err != nil || outcomes[0].Err != nil {
		t.Errorf("%v %v", outcomes, err)
	}
	a.Close()
	if outcomes, err := outcomesOf(a.Append(t.Context(), []mail.Upload{text("a")})); err == nil || !errors.Is(outcomes[0].Err, mail.ErrNotSent) {
		t.Errorf("after Close: %v %v", outcomes, err)
	}
}

// TestOneConnection: what is read and what is appended go over one connection, in
// turn: whoever needs it next has the answers to all that was sent awaited.
func TestOneConnection(t *testing.T) {
	dovecot := &dovecotLike{}
	s := newFakeServer(t, SideDestination, appendCaps, dovecot.serve)
	d := newTestDestination(t, s)
	for range 2 {
		if _, err := d.UIDs(t.Context(), box, 1); err != nil {
			t.Fatal(err)
		}
		a, err := d.Appender(t.Context(), box)
		if err != nil {
			t.Fatal(err)
		}
		answer := a.Append(t.Context(), []mail.Upload{text("a"), text("b")})
		if _, err := d.UIDs(t.Context(), box, 1); err != nil {
			t.Fatal(err)
		}
		select {
		case answer := <-answer:
			if answer.Err != nil || answer.Outcomes[0].Err != nil || answer.Outcomes[1].Err != nil {
				t.Fatal(answer)
			}
		default:
			t.Fatal("the connection was used before all was answered")
		}
		if outcomes, err := outcomesOf(a.Append(t.Context(), []mail.Upload{text("a")})); err == nil || !errors.Is(outcomes[0].Err, mail.ErrNotSent) {
			t.Errorf("an appender whose connection was needed: %v %v", outcomes, err)
		}
	}
	if n := s.dials.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// TestName: names are spelled as the listing showed, also after the connection
// that showed it is gone.
func TestName(t *testing.T) {
	var log transcript
	s := listServer(t, SideDestination, "NAMESPACE", &log, [2]string{"NAMESPACE", "* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL\r\nTAG OK\r\n"},
		[2]string{"LIST", "TAG OK\r\n"}, [2]string{"LSUB", "TAG OK\r\n"})
	d := newTestDestination(t, s)
	if _, err := d.Mailboxes(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := d.Name([]string{"Entwürfe", "alt"}); got != "INBOX.Entw&APw-rfe.alt" {
			t.Error(got)
		}
		d.drop()
	}
}

// TestOpenFails: without a connection every call says why.
func TestOpenFails(t *testing.T) {
	down := errors.New("down")
	d := NewDestination(DestinationOptions{Logger: quiet(), Open: func(context.Context) (*Conn, error) { return nil, down }})
	ctx := t.Context()
	_, err1 := d.Mailboxes(ctx)
	_, err2 := d.Status(ctx, box)
	_, err3 := d.UIDs(ctx, box, 1)
	_, err4 := d.Appender(ctx, box)
	_, err5 := d.Editor(ctx, box)
	errs := []error{err1, err2, err3, err4, err5, create(d, "a", ""), subscribe(d, "a")}
	for _, err := range d.Messages(ctx, box, []mail.UID{1}, true) {
		errs = append(errs, err)
	}
	for _, err := range d.Bodies(ctx, box, []mail.UID{1}) {
		errs = append(errs, err)
	}
	for _, err := range d.Flags(ctx, box, 9, 0) {
		errs = append(errs, err)
	}
	for i, err := range errs {
		if !errors.Is(err, down) {
			t.Errorf("call %d: %v", i, err)
		}
	}
	if err := d.Close(); err != nil || len(errs) != 10 {
		t.Error(err, len(errs))
	}
}
