package daemon

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/verify"
)

// page is the report as an HTML page that can be handed on.
func (r finalReport) page() ([]byte, error) {
	d := verify.Document{Title: "The mail of " + r.Domain + " has moved", Version: "imapsyncd " + r.Version, Made: r.Finished}
	for _, a := range r.Accounts {
		if a.Error != "" {
			d.Failed = append(d.Failed, verify.Failure{Account: a.Account, Why: a.Error})
		} else {
			d.Reports = append(d.Reports, a.Report)
		}
	}
	history := verify.Section{Title: "What happened (UTC)"}
	for _, c := range r.History {
		what := c.What
		if c.Account != "" {
			what = "account " + c.Account + ": " + what
		}
		if c.Why != "" {
			what += ": " + c.Why
		}
		history.Rows = append(history.Rows, [2]string{day(c.At), what})
	}
	d.Sections = append(d.Sections, history, lateSection(r.LateMail))
	if len(r.Skipped) > 0 {
		skipped := verify.Section{Title: "Accounts that were left out"}
		for _, name := range slices.Sorted(maps.Keys(r.Skipped)) {
			skipped.Rows = append(skipped.Rows, [2]string{name, r.Skipped[name]})
		}
		d.Sections = append(d.Sections, skipped)
	}
	check := verify.Section{Title: "To be checked by people", Paragraphs: []string{"No program can see from here whether this is so:"}}
	for _, what := range r.YouMustCheck {
		check.Paragraphs = append(check.Paragraphs, "☐ "+what)
	}
	d.Sections = append(d.Sections, check)
	var out bytes.Buffer
	err := verify.HTML(&out, d)
	return out.Bytes(), err
}

// lateSection tells of the mail that still came to the old server.
func lateSection(late cutover.LateMail) verify.Section {
	s := verify.Section{Title: "Mail that still came to the old server"}
	if late.Total == 0 {
		s.Paragraphs = []string{"None since the switch."}
		return s
	}
	s.Paragraphs = []string{fmt.Sprintf("%d messages since the switch; each of them was carried to the new server. By who delivered them:", late.Total)}
	hosts := slices.SortedFunc(maps.Keys(late.Hosts), func(a, b string) int {
		return cmp.Or(cmp.Compare(late.Hosts[b].Messages, late.Hosts[a].Messages), cmp.Compare(a, b))
	})
	for _, name := range hosts {
		h := late.Hosts[name]
		text := fmt.Sprintf("%d, the last %s", h.Messages, day(h.Last))
		if h.Ack.Happened() {
			text += "; acknowledged: " + h.Ack.Why
		}
		s.Rows = append(s.Rows, [2]string{name, text})
	}
	return s
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }
