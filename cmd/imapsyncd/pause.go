package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon"
)

func newPause(c *common) *cobra.Command {
	return c.pausing("pause", "paused", true, "Stop carrying mail for some accounts until 'resume', over restarts too")
}

func newResume(c *common) *cobra.Command {
	return c.pausing("resume", "resumed", false, "Carry mail again for accounts that were paused")
}

func (c *common) pausing(name, done string, pause bool, short string) *cobra.Command {
	var accounts []string
	var all bool
	cmd := &cobra.Command{
		Use:   name + " {--account A... | --all}",
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (len(accounts) == 0) == !all {
				return usage(fmt.Errorf("%s: name either accounts with --account or --all", name))
			}
			err := c.operate(cmd, accounts, func(o daemon.Operator) error { return o.Pause(cmd.Context(), accounts, pause) })
			if err != nil {
				return err
			}
			which := "all accounts"
			if !all {
				which = strings.Join(accounts, ", ")
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", done, which)
			return err
		},
	}
	cmd.Flags().StringArrayVar(&accounts, "account", nil, "this `account` (may be repeated)")
	cmd.Flags().BoolVar(&all, "all", false, "every account")
	return cmd
}
