package remote

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// showFlags makes rows one line.
func showFlags(rows []mail.Message) string {
	var list []string
	for _, m := range rows {
		s := fmt.Sprintf("%d%v", m.UID, m.Flags)
		if m.ModSeq > 0 {
			s += fmt.Sprintf("@%d", m.ModSeq)
		}
		list = append(list, s)
	}
	return strings.Join(list, " ")
}

func TestFlags(t *testing.T) {
	const (
		all     = "UID FETCH 1:8 (FLAGS)"
		changed = "UID FETCH 1:8 (FLAGS MODSEQ) (CHANGEDSINCE 40)"
		noMods  = "* 3 EXISTS\r\n* OK [UIDVALIDITY 7]\r\n* OK [NOMODSEQ] no\r\nTAG OK\r\n"
	)
	for _, c := range []struct {
		name, caps, shown string
		below             mail.UID
		since             mail.ModSeq
		answer, sent      string
		want, outcome     string
	}{
		{"all", "CONDSTORE", examined, 9, 0, "* 1 FETCH (UID 2 FLAGS (\\Seen work))\r\n* 2 FETCH (FLAGS () UID 3)\r\nTAG OK\r\n", all, `2(\Seen work) 3()`, "ok"},
		{"changed", "CONDSTORE", examined, 9, 40, "* 1 FETCH (UID 2 MODSEQ (41) FLAGS (\\Seen))\r\nTAG OK\r\n", changed, `2(\Seen)@41`, "ok"},
		{"nothing changed", "CONDSTORE", examined, 9, 40, "TAG OK\r\n", changed, "", "ok"},
		{"no CONDSTORE", "", examined, 9, 40, "* 1 FETCH (UID 2 FLAGS ())\r\nTAG OK\r\n", all, "2()", "ok"},
		{"not for this mailbox", "CONDSTORE", noMods, 9, 40, "* 1 FETCH (UID 2 FLAGS ())\r\nTAG OK\r\n", all, "2()", "ok"},
		{"what nobody asked for", "CONDSTORE", examined, 9, 40,
			"* 5 FETCH (FLAGS (\\Deleted))\r\n* 5 FETCH (UID 7)\r\n* 2 FETCH (UID 5 MODSEQ (41) FLAGS ())\r\n* 9 FETCH (UID 9 FLAGS (\\Seen))\r\n* 4 EXISTS\r\n" +
				"* 1 FETCH (UID 3 MODSEQ (42) FLAGS (a))\r\n* 1 EXPUNGE\r\n* 2 FETCH (UID 5 FLAGS (\\Seen) MODSEQ (50))\r\n* 1 FETCH (UID 0 FLAGS ())\r\nTAG OK\r\n",
			changed, `3(a)@42 5(\Seen)@50`, "ok"},
		{"nonsense", "CONDSTORE", examined, 9, 0,
			"* 1 FETCH\r\n* 1 FETCH x\r\n* 1 FETCH (UID)\r\n* 1 FETCH (UID 1 FLAGS \\Seen)\r\n* 1 FETCH (UID 99999999999 FLAGS ())\r\n* 1 FETCH (UID 2 FLAGS NIL)\r\n* 1 FETCH (UID 4 FLAGS () MODSEQ 5)\r\nTAG OK\r\n",
			all, "4()", "ok"},
		{"refused", "CONDSTORE", examined, 9, 0, "* 1 FETCH (UID 2 FLAGS ())\r\nTAG NO [SERVERBUG] no\r\n", all, "", "NO SERVERBUG"},
		{"not understood", "CONDSTORE", examined, 9, 40, "TAG BAD\r\n", changed, "", "BAD"},
		{"nothing below", "CONDSTORE", examined, 1, 0, "", "", "", "ok"},
		{"empty mailbox", "CONDSTORE", "* 0 EXISTS\r\n* OK [UIDVALIDITY 7]\r\nTAG OK\r\n", 9, 0, "", "", "", "ok"},
		{"another by now", "CONDSTORE", strings.Replace(examined, "UIDVALIDITY 7", "UIDVALIDITY 8", 1), 9, 0, "", "", "", "uidvalidity"},
		{"the highest there is", "", "* 1 EXISTS\r\n* OK [UIDVALIDITY 7]\r\nTAG OK\r\n", math.MaxUint32, 0, "* 1 FETCH (UID 4294967294 FLAGS ())\r\nTAG OK\r\n",
			"UID FETCH 1:4294967294 (FLAGS)", "4294967294()", "ok"},
	} {
		for _, side := range []Side{SideSource, SideDestination} {
			t.Run(c.name+" "+string(side), func(t *testing.T) {
				var log transcript
				s := listServer(t, side, c.caps, &log, [2]string{"EXAMINE", c.shown}, [2]string{"UID FETCH", c.answer})
				flags := newTestSource(t, s).Flags
				if side == SideDestination {
					flags = newTestDestination(t, s).Flags
				}
				var rows []mail.Message
				var err error
				for m, e := range flags(t.Context(), box, c.below, c.since) {
					if err = e; err == nil {
						rows = append(rows, m)
					}
				}
				if got := outcomeOf(err); got != c.outcome || showFlags(rows) != c.want {
					t.Errorf("%s (%s), want %s (%s)", showFlags(rows), got, c.want, c.outcome)
				}
				want := []string{`EXAMINE "box"`, c.sent}
				if c.below == 1 {
					want = nil
				} else if c.sent == "" {
					want = want[:1]
				}
				if got := log.all(); !slices.Equal(got, want) {
					t.Errorf("sent %q, want %q", got, want)
				}
			})
		}
	}
}

