package mail

import (
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
	for _, use := range uses {
		if strings.ToLower(use.names) != use.names {
			t.Errorf("the names of %s are not in lower case", use.role)
		}
	}
}
