package pass

import (
	"slices"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// TestNextTask: what people look at first is carried first, whatever has been put back
// before it, and what is heavy in time.
func TestNextTask(t *testing.T) {
	c := &carriage{lanes: 2, empty: func() {}}
	for _, m := range []struct {
		name     string
		weight   int
		foremost bool
	}{{"put back", 10, false}, {"Sent", 10, true}, {"heavy", 100, false}, {"a", 10, false}, {"Drafts", 10, true}} {
		c.tasks = append(c.tasks, &task{job: &job{source: mail.Mailbox{Name: m.name}}, weight: m.weight, foremost: m.foremost})
	}
	var order []string
	for next := c.next(); next != nil; next = c.next() {
		order = append(order, next.source.Name)
	}
	if want := []string{"Sent", "Drafts", "heavy", "put back", "a"}; !slices.Equal(order, want) {
		t.Errorf("carried in the order %q, not %q", order, want)
	}
}
