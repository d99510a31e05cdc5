package web

import (
	"cmp"
	_ "embed"
	"html/template"
	"io"
	"net/url"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

//go:embed page.html
var pageText string

func newPage() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"count": count[int], "size": size, "ago": ago, "span": span, "seconds": seconds, "date": date, "chart": newChart,
	}).Parse(pageText))
}

// rowsAtMost bounds the page, which browsers fetch again every few seconds.
const rowsAtMost = 200

// view is what the page shows.
type view struct {
	Status
	Phases  []choice
	Healths []choice
	Rows    []AccountStatus
	More    int // accounts without a row
	// Phase and Health are what the reader has chosen; empty: all.
	Phase  mail.Phase
	Health mail.Health
	// Details tells that the reader wants everything open, which the page, fetched
	// anew, would else close again. With and Without lead there and back.
	Details       bool
	With, Without string
}

// choice is a phase or health that some account is in.
type choice struct {
	Name   string
	Count  int
	Link   string
	Chosen bool
}

// writePage writes the page: those who need the operator first.
func writePage(w io.Writer, page *template.Template, s Status, query url.Values) error {
	v := view{Status: s, Phase: mail.Phase(query.Get("phase")), Health: mail.Health(query.Get("health")), Details: query.Has("details")}
	v.With, v.Without = link(query, "details", "1"), link(query, "details", "")
	for _, p := range mail.Phases() {
		if n := s.Totals.Phases[p]; n > 0 {
			v.Phases = append(v.Phases, newChoice(query, "phase", string(p), n))
		}
	}
	for _, h := range mail.Healths() {
		if n := s.Totals.Healths[h]; n > 0 {
			v.Healths = append(v.Healths, newChoice(query, "health", string(h), n))
		}
	}
	for _, a := range s.Accounts {
		if (v.Phase == "" || a.Phase == v.Phase) && (v.Health == "" || a.Health == v.Health) {
			v.Rows = append(v.Rows, a)
		}
	}
	slices.SortStableFunc(v.Rows, func(a, b AccountStatus) int {
		return cmp.Or(cmp.Compare(urgency(a.Health), urgency(b.Health)), cmp.Compare(b.LagSeconds, a.LagSeconds), cmp.Compare(a.Name, b.Name))
	})
	if len(v.Rows) > rowsAtMost {
		v.Rows, v.More = v.Rows[:rowsAtMost], len(v.Rows)-rowsAtMost
	}
	return page.Execute(w, v)
}

// newChoice links to the page with the choice made, or undone. Only one is made
// at a time.
func newChoice(query url.Values, key, name string, n int) choice {
	c := choice{Name: name, Count: n, Chosen: query.Get(key) == name}
	plain := url.Values{}
	if query.Has("details") {
		plain.Set("details", "1")
	}
	if c.Link = link(plain, key, name); c.Chosen {
		c.Link = link(plain, key, "")
	}
	return c
}

// link leads to the page with one thing chosen otherwise; an empty value is
// none.
func link(query url.Values, key, value string) string {
	next := url.Values{}
	for _, known := range []string{"phase", "health", "details"} {
		if v := query.Get(known); v != "" && known != key {
			next.Set(known, v)
		}
	}
	if value != "" {
		next.Set(key, value)
	}
	if len(next) == 0 {
		return "/"
	}
	return "/?" + next.Encode()
}

// urgency orders accounts by how much they need the operator.
func urgency(h mail.Health) int {
	return slices.Index([]mail.Health{mail.HealthStopped, mail.HealthAuth, mail.HealthQuota, mail.HealthHeld,
		mail.HealthBackoff, mail.HealthPaused, mail.HealthOK}, h)
}
