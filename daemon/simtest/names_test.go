package simtest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proof"
)

// folding is a destination that does not tell names apart by case.
type folding struct {
	pass.Destination
	asked *int
}

func (f folding) Folds(context.Context, mail.Listing) (bool, error) {
	*f.asked++
	return true, nil
}

// TestNamesFold: of two mailboxes that would be one to the new server the second
// is held before anything is copied, and the server is asked where it matters
// only.
func TestNamesFold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, asked := small(), 0
		w.mutate = func(o *pass.Options) { o.Destination = folding{o.Destination, &asked} }
		w.settle(t)
		if asked != 0 {
			t.Errorf("asked %d times about names that differ", asked)
		}
		w.old.Deliver("Offers", "n6", day, mail.Flags{})
		w.old.Deliver("offers", "n7", day, mail.Flags{})
		w.settle(t)
		w.settle(t)
		if len(w.errs) > 0 {
			t.Error(w.errs)
		}
		if asked == 0 || w.new.Boxes["offers"] != nil || len(w.new.Boxes["Offers"].Messages) != 1 {
			t.Errorf("asked %d times, %+v", asked, w.new.Boxes)
		}
		h, held := w.journal.holds[mail.HoldKey{Path: "offers"}]
		if !held || h.Reason != mail.ReasonName || !strings.Contains(h.Text, "differ only by case") {
			t.Errorf("%+v", w.journal.holds)
		}
		// Its user gives it another name.
		w.old.Rename("offers", "Angebote")
		w.settle(t)
		if len(w.new.Boxes["Angebote"].Messages) != 1 || len(w.journal.holds) != 0 {
			t.Errorf("%+v, %+v", w.new.Boxes, w.journal.holds)
		}
	})
}

// picky is a destination that refuses names.
type picky struct {
	pass.Destination
	refuse func(name string) *mail.Refused
}

func (p picky) Create(ctx context.Context, boxes []mail.Creation) ([]error, error) {
	refused := make([]error, len(boxes))
	for i, box := range boxes {
		if r := p.refuse(box.Name); r != nil {
			refused[i] = r
			continue
		}
		of, err := p.Destination.Create(ctx, boxes[i:i+1])
		if err != nil {
			return nil, err
		}
		refused[i] = of[0]
	}
	return refused, nil
}

func (p picky) Make(ctx context.Context, box mail.Creation) (mail.Appender, error) {
	if r := p.refuse(box.Name); r != nil {
		return nil, r
	}
	return p.Destination.Make(ctx, box)
}

// TestNamesRefused: what the new server refuses to make is made under a plainer
// name, but never under that of another mailbox, and not when it is refused for
// another reason.
func TestNamesRefused(t *testing.T) {
	for _, c := range []struct {
		name, code string
		there      string // a mailbox on the new server
		want       string // where the mail is; empty: held
	}{
		{"a plainer name", "CANNOT", "", "100_"},
		{"no code", "", "", "100_"},
		{"not for its name", "OVERQUOTA", "", ""},
		{"taken", "CANNOT", "100_", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := small()
				w.old.Deliver("100%", "n6", day, mail.Flags{})
				if c.there != "" {
					w.new.Make(c.there)
				}
				w.mutate = func(o *pass.Options) {
					o.Destination = picky{o.Destination, func(name string) *mail.Refused {
						if strings.Contains(name, "%") {
							return &mail.Refused{Command: "CREATE", Type: "NO", Code: c.code}
						}
						return nil
					}}
				}
				w.settle(t)
				w.settle(t)
				if len(w.errs) > 0 {
					t.Error(w.errs)
				}
				_, held := w.journal.holds[mail.HoldKey{Path: "100%"}]
				if held != (c.want == "") || c.want != "" && len(w.new.Boxes[c.want].Messages) != 1 || len(w.new.Boxes["INBOX"].Messages) != 3 {
					t.Errorf("holds %+v, mailboxes %+v", w.journal.holds, w.new.Boxes)
				}
			})
		})
	}
}

// TestRuleChanged: a rule that has changed since the first copy stops the account
// before it sends anything (I11).
func TestRuleChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, rules := small(), plan.Rules{}
		w.mutate = func(o *pass.Options) { o.Rules = rules }
		w.settle(t)
		changes := w.new.Changes
		rules.Rename = map[string]string{"a": "c"}
		w.old.Deliver("a/b", "n6", day, mail.Flags{})
		if err := w.live(t, &Faults{}); !errors.Is(err, pass.ErrRuleChanged) || !strings.Contains(err.Error(), `"a/b" is in "a/b" and would go into "c/b"`) {
			t.Errorf("%v", err)
		}
		if w.new.Changes != changes {
			t.Error("something was sent")
		}
		rules.Rename = map[string]string{"new": "newer"}
		w.old.Deliver("new", "n7", day, mail.Flags{})
		w.settle(t)
		if len(w.new.Boxes["a/b"].Messages) != 3 || len(w.new.Boxes["newer"].Messages) != 1 || len(w.errs) > 0 {
			t.Errorf("%+v, %v", w.new.Boxes, w.errs)
		}
	})
}

