package main

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
)

// TestRootWorksAsTheOwner: what root does leaves nothing in the state directory
// that the daemon cannot use, and reads nothing that the daemon cannot read.
func TestRootWorksAsTheOwner(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	s.client(s.old, "u").Fill(corpus.Make(5, 10, 1000))
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	if s.dir, err = os.MkdirTemp("", "imapsyncd-test-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	s.configure(near(s.old.Port), near(s.new.Port), "u")
	config, password, state := filepath.Join(s.dir, "c.toml"), filepath.Join(s.dir, "password"), filepath.Join(s.dir, "state")
	for _, err := range []error{
		os.Chmod(s.dir, 0o755), os.Mkdir(state, 0o700), os.Chown(state, uid, gid),
		os.WriteFile(password, []byte(dovecot.Password), 0o600),
		os.Chown(config, 0, gid), os.Chmod(config, 0o640),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	command := func(args ...string) (int, string) {
		cmd := exec.CommandContext(t.Context(), os.Args[0], append(args, "--config", config)...)
		cmd.Env = append(os.Environ(), asProgram+"=1")
		out, _ := cmd.CombinedOutput()
		return cmd.ProcessState.ExitCode(), string(out)
	}

	// A password that the daemon could not read is one that root cannot either.
	code, out := command("check")
	if want := "permission denied for nobody; mend it with: chgrp " + groupName(nobody.Gid) + " " + password; code != exitUsage || !strings.Contains(out, want) {
		t.Errorf("exit %d without %q:\n%s", code, want, out)
	}
	if err := os.Chown(password, 0, gid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(password, 0o640); err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(s.dir, "report.csv") // where only root can write
	for _, args := range [][]string{{"check"}, {"sync"}, {"pause", "--all"}, {"resume", "--all"}, {"verify", "--csv", report}, {"status"}} {
		if code, out := command(args...); code != exitDone {
			t.Fatalf("%v: exit %d\n%s", args, code, out)
		}
	}
	owner := func(path string) int {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return int(info.Sys().(*syscall.Stat_t).Uid)
	}
	if owner(report) != 0 {
		t.Errorf("%s belongs to %d", report, owner(report))
	}
	files := 0
	err = filepath.WalkDir(state, func(path string, _ os.DirEntry, err error) error {
		if files++; err == nil && owner(path) != uid {
			t.Errorf("%s belongs to %d", path, owner(path))
		}
		return err
	})
	if err != nil || files < 4 {
		t.Errorf("%d files, %v", files, err)
	}
}

func groupName(gid string) string {
	g, err := user.LookupGroupId(gid)
	if err != nil {
		return gid
	}
	return g.Name
}
