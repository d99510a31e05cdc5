package plan

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proof"
)

// The flags of small worlds: two system flags, a keyword that source messages
// have, one that only servers add, and one that only the user of a copy gives.
// Each set of flags is a number, a bit for each.
const (
	seen = 1 << iota
	flagged
	work
	noisy
	mine
	kinds = 5

	counted = seen | flagged | work | mine // what can make a copy its user's
	system  = seen | flagged
)

func flagsOf(bits int) mail.Flags {
	var names []string
	for i, name := range []string{`\Seen`, `\Flagged`, "Work", "NonJunk", "Mine"} {
		if bits&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return mail.ParseFlags(names)
}

// everyFlags goes through all flags that a copy was left with, that its source
// message has now, and that it is found with.
func everyFlags(yield func(left, source, found int)) (worlds int) {
	for left := range 1 << kinds {
		for source := range 1 << kinds {
			for found := range 1 << kinds {
				yield(left, source, found)
				worlds++
			}
		}
	}
	return worlds
}

// TestReflagEverywhere holds Reflag, and what comes of doing what it says,
// against the rules of the manual, flag by flag.
func TestReflagEverywhere(t *testing.T) {
	begun := time.Now()
	count := make(map[Reflagging]int)
	worlds := everyFlags(func(left, source, found int) {
		// A keyword that the source message neither has nor had is nobody's
		// business but the user's, and stays.
		foreign := found &^ (left | source) &^ system
		want := source | foreign
		decision, to := Reflag(flagsOf(left), flagsOf(source), flagsOf(found))
		name := fmt.Sprintf("left %v, source %v, found %v: %d, %v", flagsOf(left), flagsOf(source), flagsOf(found), decision, to)
		count[decision]++
		changed := (found ^ left) & counted &^ foreign // by the user of the copy
		switch {
		case found == want:
			if decision != LeaveFlags {
				t.Fatalf("both sides are the same already: %s", name)
			}
		case changed != 0:
			if decision != TouchFlags || !to.Equal(flagsOf(found)) {
				t.Fatalf("its user has changed it: %s", name)
			}
			return
		case decision != SetFlags || !to.Equal(flagsOf(want)):
			t.Fatalf("want %v: %s", flagsOf(want), name)
		}
		if !to.Equal(WithForeign(flagsOf(source), flagsOf(left), flagsOf(found))) {
			t.Fatalf("not what is stored: %s", name)
		}
		// Once done, and noted as a pass notes it, nothing is left to do.
		if again, _ := Reflag(flagsOf(source), flagsOf(source), to); again != LeaveFlags {
			t.Fatalf("not done with it: %s, then %d", name, again)
		}
		// Keywords are the same in any case (RFC 3501 §2.3.2).
		other := flagsOf(found)
		other.Keywords = strings.ToUpper(other.Keywords)
		if again, _ := Reflag(flagsOf(left), flagsOf(source), other); again != decision {
			t.Fatalf("another case is another decision: %s, %d", name, again)
		}
	})
	for _, decision := range []Reflagging{LeaveFlags, SetFlags, TouchFlags} {
		if count[decision] == 0 {
			t.Errorf("decision %d is never made", decision)
		}
	}
	proof.Count(t, begun, "%d worlds", worlds)
}

// TestBetweenEverywhere: a copy is as a change that was broken off leaves it if
// each flag that counts is as it was or as it was to be.
func TestBetweenEverywhere(t *testing.T) {
	begun := time.Now()
	worlds := everyFlags(func(left, to, found int) {
		foreign := found &^ (left | to) &^ system
		want := (found^left)&(found^to)&counted&^foreign == 0
		if got := Between(flagsOf(left), flagsOf(to), flagsOf(found)); got != want {
			t.Fatalf("left %v, to %v, found %v: %v", flagsOf(left), flagsOf(to), flagsOf(found), got)
		}
		if got := Between(flagsOf(to), flagsOf(left), flagsOf(found)); got != want {
			t.Fatalf("to %v, left %v, found %v: %v the other way round", flagsOf(to), flagsOf(left), flagsOf(found), got)
		}
		decision, _ := Reflag(flagsOf(left), flagsOf(to), flagsOf(found))
		if decision == SetFlags && !Between(flagsOf(left), flagsOf(left), flagsOf(found)) {
			t.Fatalf("left %v, to %v, found %v: to be changed, and yet not as it was left", flagsOf(left), flagsOf(to), flagsOf(found))
		}
	})
	proof.Count(t, begun, "%d worlds", worlds)
}

// receiptsFor are receipts of up to three messages with UIDs 1 to 3: of each
// none, one that is there, or one that is gone; and one without UID.
func receiptsFor(code int) (list []mail.Receipt) {
	list = []mail.Receipt{{Fingerprint: 9}}
	for uid := mail.UID(1); uid <= 3; uid++ {
		if kind := code % 3; kind > 0 {
			list = append(list, mail.Receipt{Source: uid, Destination: 10 + uid, Gone: kind == 2})
		}
		code /= 3
	}
	return list
}

func sequence(list []mail.Receipt) iter.Seq2[mail.Receipt, error] {
	return func(yield func(mail.Receipt, error) bool) {
		for _, r := range list {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// TestMissingEverywhere goes through every mailbox of up to three messages and
// all receipts that there can be of it.
func TestMissingEverywhere(t *testing.T) {
	begun := time.Now()
	worlds := 0
	for there := range 1 << 3 {
		var uids []mail.UID
		for uid := mail.UID(1); uid <= 3; uid++ {
			if there&(1<<(uid-1)) != 0 {
				uids = append(uids, uid)
			}
		}
		for code := range 27 {
			worlds++
			receipts := receiptsFor(code)
			lost, back, err := Missing(uids, sequence(receipts))
			if err != nil {
				t.Fatal(err)
			}
			var wantLost, wantBack []mail.Receipt
			for i, r := range receipts {
				switch present := slices.Contains(uids, r.Source); {
				case r.Source == 0:
				case !present && !r.Gone:
					wantLost = append(wantLost, r)
					receipts[i].Gone = true
				case present && r.Gone:
					wantBack = append(wantBack, r)
					receipts[i].Gone = false
				}
			}
			if !slices.Equal(lost, wantLost) || !slices.Equal(back, wantBack) {
				t.Fatalf("%v with %v: lost %v, back %v", uids, receiptsFor(code), lost, back)
			}
			if lost, back, _ := Missing(uids, sequence(receipts)); len(lost)+len(back) > 0 {
				t.Fatalf("%v with %v: once noted, lost %v, back %v again", uids, receipts, lost, back)
			}
			// Each message is carried or has a receipt, and none of them both.
			rest, err := Uncarried(uids, sequence(receipts), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, uid := range uids {
				has := slices.ContainsFunc(receipts, func(r mail.Receipt) bool { return r.Source == uid })
				if has == slices.Contains(rest, uid) {
					t.Fatalf("%v with %v: %v are carried", uids, receipts, rest)
				}
			}
		}
	}
	broken := errors.New("broken")
	if _, _, err := Missing([]mail.UID{1}, func(yield func(mail.Receipt, error) bool) { yield(mail.Receipt{}, broken) }); !errors.Is(err, broken) {
		t.Errorf("an error of the receipts is lost: %v", err)
	}
	proof.Count(t, begun, "%d worlds", worlds)
}

func TestGuarded(t *testing.T) {
	for _, c := range []struct {
		role                    string
		messages, removed, more int
		want                    bool
	}{
		{"", 20, 0, 20, false},    // all of a small mailbox
		{"", 21, 0, 21, true},     // and one more
		{"", 210, 0, 21, false},   // a tenth is not more than a tenth
		{"", 209, 0, 21, true},    // this is
		{"", 209, 20, 1, true},    // what was removed before counts
		{"", 1000, 50, 51, true},  // a trickle too
		{"", 1000, 50, 50, false}, //
		{`\trash`, 99, 0, 99, false},
		{`\Junk`, 99, 50, 49, false},
		{`\Archive`, 99, 0, 99, true},
		{"", 0, 0, 21, true}, // a server that does not count
	} {
		if got := Guarded(c.role, c.messages, c.removed, c.more); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
	for messages := range 400 {
		for more := range messages + 1 {
			if Guarded("", messages, 0, more) && !Guarded("", messages, 0, more+1) {
				t.Fatalf("of %d messages %d are too many, and one more is not", messages, more)
			}
			if Guarded("", messages, more/2, more-more/2) != Guarded("", messages, 0, more) {
				t.Fatalf("%d of %d: in two parts it is another matter", more, messages)
			}
		}
	}
}
