package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon"
)

func newMailboxes(c *common) *cobra.Command {
	var accounts []string
	cmd := &cobra.Command{
		Use:   "mailboxes",
		Short: "What becomes of mailboxes that a changed rule puts elsewhere",
		Long: `A mailbox stays where it was first put. When [mailboxes] rename or prefix put it
elsewhere now, the configuration is refused, or at the start the account stops, until
the change is taken back or you decide. move moves what was copied to where the rules
put it now, keep leaves it where it is, and has what comes go there as well. Only
messages that imapsyncd has copied are moved; the mailbox that is left stays, with
what else is in it. Once the users work on the new server nothing is moved there.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	decision := func(name, short, done string, of func(daemon.Operator) func(context.Context, []string) (int, error)) *cobra.Command {
		return &cobra.Command{
			Use: name, Short: short, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return c.operate(cmd, accounts, func(o daemon.Operator) error {
					n, err := of(o)(cmd.Context(), accounts)
					if err != nil {
						return err
					}
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", count(n, "mailbox"), done)
					return err
				})
			},
		}
	}
	move := decision("move", "Move what was copied to where the rules put it now", "to be moved by the next pass",
		func(o daemon.Operator) func(context.Context, []string) (int, error) { return o.MoveMailboxes })
	keep := decision("keep", "Leave it where it is, for good", "kept in place",
		func(o daemon.Operator) func(context.Context, []string) (int, error) { return o.KeepMailboxes })
	cmd.PersistentFlags().StringArrayVar(&accounts, "account", nil, "only this `account` (may be repeated)")
	cmd.AddCommand(move, keep)
	return cmd
}
