package remote

import (
	"log/slog"
	"slices"
	"testing"
	"time"
)

// TestIntroduction: the old server has said who it is when a connection is handed out.
// The new one is asked the first thing before it has, and nothing is left behind for
// the next.
func TestIntroduction(t *testing.T) {
	for _, side := range []Side{SideSource, SideDestination} {
		t.Run(string(side), func(t *testing.T) {
			var waiting []string // commands that are not answered yet
			answer := func(k *talk) {
				for _, tag := range waiting {
					k.tag = tag
					k.say(`* ID ("name" "Old Faithful")`, "TAG NO never mind")
				}
				waiting = nil
			}
			s, log := scripted(t, "ID ENABLE CONDSTORE", func(k *talk, command string) {
				switch command {
				case `ID ("name" "imapsyncd")`, "ENABLE CONDSTORE":
					if waiting = append(waiting, k.tag); side == SideSource && len(waiting) == 2 {
						answer(k)
					}
				case "NOOP":
					tag := k.tag
					answer(k)
					k.tag = tag
					k.say("* 3 EXISTS", "TAG OK")
				default:
					k.say("TAG OK")
				}
			})
			s.Side = side
			conn, err := Dial(t.Context(), s, Options{Timeout: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if known := conn.ServerID() != ""; known != (side == SideSource) {
				t.Errorf("it is known: %v", known)
			}
			for range 2 {
				replies, err := conn.Raw(t.Context(), "NOOP")
				if err != nil {
					t.Fatal(err)
				}
				if !slices.ContainsFunc(replies[0].Untagged, func(r Response) bool { return r.Type == "EXISTS" }) || replies[0].Tagged.Type != "OK" {
					t.Errorf("%+v", replies)
				}
			}
			if conn.ServerID() != "name Old Faithful" || conn.pending.Load() != 0 || len(conn.introducing) != 0 {
				t.Errorf("%q, %d answers are due, of these %q\n%s", conn.ServerID(), conn.pending.Load(), conn.introducing, log)
			}
		})
	}
}
