package web_test

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// details has something of everything for each account of a status.
func details(status func() web.Status) func(string) (web.AccountDetails, bool) {
	return func(name string) (web.AccountDetails, bool) {
		s := status()
		i := slices.IndexFunc(s.Accounts, func(a web.AccountStatus) bool { return a.Name == name })
		if i < 0 {
			return web.AccountDetails{}, false
		}
		return web.AccountDetails{
			AccountStatus: s.Accounts[i], Source: "bar@old.example at 192.0.2.10:993", Destination: "bar at new.example:993", Deletions: 250,
			Mailboxes: []web.MailboxStatus{{Name: "INBOX", Destination: "INBOX", Messages: 998, Held: 1}, {Name: "Entwürfe & mehr", Destination: "Drafts", Messages: 2}},
			Passes: []web.PassStatus{
				{Passes: 37, Ended: s.Now.Add(-time.Second), Took: time.Second},
				{Passes: 1, Ended: s.Now.Add(-time.Hour), Took: 12 * time.Second, Copied: 12, Bytes: 1258291},
				{Passes: 1, Ended: s.Now.Add(-2 * time.Hour), Error: "connection refused"},
			},
			Holds: []mail.Hold{
				{HoldKey: mail.HoldKey{Pair: 1, UID: 17}, Reason: mail.ReasonTooBig, Text: "NO [LIMIT] too big", Mailbox: "INBOX", Since: s.Now.Add(-time.Hour)},
				{HoldKey: mail.HoldKey{Pair: 1, UID: 3}, Reason: mail.ReasonTooBig, Text: "NO [LIMIT] too big", Mailbox: "INBOX", Since: s.Now.Add(-2 * time.Hour), Skipped: true, Because: "not needed"},
			},
		}, true
	}
}

// crowd is a status with so many accounts, in as many domains as a hundredth of
// them, of which some are not well.
func crowd(accounts int) web.Status {
	s := sample()
	domain := func(i int) string { return fmt.Sprintf("d%03d.example", i/100) }
	first := s.Domains[0]
	s.Accounts, s.Domains = nil, nil
	for i := range accounts {
		if i%100 == 0 {
			d := first
			d.Name = domain(i)
			s.Domains = append(s.Domains, d)
		}
		a := web.AccountStatus{
			Name: fmt.Sprintf("user%05d@%s", i, domain(i)), Domains: []string{domain(i)}, Phase: mail.PhaseFollowing, Health: mail.HealthOK,
			Messages:    web.Messages{Source: 1000 + i*7919%100000, Copied: 1000, CopiedBytes: 1 << 20},
			LastSuccess: s.Now.Add(-time.Duration(i%300) * time.Second),
		}
		switch i % 97 {
		case 11:
			a.Health, a.Error = mail.HealthAuth, "log in to the old server: NO [AUTHENTICATIONFAILED] wrong password"
		case 12:
			a.Health, a.Messages.Held = mail.HealthHeld, i%13+1
		case 13:
			a.Phase, a.Messages.Pending, a.LagSeconds = mail.PhaseSeeding, i%1000+1, float64(i%10000)+1
		}
		s.Accounts = append(s.Accounts, a)
	}
	return s
}

func fixed(s web.Status) func() web.Status { return func() web.Status { return s } }

var inTable = regexp.MustCompile(`<th scope="row"><a href="/account/([^"]+)"`)

// rows returns the accounts that a page lists.
func rows(h http.Handler, target string) []string {
	var names []string
	for _, found := range inTable.FindAllStringSubmatch(ask(h, "GET", target).Body.String(), -1) {
		name, _ := url.PathUnescape(found[1])
		names = append(names, name)
	}
	return names
}

func TestPageShowsHostileTextAsText(t *testing.T) {
	h := handler(hostile, true)
	bad := url.QueryEscape(`"><script>`)
	for _, target := range []string{"/", "/?health=" + bad, "/?phase=following", "/?q=" + bad, "/?domain=" + bad, "/?sort=" + bad, "/?still&details&page=" + bad, "/account/bar@example.org"} {
		body := ask(h, "GET", target).Body.String()
		for _, bad := range []string{"<script>", "<img", "style=", " src=x"} {
			if strings.Contains(strings.ReplaceAll(body, "&lt;img src=x", ""), bad) {
				t.Errorf("%s: the page contains %q", target, bad)
			}
		}
	}
	if body := ask(h, "GET", "/").Body.String(); !strings.Contains(body, "&lt;script&gt;alert(1)") || !strings.Contains(body, "&lt;img src=x") {
		t.Error("the texts are not shown")
	}
}

