package daemon_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proxy"
)

// TestReload: accounts come and go without the others noticing, and what is
// wrong changes nothing.
func TestReload(t *testing.T) {
	w := newWorld(t, 3, 12)
	names := w.Accounts()
	w.write(without(w.Config(), names[2]))
	r := w.run()
	r.untilFollowing()
	copied := r.account(names[0]).Messages.Copied

	// It sees by itself that an account has been added.
	w.write(w.Config())
	r.until("the new account is there", func() bool { return r.account(names[2]).Name != "" })
	r.untilFollowing()
	w.same()

	// What is wrong is refused with its place, and all goes on.
	w.write(strings.Replace(w.Config(), "poll_interval", "pol_interval", 1))
	err := r.client.Reload(context.Background(), false)
	if err == nil || !strings.Contains(err.Error(), "imapsyncd.toml:2:1: unknown key pol_interval") {
		t.Errorf("a misspelt key: %v", err)
	}
	if r.metric("config_last_reload_successful") != 0 {
		t.Error("the failure does not show in the metrics")
	}
	if err := w.Deliver(names[0], "INBOX", letter("meanwhile")); err != nil {
		t.Fatal(err)
	}
	r.until("mail is carried meanwhile", func() bool { return r.account(names[0]).Messages.Copied == copied+1 })

	// A third of the accounts is more than a slip of the hand.
	w.write(without(w.Config(), names[1]))
	if err := r.client.Reload(context.Background(), false); err == nil || !strings.Contains(err.Error(), "--allow-removals") {
		t.Errorf("removing a third of the accounts: %v", err)
	}
	if r.account(names[1]).Name == "" {
		t.Fatal("the account has gone although the reload was refused")
	}
	if err := r.client.Reload(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	if r.account(names[1]).Name != "" || r.metric("messages_copied_total", names[1]) != -1 {
		t.Error("the account is still there")
	}
	if r.metric("config_last_reload_successful") != 1 {
		t.Error("the success does not show in the metrics")
	}
	if n := r.account(names[0]).Messages.Copied; n != copied+1 {
		t.Errorf("an account that is the same was started again: %d copied", n)
	}
	r.untilFollowing()
}

// tapped puts a proxy of its own before each server of each account, by the
// account's name.
func (w *world) tapped() (config string, taps map[string][2]*proxy.Proxy) {
	w.t.Helper()
	ports := regexp.MustCompile(`port = (\d+)`).FindAllStringSubmatch(w.Config(), 2)
	parts := strings.Split(w.Config(), "\n[[account]]\n")
	taps = make(map[string][2]*proxy.Proxy)
	for i, name := range w.Accounts() {
		var both [2]*proxy.Proxy
		for n, side := range []string{"[account.source]\n", "[account.destination]\n"} {
			both[n] = proxy.Start(w.t, "127.0.0.1:"+ports[n][1])
			parts[i+1] = strings.Replace(parts[i+1], side, fmt.Sprintf("%sport = %d\n", side, both[n].Port()), 1)
		}
		taps[name] = both
	}
	return strings.Join(parts, "\n[[account]]\n"), taps
}

// TestReloadReconnectsOnlyWhatChanged: one account is added, one gets another
// password, one is removed, and then a configuration is broken; only what
// changed has a new connection.
func TestReloadReconnectsOnlyWhatChanged(t *testing.T) {
	w := newWorld(t, 4, 12)
	config, taps := w.tapped()
	same, changed, removed, added := w.Accounts()[0], w.Accounts()[1], w.Accounts()[2], w.Accounts()[3]
	w.write(without(config, added))
	r := w.run()
	r.untilFollowing()
	connections := func(name string) int { return taps[name][0].Connections() + taps[name][1].Connections() }
	before := make(map[string]int)
	for _, name := range w.Accounts() {
		before[name] = connections(name)
	}
	if before[same] < 3 || before[added] != 0 {
		t.Fatalf("connections before: %v", before)
	}
	reconnected := func(what string, want ...string) {
		t.Helper()
		for _, name := range w.Accounts() {
			now := connections(name)
			if wanted := strings.Contains(strings.Join(want, " "), name); (now > before[name]) != wanted {
				t.Errorf("%s: %d new connections of %s", what, now-before[name], name)
			}
			before[name] = now
		}
	}

	// One is added and one removed by the file, the password of one is wrong
	// from now on; all of it at once.
	secret := filepath.Join(filepath.Dir(w.path), "secrets", changed+".old")
	password, err := os.ReadFile(secret)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(secret, []byte("wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.write(without(config, removed))
	if err := r.client.Reload(context.Background(), true); err != nil {
		t.Fatal(err)
	}
	r.until("the new account follows", func() bool { return r.account(added).Phase == mail.PhaseFollowing })
	r.until("the other password is used", func() bool { return r.account(changed).Health == mail.HealthAuth })
	if r.account(removed).Name != "" {
		t.Error("the account that was removed is there")
	}
	reconnected("one added, one changed, one removed", added, changed)
	if r.metric("config_last_reload_successful") != 1 {
		t.Error("the reload does not count as successful")
	}

	// The password is put right: seen without being told, and used at once.
	if err := os.WriteFile(secret, password, 0o600); err != nil {
		t.Fatal(err)
	}
	r.until("the right password is used", func() bool { return r.account(changed).Health == mail.HealthOK })
	r.untilFollowing()
	allGoOn := func() {
		t.Helper()
		for _, name := range []string{same, changed, added} {
			copied := r.account(name).Messages.Copied
			if err := w.Deliver(name, "INBOX", letter("meanwhile")); err != nil {
				t.Fatal(err)
			}
			r.until(name+" goes on", func() bool { return r.account(name).Messages.Copied == copied+1 })
		}
	}
	allGoOn()
	reconnected("a password put right", changed)

	// What is broken changes nothing.
	w.write(strings.Replace(without(config, removed), "user = ", "usr = ", 1))
	r.until("the broken configuration is seen", func() bool { return r.metric("config_last_reload_successful") == 0 })
	allGoOn()
	reconnected("a broken configuration")
	w.write(without(config, removed))
	r.until("the mended configuration is in force", func() bool { return r.metric("config_last_reload_successful") == 1 })
	reconnected("a mended configuration")
}
