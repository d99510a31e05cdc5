package remote

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/foreign"
)

func TestCopy(t *testing.T) {
	const copy = `UID COPY 1:2,9 "other"`
	for _, c := range []struct{ name, answer, want, outcome string }{
		{"told", "TAG OK [COPYUID 8 1:2,9 30:32] done\r\n", "map[1:30 2:31 9:32] 8", "ok"},
		{"one was not there", "TAG OK [COPYUID 8 1,9 30:31] done\r\n", "map[1:30 9:31] 8", "ok"},
		{"none was there", "TAG OK done\r\n", "map[] 0", "ok"},
		{"never asked for", "TAG OK [COPYUID 8 3 30] done\r\n", "map[] 0", "ok"},
		{"two at one place", "TAG OK [COPYUID 8 1:2 30,30] done\r\n", "map[] 0", "ok"},
		{"refused", "TAG NO [OVERQUOTA] full\r\n", "map[] 0", "NO OVERQUOTA"},
		{"refused after all", "* OK [COPYUID 8 1 30] one\r\nTAG NO no\r\n", "map[] 0", "NO"},
		{"cut", "", "map[] 0", "broke"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log transcript
			_, e := newTestEditor(t, editCaps, &log, [2]string{copy, c.answer})
			copied, validity, err := e.Copy(t.Context(), []mail.UID{1, 2, 9}, "other")
			if got := fmt.Sprint(copied, validity); got != c.want || !strings.Contains(outcomeOf(err), c.outcome) {
				t.Errorf("%s, %v", got, err)
			}
			if got := log.all()[1:]; !slices.Equal(got, []string{copy}) {
				t.Errorf("sent %q", got)
			}
		})
	}
	var log transcript
	_, e := newTestEditor(t, editCaps, &log)
	if _, _, err := e.Copy(t.Context(), []mail.UID{1}, "a\r\nZ1 DELETE INBOX"); outcomeOf(err) != "BAD" || len(log.all()) != 1 {
		t.Error(err, log.all())
	}
}

// TestCopyOfCyrus: a copy has the INTERNALDATE of what is copied.
func TestCopyOfCyrus(t *testing.T) {
	s := foreign.Cyrus(t, "s3cret", "jo")
	d := NewDestination(DestinationOptions{Logger: quiet(), Open: func(ctx context.Context) (*Conn, error) {
		return Dial(ctx, Server{Side: SideDestination, Host: "127.0.0.1", Port: s.Port, TLS: TLSNone, User: "jo", Password: secret("s3cret")}, Options{Timeout: time.Minute})
	}})
	closing(t, d)
	if refused, err := d.Create(t.Context(), []mail.Creation{{Name: "other"}}); err != nil || refused[0] != nil || !d.CanCopy() {
		t.Fatal(refused, err, d.CanCopy())
	}
	a, err := d.Appender(t.Context(), mail.Ref{Name: "INBOX"})
	if err != nil {
		t.Fatal(err)
	}
	m := text("From: jo@example.org\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n\r\nx\r\n")
	m.Flags = mail.Flags{System: mail.Seen | mail.Flagged}
	outcomes, err := outcomesOf(a.Append(t.Context(), []mail.Upload{m}))
	if err != nil || outcomes[0].Err != nil {
		t.Fatal(outcomes, err)
	}
	e, err := d.Editor(t.Context(), mail.Ref{Name: "INBOX"})
	if err != nil {
		t.Fatal(err)
	}
	copied, validity, err := e.Copy(t.Context(), []mail.UID{outcomes[0].UID}, "other")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for x, err := range d.Messages(t.Context(), mail.Ref{Name: "other", UIDValidity: validity}, []mail.UID{copied[outcomes[0].UID]}, false) {
		if n++; err != nil || !x.InternalDate.Equal(m.Date) || x.Flags != m.Flags {
			t.Errorf("%v %v, not %v %v: %v", x.InternalDate, x.Flags, m.Date, m.Flags, err)
		}
	}
	if n != 1 {
		t.Errorf("%d messages", n)
	}
}