// flagServer has messages of these UIDs, all of them changed where unchanged
// does not say otherwise, and records how many rows an answer has.
func flagServer(t *testing.T, uids []mail.UID, unchanged func(mail.UID) bool, log *transcript, most *int) *Source {
	shown := fmt.Sprintf("* %d EXISTS\r\n* OK [UIDVALIDITY 7]\r\n* OK [HIGHESTMODSEQ 44]\r\nTAG OK\r\n", len(uids))
	return newTestSource(t, newFakeServer(t, SideSource, "CONDSTORE", answers(func(command string) string {
		log.add(command)
		var first, last mail.UID
		if _, err := fmt.Sscanf(command, "UID FETCH %d:%d (FLAGS", &first, &last); err != nil {
			if command == "LOGOUT" {
				return ""
			}
			return shown
		}
		var b strings.Builder
		rows := 0
		for i, uid := range uids {
			if first <= uid && uid <= last && !(strings.Contains(command, "CHANGEDSINCE") && unchanged(uid)) {
				fmt.Fprintf(&b, "* %d FETCH (UID %d FLAGS (\\Seen))\r\n", i+1, uid)
				rows++
			}
		}
		*most = max(*most, rows)
		return b.String() + "TAG OK\r\n"
	})))
}

// TestFlagsOfManyMessages: the answers stay small however large the mailbox
// is, the commands few however far apart the UIDs are, and each message comes
// once.
func TestFlagsOfManyMessages(t *testing.T) {
	spread := func(n int, step mail.UID) (uids []mail.UID) {
		for i := range n {
			uids = append(uids, 1+mail.UID(i)*step)
		}
		return uids
	}
	never := func(mail.UID) bool { return false }
	for _, c := range []struct {
		name      string
		uids      []mail.UID
		unchanged func(mail.UID) bool
		since     mail.ModSeq
		rows      int
		commands  int // EXAMINE among them
		most      int
	}{
		{"dense", spread(3*flagsAtOnce+5, 1), never, 0, 3*flagsAtOnce + 5, 5, flagsAtOnce},
		{"few", spread(flagsAtOnce, 200_000), never, 0, flagsAtOnce, 2, flagsAtOnce},
		{"far apart", spread(flagsAtOnce+5, 200_000), never, 0, flagsAtOnce + 5, 14, flagsAtOnce + 4},
		{"one has changed", spread(3*flagsAtOnce+5, 50_000), func(uid mail.UID) bool { return uid != 50_001 }, 9, 1, 12, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log transcript
			most, got := 0, []mail.UID(nil)
			for m, err := range flagServer(t, c.uids, c.unchanged, &log, &most).Flags(t.Context(), box, math.MaxUint32, c.since) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, m.UID)
			}
			want := slices.DeleteFunc(slices.Clone(c.uids), func(uid mail.UID) bool { return c.since > 0 && c.unchanged(uid) })
			if len(want) != c.rows || !slices.Equal(got, want) {
				t.Errorf("%d rows, want %d", len(got), len(want))
			}
			if n := len(log.all()); n > c.commands || most > c.most {
				t.Errorf("%d commands, at most %d rows in one answer, want %d and %d", n, most, c.commands, c.most)
			}
		})
	}
}