// TestPageLinksToAccounts: whatever an account is called, its name in the table
// leads to its page, and that to its events.
func TestPageLinksToAccounts(t *testing.T) {
	names := []string{"a?b", "a#b", "a/b", "50%", "a%2Fb", "ö ä", `a"b&c=d`, "a+b@example.org"}
	s := web.Status{Now: time.Now()}
	for _, name := range names {
		s.Accounts = append(s.Accounts, web.AccountStatus{Name: name, Phase: mail.PhaseFollowing, Health: mail.HealthOK})
	}
	h := handler(fixed(s), true)
	links := inTable.FindAllStringSubmatch(ask(h, "GET", "/").Body.String(), -1)
	if len(links) != len(names) {
		t.Fatalf("%d links", len(links))
	}
	var led []string
	for _, link := range links {
		target := "/account/" + html.UnescapeString(link[1])
		page := ask(h, "GET", target)
		if title := regexp.MustCompile(`<h2>(.*) <small`).FindStringSubmatch(page.Body.String()); title != nil {
			led = append(led, html.UnescapeString(title[1]))
		}
		events := regexp.MustCompile(`data-events="([^"]+)"`).FindStringSubmatch(page.Body.String())
		if page.Code != 200 || events == nil || html.UnescapeString(events[1]) != target+"/events" {
			t.Errorf("%s is answered by %d, its events are at %q", target, page.Code, events)
		}
	}
	slices.Sort(led)
	slices.Sort(names)
	if !slices.Equal(led, names) {
		t.Errorf("the links lead to %q", led)
	}
}

// TestPageChooses: each condition leaves those accounts that it names, all of them
// together those that all name, and the rest can be turned to.
func TestPageChooses(t *testing.T) {
	s := crowd(400)
	h := handler(fixed(s), true)
	of := func(want func(web.AccountStatus) bool) (n int) {
		for _, a := range s.Accounts {
			if want(a) {
				n++
			}
		}
		return n
	}
	for target, want := range map[string]int{
		"/?health=auth":                        of(func(a web.AccountStatus) bool { return a.Health == mail.HealthAuth }),
		"/?phase=seeding":                      of(func(a web.AccountStatus) bool { return a.Phase == mail.PhaseSeeding }),
		"/?domain=d003.example":                100,
		"/?domain=d003.example&health=auth":    of(func(a web.AccountStatus) bool { return a.Health == mail.HealthAuth && a.Domains[0] == "d003.example" }),
		"/?q=USER0004":                         10,
		"/?q=+wrong+password+":                 of(func(a web.AccountStatus) bool { return a.Error != "" }),
		"/?q=nobody":                           0,
		"/?phase=nonsense":                     0,
		"/?domain=nowhere.example&q=user00001": 0,
		"/":                                    100,
		"/?page=4":                             100,
		"/?page=5":                             100, // the last
		"/?page=-1":                            100,
	} {
		got := rows(h, target)
		if len(got) != want || want == 0 != (len(got) == 0) {
			t.Errorf("%s: %d rows, want %d", target, len(got), want)
		}
	}
	seen := make(map[string]bool)
	next, pages := "/?sort=messages", 0
	for ; next != ""; pages++ {
		for _, name := range rows(h, next) {
			seen[name] = true
		}
		found := regexp.MustCompile(`id="next" href="([^"#]+)#`).FindStringSubmatch(ask(h, "GET", next).Body.String())
		next = ""
		if found != nil {
			next = strings.ReplaceAll(found[1], "&amp;", "&")
		}
	}
	if len(seen) != 400 || pages != 4 {
		t.Errorf("turning the pages shows %d accounts on %d pages", len(seen), pages)
	}
	if !strings.Contains(ask(h, "GET", "/?domain=nowhere.example").Body.String(), "There is no domain nowhere.example.") {
		t.Error("a domain that is not there is passed over in silence")
	}
}

