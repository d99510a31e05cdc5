package remote

import (
	"bufio"
	"fmt"
	"strings"
	"testing"
)

// TestTraceHidesContents: not even where a response makes no sense.
func TestTraceHidesContents(t *testing.T) {
	const content = "Subject: secret\r\n\r\nthe body"
	for _, before := range []string{"BODY[]", "BODY[]<0>", "BODY[] <0>", "FLAGS () x"} {
		r, err := readResponse(bufio.NewReader(strings.NewReader(fmt.Sprintf("* 3 FETCH (UID 3 %s {%d}\r\n%s RFC822.SIZE 25)\r\n", before, len(content), content))))
		if err != nil {
			t.Fatal(err)
		}
		if shown := traced(r); strings.Contains(shown, "secret") || !strings.HasPrefix(shown, "* 3 FETCH (UID 3 ") {
			t.Errorf("%s: %s", before, shown)
		}
	}
}
