package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon"
)

func newPlan(c *common) *cobra.Command {
	var accounts []string
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show what a pass would do, and change nothing",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, err := c.open(cmd, accounts)
			if err != nil {
				return err
			}
			d, err := daemon.Open(options)
			if err != nil {
				return err
			}
			defer d.Close()
			previews := d.Preview(cmd.Context())
			out := cmd.OutOrStdout()
			failed := 0
			for _, p := range previews {
				if p.Err != nil {
					failed++
					fmt.Fprintf(cmd.ErrOrStderr(), "imapsyncd: account %s: %v\n", p.Account, p.Err)
					continue
				}
				fmt.Fprintf(out, "account %s\n", p.Account)
				table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
				for _, r := range p.Rows {
					note := ""
					if r.Create {
						note += "  (will be created)"
					}
					if r.Rebind {
						note += "  (UIDVALIDITY changed: recognised by content first)"
					}
					if r.InDoubt > 0 {
						note += fmt.Sprintf("  (%d sent without an answer: looked for first)", r.InDoubt)
					}
					if r.Held > 0 {
						note += fmt.Sprintf("  (%d held)", r.Held)
					}
					fmt.Fprintf(table, "  %s\t-> %s\t%d of %d to carry%s\n", r.Source, r.Destination, r.New, r.Messages, note)
				}
				if err := table.Flush(); err != nil {
					return err
				}
				for _, x := range p.Conflicts {
					fmt.Fprintf(out, "  %s: no place of its own, %q on the new server takes the mail of %s\n", x.Source.DisplayName(), x.Name, x.With.DisplayName())
				}
			}
			if failed > 0 {
				return &exitError{code: exitHeld}
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&accounts, "account", nil, "only this account (may be repeated)")
	return cmd
}