// TestPageSorts: each title leads to its order and from there to the reverse, and
// says which it is; without one who needs the operator comes first.
func TestPageSorts(t *testing.T) {
	s := crowd(40)
	h := handler(fixed(s), true)
	by := make(map[string]web.AccountStatus)
	for _, a := range s.Accounts {
		by[a.Name] = a
	}
	if first := by[rows(h, "/")[0]]; first.Health != mail.HealthAuth {
		t.Errorf("%s is first, and is %s", first.Name, first.Health)
	}
	values := map[string]func(web.AccountStatus) float64{
		"messages": func(a web.AccountStatus) float64 { return float64(a.Messages.Source) },
		"pending":  func(a web.AccountStatus) float64 { return float64(a.Messages.Pending) },
		"held":     func(a web.AccountStatus) float64 { return float64(a.Messages.Held) },
		"lag":      func(a web.AccountStatus) float64 { return a.LagSeconds },
		"success":  func(a web.AccountStatus) float64 { return float64(a.LastSuccess.Unix()) },
		"done":     func(a web.AccountStatus) float64 { return float64(a.Messages.There()) / float64(a.Messages.Source) },
		"phase": func(a web.AccountStatus) float64 {
			return float64(slices.Index(mail.Phases(), a.Phase))
		},
		"account": func(a web.AccountStatus) float64 {
			return float64(slices.IndexFunc(s.Accounts, func(b web.AccountStatus) bool { return a.Name == b.Name }))
		},
		"health": func(a web.AccountStatus) float64 {
			return float64(slices.Index([]mail.Health{mail.HealthStopped, mail.HealthAuth, mail.HealthQuota, mail.HealthHeld, mail.HealthBackoff, mail.HealthPaused, mail.HealthOK}, a.Health))
		},
	}
	for key, value := range values {
		up, down := rows(h, "/?sort="+key), rows(h, "/?sort=-"+key)
		for _, order := range []struct {
			names []string
			sign  float64
		}{{up, 1}, {down, -1}} {
			if len(order.names) != 40 {
				t.Fatalf("%s: %d rows", key, len(order.names))
			}
			for i := range order.names[1:] {
				if a, b := value(by[order.names[i]]), value(by[order.names[i+1]]); order.sign*a > order.sign*b {
					t.Errorf("%s, %v: %v stands before %v", key, order.sign, a, b)
				}
			}
		}
		for target, want := range map[string]string{
			"/?sort=" + key + "&health=ok": `aria-sort="ascending"><a href="/?health=ok&amp;sort=-` + key + `#accounts">`,
			"/?sort=-" + key:               `aria-sort="descending"><a href="/?sort=` + key + `#accounts">`,
		} {
			if body := ask(h, "GET", target).Body.String(); !strings.Contains(body, want) || strings.Count(body, "aria-sort") != 1 {
				t.Errorf("%s: no %s", target, want)
			}
		}
	}
	if n := len(regexp.MustCompile(`<th scope="col"[^>]*><a href="/\?sort=-?[a-z]+#accounts">`).FindAllString(ask(h, "GET", "/").Body.String(), -1)); n != len(values) {
		t.Errorf("%d titles lead to an order, want %d", n, len(values))
	}
}

// TestManyStaySmall: however many accounts and domains there are, the page stays
// as small as one of a few hundred.
func TestManyStaySmall(t *testing.T) {
	s := crowd(10000)
	for i := range 900 {
		d := s.Domains[0]
		d.Name = fmt.Sprintf("more%03d.example", i)
		s.Domains = append(s.Domains, d)
	}
	s.Domains[0].Phase = mail.PhaseFinished
	body := ask(handler(fixed(s), true), "GET", "/").Body.String()
	if len(body) > 256<<10 {
		t.Errorf("%d octets", len(body))
	}
	if n := strings.Count(body, "<article"); n != 6 || strings.Contains(body, `id="d-d000.example"`) {
		t.Errorf("%d domains in full, want 6 without those that are finished", n)
	}
	if !strings.Contains(body, "and 794 more") || !strings.Contains(body, "page 1 of 100") {
		t.Error("what is left out is not said")
	}
	if n := strings.Count(ask(handler(fixed(s), true), "GET", "/?domain=d000.example").Body.String(), "<article"); n != 1 {
		t.Errorf("%d domains where one is chosen", n)
	}
}

// TestPassesAreJoined: passes in a row that had nothing to do are one line.
func TestPassesAreJoined(t *testing.T) {
	var last []web.PassStatus
	quiet, busy, failed := web.PassStatus{Passes: 1}, web.PassStatus{Passes: 1, Copied: 1}, web.PassStatus{Passes: 1, Error: "refused"}
	for _, p := range []web.PassStatus{busy, quiet, quiet, quiet, failed, failed, quiet, busy, quiet, quiet} {
		last = p.Join(last, 5)
	}
	var got []int
	for _, p := range last {
		got = append(got, p.Passes)
	}
	if !slices.Equal(got, []int{2, 1, 1, 1, 1}) || last[1].Copied != 1 || last[4].Error == "" {
		t.Errorf("%+v", last)
	}
}

func BenchmarkPage(b *testing.B) {
	for _, accounts := range []int{1, 100, 10000} {
		for _, query := range []string{"", "?sort=-pending", "?q=wrong+password"} {
			b.Run(fmt.Sprintf("%d/%s", accounts, query), func(b *testing.B) {
				h := handler(fixed(crowd(accounts)), true)
				b.ReportAllocs()
				size := 0
				for b.Loop() {
					size = ask(h, "GET", "/"+query).Body.Len()
				}
				b.ReportMetric(float64(size), "octets")
			})
		}
	}
}
