package daemon_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestAccountPage: the page of an account shows its mailboxes as they are, what
// its passes did, and what is held, whether its state is open or not.
func TestAccountPage(t *testing.T) {
	w := newWorld(t, 1, 20)
	r := w.run()
	r.untilFollowing()
	name := w.Accounts()[0]
	row := regexp.MustCompile(`<th scope="row">([^<]+)</th><td>[^<]*</td><td class="number">([0-9,]+)</td><td class="number">([0-9,]+)</td>`)
	look := func() (messages, inbox, held int, page string) {
		t.Helper()
		code, page := r.get("/account/" + name)
		if code != http.StatusOK {
			t.Fatalf("the page of %s: %d", name, code)
		}
		for _, found := range row.FindAllStringSubmatch(page, -1) {
			n, err := strconv.Atoi(found[2])
			if err != nil {
				t.Fatal(err)
			}
			if messages += n; found[1] == "INBOX" {
				inbox = n
			}
			n, err = strconv.Atoi(found[3])
			if err != nil {
				t.Fatal(err)
			}
			held += n
		}
		return messages, inbox, held, page
	}

	all, inbox, _, page := look()
	if want := r.account(name).Messages.Source; all != want || inbox == 0 {
		t.Errorf("%d messages in its mailboxes, %d in INBOX, want %d together:\n%s", all, inbox, want, page)
	}
	r.until("that they were copied is among its passes", func() bool { // which are told after the phase
		_, _, _, page := look()
		return strings.Contains(page, fmt.Sprintf("copied %d (", all))
	})
	if err := w.Deliver(name, "INBOX", letter("seen")); err != nil {
		t.Fatal(err)
	}
	r.until("the new message is on the page", func() bool {
		now, in, _, _ := look()
		return now == all+1 && in == inbox+1
	})

	if err := r.client.Pause(context.Background(), []string{name}, false); err != nil {
		t.Fatal(err)
	}
	r.until("its connections are closed, and its state", func() bool { return r.metric("connections", "destination", "idle") == 0 })
	for range 2 {
		if now, _, _, page := look(); now != all+1 || !strings.Contains(page, ">paused<") {
			t.Errorf("paused, it has %d messages, want %d:\n%s", now, all+1, page)
		}
	}
	if code, _ := r.get("/account/nobody"); code != http.StatusNotFound {
		t.Errorf("the page of nobody: %d", code)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}
