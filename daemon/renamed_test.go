package daemon_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/verify"
)

// TestRenamed: an account that has another name goes on with its state and its
// pause, be it renamed while the daemon runs or while it does not.
func TestRenamed(t *testing.T) {
	w := newWorld(t, 2, 30)
	first, second := w.Accounts()[0], w.Accounts()[1]
	renamed := func(from, to string) string {
		return strings.Replace(w.Config(), `name = "`+from+`"`, `name = "`+to+`"`, 1)
	}
	r := w.run()
	r.untilFollowing()
	_, from := r.log.told(0)
	w.write(renamed(first, "another"))
	if err := r.client.Reload(context.Background(), false); err != nil { // half of the accounts, and none is taken away
		t.Fatal(err)
	}
	if r.account(first).Name != "" {
		t.Error("the old name is still there")
	}
	r.until("it follows", func() bool { return !r.account("another").LastSuccess.IsZero() })
	if s := r.account("another"); s.Messages.Copied != 0 || s.Messages.Source == 0 || r.metric("already_there_total", "another") != 0 {
		t.Errorf("under its new name: %+v", s)
	}
	told, _ := r.log.told(from)
	if n := strings.Count(strings.Join(told, ""), "another name"); n != 1 {
		t.Errorf("said %d times", n)
	}
	w.same()
	if err := r.client.Pause(context.Background(), []string{"another"}, false); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}

	w.write(renamed(first, "third"))
	r = w.run()
	if s := r.account("third"); s.Health != mail.HealthPaused {
		t.Errorf("the pause is lost: %+v", s)
	}
	if err := r.client.Resume(context.Background(), nil, true); err != nil {
		t.Fatal(err)
	}
	r.untilFollowing()
	if s := r.account("third"); s.Messages.Copied != 0 {
		t.Errorf("under its third name: %+v", s)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}

	// Two files of one account: nobody can tell which, so neither.
	cfg, err := config.Load(w.path)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(daemon.StatePath(cfg.StateDir, "third"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"left", "right"} {
		if err := os.WriteFile(daemon.StatePath(cfg.StateDir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(daemon.StatePath(cfg.StateDir, "third")); err != nil {
		t.Fatal(err)
	}
	r = w.run()
	r.untilFollowing()
	if s := r.account("third"); s.Messages.Copied != 0 || r.metric("already_there_total", "third") == 0 {
		t.Errorf("without a state it has not recognised what is there: %+v", s)
	}
	if told, _ := r.log.told(0); !strings.Contains(strings.Join(told, ""), "none is taken over") {
		t.Error("the two files were passed over in silence")
	}
	if files, _ := filepath.Glob(daemon.StatePath(cfg.StateDir, "*")); len(files) != 4 {
		t.Errorf("state files: %v", files)
	}
	if s := r.account(second); s.Messages.Copied != 0 {
		t.Errorf("the other account: %+v", s)
	}
	w.same()
}

// TestLookNeedsAConnection: where max_connections_per_account leaves none for a
// look beside the follower, that is said; the follower goes on.
func TestLookNeedsAConnection(t *testing.T) {
	w := newWorld(t, 1, 12)
	w.write(strings.Replace(w.Config(), "[destination]\n", "[destination]\nmax_connections_per_account = 1\n", 1))
	r := w.run()
	r.untilFollowing()
	reports, err := r.operator.Verify(context.Background(), nil, verify.Quick, 0)
	if err != nil || len(reports) != 1 || !strings.Contains(reports[0].Error, "allow at least 2") {
		t.Errorf("%+v, %v", reports, err)
	}
	if _, err := r.operator.Holds(context.Background()); err != nil {
		t.Errorf("what needs no connection: %v", err)
	}
}
