package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/cutover"
)

func newCutover(c *common) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cutover",
		Short: "Say that the delivery or the users of a domain have moved, or take it back",
		Long: `Two things move to the new server: the delivery of new mail, which DNS shows for
a [[domain]] with an MX, and the users, who move together with it or when you say
so (handover). From the handover on nothing on the new server is changed any
more; what still reaches the old one is carried. 'imapsyncd status' shows whether
it is safe to switch, and later whether it is safe to stop.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	// word makes a command that takes a domain and, if it may, accounts.
	word := func(use, short, long string, alone bool, say func(context.Context, daemon.Operator, string, []string) ([]cutover.Change, error)) {
		var accounts []string
		sub := &cobra.Command{
			Use: use, Short: short, Long: long, Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return c.sayCutover(cmd, accounts, func(o daemon.Operator) ([]cutover.Change, error) {
					return say(cmd.Context(), o, domainName(args[0]), accounts)
				})
			},
		}
		if alone {
			sub.Flags().StringArrayVar(&accounts, "account", nil, "only this account (may be repeated)")
		}
		cmd.AddCommand(sub)
	}
	word("switched DOMAIN", "New mail arrives at the new server from now on",
		"switched is for a domain of which DNS does not show it (switch = \"manual\", or no\n[[domain]] at all), and for one that DNS named the new server of from the first\nlook on.", false,
		func(ctx context.Context, o daemon.Operator, domain string, _ []string) ([]cutover.Change, error) {
			return o.Switched(ctx, domain)
		})
	word("start DOMAIN", "The users of a domain, or some of them, work on the new server from now on",
		"When start returns, no command that changes or removes anything is sent to the\nnew server any more.", true,
		func(ctx context.Context, o daemon.Operator, domain string, accounts []string) ([]cutover.Change, error) {
			return o.Start(ctx, domain, accounts)
		})
	word("abort DOMAIN", "Take the switch back: the users work on the old server again",
		"From then on what people do on the old server is followed again. DNS counts only\nonce every authority has shown the old MX.", true,
		func(ctx context.Context, o daemon.Operator, domain string, accounts []string) ([]cutover.Change, error) {
			return o.Abort(ctx, domain, accounts)
		})
	word("finish DOMAIN", "The old server may go: end the migration of a domain",
		"finish is refused unless it is safe to stop. A last pass and a last verification\nfollow, then the report; with finish = \"ask\" the daemon waits for this.", false,
		func(ctx context.Context, o daemon.Operator, domain string, _ []string) ([]cutover.Change, error) {
			return o.Finish(ctx, domain)
		})

	var host, because string
	ack := &cobra.Command{
		Use: "ack DOMAIN --host HOST --because TEXT", Short: "Late mail of a host does not count", Args: cobra.ExactArgs(1),
		Long: "ack records your word that late mail which a host delivers to the old server is\nno reason to wait. It is carried all the same.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if host == "" {
				return usage(fmt.Errorf("cutover ack: name the host with --host, as 'imapsyncd status --json' has it under late_mail"))
			}
			if strings.TrimSpace(because) == "" {
				return usage(fmt.Errorf("cutover ack: say why with --because TEXT; it stands in every later report"))
			}
			return c.sayCutover(cmd, nil, func(o daemon.Operator) ([]cutover.Change, error) {
				return o.Ack(cmd.Context(), domainName(args[0]), host, because)
			})
		},
	}
	ack.Flags().StringVar(&host, "host", "", "the delivering host")
	ack.Flags().StringVar(&because, "because", "", "why")
	cmd.AddCommand(ack)
	return cmd
}

// sayCutover says a word and prints what has changed by it.
func (c *common) sayCutover(cmd *cobra.Command, accounts []string, say func(daemon.Operator) ([]cutover.Change, error)) error {
	return c.operate(cmd, accounts, func(o daemon.Operator) error {
		changes, err := say(o)
		for _, change := range changes {
			of := change.Domain
			if change.Account != "" {
				of = "account " + change.Account
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: %s (%s)\n", of, change.What, change.Why)
		}
		return err
	})
}

// domainName is a domain's name as the configuration has it.
func domainName(text string) string { return strings.TrimSuffix(strings.ToLower(text), ".") }

func newAccount(c *common) *cobra.Command {
	cmd := &cobra.Command{
		Use: "account", Short: "Leave an account out of the verdicts, or accept its old server", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var because string
	skip := &cobra.Command{
		Use: "skip NAME --because TEXT", Short: "No verdict waits for an account", Args: cobra.ExactArgs(1),
		Long: "skip records your word that neither the switch nor the end waits for an account:\none that nobody can log in to, or that was removed unfinished. While it is in the\nconfiguration it is carried all the same.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if strings.TrimSpace(because) == "" {
				return usage(fmt.Errorf("account skip: say why with --because TEXT; it stands in every later report"))
			}
			return c.operate(cmd, nil, func(o daemon.Operator) error {
				err := o.SkipAccount(cmd.Context(), args[0], because)
				if err == nil {
					fmt.Fprintf(cmd.OutOrStdout(), "account %s: skipped (%s)\n", args[0], because)
				}
				return err
			})
		},
	}
	skip.Flags().StringVar(&because, "because", "", "why")
	var all bool
	accept := &cobra.Command{
		Use: "accept {NAME... | --all}", Short: "Go on with an old server that has another address or ID",
		Long: "An account stops when its old server is not the one that it was at the first\nlog-in: on the night when somebody repoints the name that [source] host bears, it\nwould be copied onto itself. accept records your word that the server itself has\nmoved.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(args) == 0) != all {
				return usage(fmt.Errorf("account accept: name either the accounts or --all"))
			}
			return c.operate(cmd, args, func(o daemon.Operator) error {
				err := o.AcceptSource(cmd.Context(), args)
				if err == nil {
					fmt.Fprintln(cmd.OutOrStdout(), "the next log-in tells what the old server is")
				}
				return err
			})
		},
	}
	accept.Flags().BoolVar(&all, "all", false, "all accounts")
	cmd.AddCommand(skip, accept)
	return cmd
}
