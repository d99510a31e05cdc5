package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

func newFind(c *common) *cobra.Command {
	return &cobra.Command{
		Use:   "find ACCOUNT MESSAGE-ID",
		Short: "Tell where a message is, on either server, and why not",
		Long: `find asks both servers for the messages that have this very Message-ID, written
with its angle brackets or without, and tells what the state knows of each.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.operate(cmd, args[:1], func(o daemon.Operator) error {
				found, err := o.Find(cmd.Context(), args[0], args[1])
				if err != nil {
					return err
				}
				writeFound(cmd.OutOrStdout(), found)
				if len(found) == 0 {
					return &exitError{code: exitHeld}
				}
				return nil
			})
		},
	}
}

func writeFound(out io.Writer, found []web.Found) {
	if len(found) == 0 {
		fmt.Fprintln(out, "not found on either server")
	}
	for i, f := range found {
		if i > 0 {
			fmt.Fprintln(out)
		}
		writePlace(out, "old server:", f.Source)
		writePlace(out, "new server:", f.Destination)
		fmt.Fprintf(out, "%-12s%s\n", "verdict:", verdict(f))
	}
}

func writePlace(out io.Writer, side string, p *web.Place) {
	if p == nil {
		fmt.Fprintf(out, "%-12snot there\n", side)
		return
	}
	fmt.Fprintf(out, "%-12s%q, UID %d, %s, arrived %s, %s\n", side, p.Mailbox, p.UID, size(p.Size),
		p.InternalDate.UTC().Format(time.RFC3339), strings.Join(append([]string{"flags"}, p.Flags...), " "))
}

// verdict says in words what is known of a message.
func verdict(f web.Found) string {
	switch {
	case f.Held != "":
		return fmt.Sprintf("held (%s): %s", f.Held, f.HeldText)
	case f.Receipt && f.Destination != nil && f.Touched:
		return "copied; its user has changed the copy since"
	case f.Receipt && f.Destination != nil:
		return "copied"
	case f.Receipt:
		return "copied; its user has moved or deleted the copy since"
	case f.Source == nil:
		return "on the new server only, not from us or no longer on the old one"
	case f.Destination != nil:
		return "on both servers, not known as one another's copy yet"
	}
	return "not copied yet"
}
