package web_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/imapsyncd/imapsyncd/daemon/verify"
)

// finalReport is a report with something of everything, of so many accounts.
func finalReport(accounts int) verify.Document {
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	d := verify.Document{Title: "The mail of example.org has moved", Version: "imapsyncd v1.2.3", Made: at, Failed: []verify.Failure{{Account: "gone@example.org", Why: "log in to the old server: NO [AUTHENTICATIONFAILED] wrong password"}}}
	d.Sections = []verify.Section{
		{Title: "How it went", Paragraphs: []string{"The delivery moved on 2026-11-20."}, Rows: [][2]string{{"2026-11-20 12:00 UTC", "handed over: the delivery moves"}}},
		{Title: "Late mail", Rows: [][2]string{{"mx." + strings.Repeat("very-", 12) + "slow.example", "2 messages, the last on 2026-11-23"}}},
	}
	for i := range accounts {
		r := verify.Report{
			Account: fmt.Sprintf("user%03d.%s@example.org", i, strings.Repeat("long", i%9)), Mode: verify.Deep, Started: at, Finished: at.Add(time.Minute), Mailboxes: 2,
			Octets: 123456789, Compared: 9000, Counts: map[verify.Class]int64{verify.Equal: 9000, verify.Altered: 3},
			Alterations: map[verify.Alteration]int64{verify.Alterations()[0]: 3},
			ByMailbox:   []verify.Mailbox{{Name: "INBOX", Destination: "INBOX", Counts: map[verify.Class]int64{verify.Equal: 9000}}, {Name: "Gesendete Elemente", Destination: "Sent", Counts: map[verify.Class]int64{verify.Altered: 3}}},
			Excluded:    []string{"Junk"},
		}
		if i%10 == 0 {
			for _, class := range verify.Classes() {
				r.Counts[class]++
				r.Differences = append(r.Differences, verify.Difference{Class: class, Mailbox: "INBOX", UID: 17, What: "it is not on the new server", MessageID: "<" + strings.Repeat("0123456789", 6) + "@mail.example.org>", InternalDate: at, Size: 12345})
			}
		}
		d.Reports = append(d.Reports, r)
	}
	return d
}

// report looks at reports in the browser, as at the pages.
func (b browser) report() {
	for _, accounts := range []int{1, 30} {
		var text bytes.Buffer
		if err := verify.HTML(&text, finalReport(accounts)); err != nil {
			b.Fatal(err)
		}
		served := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				w.WriteHeader(http.StatusNoContent) // an icon
				return
			}
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Write(text.Bytes())
		}))
		b.do(chromedp.Navigate(served.URL))
		b.fits(fmt.Sprintf("report-%d", accounts))
		b.do(chromedp.Navigate("about:blank"))
		served.Close()
	}
	b.silent()
}
