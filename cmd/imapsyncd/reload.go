package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newReload(c *common) *cobra.Command {
	var allowRemovals bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the daemon read its configuration again",
		Long: `reload has the daemon take accounts in, change them or let them go; the others
go on undisturbed. A configuration that is wrong changes nothing. One that lacks
more than 5 accounts, or more than 5 % of them, is refused unless
--allow-removals says that this is meant.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := c.daemonClient()
			if err != nil {
				return err
			}
			if err := client.Reload(cmd.Context(), allowRemovals); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "the configuration is in force")
			return err
		},
	}
	cmd.Flags().BoolVar(&allowRemovals, "allow-removals", false, "even if many accounts are gone from it")
	return cmd
}
