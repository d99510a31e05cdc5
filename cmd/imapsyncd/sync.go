package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/web"
	"github.com/imapsyncd/imapsyncd/state"
)

func newSync(c *common) *cobra.Command {
	var accounts []string
	var now bool
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Carry everything that is new, once, then exit",
		Long: `sync copies what is not on the new server yet: everything at the first run,
only what is new at every later one. It can be interrupted at any moment and
run again. With --now the running daemon does it, and this waits until it has.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options, err := c.open(cmd, accounts)
			if err != nil {
				return err
			}
			if now {
				return syncNow(cmd, options.Config.Socket, accounts)
			}
			if len(options.Config.Absent) > 0 {
				return options.Config.Absent
			}
			outcomes, err := c.carry(cmd, options)
			var locked *state.LockedError
			if errors.As(err, &locked) {
				return fmt.Errorf("%w; a daemon carries what is new by itself, and at once with 'imapsyncd sync --now'", err)
			}
			if err != nil {
				return err
			}
			return report(cmd.OutOrStdout(), cmd.ErrOrStderr(), outcomes, "'imapsyncd hold list'")
		},
	}
	cmd.Flags().StringArrayVar(&accounts, "account", nil, "only this `account` (may be repeated)")
	cmd.Flags().BoolVar(&now, "now", false, "have the running daemon do it")
	return cmd
}

// carry runs a complete pass over the accounts that were asked for.
func (c *common) carry(cmd *cobra.Command, options daemon.Options) ([]daemon.Outcome, error) {
	chosen := len(options.Only)
	if chosen == 0 {
		chosen = len(options.Config.Accounts)
	}
	show := newProgress(cmd.OutOrStdout(), chosen)
	options.Observe = show.account
	d, err := daemon.Open(options)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	ctx, cancel := graceful(c.stopping)
	defer cancel()
	go holdLittle(ctx)
	outcomes := d.Sync(ctx, show.started, show.finished)
	show.close()
	return outcomes, nil
}

// syncNow has the daemon run a complete pass.
func syncNow(cmd *cobra.Command, socket string, accounts []string) error {
	if err := web.Dial(socket).Sync(cmd.Context(), accounts, len(accounts) == 0); err != nil {
		return err
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), "done; see 'imapsyncd status'")
	return err
}

// report prints the totals and what failed, and turns it into an exit code.
func report(stdout, stderr io.Writer, outcomes []daemon.Outcome, seeHeld string) error {
	var total daemon.Outcome
	failed := 0
	for _, o := range outcomes {
		total.Copied += o.Copied
		total.Bytes += o.Bytes
		total.Mended += o.Mended
		total.Recognised += o.Recognised
		total.Held += o.Held
		if o.Err != nil {
			failed++
			fmt.Fprintf(stderr, "imapsyncd: account %s: %v\n", o.Account, o.Err)
		}
	}
	fmt.Fprintf(stdout, "%s: %s copied (%s)", count(len(outcomes), "account"), count(total.Copied, "message"), size(total.Bytes))
	if total.Mended > 0 {
		fmt.Fprintf(stdout, ", %d of them in another form", total.Mended)
	}
	if total.Recognised > 0 {
		fmt.Fprintf(stdout, ", %d there already", total.Recognised)
	}
	if total.Held > 0 {
		fmt.Fprintf(stdout, ", %d held (see %s)", total.Held, seeHeld)
	}
	if failed > 0 {
		fmt.Fprintf(stdout, ", %s failed", count(failed, "account"))
	}
	fmt.Fprintln(stdout)
	return outcome(failed, len(outcomes), total.Held > 0)
}

func count(n int, what string) string {
	switch {
	case n == 1:
	case strings.HasSuffix(what, "x"):
		what += "es"
	default:
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// size prints octets the way people read them, in powers of 1000.
func size(n int64) string {
	const units = "kMGTP"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, u := float64(n)/1000, 0
	for f >= 999.95 && u < len(units)-1 {
		f, u = f/1000, u+1
	}
	return fmt.Sprintf("%.1f %cB", f, units[u])
}
