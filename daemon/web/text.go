package web

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/mattn/go-runewidth"
)

// leastWidth is the narrowest table that still has room for names.
const leastWidth = 70

// Screen is what text is written for.
type Screen struct {
	Columns int
	// Lines is how many there are at most; 0: as many as it takes.
	Lines int
}

// WriteStatus writes s for a terminal: each domain with the verdict that matters
// now and its reasons, a table with a line for each account, those first that need
// the operator, one more for each that is not well, and the totals. Where the lines
// are few, domains have one each and the last accounts are only counted.
func WriteStatus(w io.Writer, s Status, screen Screen) error {
	s = s.Counted()
	width := max(screen.Columns, leastWidth)
	totals := writeTotals(s, width)
	var b strings.Builder
	writeDomains(&b, s, width)
	domains := lines(b.String())

	// Between them a title, two empty lines, how many accounts are left out, and
	// where the cursor stands.
	room := max(screen.Lines-len(totals)-5, roomAtLeast)
	if screen.Lines == 0 {
		room = math.MaxInt
	} else if len(domains) > room/2 {
		domains = briefDomains(s, width, room/2)
	}
	room -= len(domains)
	slices.SortFunc(s.Accounts, worstFirst)
	out := domains
	if len(domains) > 0 {
		out = append(out, "")
	}
	out = append(out, accountLine(width, "ACCOUNT", "PHASE", "HEALTH", "MESSAGES", "DONE", "PENDING", "HELD", "LAG"))
	for i, a := range s.Accounts {
		of := accountLines(s, a, width)
		if room -= len(of); room < 0 && i > 0 {
			rest := Status{Accounts: s.Accounts[i:]}.Counted().Totals
			out = append(out, cut(fmt.Sprintf("and %s more: %s", count(rest.Accounts), healths(rest)), width))
			break
		}
		out = append(out, of...)
	}
	out = append(append(out, ""), totals...)
	_, err := io.WriteString(w, strings.Join(out, "\n")+"\n")
	return err
}

// roomAtLeast is how many lines domains and accounts have on however small a
// screen.
const roomAtLeast = 8

// lines are those of a text.
func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// cut shortens a line to so many columns.
func cut(line string, width int) string {
	return strings.TrimRight(runewidth.Truncate(line, width, "…"), " ")
}

// accountLine is a line of the table.
func accountLine(width int, account string, columns ...any) string {
	const fixed = " %-9s %-7s %9s %4s %9s %5s %6s"
	name := width - len(fmt.Sprintf(fixed, "", "", "", "", "", "", ""))
	return cut(runewidth.FillRight(runewidth.Truncate(oneLine(account), name, "…"), name)+fmt.Sprintf(fixed, columns...), width)
}

// accountLines are what is written of an account.
func accountLines(s Status, a AccountStatus, width int) []string {
	done := a.Done()
	if !s.looks() && a.Phase != mail.PhaseFinished {
		done = "-"
	}
	of := []string{accountLine(width, a.Name, a.Phase, a.Health, count(a.Messages.Source), done,
		count(a.Messages.Pending), count(a.Messages.Held), span(seconds(a.LagSeconds)))}
	if a.Error != "" {
		of = append(of, cut("  ! "+oneLine(a.Error), width))
	}
	if a.Skipped != "" {
		of = append(of, cut("  skipped: "+oneLine(a.Skipped), width))
	}
	return of
}

// looks tells whether a daemon looks: without one it is not known what is new.
func (s Status) looks() bool { return !s.Started.Equal(s.Now) }

// writeTotals are the lines about all accounts together.
func writeTotals(s Status, width int) []string {
	t := s.Totals
	var b strings.Builder
	line := func(format string, values ...any) { Wrap(&b, fmt.Sprintf(format, values...), "  ", width) }
	if s.looks() {
		line("%s of %s messages on the new server (%s), %s pending, %s held",
			count(t.Messages.There()), count(t.Messages.Source), t.Done(), count(t.Messages.Pending), count(t.Messages.Held))
	} else {
		line("%s messages on the new server, %s held; what is new is not known", count(t.Messages.There()), count(t.Messages.Held))
	}
	accounts := "none"
	if t.Accounts > 0 {
		accounts = healths(t) + "; " + counted(mail.Phases(), t.Phases)
	}
	if !s.looks() {
		line("accounts: %s", accounts)
		return lines(b.String())
	}
	line("accounts: %s; lag %s", accounts, span(seconds(t.LagSeconds)))
	for _, o := range s.Outlooks {
		if o.Listened < o.Accounts {
			line("%s", oneLine(o.String()))
		}
	}
	for _, l := range s.Limits {
		if text := l.Bearing(); text != "" {
			line("%s", cut(oneLine(text), width))
		}
		if l.DailyBytes == 0 {
			continue
		}
		text := fmt.Sprintf("%s: %s of %s a day used", oneLine(l.Who()), size(l.UsedBytes), size(l.DailyBytes))
		if l.Scarce() {
			text += "; first copies go on " + date(l.Resumes)
		}
		line("%s", text)
	}
	line("imapsyncd %s, running for %s, %s copied", oneLine(s.Version), span(s.Now.Sub(s.Started)), size(t.Messages.CopiedBytes))
	return lines(b.String())
}

