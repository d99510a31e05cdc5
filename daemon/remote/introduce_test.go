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
			if conn.ServerID() != "name Old Faithful" || conn.pending.Load() != 0 || len(conn.earlier) != 0 {
				t.Errorf("%q, %d answers are due, of these %q\n%s", conn.ServerID(), conn.pending.Load(), conn.earlier, log)
			}
		})
	}
}

// TestUnaskedIdentity: what a server says of itself unasked is nothing, in whatever
// part of a dialogue, and what comes after the answers to a command, while those to the
// introduction are due, is for nobody.
func TestUnaskedIdentity(t *testing.T) {
	for _, side := range []Side{SideSource, SideDestination} {
		s, _ := scripted(t, "", func(k *talk, _ string) { k.say(`* ID ("name" "Impostor")`, "TAG OK") })
		s.Side = side
		conn, err := Dial(t.Context(), s, Options{Timeout: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Raw(t.Context(), "NOOP"); err != nil || conn.ServerID() != "" {
			t.Errorf("%s: %v, it is %q", side, err, conn.ServerID())
		}
		conn.Close()
	}
	var introduction string
	s, _ := scripted(t, "ID", func(k *talk, command string) {
		switch command {
		case `ID ("name" "imapsyncd")`:
			introduction = k.tag
		case "NOOP":
			k.say("* 1 EXISTS", "TAG OK", "* 2 EXISTS")
			k.tag = introduction
			k.say(`* ID ("name" "Late")`, "TAG OK")
		default:
			k.say("TAG OK")
		}
	})
	s.Side = SideDestination
	conn, err := Dial(t.Context(), s, Options{Timeout: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var seen []uint32
	if _, err := conn.rawEach(t.Context(), func(answered int, r Response) bool {
		if answered > 0 {
			t.Errorf("%+v comes after everything is answered", r)
		}
		seen = append(seen, r.Num)
		return true
	}, "NOOP"); err != nil || !slices.Equal(seen, []uint32{1}) || conn.ServerID() != "name Late" || conn.pending.Load() != 0 {
		t.Errorf("%v, %d, %q, %d answers are due", err, seen, conn.ServerID(), conn.pending.Load())
	}
}
