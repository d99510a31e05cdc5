package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon"
)

func newDeletions(c *common) *cobra.Command {
	var accounts []string
	cmd := &cobra.Command{
		Use:   "deletions",
		Short: "What was deleted in great number on the old server, and what to do about it",
		Long: `What is deleted on the old server is removed on the new one. When more than 20
messages and a tenth of a mailbox go within a day it may have been a mishap: then
their copies stay until you decide. apply removes them, keep leaves them where
they are for good; without IDs all that waits is meant. A copy that its user has
changed stays in either case.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	list := &cobra.Command{
		Use: "list", Short: "List what waits for your word", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.operate(cmd, accounts, func(o daemon.Operator) error {
				deletions, err := o.Deletions(cmd.Context(), accounts)
				if err != nil {
					return err
				}
				return listDeletions(cmd.OutOrStdout(), deletions)
			})
		},
	}
	// decision is apply and keep.
	decision := func(name, short, done string, of func(daemon.Operator) func(context.Context, []string, []string) (int, error)) *cobra.Command {
		return &cobra.Command{
			Use: name + " [ID...]", Short: short,
			RunE: func(cmd *cobra.Command, args []string) error {
				return c.operate(cmd, accounts, func(o daemon.Operator) error {
					n, err := of(o)(cmd.Context(), accounts, args)
					if err != nil {
						return err
					}
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", count(n, "message"), done)
					return err
				})
			},
		}
	}
	apply := decision("apply", "Remove the copies", "will be removed from the new server by the next pass",
		func(o daemon.Operator) func(context.Context, []string, []string) (int, error) {
			return o.ApplyDeletions
		})
	keep := decision("keep", "Leave the copies where they are", "will stay on the new server",
		func(o daemon.Operator) func(context.Context, []string, []string) (int, error) { return o.KeepDeleted })
	cmd.PersistentFlags().StringArrayVar(&accounts, "account", nil, "only this `account` (may be repeated)")
	cmd.AddCommand(list, apply, keep)
	return cmd
}

func listDeletions(out io.Writer, deletions []daemon.Deletion) error {
	if len(deletions) == 0 {
		_, err := fmt.Fprintln(out, "nothing waits for your word")
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tMESSAGES\tMAILBOX\tON THE NEW SERVER\tSINCE\tSTATE")
	for _, d := range deletions {
		state := "kept, waits for your word"
		if d.Apply {
			state = "to be removed"
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\t%s\n", d.Name(), d.Messages, d.Mailbox, d.Destination, d.Since.Format(time.RFC3339), state)
	}
	return table.Flush()
}
