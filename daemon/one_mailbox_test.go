package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/netsim"
)

// TestOneMailboxByTwoNames: the new server goes by two names, and two accounts have
// one log-in on it. Neither is copied, nor logged in; with a log-in of its own for
// one of them both are. Nor is one copied onto itself that way.
func TestOneMailboxByTwoNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network netsim.Network
		var serving sync.WaitGroup
		server := func(port int, source bool, users ...string) (*imapsim.Server, map[string]*simtest.Server) {
			models := make(map[string]*simtest.Server)
			for i, user := range users {
				models[user] = simtest.NewServer(mail.UIDValidity(port + 100*i))
			}
			s := imapsim.New(imapsim.Options{Users: models, Password: wirePassword, Capabilities: []string{"UIDPLUS"}, Source: source})
			l, err := network.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			serving.Go(func() {
				if err := s.Serve(l); err != nil {
					t.Error(err)
				}
			})
			t.Cleanup(func() { l.Close() })
			return s, models
		}
		_, old := server(oldPort, true, "u", "v")
		fresh, new := server(newPort, false, "u", "w")
		for _, user := range []string{"u", "v"} {
			old[user].Deliver("INBOX", wireText(int(user[0])), time.Now(), mail.Flags{})
		}
		c := wireConfig(t, shm(t), "u", "v")
		second := &c.Accounts[1].Destination
		run := func() []Outcome {
			d, err := Open(Options{Config: c, Jitter: func(below time.Duration) time.Duration { return below / 2 }, Dial: func(ctx context.Context, protocol, address string) (net.Conn, error) {
				return network.Dial(ctx, protocol, strings.Replace(address, "[::ffff:127.0.0.1]", "127.0.0.1", 1))
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			return d.Sync(context.Background(), func(string) {}, func(Outcome) {})
		}

		second.Host, second.User = "::ffff:127.0.0.1", "U"
		for _, outcome := range run() {
			if !errors.Is(outcome.Err, errOneMailbox) || !strings.Contains(outcome.Err.Error(), "u and v") && !strings.Contains(outcome.Err.Error(), "v and u") {
				t.Errorf("%s: %v", outcome.Account, outcome.Err)
			}
		}
		if n := fresh.Count("LOGIN") + fresh.Count("AUTHENTICATE") + fresh.Count("APPEND"); n != 0 {
			t.Errorf("the new server has seen %d commands", n)
		}

		second.User = "w"
		for _, outcome := range run() {
			if outcome.Err != nil || outcome.Copied != 1 {
				t.Errorf("%s: %+v", outcome.Account, outcome)
			}
		}
		if fresh.Count("APPEND") != 2 || len(contents(new["w"])) != 1 {
			t.Errorf("%d messages, %v", fresh.Count("APPEND"), contents(new["w"]))
		}

		c.Accounts[1].Source.User, c.Accounts[1].Source.Port = "w", newPort
		if outcome := run()[1]; !errors.Is(outcome.Err, errOneLogIn) || fresh.Count("APPEND") != 2 {
			t.Errorf("onto itself: %v, %d messages", outcome.Err, fresh.Count("APPEND"))
		}
		network.Sever()
	})
}
