package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/imapsyncd/imapsyncd/daemon/config"
)

func newImport() *cobra.Command {
	var o imapsyncOptions
	var output string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Make a configuration of a list of imapsync's",
		Long: `import makes a configuration, with an [[account]] for each line, of a list that
was made for imapsync:

    host1;user1;password1;host2;user2;password2;
    user1;password1;user2;password2

A seventh field may hold options. Options here are for all lines, as in the script
that reads such a list. Accounts have the names of their users, or one like it.
If a line is wrong, each such line is told of, and nothing is made.

The configuration holds the passwords: --output writes a file that nobody else
can read. A list that needs no options can be used as it is, too; see [accounts]
in imapsyncd.toml(5).`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(o.refused) > 0 {
				return usage(errors.New("import: these options cannot be taken:\n    " + strings.Join(o.refused, "\n    ")))
			}
			if len(args) > 1 {
				return usage(fmt.Errorf("import: one list at a time, not %q too; see 'imapsyncd import --help'", args[1]))
			}
			data, err := os.ReadFile(args[0])
			if err != nil {
				return usage(fmt.Errorf("import: %w", err))
			}
			text, accounts, err := o.importList(args[0], data)
			if err != nil {
				return err
			}
			if output == "" {
				_, err := cmd.OutOrStdout().Write(text)
				return err
			}
			if err := writeNew(output, text); err != nil {
				return fmt.Errorf("import: %w", err)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s in %s; next: imapsyncd check --config %s\n", count(accounts, "account"), output, shellWord(output))
			return err
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&output, "output", "", "write a new `file` that only its owner can read, instead of standard output")
	o.servers(flags)
	o.mailboxes(flags)
	o.refuse(flags)
	return cmd
}

// writeNew writes a file that is not there yet.
func writeNew(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// importList makes a configuration, and tells how many accounts are in it.
func (o *imapsyncOptions) importList(file string, data []byte) (text []byte, accounts int, err error) {
	lines, problems := config.ParseImapsync(file, data)
	all, err := o.account()
	if err != nil {
		return nil, 0, usage(fmt.Errorf("import: %w", err))
	}
	draft := config.Draft{Source: &all.Source, Destination: &all.Destination, Mailboxes: all.Mailboxes}
	names, at := make(map[string]bool), make(map[string]int)
	for _, line := range lines {
		account, err := o.ofLine(line)
		if err != nil {
			problems = append(problems, config.Problem{File: file, Line: line.Line, Column: 1, Text: err.Error()})
			continue
		}
		account.Name = accountName(line.User1, names)
		at[account.Name] = line.Line
		draft.Accounts = append(draft.Accounts, account)
	}
	if len(problems) > 0 {
		return nil, 0, problems
	}
	if text, err = draft.TOML(); err != nil {
		return nil, 0, usage(fmt.Errorf("import: %w", err))
	}
	// What the program would not take is not written.
	if _, err := config.Parse(file, text); errors.As(err, &problems) {
		account := regexp.MustCompile(`^account "?([^": ]+)"?:? `)
		for i, p := range problems {
			problems[i] = config.Problem{File: file, Text: p.Text}
			if name := account.FindStringSubmatch(p.Text); name != nil && at[name[1]] > 0 {
				problems[i].Line, problems[i].Column = at[name[1]], 1
			}
		}
		return nil, 0, problems
	} else if err != nil {
		return nil, 0, err
	}
	return text, len(draft.Accounts), nil
}

// ofLine makes the account of a line, of what differs from what is for all.
func (o *imapsyncOptions) ofLine(line config.ImapsyncLine) (config.DraftAccount, error) {
	var own imapsyncOptions
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	own.servers(flags)
	own.mailboxes(flags)
	own.refuse(flags)
	switch err := flags.Parse(line.Options); {
	case err != nil:
		return config.DraftAccount{}, err
	case len(own.refused) > 0:
		return config.DraftAccount{}, errors.New(strings.Join(own.refused, "\n"))
	case flags.NArg() > 0:
		return config.DraftAccount{}, fmt.Errorf("%q belongs to no option; quotes mean nothing in a list", flags.Arg(0))
	}
	own.automap = own.automap || o.automap
	for _, side := range []struct {
		own, all *imapsyncServer
		host     string
	}{{&own.old, &o.old, line.Host1}, {&own.new, &o.new, line.Host2}} {
		side.own.host = cmp.Or(side.own.host, side.host)
		if side.own.host == "" && side.all.host == "" {
			return config.DraftAccount{}, fmt.Errorf("there is no host%[1]s in this line; write --host%[1]s for all", side.all.number)
		}
		if side.own.host == side.all.host {
			side.own.host = ""
		}
	}
	own.old.user, own.old.password, own.new.user, own.new.password = line.User1, line.Password1, line.User2, line.Password2
	if len(own.folders)+len(own.excludes) > 0 || own.subfolder2 != "" {
		// An account's own keys take the place of those for all.
		own.folders, own.excludes = slices.Concat(o.folders, own.folders), slices.Concat(o.excludes, own.excludes)
		if own.subfolder2 == "" {
			own.subfolder2 = o.subfolder2
		}
	}
	return own.account()
}
