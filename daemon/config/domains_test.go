package config

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCutoverKeys(t *testing.T) {
	c, err := Load(write(t, `[cutover]
quiet_period = "0s"
workdays = ["sun", "Mon"]
old_hosts = ["mail.old.example", "192.0.2.0/24"]
notify_command = ["/bin/tell", "-q"]
[dns]
resolvers = ["192.0.2.53", "[2001:db8::1]:5353"]
[[domain]]
name = "Example.ORG."
new_mx = ["*.mx.example", "192.0.2.1"]
[[domain]]
name = "alias.example"
switch = "manual"
aliases_of = "example.org"
`+good))
	if err != nil {
		t.Fatal(err)
	}
	if k := c.Cutover; k.QuietPeriod != 0 || !slices.Equal(k.Workdays, []time.Weekday{time.Sunday, time.Monday}) || k.MaxLag != 5*time.Minute || len(k.OldHosts) != 2 || k.Finish != "auto" {
		t.Errorf("%+v", k)
	}
	if want := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53"), netip.MustParseAddrPort("[2001:db8::1]:5353")}; !slices.Equal(c.DNS.Resolvers, want) {
		t.Errorf("%v", c.DNS.Resolvers)
	}
	if d := c.Domains[0]; d.Name != "example.org" || d.Switch != "mx" || d.Handover != "mx" {
		t.Errorf("%+v", d)
	}
	if c, err = Load(write(t, "[cutover]\nworkdays = []\n"+good)); err != nil || len(c.Cutover.Workdays) != 0 || len(c.Domains) != 0 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestDomainsOfAccounts(t *testing.T) {
	domain := "[[domain]]\nname = \"only.example\"\nswitch = \"manual\"\n"
	bare := strings.NewReplacer("foo@Example.org", "foo").Replace(good)
	for _, c := range []struct {
		text string
		want []string
	}{
		{good, []string{"example.org"}},
		{domain + good, []string{"example.org"}},
		{bare, []string{"default"}},
		{domain + bare, []string{"only.example"}},
		{domain + strings.Replace(domain, "only", "other", 1) + bare, []string{"default"}},
		{strings.Replace(bare, "user = \"foo\"\npassword = \"s3cret\"", "user = \"a@b@New.example\"\npassword = \"s3cret\"", 1), []string{"new.example"}},
		{strings.Replace(good, "name = \"foo\"", "name = \"foo\"\ndomains = [\"B.example\", \"a.example.\", \"b.example\"]", 1), []string{"b.example", "a.example"}},
	} {
		loaded, err := Load(write(t, c.text))
		if err != nil {
			t.Error(err)
		} else if got := loaded.Accounts[0].Domains; !slices.Equal(got, c.want) {
			t.Errorf("%v, want %v of\n%s", got, c.want, c.text)
		}
	}
}

func TestCutoverProblems(t *testing.T) {
	for text, want := range map[string]string{
		"[cutover]\nworkdays = [\"Montag\"]\n":                                                `c.toml:2:1: cutover.workdays: "Montag" is no day`,
		"[cutover]\nfinish = \"later\"\n":                                                     `cutover.finish: "later"; write one of auto, ask`,
		"[cutover]\nheld_allowed = -1\n":                                                      `c.toml:2:1: cutover.held_allowed: -1; at least 0`,
		"[cutover]\nquiet_period = \"-1h\"\n":                                                 `too short`,
		"[cutover]\nold_hosts = [\"a b\"]\n":                                                  `cutover.old_hosts: "a b"; write names`,
		"[cutover]\nnotify_command = [\"\"]\n":                                                `the first is the program`,
		"[web]\nlinger = \"soon\"\n":                                                          `web.linger: "soon" is no duration`,
		"[dns]\nresolvers = [\"dns.example\"]\n":                                              `dns.resolvers: "dns.example" is no address`,
		"[dns]\ninterval = \"1ms\"\n":                                                         `dns.interval: "1ms" is too short`,
		"[[domain]]\nnew_mx = [\"a\"]\n":                                                      `c.toml:1:3: the domain has no name`,
		"[[domain]]\nname = \"Müller.example\"\nnew_mx = [\"a\"]\n":                           `c.toml:2:1: domain Müller.example: that is no name of a domain`,
		"[[domain]]\nname = \"a.example\"\n":                                                  `domain a.example: new_mx is missing`,
		"[[domain]]\nname = \"a.example\"\nswitch = \"dns\"\n":                                `c.toml:3:1: domain a.example: switch: "dns"; write one of mx, address, manual`,
		"[[domain]]\nname = \"a.example\"\nswitch = \"manual\"\nhandover = \"auto\"\n":        `domain a.example: handover: "auto"; write one of mx, manual`,
		"[[domain]]\nname = \"a.example\"\nswitch = \"manual\"\nnew_mx = [\"a\"]\n":           `c.toml:4:1: domain a.example: with switch = "manual" DNS is not asked`,
		"[[domain]]\nname = \"a.example\"\nswitch = \"address\"\nnew_mx = [\"mx.example\"]\n": `only addresses tell the servers apart`,
		"[[domain]]\nname = \"a.example\"\nnew_mx = [\"mx example\"]\n":                       `domain[0].new_mx: "mx example"; write names`,
		"[[domain]]\nname = \"a.example\"\nswitch = \"manual\"\n[[domain]]\nname = \"A.example\"\nswitch = \"manual\"\n": `domain a.example: it has a [[domain]] in line 1 already`,
		"[[domain]]\nname = \"example.org\"\nswitch = \"manual\"\naliases_of = \"a.example\"\n":                          `but account foo belongs to it`,
		"[[domain]]\nname = \"a.example\"\nswitch = \"manual\"\naliases_of = \"b.example\"\n":                            `domain a.example: aliases_of: no account belongs to "b.example"`,
	} {
		_, err := Load(write(t, text+good))
		var problems Problems
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), want) {
			t.Errorf("%slacks %q:\n%v", text, want, err)
		}
	}
}
