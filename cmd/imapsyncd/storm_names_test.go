package main

import "testing"

func TestNamesForgotten(t *testing.T) {
	for _, c := range []struct {
		has, want string
		forgotten bool
	}{
		{`\answered unknown-0`, `\answered nonjunk`, true},
		{`unknown-0 unknown-1`, `nonjunk work`, true},
		{`\answered nonjunk`, `\answered nonjunk`, false},
		{`\answered`, `\answered nonjunk`, false},
		{`\answered unknown-0`, `\answered`, false},
		{`unknown-0`, `\answered`, false},
		{`\seen unknown-0`, `\answered nonjunk`, false},
		{`unknown-0 junk`, `nonjunk work`, false},
	} {
		if got := namesForgotten(c.has, c.want); got != c.forgotten {
			t.Errorf("(%s) for (%s): %v", c.has, c.want, got)
		}
	}
}
