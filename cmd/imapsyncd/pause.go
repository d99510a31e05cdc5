package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon/web"
)

func newPause(c *common) *cobra.Command {
	return c.pausing("pause", "paused", "Stop carrying mail for some accounts, until 'resume' or the next start",
		func(d *web.Client) func(context.Context, []string, bool) error { return d.Pause })
}

func newResume(c *common) *cobra.Command {
	return c.pausing("resume", "resumed", "Carry mail again for accounts that were paused",
		func(d *web.Client) func(context.Context, []string, bool) error { return d.Resume })
}

func (c *common) pausing(name, done, short string, of func(*web.Client) func(context.Context, []string, bool) error) *cobra.Command {
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
			client, err := c.daemonClient()
			if err != nil {
				return err
			}
			if err := of(client)(cmd.Context(), accounts, all); err != nil {
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
	cmd.Flags().StringArrayVar(&accounts, "account", nil, "this account (may be repeated)")
	cmd.Flags().BoolVar(&all, "all", false, "every account")
	return cmd
}
