// Package systemd_test runs the installed package under a systemd that has
// really booted, in a container.
package systemd_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
)

// rootVariable names the directory of a Debian in which the package is
// installed; .ci/systemd makes one. The test changes it.
const rootVariable = "IMAPSYNCD_DEBIAN_ROOT"

const (
	// patience is how long anything may take.
	patience = time.Minute
	// dayOfWatchdogs is how often a day has the WatchdogSec of the unit, 5
	// minutes. dayWatchdog is in their place, so that the day passes in less
	// than five, and is shorter than the pause between two attempts.
	dayOfWatchdogs = 24 * 60 / 5
	dayWatchdog    = time.Second
)

// machine is the booted container. It has the network of this machine, so that
// the servers of the tests are near.
type machine struct {
	t      *testing.T
	root   string
	leader string // the process that is systemd in there
}

// boot boots the container, or skips the test where that cannot be done.
func boot(t *testing.T) *machine {
	root := os.Getenv(rootVariable)
	if root == "" {
		t.Skip(rootVariable + " is not set; .ci/systemd makes a root, and runs this")
	}
	// What an earlier run has left.
	for _, left := range []string{"var/lib/imapsyncd", "var/log/journal", "etc/systemd/system/imapsyncd.service.d"} {
		if err := os.RemoveAll(filepath.Join(root, left)); err != nil {
			t.Fatal(err)
		}
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "console"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	// Nothing here may be registered with a systemd outside: there may be none.
	nspawn := exec.Command("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe", "--directory="+root, "--boot")
	nspawn.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1")
	nspawn.Stdout, nspawn.Stderr = log, log
	nspawn.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := nspawn.Start(); err != nil {
		t.Skipf("NOT TESTED: no container can be started here: %v", err)
	}
	ended := make(chan struct{})
	go func() {
		nspawn.Wait()
		close(ended)
	}()
	m := &machine{t: t, root: root}
	t.Cleanup(func() {
		if m.leader != "" {
			m.try("systemctl", "poweroff")
		}
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			nspawn.Process.Kill()
			<-ended
		}
	})
	children := fmt.Sprintf("/proc/%d/task/%d/children", nspawn.Process.Pid, nspawn.Process.Pid)
	deadline := time.Now().Add(patience)
	for {
		if pids, err := os.ReadFile(children); err == nil && len(strings.Fields(string(pids))) > 0 {
			m.leader = strings.Fields(string(pids))[0]
			if out, err := m.try("systemctl", "is-system-running"); err == nil || strings.HasPrefix(out, "degraded") {
				return m
			}
		}
		select {
		case <-ended:
			m.leader = ""
		default:
			if time.Now().Before(deadline) {
				time.Sleep(100 * time.Millisecond) // nothing outside tells when it has booted
				continue
			}
		}
		console, _ := os.ReadFile(log.Name())
		t.Skipf("NOT TESTED: systemd does not boot in a container here:\n%s", console)
	}
}

// try runs a command in the container.
func (m *machine) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "nsenter", append([]string{"--target", m.leader, "--all", "--"}, args...)...).CombinedOutput()
	return string(out), err
}

// run runs a command that has to succeed.
func (m *machine) run(args ...string) string {
	m.t.Helper()
	out, err := m.try(args...)
	if err != nil {
		m.t.Fatalf("%v: %v\n%s\n%s", args, err, out, m.journal())
	}
	return out
}

func (m *machine) journal(args ...string) string {
	out, _ := m.try(append([]string{"journalctl", "-u", "imapsyncd", "--no-pager", "-o", "cat"}, args...)...)
	return out
}

// show is a property of the service.
func (m *machine) show(property string) string {
	m.t.Helper()
	return strings.TrimSpace(m.run("systemctl", "show", "imapsyncd", "--value", "-p", property))
}

// until waits for a property of the service.
func (m *machine) until(property string, ok func(string) bool) {
	m.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		value := m.show(property)
		if ok(value) {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%s: %q\n%s", property, value, m.journal())
		}
	}
}

func is(want string) func(string) bool { return func(s string) bool { return s == want } }

func has(want string) func(string) bool {
	return func(s string) bool { return strings.Contains(s, want) }
}

// write writes a file in the container as root would, with the mode that the
// README gives.
func (m *machine) write(path, text string) {
	m.t.Helper()
	path = filepath.Join(m.root, path)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		m.t.Fatal(err)
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o640), os.Chmod(path, 0o640)); err != nil {
		m.t.Fatal(err)
	}
}

// dropIn changes the unit for what follows.
func (m *machine) dropIn(text string) {
	m.t.Helper()
	m.write("/etc/systemd/system/imapsyncd.service.d/test.conf", "[Service]\n"+text)
	m.run("systemctl", "daemon-reload")
}

