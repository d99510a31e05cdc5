package daemon

import (
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/verify"
)

// TestFinalPage: the page tells what the report does, and what comes from the
// operator, from DNS or from mail stays text.
func TestFinalPage(t *testing.T) {
	at := time.Date(2026, 3, 6, 18, 0, 0, 0, time.UTC)
	const evil = "<script>alert(1)</script>"
	r := finalReport{
		Domain: "example.org", Finished: at, Version: "1.2.3",
		History: []cutover.Change{
			{At: at, Domain: "example.org", What: "delivery has moved", Why: "ns1.example.org says " + evil},
			{At: at, Account: "foo", What: "handed over", Why: evil},
		},
		YouMustCheck: cutover.YouMustCheck(), Skipped: map[string]string{"bar": evil},
		LateMail: cutover.LateMail{Total: 3, Hosts: map[string]cutover.LateHost{
			"one.example": {Messages: 1, Last: at, Ack: cutover.Event{At: at, Why: "a newsletter"}}, "two.example": {Messages: 2, Last: at},
		}},
		Accounts: []AccountReport{
			{Report: verify.Report{Account: "foo", Mode: verify.Sample, Counts: map[verify.Class]int64{verify.Equal: 12}}},
			{Report: verify.Report{Account: "baz"}, Error: "source: " + evil},
		},
	}
	page, err := r.page()
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, want := range []string{
		"The mail of example.org has moved", "imapsyncd 1.2.3", "account foo: handed over", "delivery has moved: ns1.example.org says", "2026-03-06 18:00",
		"3 messages since the switch", "acknowledged: a newsletter", "All 12 messages of 1 account", "1 of 2 accounts could not be compared", "Accounts that were left out", "The queue of the old mail server",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	if strings.Contains(text, "<script") {
		t.Error("something in the page runs")
	}
	if one, two := strings.Index(text, "one.example"), strings.Index(text, "two.example"); two > one {
		t.Error("who delivers most does not come first")
	}
}