// moving is a world after its first copy in which the rules have changed, and
// the operator has said that what was copied is to move.
func moving(t *testing.T, policy pass.Policy) *world {
	w := small()
	w.old.Make("x")
	w.settle(t)
	w.old.Deliver("a/b", "n6", day, mail.Flags{System: mail.Flagged}) // not carried yet
	w.move(policy)
	return w
}

// move changes the rules, on the operator's word.
func (w *world) move(policy pass.Policy) {
	rules := plan.Rules{Rename: map[string]string{"a": "c", "INBOX": "c/in"}}
	for id, pair := range w.journal.pairs {
		if m, changed := rules.Changed(pair); changed {
			pair.Rule, pair.Moves = m.Now, true
			w.journal.pairs[id] = pair
		}
	}
	w.mutate = func(o *pass.Options) { o.Rules, o.Policy = rules, policy }
}

// moved fails unless everything is where the rules put it now.
func (w *world) moved(t *testing.T) {
	t.Helper()
	if err := w.check(t, true); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]int{"INBOX": 0, "a/b": 0, "c/b": 3, "c/in": 3} {
		if b := w.new.Boxes[name]; b == nil && want > 0 || b != nil && len(b.Messages) != want {
			t.Errorf("%s: %+v, not %d messages", name, b, want)
		}
	}
	for _, pair := range w.journal.pairs {
		for _, r := range w.journal.receipts[pair.ID] {
			if pair.Moves || pair.Left != "" || r.Mailbox != "" {
				t.Errorf("%+v, %+v", pair, r)
			}
		}
	}
}

// TestMoveByRule: on the operator's word everything that was copied goes where
// the rules put it now, whatever breaks at whatever step, and nothing is copied
// again.
func TestMoveByRule(t *testing.T) {
	begun, runs := time.Now(), 0
	for _, crash := range []bool{true, false} {
		for late, after := range lateness {
			for at := 1; ; at++ {
				var asked int
				synctest.Test(t, func(t *testing.T) {
					w := moving(t, pass.Policy{})
					f := &Faults{At: at, Crash: crash, Late: after}
					if err := w.live(t, f); err != nil && !f.Dead() {
						t.Errorf("%v", err)
					}
					asked = f.Asked()
					w.settle(t)
					time.Sleep(time.Minute) // what is late has come
					w.settle(t)
					w.moved(t)
					if t.Failed() {
						t.Logf("crash=%v, %s, step %d", crash, late, at)
					}
				})
				runs++
				if at > asked || t.Failed() {
					break
				}
			}
		}
	}
	// The word comes while answers of the first copy are lost.
	for late, after := range lateness {
		for at := 1; !t.Failed(); at++ {
			var asked int
			synctest.Test(t, func(t *testing.T) {
				w := small()
				w.old.Deliver("a/b", "n6", day, mail.Flags{})
				f := &Faults{At: at, Crash: true, Late: after}
				if err := w.live(t, f); err != nil && !f.Dead() {
					t.Errorf("%v", err)
				}
				asked = f.Asked()
				w.move(pass.Policy{})
				w.settle(t)
				time.Sleep(time.Minute)
				w.settle(t)
				w.moved(t)
				if t.Failed() {
					t.Logf("first copy, %s, step %d", late, at)
				}
			})
			runs++
			if at > asked {
				break
			}
		}
	}
	proof.Count(t, begun, "%d worlds", runs)
	if runs < 100 && !t.Failed() {
		t.Errorf("only %d worlds: the faults do not reach all steps", runs)
	}
}

// dayOf is what key adds to the content of a message of day.
var dayOf = " of " + day.Format(time.DateOnly)

// TestMoveByRulePeople: what people have done to copies stays done, and what is
// at the new place already stays there.
func TestMoveByRulePeople(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := moving(t, pass.Policy{})
		w.new.Boxes["a/b"].Messages[0].Flags = mail.Flags{Keywords: "Mine"} // n4
		w.new.Move("a/b", 1, "x")                                           // n5
		w.new.Expunge("INBOX", 0)                                           // n1
		w.gone["n1"+dayOf]++
		w.new.Deliver("c/b", "theirs", day, mail.Flags{})
		w.foreign["theirs"+dayOf]++
		w.old.Expunge("INBOX", 1) // a twin: its copy follows it, two looks later
		w.settle(t)
		for range 3 {
			time.Sleep(16 * time.Minute)
			w.settle(t)
		}
		if err := w.check(t, false); err != nil {
			t.Error(err)
		}
		for name, want := range map[string]string{"INBOX": "", "a/b": "", "c/b": "n4 n6 theirs", "c/in": "n2 twin", "x": "n5"} {
			var texts []string
			for _, m := range w.new.Boxes[name].Messages {
				texts = append(texts, m.Data)
				if m.Data == "n4" && m.Flags.Keywords != "Mine" {
					t.Errorf("%+v", m)
				}
			}
			slices.Sort(texts)
			if got := strings.Join(texts, " "); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	})
}

// TestMoveByRuleDraining: once the users work on the new server nothing moves
// there any more (I8).
func TestMoveByRuleDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := moving(t, pass.Policy{Draining: true})
		w.settle(t)
		if err := w.check(t, true); err != nil {
			t.Error(err)
		}
		if n := len(w.new.Boxes["a/b"].Messages); n != 3 || w.new.Boxes["c/b"] != nil {
			t.Errorf("%d messages, %+v", n, w.new.Boxes["c/b"])
		}
	})
}
