package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// moveOver is the second half of the story: from "is it safe?" to the end.
func (s *show) moveOver(ctx context.Context, d *demoDaemon) error {
	s.say("\nMay the MX be switched? The daemon compares both servers first.\n\n")
	status, err := s.awaitDomain(ctx, d, func(of web.DomainStatus) bool { return of.SafeToSwitch.OK })
	if err != nil {
		return err
	}
	s.sayVerdict("safe to switch", status.SafeToSwitch)

	s.say("\nThe MX is switched now; one of the two authorities lags.\n\n")
	s.dns.Switch()
	if status, err = s.awaitDomain(ctx, d, func(of web.DomainStatus) bool { return of.Phase == "draining" }); err != nil {
		return err
	}
	s.say("  %s is draining: %s.\n", status.Name, status.Why)
	s.sayVerdict("safe to stop", status.SafeToStop)

	s.say("\nThe users work on the new server: nothing there is changed any more. Some who\nwrite have not heard of the new MX, and somebody still uses the old server:\n\n")
	if err := s.deliver(ctx, s.late, s.world.DeliverNext); err != nil {
		return err
	}
	if err := s.deliver(ctx, 1, s.world.FileNext); err != nil {
		return err
	}
	if status, err = s.awaitDomain(ctx, d, func(of web.DomainStatus) bool {
		return of.LateMail.Messages >= s.late && len(of.StillWorking) > 0
	}); err != nil {
		return err
	}
	var hosts []string
	for _, h := range status.LateMail.Hosts {
		hosts = append(hosts, fmt.Sprintf("%d from %s", h.Messages, h.Host))
	}
	s.say("\n  Late mail: %s\n  Still working on the old server: %s\n", strings.Join(hosts, ", "), strings.Join(status.StillWorking, ", "))

	s.say("\nNow it has to be quiet for a while (here %s, else days):\n\n", s.silence)
	return s.awaitEnd(ctx, d)
}

// awaitEnd tells what still stands in the way, and waits until the daemon ends
// by itself.
func (s *show) awaitEnd(ctx context.Context, d *demoDaemon) error {
	told := ""
	for {
		status, err := d.client.Status(ctx)
		if err == nil && len(status.Domains) > 0 {
			if now := reasonsOf(status.Domains[0].SafeToStop); now != told {
				told = now
				s.say("  safe to stop: %s\n", now)
			}
		}
		select {
		case err := <-d.ended:
			d.ended <- err
			if err != nil {
				return err
			}
			s.say("\nA last pass, a last comparison, the report: the migration is finished, and the\ndaemon has ended by itself.\n")
			return nil
		case <-ctx.Done():
			return fmt.Errorf("the migration is not finished: %w", ctx.Err())
		case <-time.After(s.progress / 10):
		}
	}
}

// reasonsOf are the blocking reasons in a line.
func reasonsOf(v web.Verdict) string {
	var words []string
	for _, r := range v.Reasons {
		if r.Blocking {
			words = append(words, r.Reason)
		}
	}
	if v.OK {
		return "yes"
	}
	return "no (" + strings.Join(words, ", ") + ")"
}

// sayVerdict tells a verdict with its sentences.
func (s *show) sayVerdict(question string, v web.Verdict) {
	var b strings.Builder
	web.WriteReasons(&b, v, 80)
	s.say("  %s: %s\n%s", question, v.Word(), b.String())
}

// awaitDomain waits until the domain is as it should be.
func (s *show) awaitDomain(ctx context.Context, d *demoDaemon, is func(web.DomainStatus) bool) (web.DomainStatus, error) {
	for {
		status, err := d.client.Status(ctx)
		if err != nil {
			return web.DomainStatus{}, err
		}
		if i := slices.IndexFunc(status.Domains, is); i >= 0 {
			return status.Domains[i], nil
		}
		select {
		case err := <-d.ended:
			d.ended <- err
			return web.DomainStatus{}, errors.Join(errors.New("the daemon has ended"), err)
		case <-ctx.Done():
			return web.DomainStatus{}, fmt.Errorf("%s: %w", reasonsOf(status.Domains[0].SafeToSwitch), ctx.Err())
		case <-time.After(s.progress / 10):
		}
	}
}
