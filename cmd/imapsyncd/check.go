package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
)

func newCheck(c *common) *cobra.Command {
	var accounts []string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Preflight: configuration, both log-ins, capabilities, mapping, expected delay",
		Long: `check logs in on both sides of every account and looks at what is there. It changes nothing.
At the end it says how long new mail will have to wait with so many accounts, connections and
log-ins a second, and what in the configuration to raise.`,
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
				for _, o := range found.Outlooks {
					fmt.Fprintln(cmd.OutOrStdout(), o)
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
	fmt.Fprintf(out, "    old server offers %s; new server offers %s\n", offers(r.Source), offers(r.Destination))
	fmt.Fprintf(out, "    TLS: old server %s; new server %s\n", protection(r.Source.TLS), protection(r.Destination.TLS))
	if l := r.Labels; l != nil && !l.Hidden {
		fmt.Fprintf(out, "    labels: All Mail has %s, %d of them are in no other mailbox, and go into the archive\n", count(l.All, "message"), l.Rest)
	}
	changed, kept := daemon.Mapping(r.Preview)
	for _, m := range changed {
		fmt.Fprintf(out, "    %s\n", m)
	}
	if len(changed) > 0 {
		fmt.Fprintf(out, "    the names of %s stay as they are\n", count(kept, "mailbox"))
	}
	for _, w := range r.Warnings {
		fmt.Fprintf(out, "    warning: %s\n", w)
	}
	return true
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
		return "none"
	}
	return fmt.Sprintf("%s, certificate for %s until %s", s.Version, s.Names, s.NotAfter.Format(time.DateOnly))
}
