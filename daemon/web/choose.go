package web

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// choice is which accounts the reader wants to see, and in which order. The zero
// value is all of them, those that need the operator first.
type choice struct {
	Phase  mail.Phase
	Health mail.Health
	Domain string
	Text   string // somewhere in the name, the domains or the error, in any case
	Sort   string // a column; empty: by how much the operator is needed
	Down   bool   // the largest first
	Page   int    // from 1
	// Details opens everything that can be opened, Still stops the page from being
	// fetched anew: both matter to who reads it without JavaScript.
	Details, Still bool
}

// readChoice reads the query of a page's address. What it does not know it
// leaves out.
func readChoice(q url.Values) choice {
	c := choice{
		Phase: mail.Phase(q.Get("phase")), Health: mail.Health(q.Get("health")),
		Domain: q.Get("domain"), Text: strings.TrimSpace(q.Get("q")),
		Details: q.Has("details"), Still: q.Has("still"), Page: 1,
	}
	sort, down := strings.CutPrefix(q.Get("sort"), "-")
	if slices.ContainsFunc(columns(), func(col column) bool { return col.Key == sort }) {
		c.Sort, c.Down = sort, down
	}
	if n, err := strconv.Atoi(q.Get("page")); err == nil && n > 1 {
		c.Page = n
	}
	return c
}

// query is what readChoice reads.
func (c choice) query() string {
	q := url.Values{}
	set := func(key, value string) {
		if value != "" {
			q.Set(key, value)
		}
	}
	set("phase", string(c.Phase))
	set("health", string(c.Health))
	set("domain", c.Domain)
	set("q", c.Text)
	if c.Sort != "" {
		set("sort", c.order())
	}
	if c.Page > 1 {
		set("page", strconv.Itoa(c.Page))
	}
	if c.Details {
		set("details", "1")
	}
	if c.Still {
		set("still", "1")
	}
	return q.Encode()
}

func (c choice) order() string {
	if c.Down {
		return "-" + c.Sort
	}
	return c.Sort
}

// link leads to the page with that choice.
func (c choice) link() string {
	if q := c.query(); q != "" {
		return "/?" + q
	}
	return "/"
}

// wants tells whether an account is to be shown. text is c.Text in small letters.
func (c choice) wants(a AccountStatus, text string) bool {
	return (c.Phase == "" || a.Phase == c.Phase) &&
		(c.Health == "" || a.Health == c.Health) &&
		(c.Domain == "" || slices.Contains(a.Domains, c.Domain)) &&
		(text == "" || contains(a.Name, text) || contains(a.Error, text) || contains(a.Skipped, text) ||
			slices.ContainsFunc(a.Domains, func(d string) bool { return contains(d, text) }))
}

func contains(s, small string) bool { return strings.Contains(strings.ToLower(s), small) }

// from returns the accounts that are chosen, in their order.
func (c choice) from(accounts []AccountStatus) []AccountStatus {
	text := strings.ToLower(c.Text)
	chosen := make([]AccountStatus, 0, len(accounts))
	for _, a := range accounts {
		if c.wants(a, text) {
			chosen = append(chosen, a)
		}
	}
	compare := worstFirst
	if i := slices.IndexFunc(columns(), func(col column) bool { return col.Key == c.Sort }); i >= 0 {
		compare = columns()[i].compare
	}
	slices.SortFunc(chosen, func(a, b AccountStatus) int {
		n := compare(a, b)
		if c.Down {
			n = -n
		}
		return cmp.Or(n, cmp.Compare(a.Name, b.Name))
	})
	return chosen
}

// worstFirst orders accounts by how much they need the operator: by health, then
// those furthest behind first.
func worstFirst(a, b AccountStatus) int {
	return cmp.Or(cmp.Compare(urgency(a.Health), urgency(b.Health)), cmp.Compare(b.LagSeconds, a.LagSeconds), cmp.Compare(a.Name, b.Name))
}

// urgency orders states of health by how much they need the operator.
func urgency(h mail.Health) int {
	switch h {
	case mail.HealthStopped:
		return 0
	case mail.HealthAuth:
		return 1
	case mail.HealthQuota:
		return 2
	case mail.HealthHeld:
		return 3
	case mail.HealthBackoff:
		return 4
	case mail.HealthPaused:
		return 5
	}
	return 6
}

// column is one of the table of accounts.
type column struct {
	Key, Title string
	// Narrow columns are shown on a small screen too.
	Narrow bool
	// falling tells that the largest come first when the column is first chosen.
	falling bool
	compare func(a, b AccountStatus) int
}

func columns() []column {
	return []column{
		{"account", "Account", true, false, func(a, b AccountStatus) int { return cmp.Compare(a.Name, b.Name) }},
		{"phase", "Phase", false, false, func(a, b AccountStatus) int { return cmp.Compare(stage(a.Phase), stage(b.Phase)) }},
		{"health", "Health", true, false, func(a, b AccountStatus) int { return cmp.Compare(urgency(a.Health), urgency(b.Health)) }},
		{"messages", "Messages", false, true, func(a, b AccountStatus) int { return cmp.Compare(a.Messages.Source, b.Messages.Source) }},
		{"done", "Done", false, false, func(a, b AccountStatus) int { return cmp.Compare(a.share(), b.share()) }},
		{"pending", "Pending", true, true, func(a, b AccountStatus) int { return cmp.Compare(a.Messages.Pending, b.Messages.Pending) }},
		{"held", "Held", true, true, func(a, b AccountStatus) int { return cmp.Compare(a.Messages.Held, b.Messages.Held) }},
		{"lag", "Lag", false, true, func(a, b AccountStatus) int { return cmp.Compare(a.LagSeconds, b.LagSeconds) }},
		{"success", "Last success", false, false, func(a, b AccountStatus) int { return a.LastSuccess.Compare(b.LastSuccess) }},
	}
}

// stage orders phases.
func stage(p mail.Phase) int { return slices.Index(mail.Phases(), p) }

// share is how much of the account's messages is on the new server; -1 while
// nothing is known.
func (a AccountStatus) share() float64 {
	switch {
	case a.Messages.Source > 0:
		return float64(a.Messages.There()) / float64(a.Messages.Source)
	case a.looking():
		return -1
	}
	return 1
}

// header is a column with where its title leads.
type header struct {
	column
	Link   string
	Sorted string // ascending, descending or empty, as aria-sort has it
}

// headers leads from each title to its order, and from that to the reverse.
func (c choice) headers() []header {
	var headers []header
	for _, col := range columns() {
		h := header{column: col}
		next := c
		next.Sort, next.Down, next.Page = col.Key, col.falling, 1
		if c.Sort == col.Key {
			next.Down = !c.Down
			if h.Sorted = "ascending"; c.Down {
				h.Sorted = "descending"
			}
		}
		h.Link = next.link()
		headers = append(headers, h)
	}
	return headers
}
