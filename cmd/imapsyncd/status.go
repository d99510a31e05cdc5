package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// watchEvery is how often status --watch looks.
const watchEvery = 2 * time.Second

func newStatus(c *common) *cobra.Command {
	var asJSON, watch bool
	var accounts, phases, healths []string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how far every account has come and how it is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, p := range phases {
				if !slices.Contains(mail.Phases(), mail.Phase(p)) {
					return usage(fmt.Errorf("status: there is no phase %q; the phases are %v", p, mail.Phases()))
				}
			}
			for _, h := range healths {
				if !slices.Contains(mail.Healths(), mail.Health(h)) {
					return usage(fmt.Errorf("status: there is no health %q; the states of health are %v", h, mail.Healths()))
				}
			}
			options, err := c.open(cmd, accounts)
			if err != nil {
				return err
			}
			wanted := func(a web.AccountStatus) bool {
				return (len(accounts) == 0 || slices.Contains(accounts, a.Name)) &&
					(len(phases) == 0 || slices.Contains(phases, string(a.Phase))) &&
					(len(healths) == 0 || slices.Contains(healths, string(a.Health)))
			}
			for {
				s, err := c.status(cmd, options.Config)
				if err != nil {
					return err
				}
				s.Accounts = slices.DeleteFunc(s.Accounts, func(a web.AccountStatus) bool { return !wanted(a) })
				if watch {
					fmt.Fprint(cmd.OutOrStdout(), "\x1b[H\x1b[2J")
				}
				if err := printStatus(cmd.OutOrStdout(), s, asJSON); err != nil || !watch {
					return err
				}
				select {
				case <-time.After(watchEvery):
				case <-c.stopping.Done():
					return nil
				}
			}
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "for programs: what /api/status shows")
	cmd.Flags().BoolVar(&watch, "watch", false, "show it again every two seconds")
	cmd.Flags().StringArrayVar(&accounts, "account", nil, "only this `account` (may be repeated)")
	cmd.Flags().StringArrayVar(&phases, "phase", nil, "only accounts in this `phase` (may be repeated)")
	cmd.Flags().StringArrayVar(&healths, "health", nil, "only accounts in this state of `health` (may be repeated)")
	return cmd
}

// status asks the daemon, else looks at the state itself.
func (c *common) status(cmd *cobra.Command, cfg *config.Config) (web.Status, error) {
	s, err := web.Dial(cfg.Socket).Status(cmd.Context())
	if !errors.Is(err, web.ErrNoDaemon) {
		return s, err
	}
	if s, err = daemon.Known(cfg); err != nil {
		return s, err
	}
	s.Version = versionNumber()
	fmt.Fprintln(cmd.ErrOrStderr(), "imapsyncd: no daemon is running; this is what the state directory says")
	return s, nil
}

func printStatus(out io.Writer, s web.Status, asJSON bool) error {
	if !asJSON {
		return web.WriteStatus(out, s, width(out))
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(s.Counted())
}

// width is how many columns there are to write to.
func width(out io.Writer) int {
	if f, ok := out.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			return columns
		}
	}
	return 80
}

// daemonClient is for what only a running daemon can do.
func (c *common) daemonClient() (*web.Client, error) {
	cfg, err := c.load()
	if err != nil {
		return nil, err
	}
	return web.Dial(cfg.Socket), nil
}
