package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

func newHold(c *common) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hold",
		Short: "What could not be copied, and what to do about it",
		Long: `A message that the new server refuses, or that the old one does not serve, is
held with the server's words; everything else goes on. retry tries it again at
the next pass, skip records your word that it is left out.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}

	list := &cobra.Command{
		Use: "list", Short: "List what is held", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.operate(cmd, nil, func(o daemon.Operator) error {
				holds, err := o.Holds(cmd.Context())
				if err != nil {
					return err
				}
				return listHolds(cmd.OutOrStdout(), holds)
			})
		},
	}
	show := &cobra.Command{
		Use: "show ID", Short: "Show one thing that is held", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.operate(cmd, nil, func(o daemon.Operator) error {
				holds, err := o.Holds(cmd.Context())
				if err != nil {
					return err
				}
				i := slices.IndexFunc(holds, func(h daemon.AccountHold) bool { return h.Name() == args[0] })
				if i < 0 {
					return fmt.Errorf("nothing is held as %s; 'imapsyncd hold list' shows the names", args[0])
				}
				showHold(cmd.OutOrStdout(), holds[i])
				return nil
			})
		},
	}
	retry := &cobra.Command{
		Use: "retry ID...", Short: "Try again at the next pass", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.operate(cmd, nil, func(o daemon.Operator) error {
				n, err := o.Retry(cmd.Context(), args)
				if err == nil {
					fmt.Fprintf(cmd.OutOrStdout(), "%d will be tried again at the next pass\n", n)
				}
				return err
			})
		},
	}
	var because, reason string
	skip := &cobra.Command{
		Use: "skip {ID... | --reason REASON} --because TEXT", Short: "Leave it out, on your word",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case strings.TrimSpace(because) == "":
				return usage(fmt.Errorf("hold skip: say why with --because TEXT; it stands in every later report"))
			case (len(args) == 0) == (reason == ""):
				return usage(fmt.Errorf("hold skip: name either the IDs or one --reason"))
			case reason != "" && !slices.Contains(mail.Reasons(), mail.Reason(reason)):
				return usage(fmt.Errorf("hold skip: there is no reason %q; the reasons are %v", reason, mail.Reasons()))
			}
			return c.operate(cmd, nil, func(o daemon.Operator) error {
				var n int
				var err error
				if reason != "" {
					n, err = o.SkipReason(cmd.Context(), mail.Reason(reason), because)
				} else {
					n, err = o.Skip(cmd.Context(), args, because)
				}
				if err == nil {
					fmt.Fprintf(cmd.OutOrStdout(), "%d skipped\n", n)
				}
				return err
			})
		},
	}
	skip.Flags().StringVar(&because, "because", "", "why, in some `text`, for the record")
	skip.Flags().StringVar(&reason, "reason", "", "everything that is held for this `reason`")
	cmd.AddCommand(list, show, retry, skip)
	return cmd
}

func listHolds(out io.Writer, holds []daemon.AccountHold) error {
	if len(holds) == 0 {
		_, err := fmt.Fprintln(out, "nothing is held")
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tREASON\tMAILBOX\tSTATE\tTHE SERVER'S WORDS")
	for _, h := range holds {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", h.Name(), h.Reason, h.Mailbox, holdState(h.Hold), h.Text)
	}
	return table.Flush()
}

func holdState(h mail.Hold) string {
	switch {
	case h.Skipped:
		return "skipped"
	case h.Retry:
		return "to be retried"
	}
	return "held"
}

func showHold(out io.Writer, h daemon.AccountHold) {
	fmt.Fprintf(out, "ID:       %s\naccount:  %s\nmailbox:  %s\n", h.Name(), h.Account, h.Mailbox)
	if h.UID != 0 {
		fmt.Fprintf(out, "UID:      %d on the old server\nsize:     %s\n", h.UID, size(h.Size))
	}
	fmt.Fprintf(out, "reason:   %s\nwords:    %s\nsince:    %s\nstate:    %s\n", h.Reason, h.Text, h.Since.Format(time.RFC3339), holdState(h.Hold))
	if h.Skipped {
		fmt.Fprintf(out, "because:  %s (%s)\n", h.Because, h.SkippedAt.Format(time.RFC3339))
	}
}
