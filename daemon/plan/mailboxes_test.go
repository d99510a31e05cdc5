package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// box is a mailbox with "/" between its levels, and options: a role, "named"
// where its name alone tells that, "noselect", "view", "rest".
func box(name string, options ...string) mail.Mailbox {
	m := mail.Mailbox{Name: name, Path: strings.Split(name, "/")}
	for _, o := range options {
		switch o {
		case "noselect":
			m.NoSelect = true
		case "named":
			m.RoleByName = true
		case "view":
			m.View = true
		case "rest":
			m.Rest = true
		default:
			m.Role = o
		}
	}
	return m
}

// levels is a mailbox of a server with another separator than "/".
func levels(raw string, path ...string) mail.Mailbox { return mail.Mailbox{Name: raw, Path: path} }

func TestMailboxes(t *testing.T) {
	sent := func(name string) []mail.Mailbox { return []mail.Mailbox{box("INBOX"), box(name, `\Sent`)} }
	dotted := mail.Listing{Separator: '.', Prefix: "INBOX."}
	for _, c := range []struct {
		name                string
		source, destination []mail.Mailbox
		on                  mail.Listing // how the destination spells
		stored              []mail.Pair
		rules               Rules
		want                []string // "source -> raw destination", "+" when it has to be made, then its role
		conflicts           []string
	}{
		{name: "order of copying",
			source: []mail.Mailbox{box("Zoo"), box("Junk", `\Junk`), box("Drafts", `\Drafts`), box("INBOX"), box("Archive"), box("Sent", `\Sent`)},
			want:   []string{"INBOX -> +INBOX", `Sent -> +Sent \Sent`, `Drafts -> +Drafts \Drafts`, "Archive -> +Archive", "Zoo -> +Zoo", `Junk -> +Junk \Junk`}},
		{name: "what is there is used",
			source: []mail.Mailbox{box("INBOX"), box("a/b")}, destination: []mail.Mailbox{box("INBOX"), box("a", "noselect"), box("a/b")},
			want: []string{"INBOX -> INBOX", "a/b -> a/b"}},
		{name: "names that hold no mail are not carried, and made real where one does",
			source: []mail.Mailbox{box("a", "noselect"), box("b")}, destination: []mail.Mailbox{box("b", "noselect")},
			want: []string{"b -> +b"}},

		{name: "by role", source: sent("Gesendet"), destination: sent("Sent"), want: []string{"INBOX -> INBOX", "Gesendet -> Sent"}},
		{name: "by role, with what is below it",
			source:      []mail.Mailbox{box("Gesendet", `\Sent`), box("Gesendet/2019"), box("Gesendet/2019/Mai")},
			destination: []mail.Mailbox{box("Sent", `\Sent`)},
			want:        []string{"Gesendet -> Sent", "Gesendet/2019 -> +Sent/2019", "Gesendet/2019/Mai -> +Sent/2019/Mai"}},
		{name: "below a role that holds no mail itself",
			source: []mail.Mailbox{box("Archiv", `\Archive`, "noselect"), box("Archiv/2019")}, destination: []mail.Mailbox{box("Archive", `\Archive`)},
			want: []string{"Archiv/2019 -> +Archive/2019"}},
		{name: "a role never takes the place of a mailbox of that name",
			source: []mail.Mailbox{box("Sent"), box("Sent Items", `\Sent`)}, destination: []mail.Mailbox{box("Sent", `\Sent`)},
			want: []string{"Sent -> Sent", "Sent Items -> +Sent Items"}},
		{name: "unless a rule gives that another name",
			source: []mail.Mailbox{box("Sent"), box("Sent Items", `\Sent`)}, destination: []mail.Mailbox{box("Sent", `\Sent`)},
			rules: Rules{Rename: map[string]string{"Sent": "Older"}},
			want:  []string{"Sent -> +Older", "Sent Items -> Sent"}},
		{name: "a role that the name alone tells gives way to the same name",
			source: sent("Gesendet"), destination: []mail.Mailbox{box("INBOX"), box("Gesendet"), box("Sent", `\Sent`, "named")},
			want: []string{"INBOX -> INBOX", "Gesendet -> Gesendet"}},
		{name: "a role is made where there is none yet, and once",
			source: []mail.Mailbox{box("Gesendet", `\Sent`), box("Papierkorb", `\Trash`)}, destination: []mail.Mailbox{box("Trash", `\Trash`)},
			want: []string{`Gesendet -> +Gesendet \Sent`, "Papierkorb -> Trash"}},

		{name: "a stored pair wins over the role",
			source: sent("Gesendet"), destination: []mail.Mailbox{box("INBOX"), box("Sent", `\Sent`), box("Gesendet")},
			stored: []mail.Pair{{ID: 4, Source: "Gesendet", SourcePath: "Gesendet", Destination: "Gesendet", DestinationPath: "Gesendet"}},
			want:   []string{"INBOX -> INBOX", "Gesendet -> Gesendet"}},
		{name: "what is new below a stored pair goes below its place",
			source: []mail.Mailbox{box("v1.0"), box("v1.0/a")}, destination: []mail.Mailbox{box("v1_0")},
			stored: []mail.Pair{{ID: 4, Source: "v1.0", SourcePath: "v1.0", Destination: "v1_0", DestinationPath: "v1_0"}},
			want:   []string{"v1.0 -> v1_0", "v1.0/a -> +v1_0/a"}},
		{name: "a stored pair's place is taken even when its source is gone",
			source: []mail.Mailbox{box("b")}, destination: []mail.Mailbox{box("b")},
			stored:    []mail.Pair{{ID: 4, Source: "a", SourcePath: "a", Destination: "b"}},
			conflicts: []string{"b with a"}},
		{name: "a stored pair that is to move goes by the rules",
			source: []mail.Mailbox{box("a"), box("a/b")}, destination: []mail.Mailbox{box("a"), box("a/b")},
			stored: []mail.Pair{{ID: 4, Source: "a", SourcePath: "a", Destination: "a", DestinationPath: "a", Rule: "c", Moves: true}},
			rules:  Rules{Rename: map[string]string{"a": "c"}},
			want:   []string{"a -> +c", "a/b -> +c/b"}},

		{name: "excluded", source: []mail.Mailbox{box("INBOX"), box("Junk")},
			rules: Rules{Want: func(m mail.Mailbox) bool { return m.Name != "Junk" }}, want: []string{"INBOX -> +INBOX"}},
		{name: "renamed, with what is below it, the longest name first",
			source: []mail.Mailbox{box("a"), box("a/b"), box("a/b/c"), box("ab"), box("a/d")},
			rules:  Rules{Rename: map[string]string{"a": "x/y", "a/b": "z"}},
			want:   []string{"a -> +x/y", "a/b -> +z", "a/b/c -> +z/c", "a/d -> +x/y/d", "ab -> +ab"}},
		{name: "a rule wins over the role, and its mailbox has the role",
			source: sent("Gesendet"), rules: Rules{Rename: map[string]string{"Gesendet": "Sent"}},
			want: []string{"INBOX -> +INBOX", `Gesendet -> +Sent \Sent`}},
		{name: "names change places",
			source: []mail.Mailbox{box("a"), box("b")}, rules: Rules{Rename: map[string]string{"a": "b", "b": "a"}},
			want: []string{"a -> +b", "b -> +a"}},
		{name: "everything below a mailbox, where roles mean nothing",
			source: append(sent("Gesendet"), box("x/y")), destination: sent("Sent"), rules: Rules{Prefix: "Old/2026", Rename: map[string]string{"x": "z"}},
			want: []string{"INBOX -> +Old/2026/INBOX", "Gesendet -> +Old/2026/Gesendet", "x/y -> +Old/2026/z/y"}},

		{name: "of labels, views are left out, and what has none is archived",
			source:      []mail.Mailbox{box("INBOX"), box("[Gmail]", "noselect"), box("[Gmail]/All", `\All`, "rest"), box("[Gmail]/Starred", `\Flagged`, "view"), box("[Gmail]/Sent Mail", `\Sent`)},
			destination: []mail.Mailbox{box("INBOX"), box("Old", `\Archive`), box("Sent", `\Sent`)},
			want:        []string{"INBOX -> INBOX", "[Gmail]/Sent Mail -> Sent", "[Gmail]/All -> Old"}},
		{name: "of labels, roles go to the top where there is none yet",
			source: []mail.Mailbox{box("[Gmail]", "noselect"), box("[Gmail]/All", `\All`, "rest"), box("[Gmail]/Bin", `\Trash`), box("[Gmail]/Drafts", `\Drafts`), box("Drafts")},
			want:   []string{`Drafts -> +Drafts`, `[Gmail]/Drafts -> +[Gmail]/Drafts \Drafts`, `[Gmail]/All -> +Archive \Archive`, `[Gmail]/Bin -> +Bin \Trash`}},
		{name: "what has no label does not take the place of a label Archive",
			source: []mail.Mailbox{box("Archive"), box("[Gmail]/All", `\All`, "rest")}, destination: []mail.Mailbox{box("Archive", `\Archive`)},
			want: []string{"Archive -> Archive", "[Gmail]/All -> +All"}},

		{name: "prefix and separator", on: dotted,
			source:      []mail.Mailbox{box("INBOX"), box("Archive"), box("Archive/2019"), box("v1.0"), box("INBOX/in it")},
			destination: []mail.Mailbox{levels("INBOX", "INBOX"), levels("INBOX.Archive", "Archive")},
			want: []string{"INBOX -> INBOX", "Archive -> INBOX.Archive", "Archive/2019 -> +INBOX.Archive.2019",
				"INBOX/in it -> +INBOX.in it", "v1.0 -> +INBOX.v1_0"}},
		{name: "in INBOX and beside it", on: dotted, source: []mail.Mailbox{box("a"), box("INBOX/a")},
			want: []string{"INBOX/a -> +INBOX.a"}, conflicts: []string{"a with INBOX/a"}},
		{name: "a slash inside a level", source: []mail.Mailbox{levels("a/b.c", "a/b", "c")}, want: []string{"a/b.c -> +a_b/c"}},
		{name: "a server without levels", on: mail.Listing{Separator: 0}, source: []mail.Mailbox{box("a/b")}, want: []string{"a/b -> +a_b"}},
		{name: "what cannot be in a name", source: []mail.Mailbox{levels("x", "a\tb\x7f"), levels("y", "c\ufffd", "")}, want: []string{"x -> +a_b_", "y -> +c_/_"}},

		{name: "characters that are not composed", source: []mail.Mailbox{box("Entwu\u0308rfe"), box("a\u0308/b"), box("a\u0308/b/o\u0308")}, destination: []mail.Mailbox{box("Entwürfe")},
			rules: Rules{Rename: map[string]string{"ä/b": "c"}}, want: []string{"Entwu\u0308rfe -> Entwürfe", "a\u0308/b -> +c", "a\u0308/b/o\u0308 -> +c/ö"}},
		{name: "and are, where both are told apart", source: []mail.Mailbox{box("o\u0308"), box("ö")}, want: []string{"o\u0308 -> +o\u0308", "ö -> +ö"}},
		{name: "two names that the new server spells alike", on: dotted,
			source: []mail.Mailbox{box("a.b"), box("a_b")}, conflicts: []string{"a_b with a.b"}, want: []string{"a.b -> +INBOX.a_b"}},
		{name: "two rules to one place cannot be, but a rule to a place that is another's",
			source: []mail.Mailbox{box("Sent"), box("Sent Items")}, rules: Rules{Rename: map[string]string{"Sent Items": "Sent"}},
			want: []string{"Sent -> +Sent"}, conflicts: []string{"Sent Items with Sent"}},
		{name: "two mailboxes of one role", source: []mail.Mailbox{box("Gesendet", `\Sent`), box("Verzonden", `\Sent`)}, destination: sent("Sent"),
			want: []string{"Gesendet -> Sent", "Verzonden -> +Verzonden"}},
		{name: "case where names are told apart", source: []mail.Mailbox{box("foo"), box("Foo")}, destination: []mail.Mailbox{box("FOO")},
			want: []string{"Foo -> +Foo", "foo -> +foo"}},
		{name: "case where they are not", on: mail.Listing{Separator: '/', Folds: true}, source: []mail.Mailbox{box("Foo"), box("foo"), box("bar"), box("bar/é"), box("bar/e\u0301")},
			destination: []mail.Mailbox{box("BAR")},
			want:        []string{"Foo -> +Foo", "bar -> BAR", "bar/e\u0301 -> +BAR/e\u0301"}, conflicts: []string{"bar/é with bar/e\u0301, by case", "foo with Foo, by case"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.on.Separator == 0 && c.name != "a server without levels" {
				c.on.Separator = '/'
			}
			spell := func(path []string) string {
				if len(path) == 1 && path[0] == "INBOX" {
					return "INBOX"
				}
				return c.on.Prefix + strings.Join(path, string(c.on.Separator))
			}
			c.on.Mailboxes = c.destination
			pairings, conflicts := Mailboxes(mail.Listing{Mailboxes: c.source}, c.on, c.stored, c.rules, spell)
			var got, gotConflicts []string
			for _, p := range pairings {
				missing, role := "", ""
				if p.Destination.Name == "" {
					missing = "+"
					if p.Role != "" {
						role = " " + p.Role
					}
				}
				got = append(got, fmt.Sprintf("%s -> %s%s%s", p.Source.Name, missing, p.Pair.Destination, role))
			}
			for _, x := range conflicts {
				text := x.Source.Name + " with " + x.With.Name
				if x.ByCase {
					text += ", by case"
				}
				gotConflicts = append(gotConflicts, text)
			}
			if !slices.Equal(got, c.want) || !slices.Equal(gotConflicts, c.conflicts) {
				t.Errorf("pairs %q\nwant  %q\nconflicts %q\nwant      %q", got, c.want, gotConflicts, c.conflicts)
			}

			// What has been stored stays where it is, whatever comes, and nothing of
			// it is new (I11).
			stored := slices.Clone(c.stored)
			next := slices.Clone(c.destination)
			for i, p := range pairings {
				p.Pair.Moves = false
				if p.New() {
					p.Pair.ID = mail.PairID(100 + i)
					stored = append(stored, p.Pair)
				} else if i := slices.IndexFunc(stored, func(s mail.Pair) bool { return s.ID == p.Pair.ID }); i >= 0 {
					stored[i] = p.Pair
				}
				if p.Destination.Name == "" {
					next = append(next, mail.Mailbox{Name: p.Pair.Destination, Path: p.Path})
				}
			}
			c.on.Mailboxes = next
			again, _ := Mailboxes(mail.Listing{Mailboxes: c.source}, c.on, stored, c.rules, spell)
			if len(again) != len(pairings) {
				t.Fatalf("%d pairs, then %d", len(pairings), len(again))
			}
			for i, p := range again {
				if p.New() || p.Pair.Destination != pairings[i].Pair.Destination || p.Destination.Name == "" {
					t.Errorf("%+v became %+v", pairings[i].Pair, p)
				}
				if m, changed := c.rules.Changed(p.Pair); changed {
					t.Errorf("the rules are the same, and %+v", m)
				}
			}
		})
	}
}

