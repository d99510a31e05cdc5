// Command imapsyncd moves the mailboxes of an old IMAP server to a new one.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/imapsyncd/imapsyncd/daemon/config"
)

// The exit codes that scripts rely on.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // usage or config
	exitHeld   = 3 // done, but something is held, differs, or an account failed
	exitNo     = 4 // status --check: it is not safe
)

func main() {
	stopping, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(&common{stopping: stopping}, commandLine(os.Args[1:]), os.Stdout, os.Stderr))
}

// run executes one command line.
func run(c *common, args []string, stdout, stderr io.Writer) int {
	root := newRoot(c)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(c.stopping)
	stderr = lastWords(stderr)
	var coded *exitError
	var problems config.Problems
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &coded):
		if coded.err != nil {
			fmt.Fprintln(stderr, "imapsyncd:", coded.err)
		}
		return coded.code
	case errors.As(err, &problems):
		fmt.Fprintln(stderr, problems)
		return exitUsage
	}
	fmt.Fprintln(stderr, "imapsyncd:", err)
	return exitFailed
}

// exitError is an error with an exit code of its own; err may be nil when all
// has been said.
type exitError struct {
	code  int
	err   error
	cause error // what has been told already
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return cmp.Or(e.err, e.cause) }

// outcome is the exit code of work on so many accounts, all errors having been
// told: failed when every one of them has, held when some have or something is
// held or differs.
func outcome(failed, accounts int, held bool) error {
	switch {
	case failed > 0 && failed == accounts:
		return &exitError{code: exitFailed}
	case failed > 0 || held:
		return &exitError{code: exitHeld}
	}
	return nil
}

func usage(err error) error { return &exitError{code: exitUsage, err: err} }
