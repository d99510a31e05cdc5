package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/verify"
)

func newVerify(c *common) *cobra.Command {
	var accounts []string
	var deep, asJSON bool
	var sample, csvFile string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare both sides and name every difference",
		Long: `verify looks whether each message of the old server is on the new one, with its
date, flags and keywords. --deep reads every message on both sides and compares
the contents, --sample reads a share of them. It changes nothing.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			mode, share := verify.Quick, 0.0
			switch {
			case deep && sample != "":
				return usage(errors.New("verify: --deep reads everything already; leave --sample away"))
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
				return reportVerify(cmd, reports, asJSON, csvFile)
			})
		},
	}
	cmd.Flags().StringArrayVar(&accounts, "account", nil, "only this `account` (may be repeated)")
	cmd.Flags().BoolVar(&deep, "deep", false, "compare the contents of every message")
	cmd.Flags().StringVar(&sample, "sample", "", "compare the contents of this `share` of the messages, such as 1%")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write the report as JSON")
	cmd.Flags().StringVar(&csvFile, "csv", "", "write the differences to this `file` as CSV")
	return cmd
}

func reportVerify(cmd *cobra.Command, reports []daemon.AccountReport, asJSON bool, csvFile string) error {
	failed, unclean := 0, 0
	var good []verify.Report
	for _, r := range reports {
		if r.Error != "" {
			failed++
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
	if csvFile != "" {
		if err := asCaller(func() error {
			return writeFile(csvFile, func(w io.Writer) error { return verify.CSV(w, good) })
		}); err != nil {
			return err
		}
	}
	return outcome(failed, len(reports), unclean > 0)
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
