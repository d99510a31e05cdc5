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
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// watchEvery is how often status --watch looks.
const watchEvery = 2 * time.Second

func newStatus(c *common) *cobra.Command {
	var asJSON, watch, all bool
	var filter statusFilter
	var check string
	cmd := &cobra.Command{
		Use:   "status [--check VERDICT DOMAIN]",
		Short: "Show how far every domain and account has come and how it is",
		Long: `status shows each domain with the verdict that matters now and its reasons, then
the accounts, those first that need you, and the totals. On a terminal it fills the
screen at most and counts the other accounts; --all shows them, and so does a pipe.
With --check it prints one verdict about one domain and exits with 0
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
			if err := filter.check(); err != nil {
				return usage(fmt.Errorf("status: %w", err))
			}
			ask := func(options daemon.Options) (web.Status, error) { return c.status(cmd, options.Config) }
			options, err := c.open(cmd, filter.names())
			if err != nil {
				socket, err := c.despite(cmd, err)
				if err != nil {
					return err
				}
				ask = func(daemon.Options) (web.Status, error) { return web.Dial(socket).Status(cmd.Context()) }
			}
			for {
				s, err := ask(options)
				if err != nil {
					return err
				}
				if s, err = filter.of(s); err != nil {
					return usage(fmt.Errorf("status: %w", err))
				}
				if err := printStatus(cmd.OutOrStdout(), s, asJSON, all, watch); err != nil || !watch {
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
	cmd.Flags().BoolVar(&all, "all", false, "every account, though the screen is too small for them")
	cmd.Flags().StringArrayVar(&filter.accounts, "account", nil, "only this `account`, or those that a pattern such as \"*@example.org\" fits (may be repeated)")
	cmd.Flags().StringArrayVar(&filter.phases, "phase", nil, "only accounts in this `phase` (may be repeated)")
	cmd.Flags().StringArrayVar(&filter.healths, "health", nil, "only accounts in this state of `health` (may be repeated)")
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

// printStatus writes what was found; again and again in the same place of a
// terminal, where it is watched.
func printStatus(out io.Writer, s web.Status, asJSON, all, watched bool) error {
	if asJSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(s.Counted())
	}
	screen, moves := screenOf(out)
	if all {
		screen.Lines = 0
	}
	var b strings.Builder
	if watched && moves {
		b.WriteString("\x1b[H\x1b[2J")
	}
	if err := web.WriteStatus(&b, s, screen); err != nil {
		return err
	}
	if watched && !moves {
		b.WriteString("\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// screenOf is the terminal that is written to, and whether its cursor can be moved.
// What is no terminal has 80 columns, and as many lines as it takes.
func screenOf(out io.Writer) (screen web.Screen, moves bool) {
	if f, ok := out.(*os.File); ok {
		if columns, rows, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			return web.Screen{Columns: columns, Lines: rows}, os.Getenv("TERM") != "dumb"
		}
	}
	return web.Screen{Columns: 80}, false
}

// width is how many columns there are to write to.
func width(out io.Writer) int {
	screen, _ := screenOf(out)
	return screen.Columns
}

// daemonClient is for what only a running daemon can do.
func (c *common) daemonClient() (*web.Client, error) {
	cfg, err := c.load()
	if err != nil {
		return nil, err
	}
	return web.Dial(cfg.Socket), nil
}
