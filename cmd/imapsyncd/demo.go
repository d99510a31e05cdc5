package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/demo"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// pace is how big the demo is and how long it takes.
type pace struct {
	messages    int // of each account
	appendDelay time.Duration
	quiet       time.Duration // pass.Options.Quiet
	deliveries  int
	between     time.Duration // two deliveries
	late        int           // deliveries after the switch
	silence     time.Duration // quiet_period
	ttl, lag    time.Duration // of the MX, and of its second authority
	progress    time.Duration // between two lines
	patience    time.Duration // until the demo gives up
}

var (
	forPeople = pace{
		messages: 600, appendDelay: 25 * time.Millisecond, quiet: 3 * time.Second, deliveries: 6, between: 1500 * time.Millisecond,
		late: 3, silence: 8 * time.Second, ttl: 5 * time.Second, lag: 3 * time.Second, progress: 1500 * time.Millisecond, patience: 4 * time.Minute,
	}
	forTests = pace{
		messages: 60, appendDelay: 8 * time.Millisecond, quiet: 400 * time.Millisecond, deliveries: 3, between: 20 * time.Millisecond,
		late: 2, silence: 3 * time.Second, ttl: time.Second, lag: 500 * time.Millisecond, progress: 200 * time.Millisecond, patience: 4 * time.Minute,
	}
)

