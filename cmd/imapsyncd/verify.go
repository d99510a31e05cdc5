package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/verify"
)

func newVerify(c *common) *cobra.Command {
	var accounts []string
	var quick, deep, asJSON bool
	var sample, csvFile, htmlFile string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare both sides and name every difference",
		Long: `verify looks whether each message of the old server is on the new one, with its
date, size, flags and keywords, and what is on the new one besides. --deep reads
every message on both sides and compares the contents, --sample reads a share of
them, at least a hundred of each account. It changes nothing. While the daemon
runs it does the comparing.

What is found of a message:
` + classHelp() + `
The exit code is 3 when anything differs but what users did on the new server
after they moved there, when something is held, or when an account could not be
compared; 1 when none could.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			mode, share := verify.Quick, 0.0
			switch {
			case deep && sample != "", quick && (deep || sample != ""):
				return usage(errors.New("verify: use one of --quick, --sample and --deep"))
			case deep:
				mode = verify.Deep
			case sample != "":
				percent, err := strconv.ParseFloat(strings.TrimSuffix(sample, "%"), 64)
				if err != nil || percent <= 0 || percent > 100 || !strings.HasSuffix(sample, "%") {
					return usage(fmt.Errorf("verify: --sample %s: write a share such as 1%%", sample))
				}
				mode, share = verify.Sample, percent/100
			}
			return c.operate(cmd, accounts, func(o daemon.Operator) error {
				reports, err := o.Verify(cmd.Context(), accounts, mode, share)
				if err != nil {
					return err
				}
				return reportVerify(cmd, reports, asJSON, csvFile, htmlFile)
			})
		},
	}
	cmd.Flags().StringArrayVar(&accounts, "account", nil, "only this `account` (may be repeated)")
	cmd.Flags().BoolVar(&quick, "quick", false, "compare no contents but where sizes differ (the default)")
	cmd.Flags().BoolVar(&deep, "deep", false, "compare the contents of every message")
	cmd.Flags().StringVar(&sample, "sample", "", "compare the contents of this `share` of the messages, such as 1%")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write the report as JSON")
	cmd.Flags().StringVar(&csvFile, "csv", "", "write the differences to this `file` as CSV")
	cmd.Flags().StringVar(&htmlFile, "html", "", "write a report that can be handed on to this `file`: one HTML page that needs nothing else")
	return cmd
}

// classHelp lists the classes with what they mean.
func classHelp() string {
	var b strings.Builder
	for _, class := range verify.Classes() {
		fmt.Fprintf(&b, "  %-8s %s\n", class, class.Explain())
	}
	return b.String()
}

func reportVerify(cmd *cobra.Command, reports []daemon.AccountReport, asJSON bool, csvFile, htmlFile string) error {
	unclean := 0
	var good []verify.Report
	var failed []verify.Failure
	for _, r := range reports {
		if r.Error != "" {
			failed = append(failed, verify.Failure{Account: r.Account, Why: r.Error})
			fmt.Fprintf(cmd.ErrOrStderr(), "imapsyncd: account %s: %s\n", r.Account, r.Error)
			continue
		}
		if !r.Clean() {
			unclean++
		}
		good = append(good, r.Report)
	}
	write := verify.Text
	if asJSON {
		write = verify.JSON
	}
	if err := write(cmd.OutOrStdout(), good); err != nil {
		return err
	}
	document := verify.Document{Reports: good, Failed: failed, Version: version(), Made: time.Now()}
	for _, output := range []struct {
		file  string
		write func(io.Writer) error
	}{
		{csvFile, func(w io.Writer) error { return verify.CSV(w, good) }},
		{htmlFile, func(w io.Writer) error { return verify.HTML(w, document) }},
	} {
		if output.file == "" {
			continue
		}
		if err := asCaller(func() error { return writeFile(output.file, output.write) }); err != nil {
			return fmt.Errorf("write %s: %w", output.file, err)
		}
	}
	return outcome(len(failed), len(reports), unclean > 0)
}

// writeFile puts a file in place only when it is whole.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".imapsyncd-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := write(f); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
