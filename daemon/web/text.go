package web

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/mattn/go-runewidth"
)

// leastWidth is the narrowest table that still has room for names.
const leastWidth = 70

// WriteStatus writes s for a terminal of so many columns: each domain with the
// verdict that matters now and its reasons, a table with a line for each account,
// one more for each that is not well, and the totals.
func WriteStatus(w io.Writer, s Status, width int) error {
	s = s.Counted()
	width = max(width, leastWidth)
	const fixed = " %-9s %-7s %9s %4s %9s %5s %6s"
	name := width - len(fmt.Sprintf(fixed, "", "", "", "", "", "", ""))
	var b strings.Builder
	line := func(text string) {
		b.WriteString(strings.TrimRight(runewidth.Truncate(text, width, "…"), " ") + "\n")
	}
	row := func(account string, columns ...any) {
		line(runewidth.FillRight(runewidth.Truncate(oneLine(account), name, "…"), name) + fmt.Sprintf(fixed, columns...))
	}

	writeDomains(&b, s, width)
	row("ACCOUNT", "PHASE", "HEALTH", "MESSAGES", "DONE", "PENDING", "HELD", "LAG")
	// Without a daemon nobody looks: what is new is not known.
	looks := !s.Started.Equal(s.Now)
	for _, a := range s.Accounts {
		done := a.Done()
		if !looks && a.Phase != mail.PhaseFinished {
			done = "-"
		}
		row(a.Name, a.Phase, a.Health, count(a.Messages.Source), done,
			count(a.Messages.Pending), count(a.Messages.Held), span(seconds(a.LagSeconds)))
		if a.Error != "" {
			line("  ! " + oneLine(a.Error))
		}
		if a.Skipped != "" {
			line("  skipped: " + oneLine(a.Skipped))
		}
	}

	t := s.Totals
	b.WriteString("\n")
	if !looks {
		line(fmt.Sprintf("%s messages on the new server, %s held; what is new is not known", count(t.Messages.There()), count(t.Messages.Held)))
		line("accounts: " + healths(t))
		_, err := io.WriteString(w, b.String())
		return err
	}
	line(fmt.Sprintf("%s of %s messages on the new server (%s), %s pending, %s held",
		count(t.Messages.There()), count(t.Messages.Source), t.Done(), count(t.Messages.Pending), count(t.Messages.Held)))
	line(fmt.Sprintf("accounts: %s; lag %s", healths(t), span(seconds(t.LagSeconds))))
	for _, l := range s.Limits {
		if l.DailyBytes == 0 {
			continue
		}
		text := fmt.Sprintf("%s: %s of %s a day used", oneLine(l.Who()), size(l.UsedBytes), size(l.DailyBytes))
		if l.Scarce() {
			text += "; first copies go on " + date(l.Resumes)
		}
		line(text)
	}
	line(fmt.Sprintf("imapsyncd %s, running for %s, %s copied", oneLine(s.Version), span(s.Now.Sub(s.Started)), size(t.Messages.CopiedBytes)))
	_, err := io.WriteString(w, b.String())
	return err
}

// healths names how many accounts are in which health, without those none is in.
func healths(t Totals) string {
	var parts []string
	for _, h := range mail.Healths() {
		if n := t.Healths[h]; n > 0 {
			parts = append(parts, count(n)+" "+string(h))
		}
	}
	if parts == nil {
		return "none"
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
		wrap(b, line, "  ", width)
		WriteReasons(b, verdict, width)
		if n := d.LateMail.Messages; n > 0 {
			wrap(b, fmt.Sprintf("  late mail: %s, the last %s", count(n), ago(s.Now, d.LateMail.last())), "    ", width)
		}
	}
	if len(s.Domains) > 0 {
		b.WriteString("\n")
	}
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
			wrap(b, "  "+r.Reason+": "+text, "    ", width)
		} else {
			wrap(b, "  ("+r.Reason+") "+text, "    ", width)
		}
	}
}

// WriteList writes a list, an item a paragraph.
func WriteList(b *strings.Builder, items []string, width int) {
	for _, item := range items {
		wrap(b, "  - "+oneLine(item), "    ", width)
	}
}

// wrap writes words in lines of at most so many columns; those after the first
// are indented.
func wrap(b *strings.Builder, text, indent string, width int) {
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
