package verify

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Document is what an HTML report tells: one or many accounts.
type Document struct {
	Title   string // empty: a plain one
	Reports []Report
	Failed  []Failure
	Version string // of this program
	Made    time.Time
	// Sections come after the summary, in whatever words the caller has for them.
	Sections []Section
}

// Failure is an account that could not be compared.
type Failure struct{ Account, Why string }

// Section is a part of a Document that is not about differences. All of it is
// plain text.
type Section struct {
	Title      string
	Paragraphs []string
	Rows       [][2]string // a term and what is to be said about it
}

//go:embed report.html
var reportHTML string

// htmlListed bounds the differences of one account that an HTML report lists:
// somebody is to read it. The CSV has them all.
const htmlListed = 500

// HTML writes a report as one page that needs nothing else: no scripts, no
// fonts, no pictures. It says nothing of subjects or bodies.
func HTML(w io.Writer, d Document) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"name": printable, "number": thousands, "octets": octets, "moment": moment,
		"explain": Class.Explain, "graveness": graveness, "anchor": func(i int) string { return "account-" + strconv.Itoa(i+1) },
	}).Parse(reportHTML)
	if err != nil {
		return fmt.Errorf("report.html: %w", err)
	}
	return t.Execute(w, newPage(d))
}

// page is a Document as the template needs it.
type page struct {
	Document
	Totals
	Verdict  string
	Good     bool
	Classes  []classRow
	Altered  []alteredRow
	Accounts []accountPage
	Modes    []Mode
	// More tells that some differences are not listed.
	More bool
}

type classRow struct {
	Class    Class
	Messages int64
}

type alteredRow struct {
	What     string
	Messages int64
}

type accountPage struct {
	Report
	Rows    []mailboxRow
	Listed  []Difference
	More    int64
	Numbers numbers
}

// numbers are the counts of an account in fewer classes.
type numbers struct{ Same, Altered, ByUsers, Out, Open, Wrong int64 }

type mailboxRow struct {
	Name, Elsewhere string // Elsewhere: on the new server, when that differs
	Messages, Same  int64  // of the old server
	Besides         []classRow
}

func newPage(d Document) page {
	p := page{Document: d, Totals: Total(d.Reports)}
	if p.Title == "" {
		p.Title = "Comparison of the old and the new mail server"
	}
	for _, class := range Classes() {
		if n := p.Counts[class]; n > 0 || class == Equal || class == Missing || class == Damaged {
			p.Classes = append(p.Classes, classRow{class, n})
		}
	}
	for _, a := range Alterations() {
		if n := p.Alterations[a]; n > 0 {
			p.Altered = append(p.Altered, alteredRow{a.Explain(), n})
		}
	}
	for _, r := range d.Reports {
		if !slices.Contains(p.Modes, r.Mode) {
			p.Modes = append(p.Modes, r.Mode)
		}
		a := accountPage{Report: r, Listed: r.Differences[:min(len(r.Differences), htmlListed)]}
		a.More = r.Left + int64(len(r.Differences)-len(a.Listed))
		p.More = p.More || a.More > 0
		a.Numbers = numbersOf(r)
		for _, m := range r.ByMailbox {
			row := mailboxRow{Name: m.Name, Messages: messages(m.Counts), Same: m.Counts[Equal]}
			if m.Destination != m.Name {
				row.Elsewhere = m.Destination
			}
			for _, class := range Classes() {
				if n := m.Counts[class]; n > 0 && class != Equal {
					row.Besides = append(row.Besides, classRow{class, n})
				}
			}
			a.Rows = append(a.Rows, row)
		}
		p.Accounts = append(p.Accounts, a)
	}
	p.verdict()
	return p
}

func numbersOf(r Report) numbers {
	return numbers{
		Same: r.Counts[Equal], Altered: r.Counts[Altered], ByUsers: r.Counts[Changed] + r.Counts[Moved] + r.Counts[Removed],
		Out: r.Counts[Skipped], Open: r.Counts[Flags] + r.Counts[Pending] + r.Counts[Held], Wrong: r.Wrong(),
	}
}

// verdict is what stands at the top.
func (p *page) verdict() {
	of := fmt.Sprintf("%s %s of %d %s", thousands(p.Messages), plural(p.Messages, "message", "messages"), p.Totals.Accounts, plural(int64(p.Totals.Accounts), "account", "accounts"))
	var wrong int64
	for class, n := range p.Counts {
		if class.Wrong() {
			wrong += n
		}
	}
	switch open := p.Counts[Held] + p.Counts[Pending] + p.Counts[Flags]; {
	case wrong > 0:
		p.Verdict = fmt.Sprintf("%s of %s %s on the new server, or %s not there.", thousands(wrong), of, plural(wrong, "differs", "differ"), plural(wrong, "is", "are"))
	case open > 0:
		p.Verdict = fmt.Sprintf("%s of %s still %s to be carried.", thousands(open), of, plural(open, "has", "have"))
	case p.Messages == 0:
		p.Verdict, p.Good = "There are no messages on the old server.", true
	case p.Counts[Equal] == p.Messages:
		p.Verdict, p.Good = fmt.Sprintf("All %s are on the new server, the same as on the old one.", of), true
	default:
		p.Verdict, p.Good = fmt.Sprintf("All %s are on the new server, but for what is named below.", of), true
	}
	if n := len(p.Failed); n > 0 {
		failed := fmt.Sprintf("%d of %d accounts could not be compared.", n, n+p.Totals.Accounts)
		if p.Good = false; p.Totals.Accounts > 0 {
			failed += " Of the others: " + p.Verdict
		}
		p.Verdict = failed
	}
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// graveness is the style of a class.
func graveness(c Class) string {
	switch {
	case c.Wrong():
		return "bad"
	case c.differs(true):
		return "warn"
	case c == Equal:
		return "good"
	}
	return "plain"
}

// thousands writes a number in groups of three digits.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 && s[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}

// octets writes a size with a unit.
func octets(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	size, unit := float64(n), 0
	for size >= 999.5 && unit < len(units)-1 {
		size /= 1000
		unit++
	}
	if unit == 0 || size >= 99.5 {
		return fmt.Sprintf("%.0f %s", size, units[unit])
	}
	return fmt.Sprintf("%.1f %s", size, units[unit])
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04")
}
