package remote

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

func TestMove(t *testing.T) {
	const (
		move  = `UID MOVE 1:2,9 "other"`
		copy  = `UID COPY 1:2,9 "other"`
		known = "map[1:31 2:30 9:32]"
		store = "UID STORE 1:2,9 " + deleted
	)
	for _, c := range []struct {
		name, caps, answer string
		rules              [][2]string
		sent               []string // after SELECT
		want               string
		validity           mail.UIDValidity
		outcome            string
	}{
		{name: "told before", answer: "* OK [COPYUID 8 2,1,9 30:32] moved\r\n* 1 EXPUNGE\r\n* 1 EXPUNGE\r\nTAG OK done\r\n", want: known, validity: 8},
		{name: "told in the end", answer: "* 1 EXPUNGE\r\nTAG OK [COPYUID 8 2,1,9 30:32] done\r\n", want: known, validity: 8},
		{name: "told twice", answer: "* OK [COPYUID 8 2,1,9 30:32]\r\nTAG OK [COPYUID 8 2:2,9,1 30,32,31] done\r\n", want: known, validity: 8},
		{name: "told in parts", answer: "* OK [COPYUID 8 1:2 32:31]\r\n* OK [COPYUID 8 9 30]\r\nTAG OK\r\n", want: "map[1:31 2:32 9:30]", validity: 8},
		{name: "one was not there", answer: "* OK [COPYUID 8 1,9 30:31]\r\nTAG OK\r\n", want: "map[1:30 9:31]", validity: 8},
		{name: "none was there", answer: "TAG OK\r\n"},
		{name: "refused", answer: "TAG NO [TRYCREATE] no\r\n", outcome: "NO TRYCREATE"},
		{name: "refused in the middle", answer: "* OK [COPYUID 8 1 30]\r\n* 1 EXPUNGE\r\nTAG NO [OVERQUOTA]\r\n", want: "map[1:30]", validity: 8, outcome: "NO OVERQUOTA"},
		{name: "cut", answer: "", outcome: "broke"},

		{name: "counts differ", answer: "* OK [COPYUID 8 1:2,9 30:31]\r\nTAG OK\r\n"},
		{name: "more there than here", answer: "* OK [COPYUID 8 1:2 30:32]\r\nTAG OK\r\n"},
		{name: "never asked for", answer: "* OK [COPYUID 8 1:3 30:32]\r\nTAG OK\r\n"},
		{name: "all there can be", answer: "* OK [COPYUID 8 1:4294967295 1:4294967295]\r\nTAG OK\r\n"},
		{name: "too many there", answer: "* OK [COPYUID 8 1 1:4294967295]\r\nTAG OK\r\n"},
		{name: "two at one place", answer: "* OK [COPYUID 8 1:2 30,30]\r\nTAG OK\r\n"},
		{name: "one at two places", answer: "* OK [COPYUID 8 1,1 30:31]\r\nTAG OK\r\n"},
		{name: "no UIDVALIDITY", answer: "* OK [COPYUID 0 1 30]\r\nTAG OK\r\n"},
		{name: "two of them", answer: "* OK [COPYUID 8 1 30]\r\nTAG OK [COPYUID 9 2 31]\r\n"},
		{name: "rubbish", answer: "* OK [COPYUID 8 1:* 30]\r\n* OK [COPYUID]\r\nTAG OK\r\n"},
		{name: "no sets", answer: "TAG OK [COPYUID 8]\r\n"},

		{name: "without MOVE", caps: "UIDPLUS", answer: "TAG OK [COPYUID 8 2,1,9 30:32]\r\n", rules: [][2]string{{"UID", "* 9 FETCH (FLAGS (x))\r\nTAG OK\r\n"}},
			sent: []string{copy, store, "UID EXPUNGE 1:2,9"}, want: known, validity: 8},
		{name: "without MOVE, not all", caps: "UIDPLUS", answer: "TAG OK [COPYUID 8 2 30]\r\n", rules: [][2]string{{"UID", "TAG OK\r\n"}},
			sent: []string{copy, "UID STORE 2 " + deleted, "UID EXPUNGE 2"}, want: "map[2:30]", validity: 8},
		{name: "without MOVE, counts differ", caps: "UIDPLUS", answer: "TAG OK [COPYUID 8 1:2 30]\r\n", sent: []string{copy}},
		{name: "without MOVE, never asked for", caps: "UIDPLUS", answer: "TAG OK [COPYUID 8 3 30]\r\n", sent: []string{copy}},
		{name: "without MOVE, nothing told", caps: "UIDPLUS", answer: "TAG OK\r\n", sent: []string{copy}},
		{name: "without MOVE, refused", caps: "UIDPLUS", answer: "TAG NO\r\n", sent: []string{copy}, outcome: "NO"},
		{name: "without MOVE, marking refused", caps: "UIDPLUS", answer: "TAG OK [COPYUID 8 2,1,9 30:32]\r\n", rules: [][2]string{{"UID STORE", "TAG NO [NOPERM]\r\n"}, {"UID", "TAG OK\r\n"}},
			sent: []string{copy, store, "UID EXPUNGE 1:2,9"}, want: known, validity: 8, outcome: "NO NOPERM"},
		{name: "without MOVE, cut in the middle", caps: "UIDPLUS", answer: "TAG OK [COPYUID 8 2,1,9 30:32]\r\n", rules: [][2]string{{"UID STORE", ""}},
			sent: []string{copy, store}, want: known, validity: 8, outcome: "broke"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.caps == "" {
				c.caps, c.sent = editCaps, []string{move}
			}
			if c.want == "" {
				c.want = "map[]"
			}
			if c.outcome == "" {
				c.outcome = "ok"
			}
			var log transcript
			_, e := newTestEditor(t, c.caps, &log, append([][2]string{{c.sent[0], c.answer}}, c.rules...)...)
			moved, validity, err := e.Move(t.Context(), []mail.UID{1, 2, 9}, "other")
			if got := fmt.Sprint(moved); got != c.want || validity != c.validity {
				t.Errorf("%s under %d, want %s under %d", got, validity, c.want, c.validity)
			}
			if got := outcomeOf(err); !strings.Contains(got, c.outcome) {
				t.Errorf("%s, want %s", got, c.outcome)
			}
			if got := log.all()[1:]; !slices.Equal(got, c.sent) {
				t.Errorf("sent %q\nwant %q", got, c.sent)
			}
		})
	}
}