// healths names how many accounts are in which health, without those none is in.
func healths(t Totals) string { return counted(mail.Healths(), t.Healths) }

// counted names how many are what, without those that are none.
func counted[K ~string](all []K, of map[K]int) string {
	var parts []string
	for _, k := range all {
		if n := of[k]; n > 0 {
			parts = append(parts, count(n)+" "+string(k))
		}
	}
	return strings.Join(parts, ", ")
}

// writeDomains writes what the verdicts say.
func writeDomains(b *strings.Builder, s Status, width int) {
	for _, d := range s.Domains {
		question, verdict := d.Asks()
		line := fmt.Sprintf("%s: %s, %s: %s", oneLine(d.Name), d.Phase, question, verdict.Word())
		if d.Phase == mail.PhaseFinished {
			line = fmt.Sprintf("%s: finished on %s", oneLine(d.Name), date(d.Since))
			verdict.Reasons = nil
		}
		Wrap(b, line, "  ", width)
		WriteReasons(b, verdict, width)
		if n := d.LateMail.Messages; n > 0 {
			Wrap(b, fmt.Sprintf("  late mail: %s, the last %s", count(n), ago(s.Now, d.LateMail.last())), "    ", width)
		}
	}
}

// briefDomains has a line for each domain, so many at most: those first that are
// not finished.
func briefDomains(s Status, width, most int) (out []string) {
	domains := slices.Clone(s.Domains)
	slices.SortStableFunc(domains, func(a, b DomainStatus) int { return finishedLast(a) - finishedLast(b) })
	for i, d := range domains {
		if i == most-1 && len(domains) > most {
			return append(out, cut(fmt.Sprintf("and %s more domains", count(len(domains)-i)), width))
		}
		question, verdict := d.Asks()
		text := fmt.Sprintf("%s: %s, %s: %s", oneLine(d.Name), d.Phase, question, verdict.Word())
		if d.Phase == mail.PhaseFinished {
			text = fmt.Sprintf("%s: finished", oneLine(d.Name))
		} else if blocking := slices.IndexFunc(verdict.Reasons, func(r Reason) bool { return r.Blocking }); blocking >= 0 {
			text += ": " + verdict.Reasons[blocking].Reason
		}
		out = append(out, cut(text, width))
	}
	return out
}

// last is when the last of it arrived.
func (l LateMail) last() (at time.Time) {
	for _, h := range l.Hosts {
		if h.Last.After(at) {
			at = h.Last
		}
	}
	return at
}

// WriteReasons writes the reasons of a verdict, those that only advise in
// parentheses.
func WriteReasons(b *strings.Builder, v Verdict, width int) {
	for _, r := range v.Reasons {
		if text := oneLine(r.Text); r.Blocking {
			Wrap(b, "  "+r.Reason+": "+text, "    ", width)
		} else {
			Wrap(b, "  ("+r.Reason+") "+text, "    ", width)
		}
	}
}

// WriteList writes a list, an item a paragraph.
func WriteList(b *strings.Builder, items []string, width int) {
	for _, item := range items {
		Wrap(b, "  - "+oneLine(item), "    ", width)
	}
}

// Wrap writes words in lines of at most so many columns; those after the first
// are indented.
func Wrap(b *strings.Builder, text, indent string, width int) {
	width = max(width, leastWidth)
	rest := strings.TrimLeft(text, " ")
	line := text[:len(text)-len(rest)]
	empty := true
	for word := range strings.FieldsSeq(rest) {
		switch {
		case empty:
			line += word
		case runewidth.StringWidth(line)+1+runewidth.StringWidth(word) > width:
			b.WriteString(runewidth.Truncate(line, width, "…") + "\n")
			line = indent + word
		default:
			line += " " + word
		}
		empty = false
	}
	b.WriteString(runewidth.Truncate(line, width, "…") + "\n")
}
