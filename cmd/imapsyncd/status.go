package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
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
	var check string
	cmd := &cobra.Command{
		Use:   "status [--check VERDICT DOMAIN]",
		Short: "Show how far every domain and account has come and how it is",
		Long: `status shows each domain with the verdict that matters now and its reasons, then
the accounts. With --check it prints one verdict about one domain and exits with 0
for yes, 4 for no, and 1 when nobody can be asked:

  imapsyncd status --check safe-to-switch example.org && change-the-mx`,
		Args: func(cmd *cobra.Command, args []string) error {
			if check != "" {
				return cobra.ExactArgs(1)(cmd, args)
			}
			return cobra.NoArgs(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if check != "" {
				return c.checkVerdict(cmd, check, domainName(args[0]), asJSON)
			}
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
			ask := func(options daemon.Options) (web.Status, error) { return c.status(cmd, options.Config) }
			options, err := c.open(cmd, accounts)
			if err != nil {
				socket, err := c.despite(cmd, err)
				if err != nil {
					return err
				}
				ask = func(daemon.Options) (web.Status, error) { return web.Dial(socket).Status(cmd.Context()) }
			}
			wanted := func(a web.AccountStatus) bool {
				return (len(accounts) == 0 || slices.Contains(accounts, a.Name)) &&
					(len(phases) == 0 || slices.Contains(phases, string(a.Phase))) &&
					(len(healths) == 0 || slices.Contains(healths, string(a.Health)))
			}
			for {
				s, err := ask(options)
				if err != nil {
					return err
				}
				s.Accounts = slices.DeleteFunc(s.Accounts, func(a web.AccountStatus) bool { return !wanted(a) })
				s.Domains = slices.DeleteFunc(s.Domains, func(d web.DomainStatus) bool {
					return len(accounts)+len(healths) > 0 || len(phases) > 0 && !slices.Contains(phases, string(d.Phase))
				})
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
	cmd.Flags().StringVar(&check, "check", "", "a verdict: safe-to-switch or safe-to-stop")
	cmd.Flags().BoolVar(&watch, "watch", false, "show it again every two seconds")
	cmd.Flags().StringArrayVar(&accounts, "account", nil, "only this `account` (may be repeated)")
	cmd.Flags().StringArrayVar(&phases, "phase", nil, "only accounts in this `phase` (may be repeated)")
	cmd.Flags().StringArrayVar(&healths, "health", nil, "only accounts in this state of `health` (may be repeated)")
	return cmd
}

// checkVerdict prints one verdict of the running daemon, and makes it the exit
// code.
func (c *common) checkVerdict(cmd *cobra.Command, verdict, domain string, asJSON bool) error {
	if verdict != "safe-to-switch" && verdict != "safe-to-stop" {
		return usage(fmt.Errorf("status: there is no verdict %q; write safe-to-switch or safe-to-stop", verdict))
	}
	client, err := c.daemonClient()
	if err != nil {
		socket, err := c.despite(cmd, err)
		if err != nil {
			return err
		}
		client = web.Dial(socket)
	}
	s, err := client.Status(cmd.Context())
	if err != nil {
		return err
	}
	i := slices.IndexFunc(s.Domains, func(d web.DomainStatus) bool { return d.Name == domain })
	if i < 0 {
		return usage(fmt.Errorf("status: there is no domain %q", domain))
	}
	ruling := s.Domains[i].SafeToSwitch
	if verdict == "safe-to-stop" {
		ruling = s.Domains[i].SafeToStop
	}
	if asJSON {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		err = e.Encode(ruling)
	} else {
		var b strings.Builder
		fmt.Fprintf(&b, "%s: %s: %s\n", domain, verdict, ruling.Word())
		web.WriteReasons(&b, ruling, width(cmd.OutOrStdout()))
		if ruling.OK {
			b.WriteString("You must check yourself:\n")
			web.WriteList(&b, s.YouMustCheck, width(cmd.OutOrStdout()))
		}
		_, err = io.WriteString(cmd.OutOrStdout(), b.String())
	}
	if err == nil && !ruling.OK {
		return &exitError{code: exitNo}
	}
	return err
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