func TestUnit(t *testing.T) {
	m := boot(t)
	oldServer, newServer := dovecot.Start(t, dovecot.Options{}), dovecot.Start(t, dovecot.Options{})
	boxes := corpus.Make(7, 60, 20000)
	for _, user := range []string{"foo", "bar"} {
		corpus.Dial(t, oldServer.Address(), user, dovecot.Password).Fill(boxes)
	}
	configure := func(secret string, accounts ...string) {
		text := `poll_interval = "1s"
[web]
listen = "127.0.0.1:0"
linger = "1s"
[cutover]
quiet_period = "1s"
workdays = []
[[domain]]
name = "example.org"
switch = "manual"
`
		for _, side := range []struct {
			name string
			port int
		}{{"source", oldServer.Port}, {"destination", newServer.Port}} {
			text += fmt.Sprintf("[%s]\nhost = \"127.0.0.1\"\nport = %d\ntls = \"none\"\n%s\n", side.name, side.port, secret)
		}
		for _, a := range accounts {
			text += fmt.Sprintf("[[account]]\nname = %[1]q\ndomains = [\"example.org\"]\nsource.user = %[1]q\ndestination.user = %[1]q\n", a)
		}
		m.write("/etc/imapsyncd/imapsyncd.toml", text)
	}
	same := func(user string) {
		t.Helper()
		if differences := corpus.Compare(t, oldServer.Address(), newServer.Address(), user, dovecot.Password); len(differences) > 0 {
			t.Errorf("%s: %q", user, differences)
		}
	}
	step := func(name string, f func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			m.t = t
			f(t)
		})
		m.t = t
	}
	// Else the tests would wait for minutes; the daemon tells how it is three
	// times as often.
	m.dropIn("WatchdogSec=3s\nTimeoutStopSec=3s\n")
	m.write("/etc/imapsyncd/secrets/all", dovecot.Password)
	const password = `password_file = "secrets/all"`
	configure(password, "foo")

	step("start", func(t *testing.T) {
		m.run("systemctl", "start", "imapsyncd")
		m.until("StatusText", has("1 of 1 accounts following, 0 not well, 0 messages pending, 0 held"))
		same("foo")
		// The journal has the priorities; nothing was worth a warning.
		if got := m.journal("-p", "warning"); strings.TrimSpace(got) != "" {
			t.Errorf("warnings:\n%s", got)
		}
		if got := m.journal(); !strings.Contains(got, "\nmsg=started accounts=1 ") {
			t.Errorf("not told:\n%s", got)
		}
		if got := m.run("imapsyncd", "status"); !strings.Contains(got, "100%") {
			t.Errorf("root is told:\n%s", got)
		}
		m.run("imapsyncd", "check")
		_, address, _ := strings.Cut(m.journal(), "page=")
		address, _, _ = strings.Cut(address, " ")
		answer, err := http.Get(address + "metrics")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		// What the hardening hides is missing silently.
		for _, name := range []string{"process_start_time_seconds", "process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"} {
			if !strings.Contains(string(body), "\n"+name+" ") {
				t.Errorf("%s is missing", name)
			}
		}
	})

	step("reload", func(t *testing.T) {
		pid := m.show("MainPID")
		configure(password, "foo", "bar")
		m.run("systemctl", "reload", "imapsyncd")
		m.until("StatusText", has("2 of 2 accounts following, 0 not well, 0 messages pending"))
		same("bar")
		configure(password, "foo", "bar", "not a name")
		if out, err := m.try("systemctl", "reload", "imapsyncd"); err == nil {
			t.Errorf("a wrong configuration was taken:\n%s", out)
		}
		if got := m.journal("-p", "err"); !strings.Contains(got, "not a name") {
			t.Errorf("the journal has no error:\n%s", got)
		}
		configure(password, "foo", "bar")
		m.run("systemctl", "reload", "imapsyncd")
		if m.show("ActiveState") != "active" || m.show("MainPID") != pid || m.show("NRestarts") != "0" {
			t.Errorf("the service is not the same:\n%s", m.journal())
		}
	})

	step("kill", func(t *testing.T) {
		m.run("systemctl", "kill", "-s", "KILL", "imapsyncd")
		m.until("NRestarts", is("1"))
		m.until("SubState", is("running")) // before, the last status is shown still
		m.until("StatusText", has("2 of 2 accounts following, 0 not well, 0 messages pending"))
		same("foo")
	})

	step("frozen", func(t *testing.T) {
		m.run("systemctl", "kill", "-s", "STOP", "imapsyncd")
		m.until("NRestarts", is("2"))
		m.until("SubState", is("running")) // before, the last status is shown still
		m.until("StatusText", has("2 of 2 accounts following"))
		if out := m.journal(); !strings.Contains(out, "Watchdog timeout") || !strings.Contains(out, "Failed with result 'watchdog'") {
			t.Errorf("systemd did not end it:\n%s", out)
		}
	})

	step("server away for a day", func(t *testing.T) {
		newServer.Stop()
		corpus.Dial(t, oldServer.Address(), "foo", dovecot.Password).Append("INBOX", boxes[0].Messages[0])
		m.until("StatusText", has("2 not well"))
		m.dropIn(fmt.Sprintf("WatchdogSec=%s\nTimeoutStopSec=3s\n", dayWatchdog))
		m.run("systemctl", "restart", "imapsyncd")
		m.until("StatusText", has("2 not well"))
		pid := m.show("MainPID")
		time.Sleep(dayOfWatchdogs * dayWatchdog) // that nothing happens is the test
		if m.show("MainPID") != pid || m.show("NRestarts") != "0" || m.show("ActiveState") != "active" {
			t.Errorf("it was ended while it waited:\n%s", m.journal())
		}
		newServer.Restart()
		m.until("StatusText", has("2 of 2 accounts following, 0 not well, 0 messages pending"))
		same("foo")
	})

	step("stop", func(t *testing.T) {
		m.run("systemctl", "stop", "imapsyncd")
		if m.show("ActiveState") != "inactive" || m.show("Result") != "success" || m.show("ExecMainStatus") != "0" {
			t.Errorf("%s, %s, %s", m.show("ActiveState"), m.show("Result"), m.show("ExecMainStatus"))
		}
		// What root does without the daemon leaves nothing that it cannot use.
		m.run("imapsyncd", "sync")
		m.run("imapsyncd", "pause", "--all")
		m.run("imapsyncd", "resume", "--all")
		m.run("systemctl", "start", "imapsyncd")
		m.until("StatusText", has("2 of 2 accounts following, 0 not well"))
		m.run("systemctl", "stop", "imapsyncd")
	})

	step("credential", func(t *testing.T) {
		if err := os.Chown(filepath.Join(m.root, "/etc/imapsyncd/secrets/all"), 0, 0); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(m.root, "/etc/imapsyncd/secrets/all"), 0o600); err != nil {
			t.Fatal(err)
		}
		m.dropIn("LoadCredential=all:/etc/imapsyncd/secrets/all\n")
		configure(`credential = "all"`, "foo", "bar")
		m.run("systemctl", "start", "imapsyncd")
		m.until("StatusText", has("2 of 2 accounts following, 0 not well"))
		// Only the service has them; who asks it needs none.
		m.run("imapsyncd", "check")
		if got := m.run("imapsyncd", "status"); strings.Contains(got, "wrong") || !strings.Contains(got, "100%") {
			t.Errorf("root is told:\n%s", got)
		}
		m.run("systemctl", "stop", "imapsyncd")
		if out, err := m.try("imapsyncd", "sync"); err == nil || !strings.Contains(out, "LoadCredential=all:/path") {
			t.Errorf("without the service root is told:\n%s", out)
		}
	})

	step("finished", func(t *testing.T) {
		configure(`credential = "all"`, "foo", "bar")
		m.run("systemctl", "start", "imapsyncd")
		m.until("StatusText", has("2 of 2 accounts following, 0 not well"))
		m.run("imapsyncd", "cutover", "switched", "example.org")
		ended := func() {
			t.Helper()
			m.until("ActiveState", is("inactive"))
			if m.show("Result") != "success" || m.show("ExecMainStatus") != "0" || m.show("NRestarts") != "0" {
				t.Errorf("%s, status %s, %s restarts\n%s", m.show("Result"), m.show("ExecMainStatus"), m.show("NRestarts"), m.journal())
			}
			for _, user := range []string{"foo", "bar"} {
				same(user)
			}
		}
		ended()
		if got := m.run("imapsyncd", "status"); !strings.Contains(got, "finished") {
			t.Errorf("root is told:\n%s", got)
		}
		// As after a boot of the machine.
		m.run("systemctl", "start", "imapsyncd")
		ended()
	})

	step("wrong configuration", func(t *testing.T) {
		configure(`password_file = "secrets/nowhere"`, "foo")
		if out, err := m.try("systemctl", "start", "imapsyncd"); err == nil {
			t.Errorf("it has started:\n%s", out)
		}
		m.until("ActiveState", is("failed"))
		if m.show("ExecMainStatus") != "2" || m.show("NRestarts") != "0" {
			t.Errorf("exit %s, %s restarts", m.show("ExecMainStatus"), m.show("NRestarts"))
		}
		if got := m.journal("-p", "err"); !strings.Contains(got, "password_file: stat /etc/imapsyncd/secrets/nowhere") {
			t.Errorf("the journal does not say why:\n%s", got)
		}
	})
}
