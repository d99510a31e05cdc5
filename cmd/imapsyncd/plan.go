package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
)

func newPlan(c *common) *cobra.Command {
	var accounts []string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what a pass would do, and change nothing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.operate(cmd, accounts, func(o daemon.Operator) error {
				previews, err := o.Preview(cmd.Context(), accounts)
				if err != nil {
					return err
				}
				return printPlans(cmd, previews)
			})
		},
	}
	cmd.Flags().StringArrayVar(&accounts, "account", nil, "only this `account` (may be repeated)")
	return cmd
}

// printPlans prints what a pass would do, and turns it into an exit code.
func printPlans(cmd *cobra.Command, previews []daemon.AccountPreview) error {
	failed := 0
	for _, p := range previews {
		if p.Error != "" {
			failed++
			fmt.Fprintf(cmd.ErrOrStderr(), "imapsyncd: account %s: %v\n", p.Account, p.Error)
		} else if err := printPlan(cmd.OutOrStdout(), p); err != nil {
			return err
		}
	}
	return outcome(failed, len(previews), false)
}

// printPlan prints a line for each mailbox of an account.
func printPlan(out io.Writer, p daemon.AccountPreview) error {
	fmt.Fprintf(out, "account %s\n", p.Account)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range p.Rows {
		fmt.Fprintf(table, "  %s\t-> %s\t%d of %d to carry%s\n", r.Source, r.Destination, r.New, r.Messages, remarks(r))
	}
	for _, x := range p.Conflicts {
		fmt.Fprintf(table, "  %s\t-> \tHELD: %s\n", x.Source.DisplayName(), x)
	}
	return table.Flush()
}

// remarks says what is special about a mailbox.
func remarks(r pass.PreviewRow) string {
	text := ""
	if r.Create {
		text += "  (will be created)"
	}
	if r.Rebind {
		text += "  (UIDVALIDITY changed: recognised by content first)"
	}
	if r.InDoubt > 0 {
		text += fmt.Sprintf("  (%d sent without an answer: looked for first)", r.InDoubt)
	}
	if r.Held > 0 {
		text += fmt.Sprintf("  (%d held)", r.Held)
	}
	return text
}
