package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/text/unicode/norm"

	"github.com/imapsyncd/imapsyncd/daemon"
)

// allFound is an error where a mailbox that --folder names is none of those that the
// command was about: a name that is spelled wrong would pass for one that is carried.
func (o *imapsyncOptions) allFound(cmd *cobra.Command, options daemon.Options, dry bool) error {
	if len(o.folders) == 0 {
		return nil
	}
	var names []string
	if err := onState(options, func(operator daemon.Operator) error {
		if dry {
			previews, err := operator.Preview(cmd.Context(), nil)
			for _, p := range previews {
				for _, row := range p.Rows {
					names = append(names, row.Source)
				}
			}
			return err
		}
		states, err := operator.States(cmd.Context(), nil)
		for _, s := range states {
			for _, pair := range s.Pairs {
				names = append(names, pair.Mailbox)
			}
		}
		return err
	}); err != nil {
		return err
	}
	var missing []string
	for _, folder := range o.folders {
		if !slices.ContainsFunc(spellings(folder), func(name string) bool {
			name = norm.NFC.String(name)
			return slices.ContainsFunc(names, func(has string) bool {
				return norm.NFC.String(has) == name || strings.EqualFold(has, "INBOX") && strings.EqualFold(name, "INBOX")
			})
		}) {
			missing = append(missing, fmt.Sprintf("%q", folder))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("imapsync: --folder %s: the old server lists no such mailbox, or --exclude leaves it out; without --folder, --dry shows all names", strings.Join(missing, ", "))
	}
	return nil
}