// TestFlagsInterrupted: a consumer may stop, and may use the account between
// rows, as no command is pending then.
func TestFlagsInterrupted(t *testing.T) {
	var uids []mail.UID
	for uid := range mail.UID(2*flagsAtOnce + 2) {
		uids = append(uids, uid+1)
	}
	var log transcript
	most := 0
	src := flagServer(t, uids, nil, &log, &most)
	for _, err := range src.Flags(t.Context(), box, math.MaxUint32, 0) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	n := 0
	for m, err := range src.Flags(t.Context(), box, math.MaxUint32, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; m.UID == 5 {
			if _, err := src.Status(t.Context(), mail.Ref{Name: "other"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	examines := slices.DeleteFunc(log.all(), func(line string) bool { return !strings.HasPrefix(line, "EXAMINE") })
	if want := []string{`EXAMINE "box"`, `EXAMINE "box"`, `EXAMINE "other"`, `EXAMINE "box"`}; n != len(uids) || !slices.Equal(examines, want) {
		t.Errorf("%d rows, %q", n, examines)
	}
}

// TestFlagsCut: a connection that ends gives an error, not a short answer.
func TestFlagsCut(t *testing.T) {
	var log transcript
	src := newTestSource(t, listServer(t, SideSource, "", &log, [2]string{"EXAMINE", examined}, [2]string{"UID FETCH", ""}))
	n, failed := 0, false
	for _, err := range src.Flags(t.Context(), box, 9, 0) {
		n++
		failed = err != nil
	}
	if n != 1 || !failed {
		t.Errorf("%d rows, failed: %v", n, failed)
	}
}

// TestFlagsAllowed: the old server may see CHANGEDSINCE, and nothing near it
// that changes or marks.
func TestFlagsAllowed(t *testing.T) {
	for line, want := range map[string]bool{
		"R1 UID FETCH 1:8 (FLAGS)":                                  true,
		"R1 UID FETCH 1:8 (FLAGS MODSEQ) (CHANGEDSINCE 9)":          true,
		"R1 UID FETCH 1:8 (FLAGS BODY[]) (CHANGEDSINCE 9)":          false,
		`R1 UID STORE 1:8 (UNCHANGEDSINCE 9) +FLAGS.SILENT (\Seen)`: false,
		`R1 SELECT "box" (CONDSTORE)`:                               false,
		`R1 UID MOVE 1 "box"`:                                       false,
		`R1 UID COPY 1 "box"`:                                       false,
		"R1 UID EXPUNGE 1":                                          false,
	} {
		if err := allowed(SideSource, line); (err == nil) != want {
			t.Errorf("%s: %v", line, err)
		}
	}
	for _, line := range []string{"R1 EXPUNGE", "R1 CLOSE", "R1 MOVE 1 box", "R1 COPY 1 box", `R1 STORE 1 +FLAGS (\Deleted)`} {
		if allowed(SideDestination, line) == nil {
			t.Errorf("%s may be sent", line)
		}
	}
}
