package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/web"
	"github.com/imapsyncd/imapsyncd/state"
)

const defaultConfig = "/etc/imapsyncd/imapsyncd.toml"

// common is what every command has.
type common struct {
	configPath string
	stopping   context.Context // done when the process has been asked to end
	// Tests have less patience.
	quiet     time.Duration // pass.Options.Quiet
	lookAgain time.Duration // pass.Options.LookAgain
	twinWait  time.Duration // pass.Options.TwinWait
	// unverified is daemon.Options.Unverified.
	unverified bool
	// dns is asked instead of the servers of the configuration; nil: they are.
	dns cutover.Asker
	// now is daemon.Options.Now.
	now func() time.Time
}

func newRoot(c *common) *cobra.Command {
	root := &cobra.Command{
		Use:   "imapsyncd",
		Short: "Move mailboxes from an old IMAP server to a new one, each message exactly once",
		Long: `imapsyncd copies every mailbox of an old IMAP server to a new one, then carries
only what is new. Each message arrives exactly once; the old server is never
changed; what people do on the new server is never undone.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringVar(&c.configPath, "config", defaultConfig, "the configuration `file`")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	root.AddCommand(
		newRun(c), newStatus(c), newPause(c), newResume(c), newReload(c), newFind(c),
		newSync(c), newCheck(c), newPlan(c), newVerify(c), newHold(c), newDeletions(c), newMailboxes(c), newState(c), newTrace(c), newCutover(c), newAccount(c), newDemo(c), newImapsync(c), newImport(), newVersion(), newCompletion(),
	)
	// Wrong arguments are a usage error, whatever the command.
	for _, cmd := range allCommands(root) {
		c.complete(cmd)
		if args := cmd.Args; args != nil {
			cmd.Args = func(cmd *cobra.Command, a []string) error {
				if err := args(cmd, a); err != nil {
					return usage(fmt.Errorf("%s: %w; see '%s --help'", cmd.CommandPath(), err, cmd.CommandPath()))
				}
				return nil
			}
		}
	}
	return root
}

func allCommands(root *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{root}
	for _, c := range root.Commands() {
		all = append(all, allCommands(c)...)
	}
	return all
}

// load reads the configuration, as whoever owns the state directory.
func (c *common) load() (*config.Config, error) {
	if err := becomeOwner(config.StateDir(c.configPath)); err != nil {
		return nil, err
	}
	return config.Load(c.configPath)
}

// open loads the configuration and makes sure that the accounts that were asked
// for are in it; none named means all.
func (c *common) open(cmd *cobra.Command, accounts []string) (daemon.Options, error) {
	cfg, err := c.load()
	if err != nil {
		return daemon.Options{}, err
	}
	for _, name := range accounts {
		if !slices.ContainsFunc(cfg.Accounts, func(a config.Account) bool { return a.Name == name }) {
			return daemon.Options{}, usage(fmt.Errorf("account %q is not in %s", name, c.configPath))
		}
	}
	return c.options(cmd, cfg, accounts), nil
}

func (c *common) options(cmd *cobra.Command, cfg *config.Config, accounts []string) daemon.Options {
	return daemon.Options{Config: cfg, Only: accounts, Logger: newLogger(cmd, cfg), Stopping: c.stopping.Done(), Quiet: c.quiet, LookAgain: c.lookAgain, TwinWait: c.twinWait, Now: c.now}
}

// operate asks the daemon that is running, else works on the state directory
// itself for a moment.
func (c *common) operate(cmd *cobra.Command, accounts []string, use func(daemon.Operator) error) error {
	options, err := c.open(cmd, accounts)
	if err != nil {
		socket, err := c.despite(cmd, err)
		if err != nil {
			return err
		}
		return use(daemon.Ask(socket))
	}
	var said error
	d, err := openSoon(cmd.Context(), options, func() bool {
		said = use(daemon.Ask(options.Config.Socket))
		return !errors.Is(said, web.ErrNoDaemon)
	})
	if err != nil || d == nil {
		return cmp.Or(err, said)
	}
	defer d.Close()
	return use(d.Operator())
}

// aMoment is how long one waits for the state directory: most commands have it
// for less, and a daemon that has taken it listens within that.
const aMoment = 5 * time.Second

// openSoon takes the state directory. While another process has it, it is asked
// instead, until it answers (then there is no daemon to use here) or aMoment is
// over.
func openSoon(ctx context.Context, options daemon.Options, asked func() bool) (*daemon.Daemon, error) {
	for deadline := time.Now().Add(aMoment); ; {
		d, err := daemon.Open(options)
		var locked *state.LockedError
		if !errors.As(err, &locked) {
			return d, err
		}
		if asked() {
			return nil, nil
		}
		if time.Now().After(deadline) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), version())
			return err
		},
	}
}

// version is what the binary's own stamp says.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "imapsyncd (unknown version)"
	}
	v := "imapsyncd " + info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v += " " + s.Value[:min(12, len(s.Value))]
		}
	}
	return v + " " + info.GoVersion
}

// versionNumber is the version alone.
func versionNumber() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
