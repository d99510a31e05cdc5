package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon"
)

func newState(c *common) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "state",
		Short: "What imapsyncd remembers of each account, and whether it is sound",
		Long: `Of each account there is a file in the state directory that says what has been
carried. check looks whether it is sound, show tells what it holds, rebuild has
it made anew from what is on the new server.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newStateCheck(c), newStateShow(c), newStateRebuild(c))
	return cmd
}

func newStateCheck(c *common) *cobra.Command {
	var accounts []string
	cmd := &cobra.Command{
		Use: "check", Short: "List what is wrong with it, and what was set aside", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.operate(cmd, accounts, func(o daemon.Operator) error {
				checks, err := o.CheckStates(cmd.Context(), accounts)
				if err != nil {
					return err
				}
				wrong := false
				for _, check := range checks {
					wrong = wrong || !check.OK()
					printStateCheck(cmd.OutOrStdout(), check)
				}
				return outcome(0, len(checks), wrong)
			})
		},
	}
	cmd.Flags().StringArrayVar(&accounts, "account", nil, "only this `account` (may be repeated)")
	return cmd
}

func printStateCheck(out io.Writer, c daemon.StateCheck) {
	switch {
	case len(c.Problems) > 0:
		fmt.Fprintf(out, "%s: %s in %s\n", c.Account, count(len(c.Problems), "problem"), c.Path)
	case c.None:
		fmt.Fprintf(out, "%s: nothing yet\n", c.Account)
	default:
		fmt.Fprintf(out, "%s: sound\n", c.Account)
	}
	for _, p := range c.Problems {
		fmt.Fprintf(out, "  %s\n", p)
	}
	for _, a := range c.SetAside {
		fmt.Fprintf(out, "  set aside: %s: %s; remove it and its note when you have seen it\n", a.Path, a.Reason)
	}
}

func newStateShow(c *common) *cobra.Command {
	var accounts []string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show", Short: "Tell what it holds, mailbox by mailbox", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.operate(cmd, accounts, func(o daemon.Operator) error {
				states, err := o.States(cmd.Context(), accounts)
				if err != nil {
					return err
				}
				if asJSON {
					encoder := json.NewEncoder(cmd.OutOrStdout())
					encoder.SetIndent("", "  ")
					err = encoder.Encode(states)
				} else {
					err = printStates(cmd.OutOrStdout(), states)
				}
				failed := 0
				for _, s := range states {
					if s.Error != "" {
						failed++
						fmt.Fprintf(cmd.ErrOrStderr(), "imapsyncd: account %s: %s\n", s.Account, s.Error)
					}
				}
				return errors.Join(err, outcome(failed, len(states), false))
			})
		},
	}
	cmd.Flags().StringArrayVar(&accounts, "account", nil, "only this `account` (may be repeated)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write it as JSON")
	return cmd
}

func printStates(out io.Writer, states []daemon.AccountState) error {
	for _, s := range states {
		if s.Error != "" {
			continue
		}
		if s.Octets == 0 {
			fmt.Fprintf(out, "%s: nothing yet\n", s.Account)
			continue
		}
		fmt.Fprintf(out, "%s: %s, %s; %s on %s to %s on %s; %d intents open, %d late; %d held, %d skipped; %d set aside\n",
			s.Account, s.Path, size(s.Octets), s.Identity.SourceUser, s.Identity.SourceHost, s.Identity.DestinationUser, s.Identity.DestinationHost,
			s.OpenIntents, s.LateIntents, s.Held, s.Skipped, len(s.SetAside))
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "  ID\tMAILBOX\tON THE NEW SERVER\tSOURCE ANCHOR\tDESTINATION ANCHOR\tRECEIPTS\tTOUCHED\tGONE\tELSEWHERE\tLOST\tMISSING\tWAITING")
		for _, p := range s.Pairs {
			fmt.Fprintf(table, "  %d\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", p.ID, p.Mailbox, p.Destination, anchor(p.SourceAnchor), anchor(p.DestinationAnchor),
				p.Receipts, p.Touched, p.Gone, p.Elsewhere, p.Lost, p.Missing, p.Waiting)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// anchor is UIDVALIDITY/UIDNEXT/HIGHESTMODSEQ.
func anchor(a daemon.AnchorState) string {
	modSeq := fmt.Sprint(a.HighestModSeq)
	switch {
	case a.UIDValidity == 0:
		return "-"
	case a.HighestModSeq == 0:
		modSeq = "-"
	case a.HighestModSeq >= 1<<63: // none that a server can have (RFC 7162)
		modSeq = "all"
	}
	return fmt.Sprintf("%d/%d/%s", a.UIDValidity, a.UIDNext, modSeq)
}

// rebuilding is what state rebuild does.
const rebuilding = `The state is set aside, not removed. The next pass then compares both servers by
content: what it finds on the new one, in whatever mailbox, counts as carried and
is not copied again. What only the state knew is forgotten:

- what people have deleted on the new server comes back once, where the old one
  has it still;
- flags of copies that differ from their originals are the users' from now on;
- what was held, skipped or kept on your word is tried anew.
`

func newStateRebuild(c *common) *cobra.Command {
	var accounts []string
	var all, yes bool
	cmd := &cobra.Command{
		Use:   "rebuild {--account A... | --all} [--yes]",
		Short: "Set it aside, so that the next pass makes it anew from what is on the new server",
		Long:  rebuilding,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (len(accounts) == 0) == !all {
				return usage(errors.New("state rebuild: name either accounts with --account or --all"))
			}
			options, err := c.open(cmd, accounts)
			if err != nil {
				return err
			}
			d, err := daemon.Open(options)
			if err != nil {
				return err // a daemon that is running has to be stopped
			}
			defer d.Close()
			states, err := d.Operator().States(cmd.Context(), accounts)
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.OutOrStdout(), rebuilding, "\n")
			for _, s := range states {
				fmt.Fprintln(cmd.OutOrStdout(), forgotten(s))
			}
			if !yes {
				return usage(errors.New("state rebuild: nothing has been done; run it with --yes if that is what you want"))
			}
			for _, s := range states {
				aside, err := d.SetAside(s.Account)
				if err != nil {
					return fmt.Errorf("account %s: %w", s.Account, err)
				}
				if aside != "" {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: set aside as %s\n", s.Account, aside)
				}
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&accounts, "account", nil, "this `account` (may be repeated)")
	cmd.Flags().BoolVar(&all, "all", false, "every account")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}

// forgotten says what goes with the state of one account.
func forgotten(s daemon.AccountState) string {
	if s.Error != "" {
		return fmt.Sprintf("%s: %s", s.Account, s.Error)
	}
	if s.Octets == 0 {
		return fmt.Sprintf("%s: there is no state", s.Account)
	}
	receipts, touched := 0, 0
	for _, p := range s.Pairs {
		receipts += p.Receipts
		touched += p.Touched
	}
	text := fmt.Sprintf("%s: %s, of which %d changed by their users; %d held, %d skipped", s.Account, count(receipts, "receipt"), touched, s.Held, s.Skipped)
	if s.OpenIntents > 0 {
		text += fmt.Sprintf("\n%s: %s of the new server may still come: run 'imapsyncd sync' first, or wait a few minutes", s.Account, count(s.OpenIntents, "answer"))
	}
	return text
}
