package daemon

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
)

// TestWireQuota: nobody's mailbox is filled to the brim: what quota_reserve keeps
// is left to the mail that arrives there. The accounts that have more than fits
// wait and are complete once there is room; the others do not notice.
func TestWireQuota(t *testing.T) {
	const quota = 6 << 20
	accounts := atLength(50, 6)
	if err := inBubble(t, func(t *testing.T) error {
		var errs []error
		fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
		w := newCrowd(t, accounts, func(old, new *imapsim.Options) {
			new.Capabilities, new.Quota = append(slices.Clone(new.Capabilities), "QUOTA"), quota
		})
		defer w.close()
		fat := w.names[:accounts/3]
		for _, name := range fat {
			for i := range 100 { // of 64 kB
				w.old[name].Deliver("INBOX", wireText(i)+strings.Repeat(strings.Repeat("x", 76)+"\r\n", 840), time.Now(), mail.Flags{})
			}
		}
		w.run()
		for range 4 {
			time.Sleep(10 * time.Minute)
			for _, name := range w.names {
				health, want := w.follower(name).Status().Health, mail.HealthOK
				if slices.Contains(fat, name) {
					want = mail.HealthQuota
				}
				_, used := stored(w.new[name])
				if health != want || used > quota*95/100 {
					fail("%s is %s with %d of %d octets used", name, health, used, quota)
				}
				w.deliver(name)
			}
		}
		for _, name := range fat {
			if _, used := stored(w.new[name]); used < quota/2 {
				fail("%s has only %d octets", name, used) // a batch is carried whole, or waits
			}
		}
		w.wire.new.SetQuota(2 * quota)
		time.Sleep(30 * time.Minute)
		return w.complete(errs...)
	}); err != nil {
		t.Error(err)
	}
}
