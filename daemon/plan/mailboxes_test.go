package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

func box(name string, options ...string) mail.Mailbox {
	m := mail.Mailbox{Name: name, Path: strings.Split(name, "/")}
	for _, o := range options {
		if o == "noselect" {
			m.NoSelect = true
		} else {
			m.Role = o
		}
	}
	return m
}

func TestMailboxes(t *testing.T) {
	for _, c := range []struct {
		name                string
		source, destination []mail.Mailbox
		stored              []mail.Pair
		exclude             string
		want                []string // "source -> destination", "+" when it has to be made
		conflicts           []string
	}{
		{name: "order of copying",
			source: []mail.Mailbox{box("Zoo"), box("Junk", `\Junk`), box("Drafts", `\Drafts`), box("INBOX"), box("Archive"), box("Sent", `\Sent`)},
			want:   []string{"INBOX -> +INBOX", "Sent -> +Sent", "Drafts -> +Drafts", "Archive -> +Archive", "Zoo -> +Zoo", "Junk -> +Junk"}},
		{name: "what is there is used",
			source: []mail.Mailbox{box("INBOX"), box("a/b")}, destination: []mail.Mailbox{box("INBOX"), box("a", "noselect"), box("a/b")},
			want: []string{"INBOX -> INBOX", "a/b -> a/b"}},
		{name: "names that hold no mail are not carried, and made real where one does",
			source: []mail.Mailbox{box("a", "noselect"), box("b")}, destination: []mail.Mailbox{box("b", "noselect")},
			want: []string{"b -> +b"}},
		{name: "by role",
			source: []mail.Mailbox{box("Gesendet", `\Sent`)}, destination: []mail.Mailbox{box("Sent", `\Sent`)},
			want: []string{"Gesendet -> Sent"}},
		{name: "a role never takes the place of a mailbox of that name",
			source: []mail.Mailbox{box("Sent"), box("Sent Items", `\Sent`)}, destination: []mail.Mailbox{box("Sent", `\Sent`)},
			want: []string{"Sent -> Sent", "Sent Items -> +Sent Items"}},
		{name: "a stored pair wins over the role",
			source: []mail.Mailbox{box("Gesendet", `\Sent`)}, destination: []mail.Mailbox{box("Sent", `\Sent`), box("Gesendet")},
			stored: []mail.Pair{{ID: 4, Source: "Gesendet", SourcePath: "Gesendet", Destination: "Gesendet"}},
			want:   []string{"Gesendet -> Gesendet"}},
		{name: "a stored pair's place is taken even when its source is gone",
			source: []mail.Mailbox{box("b")}, destination: []mail.Mailbox{box("b")},
			stored:    []mail.Pair{{ID: 4, Source: "a", SourcePath: "a", Destination: "b"}},
			conflicts: []string{"b with a"}},
		{name: "excluded", source: []mail.Mailbox{box("INBOX"), box("Junk")}, exclude: "Junk", want: []string{"INBOX -> +INBOX"}},
		{name: "two names that the new server spells alike",
			source: []mail.Mailbox{box("a|b"), box("a_b")}, conflicts: []string{"a|b with a_b"}, want: []string{"a_b -> +a_b"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			spell := func(path []string) string { return strings.ReplaceAll(strings.Join(path, "/"), "|", "_") }
			pairings, conflicts := Mailboxes(mail.Listing{Mailboxes: c.source}, mail.Listing{Mailboxes: c.destination}, c.stored,
				func(m mail.Mailbox) bool { return m.Name != c.exclude }, spell)
			var got, gotConflicts []string
			for _, p := range pairings {
				missing := ""
				if p.Destination.Name == "" {
					missing = "+"
				}
				got = append(got, fmt.Sprintf("%s -> %s%s", p.Source.Name, missing, p.Pair.Destination))
			}
			for _, x := range conflicts {
				gotConflicts = append(gotConflicts, x.Source.Name+" with "+x.With.Name)
			}
			if !slices.Equal(got, c.want) || !slices.Equal(gotConflicts, c.conflicts) {
				t.Errorf("pairs %q conflicts %q", got, gotConflicts)
			}
		})
	}
}
