package web

import (
	"bytes"
	"embed"
	"html/template"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

//go:embed page.html account.html
var pageFiles embed.FS

func newPages() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"count": count[int], "size": size, "about": about, "span": span, "seconds": seconds, "date": date, "clock": clock, "chart": newChart, "id": elementID, "accountLink": accountLink,
	}).ParseFS(pageFiles, "*.html"))
}

// What bounds the page, which is rendered every few seconds while somebody
// watches.
const (
	rowsAtMost    = 100 // accounts on one page
	domainsAtMost = 6   // in full
	namesAtMost   = 200 // of domains, in one line each
)

// frame is what every page has.
type frame struct {
	Status
	Title  string
	Events string // where it is told what changes
	// Stays says that the page is not to be fetched anew by itself. Toggle leads to
	// the contrary.
	Stays  bool
	Toggle string
}

// overview is what the page of all accounts shows.
type overview struct {
	frame
	choice
	Shown         []DomainStatus // in full
	Others        []DomainStatus // in one line
	Unnamed       int            // domains without a line
	Names         []string       // of domains, to choose from
	Phases        []option
	Healths       []option
	Headers       []header
	Rows          []AccountStatus
	Chosen        int // accounts
	From, To      int // rows, from 1
	Pages         int
	Narrowed      bool   // not all accounts are chosen
	All           string // leads to all
	Back, On      string // to the rows before and after; empty: there are none
	With, Without string // to the page with everything open, and back
	Sorted        string // what the address says of the order
}

// OnlyDomain leads to one domain and its accounts.
func (v overview) OnlyDomain(name string) string {
	to := v.choice
	to.Domain, to.Page = name, 1
	return to.link()
}

// option is a phase or health that some account is in.
type option struct {
	Name   string
	Count  int
	Link   string
	Chosen bool
}

// newOverview lays out the page of all accounts.
func newOverview(s Status, c choice) overview {
	v := overview{choice: c, Headers: c.headers(), Narrowed: c.Phase != "" || c.Health != "" || c.Domain != "" || c.Text != ""}
	for _, p := range mail.Phases() {
		if n := s.Totals.Phases[p]; n > 0 || p == c.Phase {
			to := c
			if to.Page, to.Phase = 1, p; p == c.Phase {
				to.Phase = ""
			}
			v.Phases = append(v.Phases, option{string(p), n, to.link(), p == c.Phase})
		}
	}
	for _, h := range mail.Healths() {
		if n := s.Totals.Healths[h]; n > 0 || h == c.Health {
			to := c
			if to.Page, to.Health = 1, h; h == c.Health {
				to.Health = ""
			}
			v.Healths = append(v.Healths, option{string(h), n, to.link(), h == c.Health})
		}
	}
	v.domains(s.Domains)

	rows := c.from(s.Accounts)
	v.Chosen = len(rows)
	v.Pages = max(1, (len(rows)+rowsAtMost-1)/rowsAtMost)
	c.Page = min(c.Page, v.Pages)
	v.Page = c.Page
	v.Rows = rows[(c.Page-1)*rowsAtMost : min(c.Page*rowsAtMost, len(rows))]
	v.From, v.To = (c.Page-1)*rowsAtMost+1, (c.Page-1)*rowsAtMost+len(v.Rows)
	turn := func(by int) string {
		to := c
		to.Page += by
		return to.link()
	}
	if c.Page > 1 {
		v.Back = turn(-1)
	}
	if c.Page < v.Pages {
		v.On = turn(1)
	}

	v.All = choice{Sort: c.Sort, Down: c.Down, Details: c.Details, Still: c.Still}.link()
	if c.Sort != "" {
		v.Sorted = c.order()
	}
	opened, closed, toggled := c, c, c
	opened.Details, closed.Details, toggled.Still = true, false, !c.Still
	v.With, v.Without = opened.link(), closed.link()
	v.frame = frame{Status: s, Title: s.Totals.Done(), Events: "/events?" + c.query(), Stays: c.Still, Toggle: toggled.link()}
	return v
}

// domains lays out what is said of domains: the finished ones come last, and
// where there are many most of them have one line.
func (v *overview) domains(all []DomainStatus) {
	for _, d := range all {
		if len(v.Names) < namesAtMost {
			v.Names = append(v.Names, d.Name)
		}
		if v.Domain == "" || d.Name == v.Domain {
			v.Shown = append(v.Shown, d)
		}
	}
	slices.SortStableFunc(v.Shown, func(a, b DomainStatus) int { return finishedLast(a) - finishedLast(b) })
	if len(v.Shown) > domainsAtMost {
		v.Shown, v.Others = v.Shown[:domainsAtMost:domainsAtMost], v.Shown[domainsAtMost:]
	}
	if len(v.Others) > namesAtMost {
		v.Others, v.Unnamed = v.Others[:namesAtMost], len(v.Others)-namesAtMost
	}
}

func finishedLast(d DomainStatus) int {
	if d.Phase == mail.PhaseFinished {
		return 1
	}
	return 0
}

// fragment is a part of a page that changes by itself.
type fragment struct {
	Name string // of its template, and the id of the element that it stands in
	HTML []byte
}

// overviewParts and accountParts are the parts of either page that change.
func overviewParts() []string { return []string{"head", "domains", "totals", "accounts"} }
func accountParts() []string  { return []string{"head", "account"} }

// render renders parts of a page.
func render(pages *template.Template, parts []string, v any) ([]fragment, error) {
	fragments := make([]fragment, len(parts))
	for i, name := range parts {
		var b bytes.Buffer
		if err := pages.ExecuteTemplate(&b, name, v); err != nil {
			return nil, err
		}
		fragments[i] = fragment{name, b.Bytes()}
	}
	return fragments, nil
}
