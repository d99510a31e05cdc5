package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

func newCheck(c *common) *cobra.Command {
	var accounts []string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Preflight: configuration, both log-ins, capabilities, mapping, expected delay",
		Long: `check logs in on both sides of every account and looks at what is there. It changes nothing.
It says which mailboxes get another name, what the servers offer and what of that is used, how
much is to be carried and how large the largest message is, beside what the new server takes of
one (APPENDLIMIT) and its quota. With the first account between two servers it opens as many
connections as a first copy may. A hundred messages or one megabyte at most are fetched of each
account for a try.
At the end it says how long the first copies may take and by what, and how long new mail will
have to wait with so many accounts, connections and log-ins a second, and what in the
configuration to raise.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.operate(cmd, accounts, func(o daemon.Operator) error {
				found, err := o.Check(cmd.Context(), accounts)
				if err != nil {
					return err
				}
				failed := 0
				for _, r := range found.Accounts {
					if !printCheck(cmd.OutOrStdout(), r) {
						failed++
					}
				}
				for _, f := range found.Forecasts {
					say(cmd.OutOrStdout(), "", "%s", forecast(f))
				}
				for _, o := range found.Outlooks {
					say(cmd.OutOrStdout(), "", "%s", o)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s checked, %d failed\n", count(len(found.Accounts), "account"), failed)
				return outcome(failed, len(found.Accounts), false)
			})
		},
	}
	cmd.Flags().StringArrayVar(&accounts, "account", nil, "only this `account` (may be repeated)")
	return cmd
}

// printCheck prints a line for the account and one for each thing to know. It
// tells whether the account is ready.
func printCheck(out io.Writer, r daemon.CheckResult) bool {
	var errs []string
	for _, text := range []string{r.Error, r.Source.Error, r.Destination.Error} {
		if text != "" {
			errs = append(errs, text)
		}
	}
	for _, x := range r.Preview.Conflicts {
		errs = append(errs, x.String())
	}
	if len(errs) > 0 {
		fmt.Fprintf(out, "%s: FAILED\n", r.Account)
		for _, e := range errs {
			fmt.Fprintf(out, "    %s\n", e)
		}
		return false
	}
	toCarry := 0
	for _, row := range r.Preview.Rows {
		toCarry += row.New
	}
	fmt.Fprintf(out, "%s: ok, %s with %s on the old server, %d to carry\n", r.Account,
		count(r.Source.Mailboxes, "mailbox"), count(int(r.Source.Messages), "message"), toCarry)
	for _, side := range []struct {
		name string
		daemon.SideCheck
	}{{"old", r.Source}, {"new", r.Destination}} {
		say(out, "    ", "%s server offers %s", side.name, offers(side.SideCheck))
		say(out, "    ", "%s server has %s", side.name, protection(side.TLS))
	}
	if r.Probe != nil {
		printProbe(out, r.Probe)
	}
	if l := r.Labels; l != nil && !l.Hidden {
		say(out, "    ", "labels: All Mail has %s, %d of them are in no other mailbox, and go into the archive", count(l.All, "message"), l.Rest)
	}
	changed, kept := daemon.Mapping(r.Preview)
	for _, m := range changed {
		say(out, "    ", "%s", m)
	}
	if len(changed) > 0 {
		say(out, "    ", "the names of %s stay as they are", count(kept, "mailbox"))
	}
	for _, w := range r.Warnings {
		say(out, "    ", "warning: %s", w)
	}
	return true
}

// say writes a line after an indent, and on a terminal in lines that fit: a pipe gets
// it whole.
func say(out io.Writer, indent, format string, values ...any) {
	screen, _ := screenOf(out)
	if screen.Lines == 0 {
		screen.Columns = math.MaxInt
	}
	var b strings.Builder
	web.Wrap(&b, indent+fmt.Sprintf(format, values...), indent+"  ", screen.Columns)
	io.WriteString(out, b.String())
}

// printProbe says what a first copy of the account can reckon with.
func printProbe(out io.Writer, p *daemon.Probe) {
	text := fmt.Sprintf("to carry: %s, the largest message has %s", size(p.Octets), size(p.Largest))
	if p.AppendLimit > 0 {
		text += fmt.Sprintf("; the new server takes up to %s (APPENDLIMIT)", size(p.AppendLimit))
	}
	switch q := p.Quota; {
	case q.Limit > 0:
		text += fmt.Sprintf("; quota there: %s of %s used, room for %s beside quota_reserve", size(q.Used), size(q.Limit), size(p.Room))
	case q.Known:
		text += "; no quota there"
	default:
		text += "; the new server tells no quota"
	}
	say(out, "    ", "%s", text)
	if p.Connections > 0 {
		say(out, "    ", "connections: %d to either server at once", p.Connections)
	}
}

// forecast says how long first copies from an old server may take.
func forecast(f daemon.Forecast) string {
	text := fmt.Sprintf("%s: %s of %s to carry, %s", f.Server, count(f.Messages, "message"), count(f.Accounts, "account"), size(f.Octets))
	if f.Seconds > 0 {
		text += fmt.Sprintf(": about %s, %s", max(time.Second, time.Duration(f.Seconds*float64(time.Second)).Round(time.Second)), f.By)
	}
	return text
}

func offers(s daemon.SideCheck) string {
	text := strings.Join(s.Capabilities, " ")
	if text == "" {
		text = "nothing beyond IMAP4rev1"
	}
	if len(s.Missing) > 0 {
		text += " (not " + strings.Join(s.Missing, " ") + ")"
	}
	return text
}

// protection says how a server is talked to, and until when its certificate is
// good.
func protection(s remote.Security) string {
	if s.Version == "" {
		return "no TLS"
	}
	return fmt.Sprintf("%s, certificate for %s until %s", s.Version, s.Names, s.NotAfter.Format(time.DateOnly))
}
