package remote

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

func TestUIDSet(t *testing.T) {
	for _, c := range []struct {
		uids []mail.UID
		want string
	}{
		{nil, ""},
		{[]mail.UID{7}, "7"},
		{[]mail.UID{1, 2, 3}, "1:3"},
		{[]mail.UID{1, 2, 4, 6, 7}, "1:2,4,6:7"},
		{[]mail.UID{math.MaxUint32 - 1, math.MaxUint32}, "4294967294:4294967295"},
	} {
		if set, rest := uidSet(c.uids); set != c.want || len(rest) != 0 {
			t.Errorf("%v: %q, %d left; want %q", c.uids, set, len(rest), c.want)
		}
	}
}

func TestUIDSetFitsOneLine(t *testing.T) {
	var uids, back []mail.UID
	for uid := mail.UID(4_000_000_000); len(uids) < 5000; uid += 3 {
		uids = append(uids, uid, uid+1)
	}
	for rest := uids; len(rest) > 0; {
		var set string
		if set, rest = uidSet(rest); len(set) > 7000 {
			t.Fatalf("a set of %d octets", len(set))
		}
		var err error
		if back, err = appendSet(back, set, 1); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(back, uids) {
		t.Error("the sets do not name what was given")
	}
}

func TestAppendSet(t *testing.T) {
	for _, c := range []struct {
		set  string
		from mail.UID
		want string // "" is an error
	}{
		{"1:3,7", 1, "[1 2 3 7]"},
		{"3:1", 1, "[1 2 3]"},
		{"1:3,7", 3, "[3 7]"},
		{"1:3", 9, "[]"},
		{"4294967290:4294967295", 4294967294, "[4294967294 4294967295]"},
		{"1:4294967295", 4294967295, "[4294967295]"},
		{"1:4294967295", 1, ""},
		{"0", 1, ""},
		{"*", 1, ""},
		{"1:", 1, ""},
		{"", 1, ""},
		{"4294967296", 1, ""},
	} {
		got, err := appendSet(nil, c.set, c.from)
		if (err != nil) != (c.want == "") || err == nil && fmt.Sprint(got) != c.want {
			t.Errorf("%.40q from %d: %v %v, want %v", c.set, c.from, got, err, c.want)
		}
	}
}

func TestNamedBy(t *testing.T) {
	uids := []mail.UID{1, 2, 5, 9, 4294967295}
	for set, want := range map[string]string{
		"5": "[5]", "3:4": "[]", "2:9": "[2 5 9]", "9:2,5": "[2 5 9]", "1:4294967295,1:4294967295": "[1 2 5 9 4294967295]", "10,4294967295": "[4294967295]",
		"": "error", "0": "error", "1,": "error", "*": "error", "1:-2": "error",
	} {
		named, err := namedBy(uids, set)
		got := fmt.Sprint(named)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", set, got, want)
		}
	}
	// A line as long as is read, of the largest sets there are.
	if named, err := namedBy(uids, strings.TrimSuffix(strings.Repeat("1:4294967295,", lineMost/13), ",")); err != nil || len(named) != len(uids) {
		t.Error(len(named), err)
	}
}

func TestExpandSet(t *testing.T) {
	for set, want := range map[string]string{
		"3": "[3]", "9,1:2": "[9 1 2]", "2:1,9": "[1 2 9]", "1:3": "[1 2 3]", "1:4": "error", "1:2,5:6": "error", "4294967293:4294967295": "[4294967293 4294967294 4294967295]",
		"1:4294967295": "error", "": "error", "x": "error",
	} {
		uids, err := expandSet(set, 3)
		got := fmt.Sprint(uids)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", set, got, want)
		}
	}
}