func TestChanged(t *testing.T) {
	for _, c := range []struct {
		name string
		pair mail.Pair
		now  Rules
		want string // where it would go; empty: nothing has changed
	}{
		{"no rule", mail.Pair{SourcePath: "a", DestinationPath: "b"}, Rules{}, ""},
		{"the same rule", mail.Pair{SourcePath: "a", DestinationPath: "c", Rule: "c"}, Rules{Rename: map[string]string{"a": "c"}}, ""},
		{"a new rule", mail.Pair{SourcePath: "a/b", DestinationPath: "a/b"}, Rules{Rename: map[string]string{"a": "c"}}, "c/b"},
		{"a new rule that says what is", mail.Pair{SourcePath: "a", DestinationPath: "c"}, Rules{Rename: map[string]string{"a": "c"}}, ""},
		{"another rule", mail.Pair{SourcePath: "a", DestinationPath: "c", Rule: "c"}, Rules{Rename: map[string]string{"a": "d"}}, "d"},
		{"a rule less", mail.Pair{SourcePath: "a", DestinationPath: "c", Rule: "c"}, Rules{}, "a"},
		{"a prefix", mail.Pair{SourcePath: "INBOX", DestinationPath: "INBOX"}, Rules{Prefix: "Old"}, "Old/INBOX"},
		{"no prefix any more", mail.Pair{SourcePath: "INBOX", DestinationPath: "Old/INBOX", Rule: "Old/INBOX"}, Rules{}, "INBOX"},
		{"a rule for another mailbox", mail.Pair{SourcePath: "ab", DestinationPath: "ab"}, Rules{Rename: map[string]string{"a": "c"}}, ""},
		{"kept where it is", mail.Pair{SourcePath: "a", DestinationPath: "a", Rule: "c"}, Rules{Rename: map[string]string{"a": "c"}}, ""},
		{"about to move", mail.Pair{SourcePath: "a", DestinationPath: "a", Rule: "c", Moves: true}, Rules{Rename: map[string]string{"a": "c"}}, ""},
		{"about to move, by rules that are not in force yet", mail.Pair{SourcePath: "a", DestinationPath: "a", Rule: "c", Moves: true}, Rules{}, ""},
		{"about to move, by other rules", mail.Pair{SourcePath: "a", DestinationPath: "a", Rule: "c", Moves: true}, Rules{Prefix: "b"}, "b/a"},
		{"spelled otherwise by the new server", mail.Pair{SourcePath: "a", DestinationPath: "v1_0", Rule: "v1.0"}, Rules{Rename: map[string]string{"a": "v1.0"}}, ""},
	} {
		m, changed := c.now.Changed(c.pair)
		if changed != (c.want != "") || changed && m.Now != c.want {
			t.Errorf("%s: %v, to %q", c.name, changed, m.Now)
		}
	}
}

