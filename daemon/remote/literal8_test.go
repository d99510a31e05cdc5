package remote

import (
	"slices"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// TestLiteral8: what a server takes with NUL in a literal8 only goes there so,
// octet for octet, and is refused as ever where it might not be stored as it is.
func TestLiteral8(t *testing.T) {
	bodies := []string{
		"plain", "a\x00b", "then plain", strings.Repeat("x", 2*chunk) + "\x00", "Content-Transfer-Encoding: binary\r\n\r\n\x00",
		strings.Repeat("x", chunk-3) + "binary\x00", "\x00 is over quota", "no NUL", "Z1 CREATE pwned\r\n\x00Z2 CREATE pwned\r\n", "last",
	}
	for _, c := range []struct {
		caps   string
		stored []int // by their places in bodies, in the order in which they were stored
	}{
		{appendCaps, []int{0, 2, 9}},
		{appendCaps + " BINARY", []int{0, 2, 9, 1, 3, 8}},
		{multiCaps + " BINARY", []int{0, 2, 9, 1, 3, 8}},
		{"UIDPLUS BINARY", []int{0, 2, 9, 1, 3, 8}},
	} {
		d := &dovecotLike{likeCyrus: true, refuse: map[string]string{bodies[6]: "NO [OVERQUOTA] full", bodies[7]: "NO another reason"}}
		_, a := newAppender(t, newFakeServer(t, SideDestination, c.caps, d.serve))
		var messages []mail.Upload
		for _, body := range bodies {
			messages = append(messages, text(body, "Listed"))
		}
		outcomes, err := outcomesOf(a.Append(t.Context(), messages))
		if err != nil {
			t.Fatal(err)
		}
		d.mu.Lock()
		var want []string
		for _, i := range c.stored {
			want = append(want, "Listed: "+bodies[i])
		}
		slices.Sort(want)
		got := slices.Sorted(slices.Values(d.stored))
		if !slices.Equal(got, want) || d.created != nil {
			t.Errorf("%s: stored %.200q, created %q", c.caps, d.stored, d.created)
		}
		for i, o := range outcomes {
			if stored := slices.Contains(c.stored, i); stored != (o.Err == nil) || stored && d.stored[o.UID-1] != "Listed: "+bodies[i] {
				t.Errorf("%s: message %d: %+v", c.caps, i, o)
			}
		}
		if n := max(0, len(c.stored)-3); d.literal8s != n {
			t.Errorf("%s: %d messages were sent as literal8, not %d", c.caps, d.literal8s, n)
		}
		d.mu.Unlock()
	}
}

// TestLiteral8Unknown: a server that cannot parse what it offers has it refused,
// and nothing follows from that for others.
func TestLiteral8Unknown(t *testing.T) {
	for _, answer := range []string{"BAD", "NO"} {
		d := &dovecotLike{likeCyrus: true, noLiteral8: answer}
		s := newFakeServer(t, SideDestination, appendCaps+" BINARY", d.serve)
		dest, a := newAppender(t, s)
		outcomes, err := outcomesOf(a.Append(t.Context(), []mail.Upload{text("a"), text("Z1 CREATE pwned\r\n\x00"), text("b")}))
		if refused, ok := outcomes[1].Err.(*mail.Refused); !ok || refused.Type != answer || (err != nil) != (answer == "BAD") {
			t.Errorf("%s: %+v %v", answer, outcomes, err)
		}
		if outcomes[0].Err != nil || outcomes[2].Err != nil || len(d.stored) != 2 || d.created != nil {
			t.Errorf("%s: %+v, stored %q, created %q", answer, outcomes, d.stored, d.created)
		}
		if dest.trust.cautious.Load() {
			t.Errorf("%s: literals wait from now on", answer)
		}
	}
}
