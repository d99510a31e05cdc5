package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
)

func newImapsync(c *common) *cobra.Command {
	var o imapsyncOptions
	var stateDir string
	var dry bool
	cmd := &cobra.Command{
		Use:   "imapsync --host1 HOST --user1 USER --host2 HOST --user2 USER",
		Short: "Copy one account by the command line of imapsync, without a configuration",
		Long: `imapsync takes the options of imapsync's tutorial and carries what is new, once,
as 'imapsyncd sync' does; call it again to carry what came since. What has been
carried is remembered in --state-dir, for these two servers and users alone.

It asks for a password that no option gives. Other than with imapsync, servers
must show a certificate that can be trusted; if one does not, the same command is
printed with the option that is missing. Options that are not listed here are
refused, each with the key of the configuration that does its job.

Names of mailboxes have "/" between levels, --folder also takes them as the old
server spells them. --exclude takes expressions as in imapsync, without what RE2
lacks (lookarounds, back-references).`,
		Args: cobra.ArbitraryArgs, // to refuse options with values by name
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(o.refused) > 0:
				return usage(errors.New("imapsync: these options cannot be taken:\n    " + strings.Join(o.refused, "\n    ")))
			case len(args) > 0:
				return usage(fmt.Errorf("imapsync: %q belongs to no option; see 'imapsyncd imapsync --help'", args[0]))
			case cmd.Flags().Changed("config"):
				return usage(errors.New("imapsync: it has no --config; with a configuration use 'imapsyncd sync'"))
			}
			if err := o.complete(); err != nil {
				return usage(fmt.Errorf("imapsync: %w; see 'imapsyncd imapsync --help'", err))
			}
			for _, s := range []*imapsyncServer{&o.old, &o.new} {
				if err := s.ask(cmd); err != nil {
					return err
				}
			}
			cfg, err := o.config(stateDir)
			if err != nil {
				return err
			}
			options := c.options(cmd, cfg, nil)
			if dry {
				err = dryRun(cmd, options)
			} else {
				err = c.once(cmd, options)
			}
			if err == nil {
				err = o.allFound(cmd, options, dry)
			}
			if again := o.again(cmd.Flags(), err); again != "" {
				fmt.Fprintf(cmd.ErrOrStderr(), "if that is the server you mean, call\n    imapsyncd imapsync %s\n", again)
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	o.servers(flags)
	o.logIns(flags)
	o.mailboxes(flags)
	flags.BoolVar(&dry, "dry", false, "show what would be carried, and change nothing")
	flags.StringVar(&stateDir, "state-dir", "", "`directory` for what has been carried; without it one for these servers and users in ~/.local/state/imapsyncd")
	o.refuse(flags)
	return cmd
}

// ask asks for the password on a terminal, if no option gives it, and warns of
// one that anybody could have seen.
func (s *imapsyncServer) ask(cmd *cobra.Command) error {
	switch {
	case s.password != "":
		fmt.Fprintf(cmd.ErrOrStderr(), "imapsyncd: others may have seen --password%[1]s in the list of processes or in the history of the shell; --passfile%[1]s FILE is safer\n", s.number)
	case s.passfile == "" && !strings.EqualFold(s.authmech, "external"):
		in, ok := cmd.InOrStdin().(*os.File)
		if !ok || !term.IsTerminal(int(in.Fd())) {
			return usage(fmt.Errorf("imapsync: --passfile%[1]s or --password%[1]s is missing", s.number))
		}
		fmt.Fprintf(cmd.ErrOrStderr(), "Password of %s on %s: ", s.user, s.host)
		password, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(cmd.ErrOrStderr())
		if err != nil {
			return fmt.Errorf("read the password: %w", err)
		}
		s.password = string(password)
	}
	return nil
}

// config makes the configuration of one account.
func (o *imapsyncOptions) config(stateDir string) (*config.Config, error) {
	account, err := o.account()
	if err != nil {
		return nil, usage(fmt.Errorf("imapsync: %w", err))
	}
	account.Name = accountName(o.old.user, make(map[string]bool))
	if stateDir == "" {
		if stateDir, err = o.stateDir(account.Name); err != nil {
			return nil, err
		}
	} else if stateDir, err = filepath.Abs(stateDir); err != nil {
		return nil, err
	}
	text, err := config.Draft{StateDir: stateDir, Accounts: []config.DraftAccount{account}}.TOML()
	if err != nil {
		return nil, usage(fmt.Errorf("imapsync: %w", err))
	}
	cfg, err := config.Parse("imapsync", text)
	var problems config.Problems
	if errors.As(err, &problems) {
		for i := range problems {
			problems[i].Line = 0 // of a text that nobody has seen
		}
		return nil, problems
	}
	if err == nil {
		cfg.Log.Level = slog.LevelWarn // the progress tells the rest
	}
	return cfg, err
}

// stateDir is a directory for these servers and users alone, so that several
// can be at work side by side.
func (o *imapsyncOptions) stateDir(account string) (string, error) {
	base := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", usage(fmt.Errorf("imapsync: there is no place to remember what has been carried (%w); write --state-dir", err))
		}
		base = filepath.Join(home, ".local", "state")
	}
	id := sha256.Sum256(fmt.Appendf(nil, "%q %d %q %q %d %q", strings.ToLower(o.old.host), o.old.port, o.old.user, strings.ToLower(o.new.host), o.new.port, o.new.user))
	return filepath.Join(base, "imapsyncd", fmt.Sprintf("%s-%x", account[:min(len(account), 24)], id[:4])), nil
}

