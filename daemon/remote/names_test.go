package remote

import (
	"slices"
	"strings"
	"testing"
)

var (
	dovecot  = namespaces{personal: []namespace{{"", '/', kindPersonal}}, foreign: []namespace{{"shared/", '/', kindShared}}}
	courier  = namespaces{personal: []namespace{{"INBOX.", '.', kindPersonal}}, foreign: []namespace{{"#shared.", '.', kindShared}, {"shared.", '.', kindShared}}}
	cyrus    = namespaces{personal: []namespace{{"INBOX.", '.', kindPersonal}}, foreign: []namespace{{"user.", '.', kindOther}, {"", '.', kindShared}}}
	without  = namespaces{personal: []namespace{{"", '.', kindPersonal}}}
	oldStyle = namespaces{personal: []namespace{{"Mail/", '/', kindPersonal}}}
	twofold  = namespaces{personal: []namespace{{"", '/', kindPersonal}, {"Archive/", '/', kindPersonal}}, foreign: []namespace{{"Archive/of/others/", '/', kindShared}}}
)

func TestPaths(t *testing.T) {
	for _, c := range []struct {
		of       namespaces
		raw      string
		personal bool
		path     string // levels joined by |
		decoded  bool
	}{
		{dovecot, "INBOX", true, "INBOX", true},
		{dovecot, "Inbox", true, "INBOX", true},
		{dovecot, "inbox/x", true, "INBOX|x", true},
		{dovecot, "a/b", true, "a|b", true},
		{dovecot, "a/", true, "a", true},
		{dovecot, "a//b", true, "a||b", true},
		{dovecot, "a.b", true, "a.b", true},
		{dovecot, "Entw&APw-rfe/R&-D", true, "Entwürfe|R&D", true},
		{dovecot, "R&D/x", true, "R&D|x", false},
		{dovecot, "shared/joe/x", false, "", true},
		{dovecot, "shared", false, "", true},
		{dovecot, "sharedness", true, "sharedness", true},
		{courier, "INBOX.Sent", true, "Sent", true},
		{courier, "Inbox.Sent.2019", true, "Sent|2019", true},
		{courier, "INBOX.INBOX", true, "INBOX|INBOX", true},
		{courier, "shared.x", false, "", true},
		{courier, "elsewhere", false, "", true},
		{cyrus, "INBOX.Sent", true, "Sent", true},
		{cyrus, "user.joe", false, "", true},
		{cyrus, "public", false, "", true},
		{without, "a.b", true, "a|b", true},
		{oldStyle, "Mail/a", true, "a", true},
		{oldStyle, "Mail", true, "Mail", true},
		{oldStyle, "etc/passwd", false, "", true},
		{twofold, "Archive/2019", true, "Archive|2019", true},
		{twofold, "Archive/of/others/x", false, "", true},
		{namespaces{}, "anything", true, "anything", true},
	} {
		if got := c.of.isPersonal(c.raw); got != c.personal {
			t.Errorf("%v %q: personal %v", c.of, c.raw, got)
		}
		if !c.personal {
			continue
		}
		path, decoded := c.of.path(c.raw, c.of.home().separator)
		if got := strings.Join(path, "|"); got != c.path || decoded != c.decoded {
			t.Errorf("%v %q: %q %v, want %q %v", c.of, c.raw, got, decoded, c.path, c.decoded)
		}
	}
}

func TestSpell(t *testing.T) {
	for _, c := range []struct {
		of   namespaces
		path []string
		want string
	}{
		{dovecot, []string{"INBOX"}, "INBOX"},
		{courier, []string{"INBOX"}, "INBOX"},
		{courier, []string{"Sent", "2019"}, "INBOX.Sent.2019"},
		{dovecot, []string{"v1.0", "a"}, "v1.0/a"},
		{dovecot, []string{"Entwürfe", "R&D"}, "Entw&APw-rfe/R&-D"},
		{namespaces{}, []string{"a"}, "a"},
	} {
		if got := c.of.spell(c.path); got != c.want {
			t.Errorf("%v %q: %q, want %q", c.of, c.path, got, c.want)
		}
	}
}

// TestSpellIsRead: what this program names it finds again under that path.
func TestSpellIsRead(t *testing.T) {
	for _, of := range []namespaces{dovecot, courier, cyrus, without, oldStyle, twofold} {
		for _, path := range [][]string{{"INBOX"}, {"Sent"}, {"a", "b", "c"}, {"INBOX", "x"}, {"Entwürfe & mehr"}} {
			raw := of.spell(path)
			back, decoded := of.path(raw, of.home().separator)
			if !slices.Equal(back, path) || !decoded || !of.isPersonal(raw) {
				t.Errorf("%v: %q is spelled %q and read as %q", of, path, raw, back)
			}
		}
	}
}