func newDemo(c *common) *cobra.Command {
	var fast bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch a migration between two small servers inside this program",
		Long: `demo starts two small IMAP servers inside this program, fills the old one with
mail, and runs the daemon on them: a copy, a kill in the middle of it, a restart,
new mail that arrives while one watches, the switch of a simulated MX, late mail,
the end, and a comparison of both servers by content. Nothing outside is touched.
It takes about a minute.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := forPeople
			if fast {
				p = forTests
			}
			return c.demonstrate(cmd.OutOrStdout(), p)
		},
	}
	cmd.Flags().BoolVar(&fast, "fast", false, "less mail and no pauses: a few seconds")
	return cmd
}

// demonstrate is the whole demo. It fails unless both servers are the same in
// the end.
func (c *common) demonstrate(out io.Writer, p pace) error {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(c.stopping, p.patience)
	defer cancel()
	dir, err := os.MkdirTemp("", "imapsyncd-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	world, err := demo.Start(ctx, demo.Options{Dir: dir, Seed: 1, Messages: p.messages, AppendDelay: p.appendDelay})
	if err != nil {
		return err
	}
	defer world.Close()
	path := filepath.Join(dir, "imapsyncd.toml")
	if err := os.WriteFile(path, []byte(world.Config()+fmt.Sprintf(demoDomain, p.silence)), 0o600); err != nil {
		return err
	}
	cfg, err := config.Load(path)
	if err != nil {
		return err
	}
	s := &show{out: out, pace: p, world: world, config: cfg, dns: &demoDNS{ttl: p.ttl, lag: p.lag}, outcomes: make(map[string]int), arrived: make(map[string]int)}
	s.changed.L = &s.mu
	defer context.AfterFunc(ctx, s.changed.Broadcast)()

	err = s.play(ctx)
	if err != nil {
		if c.stopping.Err() != nil {
			return errors.New("the demo was interrupted")
		}
		return err
	}
	s.say("\nDone in %s. Nothing was left behind.\n", time.Since(begun).Round(time.Second))
	return nil
}

// play is the story.
func (s *show) play(ctx context.Context) error {
	s.say("Two small IMAP servers are running inside this program. %d people have their\nmail on the old one, in German, English, French and Japanese; the new one is\nempty. Now the daemon starts.\n\n", len(s.world.Accounts()))
	first, err := s.start(ctx)
	if err != nil {
		return err
	}
	s.say("  Look at it: http://%s/\n  Metrics:    http://%s/metrics\n\n", first.address, first.address)
	s.say("The first copy:\n")
	total, err := s.copyUntil(ctx, first, 0.4)
	if err != nil {
		return errors.Join(err, first.kill())
	}

	if err := first.kill(); err != nil {
		return err
	}
	s.say("\nIn the middle of the copy the daemon is killed, without a chance to say goodbye:\nthe answers to what it has just sent are lost. Has that mail been stored or not?\n")
	s.say("It starts again, on the state it has left behind, and looks before it sends.\n\n")
	// As a browser or a Prometheus that is looking would find it.
	s.config.Web.Listen = first.address
	second, err := s.start(ctx)
	if err != nil {
		return err
	}
	defer second.kill()
	if _, err := s.copyUntil(ctx, second, 1); err != nil {
		return err
	}
	found, again := s.outcome("found"), s.outcome("resent")
	s.say("\nAll %d messages are on the new server. Of the messages whose answer was\nlost, %d had been stored and were not sent again; %d had not, and were.\n", total, found, again)

	s.say("\nThe daemon now listens. New mail arrives at the old server:\n\n")
	if err := s.deliver(ctx, s.deliveries, s.world.DeliverNext); err != nil {
		return err
	}
	if err := s.moveOver(ctx, second); err != nil {
		return err
	}

	s.say("\nBoth servers are compared once more: every message, by SHA-256, date and flags,\nby code that knows nothing of the daemon.\n\n")
	differences, err := s.world.Compare(ctx)
	if err != nil {
		return err
	}
	if len(differences) > 0 {
		for _, d := range differences {
			s.say("  %s\n", d)
		}
		return fmt.Errorf("the servers differ in %s", count(len(differences), "place"))
	}
	s.say("  %d messages, nothing missing, nothing twice, nothing different.\n", total+s.deliveries+s.late+1)
	return nil
}

// copyUntil shows the copy until that part of it is done, and returns how many
// messages there are in all.
func (s *show) copyUntil(ctx context.Context, d *demoDaemon, part float64) (total int, err error) {
	tick := time.NewTicker(s.progress)
	defer tick.Stop()
	look := time.NewTicker(s.progress / 20)
	defer look.Stop()
	for {
		status, err := d.client.Status(ctx)
		if err != nil {
			return 0, err
		}
		there, seeding := 0, false
		total = 0
		known := true
		for _, a := range status.Accounts {
			total += a.Messages.Source
			there += a.Messages.There()
			seeding = seeding || a.Phase == mail.PhaseSeeding
			known = known && a.Messages.Source > 0
			if a.Error != "" {
				return 0, fmt.Errorf("account %s: %s", a.Name, a.Error)
			}
		}
		copied := s.copiedSoFar()
		if part == 1 && !seeding {
			s.progressLine(total, total)
			return total, nil
		}
		if part < 1 && known && float64(copied) >= part*float64(total) {
			s.progressLine(copied, total)
			return total, nil
		}
		select {
		case <-tick.C:
			if known {
				s.progressLine(min(copied, there), total)
			}
		case <-look.C:
		case err := <-d.ended:
			d.ended <- err
			return 0, fmt.Errorf("the daemon has ended: %w", err)
		case <-ctx.Done():
			return 0, fmt.Errorf("the copy is not done: %w", ctx.Err())
		}
	}
}

// deliver has mail arrive and shows how long it takes to the other side.
func (s *show) deliver(ctx context.Context, messages int, next func() (account string, err error)) error {
	for range messages {
		select {
		case <-time.After(s.between):
		case <-ctx.Done():
			return ctx.Err()
		}
		before := s.arrivals()
		begin := time.Now()
		account, err := next()
		if err != nil {
			return err
		}
		if err := s.awaitArrival(ctx, account, before[account]+1); err != nil {
			return fmt.Errorf("mail to %s did not arrive on the new server: %w", account, err)
		}
		s.say("  %-18s on the new server after %s\n", account, time.Since(begin).Round(time.Millisecond))
	}
	return nil
}

// demoDaemon is a daemon in this process.
type demoDaemon struct {
	address string
	client  *web.Client
	kill    func() error // as SIGKILL does, as far as the servers can tell
	ended   chan error
}

// start starts a daemon on the demo's configuration.
func (s *show) start(ctx context.Context) (*demoDaemon, error) {
	address := make(chan net.Addr, 1)
	d, err := daemon.Open(withMetrics(daemon.Options{
		Config: s.config, Observe: s.observe, DNS: s.dns, Quiet: s.quiet, Version: versionNumber() + " (demo)",
		Listening: func(a net.Addr) { address <- a },
	}))
	if err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(ctx)
	one := &demoDaemon{client: web.Dial(s.config.Socket), ended: make(chan error, 1)}
	go func() { one.ended <- errors.Join(d.Run(run), d.Close()) }()
	one.kill = func() error {
		cancel()
		err := <-one.ended
		one.ended <- err
		if errors.Is(err, context.Canceled) && ctx.Err() == nil {
			err = nil
		}
		return err
	}
	select {
	case a := <-address:
		one.address = a.String()
		return one, nil
	case err := <-one.ended:
		cancel()
		return nil, err
	}
}