// TestMoveInSeveralCommands: what the first command has told is known,
// whatever becomes of the second.
func TestMoveInSeveralCommands(t *testing.T) {
	var uids []mail.UID
	for uid := mail.UID(1); uid <= 2*2000; uid += 2 {
		uids = append(uids, uid)
	}
	_, parts := uidSets(uids)
	if len(parts) != 2 {
		t.Fatalf("%d commands", len(parts))
	}
	first := parts[0]
	told := fmt.Sprintf("TAG OK [COPYUID 8 %s 1:%d]\r\n", strings.Trim(strings.ReplaceAll(fmt.Sprint(first), " ", ","), "[]"), len(first))
	for second, want := range map[string]string{"TAG NO [OVERQUOTA]\r\n": "NO OVERQUOTA", "": "broke", "TAG OK [COPYUID 9 3999 5000]\r\n": "uidvalidity", "TAG OK\r\n": "ok"} {
		var log transcript
		_, e := newTestEditor(t, editCaps, &log, [2]string{"UID MOVE 1,", told}, [2]string{"UID MOVE", second})
		moved, validity, err := e.Move(t.Context(), uids, "other")
		if len(moved) != len(first) || moved[1] != 1 || validity != 8 || !strings.Contains(outcomeOf(err), want) {
			t.Errorf("%q: %d moved under %d, %v", second, len(moved), validity, err)
		}
	}
	var log transcript
	_, e := newTestEditor(t, editCaps, &log)
	if _, _, err := e.Move(t.Context(), uids, "a\r\nZ1 DELETE INBOX"); outcomeOf(err) != "BAD" || len(log.all()) != 1 {
		t.Error(err, log.all())
	}
}
