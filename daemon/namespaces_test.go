package daemon

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
)

// TestNamespaces: what is not the user's own is carried when it is asked for, and
// when it is no more, its copies stay.
func TestNamespaces(t *testing.T) {
	for _, capability := range []string{"LIST-STATUS", "NAMESPACE"} { // the latter without the former
		synctest.Test(t, func(t *testing.T) {
			w := newWire(t, shm(t), rand.New(rand.NewPCG(1, 1)), func(old, new *imapsim.Options) {
				old.Shared = "Public/"
				if capability == "NAMESPACE" {
					old.Capabilities = []string{"NAMESPACE", "UIDPLUS", "CONDSTORE", "ENABLE"}
				}
			})
			defer w.close()
			w.lookAgain = time.Minute
			w.people.Old.NoCondstore = false
			deliver := func(n int, name string) {
				w.people.Old.Deliver(name, gmailText(n), time.Date(2020, 1, 2, 3, 4, n, 0, time.UTC), mail.Flags{})
			}
			deliver(1, "INBOX")
			deliver(2, "Public/Team")
			carried := func(namespaces []string, want map[string]string) {
				t.Helper()
				w.config.Accounts[0].Source.Namespaces = namespaces
				w.run()
				time.Sleep(10 * time.Minute)
				if got := contents(w.people.New); !maps.Equal(got, want) {
					t.Errorf("%s, %v: %v, not %v", capability, namespaces, got, want)
				}
				if err := w.stop(); err != nil {
					t.Error(err)
				}
			}
			carried([]string{"personal"}, map[string]string{"INBOX": "1"})
			carried([]string{"personal", "shared"}, map[string]string{"INBOX": "1", "Public/Team": "2"})
			deliver(3, "Public/Team")
			carried([]string{"personal"}, map[string]string{"INBOX": "1", "Public/Team": "2"})
			carried([]string{"shared"}, map[string]string{"INBOX": "1", "Public/Team": "2 3"})
			for _, v := range slices.Concat(w.old.Violations(), w.new.Violations()) {
				t.Error(v)
			}
		})
	}
}
