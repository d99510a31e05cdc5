package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon"
)

func newTrace(c *common) *cobra.Command {
	var accounts []string
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Log what is said to the servers of an account",
		Long: `trace has the running daemon log every command and every answer of some accounts,
'>' for its own and '<' for the server's. Passwords and the contents of messages
are left out. It ends with off, with the daemon and with a change of the account's
configuration.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	turn := func(word, short string, on bool) *cobra.Command {
		return &cobra.Command{
			Use: word + " --account A...", Short: short, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				if len(accounts) == 0 {
					return usage(errors.New("trace: name the accounts with --account"))
				}
				options, err := c.open(cmd, accounts)
				if err != nil {
					return err
				}
				if err := daemon.Trace(cmd.Context(), options.Config.Socket, accounts, on); err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "trace is %s: %s\n", word, strings.Join(accounts, ", "))
				return err
			},
		}
	}
	cmd.PersistentFlags().StringArrayVar(&accounts, "account", nil, "this `account` (may be repeated)")
	cmd.AddCommand(turn("on", "Begin", true), turn("off", "End", false))
	return cmd
}
