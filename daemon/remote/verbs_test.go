package remote

import (
	"bytes"
	"errors"
	"testing"
)

// TestAddOnly: after the handover nothing goes out that changes what is there,
// be it behind a literal.
func TestAddOnly(t *testing.T) {
	for _, c := range []struct {
		lines         string
		before, after bool
	}{
		{"a UID STORE 1 +FLAGS (\\Seen)\r\n", true, false},
		{"a uid move 1 \"box\"\r\n", true, false},
		{"a UID COPY 1 \"box\"\r\n", true, false},
		{"a UID EXPUNGE 1\r\n", true, false},
		{"a APPEND INBOX {3+}\r\nabc\r\nb UID EXPUNGE 1\r\n", true, false},
		{"a APPEND INBOX {21+}\r\nx UID STORE 1 FLAGS\r\n\r\n", true, true}, // mail
		{"a SELECT INBOX\r\n", true, true},
		{"a CREATE \"Sent\"\r\n", true, true},
		{"a SUBSCRIBE \"Sent\"\r\n", true, true},
		{"a UID FETCH 1:* (FLAGS)\r\n", true, true},
		{"a UID SEARCH UNDELETED\r\n", true, true},
		{"a EXPUNGE\r\n", false, false},
		{"a CLOSE\r\n", false, false},
	} {
		for _, addOnly := range []bool{false, true} {
			want := c.before
			if addOnly {
				want = c.after
			}
			var out bytes.Buffer
			_, err := (&verbs{side: SideDestination, addOnly: addOnly, out: &out}).Write([]byte(c.lines))
			if sent := err == nil && out.String() == c.lines; sent != want || err != nil && !errors.Is(err, errForbidden) {
				t.Errorf("after the handover %t: %q: %v", addOnly, c.lines, err)
			}
		}
	}
}
