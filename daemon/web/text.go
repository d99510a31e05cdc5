package web

import (
	"fmt"
	"io"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/mattn/go-runewidth"
)

// leastWidth is the narrowest table that still has room for names.
const leastWidth = 70

// WriteStatus writes s as a table for a terminal of so many columns: a line
// for each account, one more for each that is not well, and the totals.
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

	row("ACCOUNT", "PHASE", "HEALTH", "MESSAGES", "DONE", "PENDING", "HELD", "LAG")
	for _, a := range s.Accounts {
		row(a.Name, a.Phase, a.Health, count(a.Messages.Source), a.Done(),
			count(a.Messages.Pending), count(a.Messages.Held), span(seconds(a.LagSeconds)))
		if a.Error != "" {
			line("  ! " + oneLine(a.Error))
		}
	}

	t := s.Totals
	b.WriteString("\n")
	line(fmt.Sprintf("%s of %s messages on the new server (%s), %s pending, %s held",
		count(t.Messages.There()), count(t.Messages.Source), t.Done(), count(t.Messages.Pending), count(t.Messages.Held)))
	line(fmt.Sprintf("accounts: %s; lag %s", healths(t), span(seconds(t.LagSeconds))))
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
