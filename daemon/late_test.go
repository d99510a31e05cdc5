package daemon

import (
	"slices"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/cutover"
)

// TestOldHosts: late mail is put down to whoever handed it to the old server, also
// where nobody has written down what that is called.
func TestOldHosts(t *testing.T) {
	r := &record{rules: config.Cutover{OldHosts: []string{"mta.old.example"}}, domains: map[string]cutover.Memory{"seen.example": {}}}
	seen := r.domains["seen.example"]
	seen.DNS.OldMX = []string{"mx.seen.example"}
	r.domains["seen.example"] = seen
	l := &late{daemon: &Daemon{record: r}}
	l.account.Source.Host, l.account.Source.TLSServerName = "192.0.2.10", "mail.example.org"
	got := l.oldHosts([]cutover.Domain{
		{Name: "named.example", NewMX: []string{"mx.new.example"}, OldMX: []string{"mx.old.example"}, Switch: cutover.SwitchMX},
		{Name: "seen.example", NewMX: []string{"mx.new.example"}, Switch: cutover.SwitchMX},
		cutover.ByHand("hand.example"),
	})
	if want := []string{"mta.old.example", "mx.old.example", "mx.seen.example", "192.0.2.10", "mail.example.org"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