func TestAlike(t *testing.T) {
	at := func(path string, id mail.PairID) Pairing {
		return Pairing{Pair: mail.Pair{ID: id}, Path: strings.Split(path, "/")}
	}
	for _, c := range []struct {
		name     string
		pairings []Pairing
		there    []mail.Mailbox
		want     bool
	}{
		{"nothing", nil, nil, false},
		{"each its own", []Pairing{at("a", 0), at("b", 0)}, []mail.Mailbox{box("a")}, false},
		{"two new ones", []Pairing{at("a", 0), at("A", 0)}, nil, true},
		{"composed and not", []Pairing{at("é", 0), at("e\u0301", 0)}, nil, true},
		{"one that is there", []Pairing{at("Straße", 0)}, []mail.Mailbox{box("STRASSE")}, true},
		{"one that is stored", []Pairing{at("a/B", 0), at("a/b", 7)}, nil, true},
		{"both stored", []Pairing{at("A", 6), at("a", 7)}, []mail.Mailbox{box("A"), box("a")}, false},
	} {
		if got := Alike(c.pairings, mail.Listing{Mailboxes: c.there}); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestPlainer(t *testing.T) {
	long := strings.Repeat("lang", 20)
	for _, c := range []struct {
		path string
		want []string
	}{
		{"Müller & Co/2019", nil},
		{"v1.0/~joe", []string{"v1_0/_joe"}},
		{"a|b?/..", []string{"a_b_/__"}},
		{"party 🎉 ", []string{"party _"}},
		{" ", []string{"_"}},
		{"写真/Ελλάδα", nil},
		{long + "/x", []string{long[:31] + "_7b9ecb05/x"}},
		{long + ".", []string{long + "_", long[:31] + "_c5f9d4b1"}},
	} {
		var got []string
		for _, p := range Plainer(strings.Split(c.path, "/")) {
			got = append(got, strings.Join(p, "/"))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: %q, want %q", c.path, got, c.want)
		}
	}
}

// TestNext: what is heavy is begun while the others have enough to do until it is done.
func TestNext(t *testing.T) {
	for _, c := range []struct {
		weights []int
		lanes   int
		want    int
	}{
		{[]int{7}, 4, 0},
		{[]int{1, 1, 9}, 1, 0},
		{[]int{5, 5, 5}, 3, 0},
		{[]int{4, 4, 4, 5}, 3, 0},
		{[]int{4, 3, 3, 5}, 3, 3},
		{[]int{1, 1, 9, 1}, 2, 2},
		{[]int{3, 20, 30, 4}, 2, 2},
	} {
		if got := Next(len(c.weights), func(i int) int { return c.weights[i] }, c.lanes); got != c.want {
			t.Errorf("%v over %d lanes: %d, not %d", c.weights, c.lanes, got, c.want)
		}
	}
}
