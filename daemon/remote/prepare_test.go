package remote

import (
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// TestPrepare: what is prepared is SELECTed together with the listing, and Appender asks
// no more; anything else it asks.
func TestPrepare(t *testing.T) {
	const caps = "IMAP4rev1 LITERAL+ UNSELECT LIST-EXTENDED LIST-STATUS"
	for name, c := range map[string]struct {
		caps    string
		opened  string // what becomes of the SELECT that is sent together with the listing
		before  func(*testing.T, *Destination)
		next    string // what is opened in fact
		selects int    // how many there are, that one included
		want    string // what becomes of Appender
	}{
		"the same":         {caps, selectShown, nil, "box", 1, "ok"},
		"another one":      {caps, selectShown, nil, "other", 2, "ok"},
		"refused":          {caps, "TAG NO [UNAVAILABLE] not now\r\n", nil, "box", 2, "ok"},
		"read-only":        {caps, strings.Replace(selectShown, "READ-WRITE", "READ-ONLY", 1), nil, "box", 1, "read-only"},
		"numbered anew":    {caps, strings.Replace(selectShown, "UIDVALIDITY 7", "UIDVALIDITY 8", 1), nil, "box", 1, "uidvalidity"},
		"STATUS by itself": {"IMAP4rev1 LITERAL+ UNSELECT LIST-EXTENDED", selectShown, nil, "box", 1, "ok"},
		"another mailbox was looked at meanwhile": {caps, selectShown, func(t *testing.T, d *Destination) {
			if _, err := d.Status(t.Context(), mail.Ref{Name: "other"}); err != nil {
				t.Error(err)
			}
		}, "box", 2, "ok"},
		"the mailboxes were listed again": {caps, selectShown, func(t *testing.T, d *Destination) {
			if _, err := d.Mailboxes(t.Context()); err != nil {
				t.Error(err)
			}
		}, "box", 2, "ok"},
	} {
		t.Run(name, func(t *testing.T) {
			var said transcript
			selects := 0 // by the server, which has answered whenever this is read
			d := newTestDestination(t, newFakeServer(t, SideDestination, c.caps, answers(func(command string) string {
				said.add(command)
				switch verb, _, _ := strings.Cut(command, " "); verb {
				case "LIST":
					return "* LIST () \"/\" box\r\n* STATUS box (MESSAGES 4 UIDVALIDITY 7 UIDNEXT 5)\r\nTAG OK\r\n"
				case "SELECT":
					if selects++; selects == 1 {
						return c.opened
					}
					return selectShown
				case "EXAMINE":
					return selectShown
				}
				return "TAG OK\r\n"
			})))
			d.Prepare("box")
			if listing, err := d.Mailboxes(t.Context()); err != nil || len(listing.Mailboxes) != 1 {
				t.Fatalf("%+v, %v", listing, err)
			}
			if ahead := selects == 1; ahead != strings.Contains(c.caps, "LIST-STATUS") {
				t.Errorf("%d mailboxes were opened together with the listing", selects)
			}
			if c.before != nil {
				c.before(t, d)
			}
			a, err := d.Appender(t.Context(), mail.Ref{Name: c.next, UIDValidity: 7})
			if got := outcomeOf(err); got != c.want || selects != c.selects {
				t.Errorf("%s, %d SELECTs, want %s, %d\n%s", got, selects, c.want, c.selects, &said)
			}
			if err == nil && a.Status().UIDValidity != 7 {
				t.Errorf("%+v", a.Status())
			}
			// It is known once.
			before := selects
			if _, err := d.Appender(t.Context(), mail.Ref{Name: "box", UIDValidity: 7}); err != nil || selects != before+1 {
				t.Errorf("%v, and a second Appender sends %d SELECTs\n%s", err, selects-before, &said)
			}
		})
	}
}
