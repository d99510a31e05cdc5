package web_test

import (
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// TestLateMailIsCharted: a bar an hour, up to now, and no more than a fortnight.
func TestLateMailIsCharted(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 30, 0, 0, time.UTC)
	for what, of := range map[string]struct {
		ago  []int // hours
		want []string
		bars int
	}{
		"none":        {},
		"a few hours": {[]int{5, 3, 0}, []string{`viewBox="0 0 24 3"`, `<rect x="0" y="2" width="1" height="1"><title>2026-11-24 07:00 UTC: 1</title>`, `<rect x="2" y="1" width="1" height="2">`, `<rect x="5" y="0" width="1" height="3">`, "from 2026-11-24 07:00 UTC to 2026-11-24 13:00 UTC"}, 3},
		"quiet since": {[]int{100}, []string{`viewBox="0 0 101 1"`, `<rect x="0" y="0" width="1" height="1">`}, 1},
		"long ago":    {[]int{900, 400, 335, 1}, []string{`viewBox="0 0 336 4"`, `<rect x="0" y="1" width="1" height="3">`, `<rect x="334" y="0" width="1" height="4">`}, 2},
		"over":        {[]int{400}, []string{`viewBox="0 0 336 1"`}, 0},
	} {
		s := sample()
		s.Now = now
		s.Domains[0].LateMail.Hours = nil
		for i, ago := range of.ago {
			s.Domains[0].LateMail.Hours = append(s.Domains[0].LateMail.Hours, web.LateHour{Hour: now.Add(-time.Duration(ago) * time.Hour).Truncate(time.Hour), Messages: i + 1})
		}
		body := ask(handler(func() web.Status { return s }, true), "GET", "/").Body.String()
		for _, want := range of.want {
			if !strings.Contains(body, want) {
				t.Errorf("%s: %s is not in the page", what, want)
			}
		}
		if n := strings.Count(body, "<rect"); n != of.bars || (len(of.ago) == 0) != !strings.Contains(body, "<svg") {
			t.Errorf("%s: %d bars", what, n)
		}
	}
}

// TestDetailsStayOpen: what the reader wants open is open when the page is
// fetched anew, whatever else he chooses.
func TestDetailsStayOpen(t *testing.T) {
	h := handler(sample, true)
	for target, want := range map[string][]string{
		"/":                         {`href="/?details=1"`, `href="/?health=auth#accounts"`},
		"/?details=1":               {`" open><summary>History`, `href="/"`, `href="/?details=1&amp;health=auth#accounts"`},
		"/?details=1&phase=seeding": {`" open><summary>DNS`, `href="/?phase=seeding"`, `href="/?details=1#accounts" aria-current`},
	} {
		body := ask(h, "GET", target).Body.String()
		for _, text := range want {
			if !strings.Contains(body, text) {
				t.Errorf("%s: %s is not in the page", target, text)
			}
		}
		if strings.Contains(target, "details") != !strings.Contains(body, `<details id="check">`) {
			t.Errorf("%s: what is open does not fit", target)
		}
	}
}
