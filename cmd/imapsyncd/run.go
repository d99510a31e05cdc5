package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"sync"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/metrics"
)

func newRun(c *common) *cobra.Command {
	var listen, webConfig string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Copy everything, then follow the old server until told to stop",
		Long: `run is the daemon: it copies what is not on the new server yet, then carries new
mail within seconds. SIGTERM ends it between two batches, SIGHUP or 'imapsyncd
reload' has it read its configuration again, and it does so by itself when the
file changes. A page, /metrics and /api/status are served at [web] listen.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			load := func() (*config.Config, error) {
				cfg, err := c.load()
				if err != nil {
					return nil, err
				}
				if len(cfg.Absent) > 0 {
					return nil, cfg.Absent
				}
				cfg.Web.Listen = cmp.Or(listen, cfg.Web.Listen)
				cfg.Web.ConfigFile = cmp.Or(webConfig, cfg.Web.ConfigFile)
				return cfg, nil
			}
			if err := config.CheckWebConfig(webConfig); err != nil {
				return usage(fmt.Errorf("run: --web.config.file: %w", err))
			}
			cfg, err := load()
			if err != nil {
				return err
			}
			// Go ends a panic, and the SIGABRT of systemd's watchdog, with status 2,
			// which says that the configuration is wrong: then nobody would start
			// this again. Now they end by the signal.
			debug.SetTraceback("crash")
			hangup := make(chan os.Signal, 1)
			signal.Notify(hangup, syscall.SIGHUP)
			defer signal.Stop(hangup)
			options := withMetrics(daemon.Options{
				Config: cfg, Logger: newLogger(cmd, cfg), Stopping: c.stopping.Done(),
				DNS: c.asker(cfg, newLogger(cmd, cfg)), Quiet: c.quiet, LookAgain: c.lookAgain, TwinWait: c.twinWait, Unverified: c.unverified, Now: c.now, Load: load, Reload: hangup, Version: versionNumber(),
			})
			ctx, cancel := graceful(c.stopping)
			defer cancel()
			// A command that looks at the state is no reason not to start.
			d, err := openSoon(ctx, options, func() bool { return false })
			if err != nil {
				return err
			}
			defer d.Close()
			var beside sync.WaitGroup
			defer beside.Wait()
			defer cancel()
			beside.Go(func() { giveBack(ctx) })
			return d.Run(ctx)
		},
	}
	cmd.Flags().StringVar(&listen, "web.listen-address", "", "the `address` at which to serve the page and /metrics, instead of [web] listen")
	cmd.Flags().StringVar(&webConfig, "web.config.file", "", "the `file` that says who may read them and how it is encrypted, instead of [web] config_file")
	return cmd
}

// asker asks the DNS servers of a configuration.
func (c *common) asker(cfg *config.Config, logger *slog.Logger) cutover.Asker {
	if c.dns != nil {
		return c.dns
	}
	return cutover.NewAsker(cutover.AskerOptions{Resolvers: cfg.DNS.Resolvers, Logger: logger})
}

// withMetrics adds metrics of their own registry to what a daemon is made of.
func withMetrics(o daemon.Options) daemon.Options {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	o.Metrics = metrics.New(registry, metrics.Options{AccountLabel: metrics.AccountLabel(o.Config.AccountLabel)})
	o.Gatherer = registry
	return o
}
