package mail

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestUse(t *testing.T) {
	for name, want := range map[string]string{
		"Sent": `\Sent`, "INBOX/Sent": `\Sent`, "Gesendete Elemente": `\Sent`, "Éléments envoyés": `\Sent`, "Отправленные": `\Sent`, "已发送": `\Sent`,
		"Drafts": `\Drafts`, "ENTWÜRFE": `\Drafts`, "INBOX/Brouillons": `\Drafts`, "Deleted Items": `\Trash`, "Papierkorb": `\Trash`, "ごみ箱": `\Trash`,
		"Junk E-mail": `\Junk`, "spam": `\Junk`,
		"INBOX": "", "": "", "Work/Sent": "", "INBOX/Work/Sent": "", "Sent 2019": "", "sent, sent items": "", "items": "",
	} {
		m := Mailbox{}
		if name != "" {
			m.Path = strings.Split(name, "/")
		}
		if got := m.Use(); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	if got := (Mailbox{Path: []string{"Sent"}, Role: `\Archive`}).Use(); got != `\Archive` {
		t.Errorf("what the server announces counts first, got %q", got)
	}
}

// TestRoleNames: no name tells two roles, or stands there twice.
func TestRoleNames(t *testing.T) {
	total := 0
	seen := make(map[string]string)
	for _, role := range slices.Sorted(maps.Keys(roleNames)) {
		for _, name := range roleNames[role] {
			total++
			if other, twice := seen[strings.ToLower(name)]; twice {
				t.Errorf("%q is %s and %s", name, other, role)
			}
			seen[strings.ToLower(name)] = role
		}
	}
	if n := len(rolesOfNames()); n != total {
		t.Errorf("%d names of %d", n, total)
	}
}
