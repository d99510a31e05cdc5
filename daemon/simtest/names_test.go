package simtest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
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
		if err := w.live(t, &Faults{}); !errors.Is(err, pass.ErrRuleChanged) || !strings.Contains(err.Error(), `"a/b" is in "a/b" and would go to "c/b"`) {
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
