package bench

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
)

// contender is a program that copies accounts.
type contender struct {
	name string
	// order returns what is to be run for a job; it may be run again in the
	// same directory, to find nothing new.
	order  func(t testing.TB, j job) order
	binary string // of imapsyncd
	// wide tells that it has as many connections for an account as the ceiling.
	wide bool
	// local tells that it does not speak IMAP to the new server but runs on it.
	local bool
	// names tells that it sees to namespaces and separators by itself.
	names bool
}

// job is one copy of a site.
type job struct {
	dir          string // its own, empty at first
	oldPort      int
	newPort      int
	newServer    *dovecot.Server
	accounts     []pairing
	passwordFile string
}

// atOnce is how many accounts are worked on at a time by a program that does
// one in each run.
const atOnce = 4

// imapsync is the environment variable that names this program.
const imapsync = "IMAPSYNC"

// contenders are those that are installed, imapsyncd first.
func contenders(t testing.TB) []contender {
	all := imapsyncds(t)
	for _, peer := range []struct {
		program string
		contender
	}{
		{"mbsync", contender{name: "mbsync", order: mbsync}},
		{"interimap", contender{name: "interimap", order: interimap}},
		{"doveadm", contender{name: "dsync (doveadm backup)", order: dsync, local: true}},
	} {
		if _, err := exec.LookPath(peer.program); err != nil {
			t.Logf("%s is not installed: it does not take part", peer.program)
			continue
		}
		all = append(all, peer.contender)
	}
	if path := os.Getenv(imapsync); path != "" {
		all = append(all, contender{name: "imapsync", names: true, order: func(t testing.TB, j job) order { return imapsyncOrder(path, j) }})
	} else {
		t.Logf("$%s does not name it: imapsync does not take part", imapsync)
	}
	return all
}

func ceilingOrder(t testing.TB, j job, connections, batch int) order {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	arg, err := json.Marshal(ceiling{Source: address(j.oldPort), Destination: address(j.newPort), Accounts: j.accounts, Connections: connections, Batch: batch})
	if err != nil {
		t.Fatal(err)
	}
	return order{Commands: [][]string{{self, string(arg)}}, Env: []string{role + "=" + roleCeiling}}
}

func address(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// imapsyncds are the program, built as its users do: with everything at its default, and
// with as many connections for an account as the ceiling.
func imapsyncds(t testing.TB) []contender {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "imapsyncd")
	if out, err := exec.Command("go", "build", "-o", binary, "github.com/imapsyncd/imapsyncd/cmd/imapsyncd").CombinedOutput(); err != nil {
		t.Fatalf("build imapsyncd: %v\n%s", err, out)
	}
	by := func(each string) func(testing.TB, job) order {
		return func(t testing.TB, j job) order {
			return j.order([][]string{{binary, "--config", imapsyncdConfig(t, j, "", each), "sync"}}, 1)
		}
	}
	return []contender{
		{name: "imapsyncd", binary: binary, names: true, order: by("")},
		{name: fmt.Sprintf("imapsyncd, %d connections", mostConnections), binary: binary, wide: true, names: true, order: by(fmt.Sprintf("max_connections_per_account = %d\n", mostConnections))},
	}
}

// imapsyncdConfig writes a configuration that leaves everything at its default
// but what is given, at the top and for each server.
func imapsyncdConfig(t testing.TB, j job, top, each string) string {
	text := fmt.Sprintf("state_dir = \"state\"\n%s", top)
	for _, side := range []struct {
		name string
		port int
	}{{"source", j.oldPort}, {"destination", j.newPort}} {
		text += fmt.Sprintf("[%s]\nhost = \"127.0.0.1\"\nport = %d\ntls = \"none\"\npassword_file = %q\n%s", side.name, side.port, j.passwordFile, each)
	}
	for _, a := range j.accounts {
		text += fmt.Sprintf("[[account]]\nname = %q\n[account.source]\nuser = %q\n[account.destination]\nuser = %q\n", a.Old, a.Old, a.New)
	}
	return j.write(t, "imapsyncd.toml", text)
}

// write writes a file and returns its path.
func (j job) write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(j.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (j job) order(commands [][]string, parallel int) order {
	return order{Commands: commands, Env: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + j.dir, "TMPDIR=" + j.dir, "LC_ALL=C"}, Parallel: parallel}
}

// each has one command for each account.
func (j job) each(command func(pairing) []string) order {
	var commands [][]string
	for _, a := range j.accounts {
		commands = append(commands, command(a))
	}
	return j.order(commands, atOnce)
}

func mbsync(t testing.TB, j job) order {
	return j.each(func(a pairing) []string {
		text := ""
		for _, side := range []struct {
			name string
			port int
			user string
		}{{"old", j.oldPort, a.Old}, {"new", j.newPort, a.New}} {
			text += fmt.Sprintf("IMAPAccount %s\nHost 127.0.0.1\nPort %d\nUser %s\nPassCmd \"cat %s\"\nSSLType None\nAuthMechs LOGIN\n\nIMAPStore %[1]s\nAccount %[1]s\n\n",
				side.name, side.port, side.user, j.passwordFile)
		}
		text += fmt.Sprintf("Channel all\nFar :old:\nNear :new:\nPatterns *\nCreate Near\nSync Pull\nCopyArrivalDate yes\nSyncState %s/mbsync-%s-\n", j.dir, a.New)
		return []string{"mbsync", "-q", "-c", j.write(t, "mbsync-"+a.New, text), "all"}
	})
}

func interimap(t testing.TB, j job) order {
	return j.each(func(a pairing) []string {
		text := fmt.Sprintf("database = %s/interimap-%s.db\n", j.dir, a.New)
		for _, side := range []struct {
			name string
			port int
			user string
		}{{"local", j.newPort, a.New}, {"remote", j.oldPort, a.Old}} {
			text += fmt.Sprintf("\n[%s]\ntype = imap\nhost = 127.0.0.1\nport = %d\nSTARTTLS = NO\nauth = LOGIN\nusername = %s\npassword = %s\n", side.name, side.port, side.user, dovecot.Password)
		}
		return []string{"interimap", "--quiet", "--config=" + j.write(t, "interimap-"+a.New, text)}
	})
}

// dsync runs on the new server and writes into its Maildirs.
func dsync(t testing.TB, j job) order {
	return j.each(func(a pairing) []string {
		return []string{
			"doveadm", "-c", filepath.Join(j.newServer.Dir, "dovecot.conf"), "-o", "imapc_host=127.0.0.1", "-o", fmt.Sprintf("imapc_port=%d", j.oldPort),
			"-o", "imapc_user=" + a.Old, "-o", "imapc_password=" + dovecot.Password, "-o", "imapc_features=rfc822.size fetch-headers", "-o", "mail_prefetch_count=20",
			"backup", "-R", "-u", a.New, "imapc:",
		}
	})
}

func imapsyncOrder(path string, j job) order {
	return j.each(func(a pairing) []string {
		args := []string{path, "--nolog", "--noreleasecheck", "--pidfile", filepath.Join(j.dir, a.New+".pid"), "--tmpdir", j.dir}
		for i, side := range []struct {
			port int
			user string
		}{{j.oldPort, a.Old}, {j.newPort, a.New}} {
			n := strconv.Itoa(i + 1)
			args = append(args, "--host"+n, "127.0.0.1", "--port"+n, strconv.Itoa(side.port), "--user"+n, side.user, "--passfile"+n, j.passwordFile, "--nossl"+n, "--notls"+n)
		}
		return args
	})
}