// once runs one pass, which tries again what was held, and tells what still is.
func (c *common) once(cmd *cobra.Command, options daemon.Options) error {
	var held []daemon.AccountHold
	look := func(o daemon.Operator) (err error) {
		held, err = o.Holds(cmd.Context())
		return err
	}
	if err := onState(options, func(o daemon.Operator) error {
		err := look(o)
		for _, h := range held {
			if err == nil {
				_, err = o.Retry(cmd.Context(), []string{h.Name()})
			}
		}
		return err
	}); err != nil {
		return err
	}
	outcomes, err := c.carry(cmd, options)
	if err != nil {
		return err
	}
	err = report(cmd.OutOrStdout(), cmd.ErrOrStderr(), outcomes, "below, and tried again at the next call")
	for _, o := range outcomes {
		err = because(err, o.Err)
	}
	if failed := onState(options, look); failed != nil {
		return failed
	}
	if len(held) > 0 {
		if failed := listHolds(cmd.OutOrStdout(), held); failed != nil {
			return failed
		}
	}
	return err
}

// onState works on the state directory for a moment.
func onState(options daemon.Options, use func(daemon.Operator) error) error {
	d, err := daemon.Open(options)
	if err != nil {
		return err
	}
	defer d.Close()
	return use(d.Operator())
}

// dryRun shows what a pass would do.
func dryRun(cmd *cobra.Command, options daemon.Options) error {
	return onState(options, func(o daemon.Operator) error {
		previews, err := o.Preview(cmd.Context(), nil)
		if err != nil {
			return err
		}
		err = printPlans(cmd, previews)
		for _, p := range previews {
			err = because(err, p.Cause)
		}
		return err
	})
}

// because gives an exit code, with all told, the reason behind it.
func because(err, cause error) error {
	var coded *exitError
	if cause != nil && errors.As(err, &coded) {
		return &exitError{code: coded.code, cause: cause}
	}
	return err
}

// again is the same command with the option that a certificate wants; empty:
// that is not what is wrong. Passwords are left out, which has it ask for them.
func (o *imapsyncOptions) again(flags *pflag.FlagSet, err error) string {
	var wrong *remote.Error
	if !errors.As(err, &wrong) || wrong.Key == "" {
		return ""
	}
	number := o.old.number
	if wrong.Side == remote.SideDestination {
		number = o.new.number
	}
	missing := strings.ReplaceAll(wrong.Key, "_", "") + number
	var words []string
	flags.Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, value := range values {
			switch {
			case f.Name == "password1", f.Name == "password2", f.Name == missing:
			case f.Value.Type() == "bool":
				words = append(words, "--"+f.Name)
			default:
				words = append(words, "--"+f.Name, shellWord(value))
			}
		}
	})
	return strings.Join(append(words, "--"+missing, shellWord(wrong.Value)), " ")
}

// shellWord quotes a word for the shell where it needs that.
func shellWord(s string) string {
	plain := strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%_+=:,./-") == "" && s != ""
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
