package remote

import (
	"slices"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// TestWithMessageID: SEARCH finds whatever contains the text; what is returned
// has that very Message-ID, however it is written.
func TestWithMessageID(t *testing.T) {
	long := strings.Repeat("x", 600) + "@example.org"
	fake := newFakeServer(t, SideSource, "", answers(func(command string) string {
		switch {
		case strings.HasPrefix(command, "EXAMINE "):
			return "* 5 EXISTS\r\n* OK [UIDVALIDITY 7]\r\nTAG OK\r\n"
		case strings.HasPrefix(command, `UID SEARCH HEADER MESSAGE-ID "`):
			return "* SEARCH 1 2 3 4 5\r\nTAG OK\r\n"
		case strings.HasPrefix(command, "UID FETCH "):
			var rows strings.Builder
			for i, header := range []string{
				"Message-ID: <1@example.org>", "Message-Id: <11@example.org> (added by a gateway)", "Message-ID: 1@example.org", "nonsense", "Message-ID: <" + long + ">",
			} {
				n := string(rune('1' + i))
				rows.WriteString("* " + n + " FETCH (UID " + n + " FLAGS () INTERNALDATE \"04-Aug-2017 10:00:00 +0200\" BODY[HEADER] " + literal(header+"\r\n\r\n") + ")\r\n")
			}
			return rows.String() + "TAG OK\r\n"
		}
		return "TAG BAD\r\n"
	}))
	s := NewSource(SourceOptions{Open: fake.dial, Logger: quiet()})
	closing(t, s)
	for id, want := range map[string][]mail.UID{
		"<1@example.org>": {1, 3, 4}, "1@example.org": {1, 3, 4}, " <11@example.org>": {2, 4}, "<" + long + ">": {4, 5}, "@example.org": {4},
	} {
		uids, err := s.WithMessageID(t.Context(), mail.Ref{Name: "INBOX", UIDValidity: 7}, id)
		if err != nil || !slices.Equal(uids, want) {
			t.Errorf("%.30s: %v %v, want %v", id, uids, err, want)
		}
	}
}
