package state

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// childEnv has the test binary do a child's work instead of the tests.
const childEnv = "IMAPSYNCD_STATE_CHILD"

func TestMain(m *testing.M) {
	switch dir := os.Getenv(childEnv + "_DIR"); os.Getenv(childEnv) {
	case "hold":
		exitOn(childHolds(dir))
	case "commit":
		exitOn(childCommits(dir))
	default:
		os.Exit(m.Run())
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// child starts the test binary to do other work. lines reads what it says.
func child(t *testing.T, work, dir string) (cmd *exec.Cmd, stdin io.WriteCloser, lines *bufio.Scanner) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+work, childEnv+"_DIR="+dir, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	stdin, err1 := cmd.StdinPipe()
	stdout, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, stdin, bufio.NewScanner(stdout)
}

// childHolds holds a directory and a state until its standard input ends.
func childHolds(dir string) error {
	lock, err := Lock(dir)
	if err != nil {
		return err
	}
	s, err := Open(filepath.Join(dir, "a.db"), Options{Identity: me})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	return errors.Join(s.Close(), lock.Close())
}

// TestLocks: what another process holds is refused soon, with its pid.
func TestLocks(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "made", "by Lock")
	cmd, stdin, lines := child(t, "hold", dir)
	if !lines.Scan() {
		t.Fatal("the child is not ready")
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	var locked *LockedError
	if _, err := Lock(dir); !errors.As(err, &locked) || locked.PID != cmd.Process.Pid || !strings.Contains(err.Error(), strconv.Itoa(cmd.Process.Pid)) {
		t.Errorf("%v", err)
	}
	path := filepath.Join(dir, "a.db")
	if _, err := Open(path, Options{Identity: me}); !errors.As(err, &locked) || !strings.Contains(err.Error(), path) {
		t.Errorf("%v", err)
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	lock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "lock")); string(data) != strconv.Itoa(os.Getpid())+"\n" {
		t.Errorf("%q, %v", data, err)
	}
	if s := open(t, path); s.Fresh() != (Fresh{}) {
		t.Errorf("%+v", s.Fresh())
	}
	if err := lock.Close(); err != nil {
		t.Error(err)
	}
	if lock, err = Lock(dir); err != nil {
		t.Error(err)
	} else if err := lock.Close(); err != nil {
		t.Error(err)
	}
}

// killSeed makes the changes of the child that is killed.
func killSeed() *rand.Rand { return rand.New(rand.NewPCG(11, 11)) }

// childCommits commits one change after the other and says so.
func childCommits(dir string) error {
	s, err := Open(filepath.Join(dir, "a.db"), Options{Identity: me})
	if err != nil {
		return err
	}
	rng := killSeed()
	for n := 1; ; n++ {
		if err := s.Commit(randomChange(rng)); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

// TestKill kills a process while it commits. What it was told is committed is
// there afterwards, with at most the one that was under way.
func TestKill(t *testing.T) {
	for after := range 6 {
		dir := quickDir(t)
		cmd, _, lines := child(t, "commit", dir)
		told := 0
		for told < 1+after*7 && lines.Scan() {
			told++
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			told++
		}
		cmd.Wait()
		s := open(t, filepath.Join(dir, "a.db"))
		if s.Fresh() != (Fresh{}) {
			t.Fatalf("%+v", s.Fresh())
		}
		rng, m := killSeed(), newModel()
		for range told {
			m.apply(randomChange(rng))
		}
		what, err := m.differs(s)
		if what != "" && err == nil {
			m.apply(randomChange(rng))
			what, err = m.differs(s)
		}
		if what != "" || err != nil {
			t.Errorf("after %d commits: %s, %v", told, what, err)
		}
		if _, err := auditFile(s.file); err != nil {
			t.Error(err)
		}
	}
}
