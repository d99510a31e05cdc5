// Package foreign runs Cyrus and Courier of Debian's packages for tests, beside
// the Dovecot whose packages exclude theirs: .ci/servers unpacks them into a
// directory, which each server sees laid over the system in a mount namespace
// of its own. It listens on a loopback port of the kernel's choice.
package foreign

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
)

// Place names the environment variable with the directory that .ci/servers has
// filled. Without it tests skip; with it a server that does not start fails them.
const Place = "IMAPSYNCD_TEST_SERVERS"

// Server is a running server.
type Server struct {
	Port int // clear text
	dir  string
	cmd  *exec.Cmd
}

// Address is where it listens.
func (s *Server) Address() string { return fmt.Sprintf("127.0.0.1:%d", s.Port) }

// CyrusAdmin is the name of a user who may log in to Cyrus in the place of others.
const CyrusAdmin = "admin"

// Cyrus starts a Cyrus with these accounts.
func Cyrus(t testing.TB, password string, users ...string) *Server {
	t.Helper()
	s := prepare(t, "cyrus")
	s.write(t, "imapd.conf", `configdirectory: $D/conf
defaultpartition: default
partition-default: $D/spool
cyrus_user: nobody
cyrus_group: nogroup
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: $D/sasldb2
sasl_mech_list: PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256
admins: `+CyrusAdmin+`
unixhierarchysep: yes
altnamespace: yes
autocreate_users: anyone
autocreate_quota: 0
idlesocket: $D/sock/idle
notifysocket: $D/sock/notify
lmtpsocket: $D/sock/lmtp
`)
	s.write(t, "cyrus.conf", `START {
  recover cmd="/usr/lib/cyrus/bin/ctl_cyrusdb -C $D/imapd.conf -r"
}
SERVICES {
  imap cmd="imapd -C $D/imapd.conf -U 30" listen="127.0.0.1:$PORT" prefork=0
}
EVENTS {
}
`)
	var script strings.Builder
	script.WriteString("mkdir $D/conf $D/spool $D/sock\nchown nobody:nogroup $D/conf $D/spool $D/sock\n")
	for _, user := range users {
		fmt.Fprintf(&script, "printf %%s \"$PASSWORD\" | saslpasswd2 -f $D/sasldb2 -c -p -u \"$(hostname)\" %s\n", user)
	}
	script.WriteString("chmod 644 $D/sasldb2\nmount -t tmpfs none /run\nmkdir -m 777 /run/cyrus\nexec /usr/lib/cyrus/bin/master -C $D/imapd.conf -M $D/cyrus.conf -p $D/pid -D\n")
	s.run(t, users[0], password, script.String())
	return s
}

// Courier starts a Courier with these accounts, which Debian has speak
// IMAP4rev1 and little else.
func Courier(t testing.TB, password string, users ...string) *Server {
	t.Helper()
	s := prepare(t, "courier")
	s.write(t, "etc/courier/authdaemonrc", "authmodulelist=\"authuserdb\"\ndaemons=2\nauthdaemonvar=/run/courier/authdaemon\n")
	hash := exec.Command("openssl", "passwd", "-1", "-stdin")
	hash.Stdin = strings.NewReader(password)
	hashed, err := hash.Output()
	if err != nil {
		t.Fatalf("openssl passwd: %v", err)
	}
	var table, script strings.Builder
	script.WriteString("makeuserdb -f $D/etc/courier/userdb\nmount -t overlay overlay -o ro,lowerdir=$D/etc:$ROOT/etc:/etc /etc\nmount -t tmpfs none /run\nmkdir -p /run/courier/authdaemon\n")
	for _, user := range users {
		fmt.Fprintf(&table, "%s\tuid=65534|gid=65534|home=%[3]s/%[1]s|mail=%[3]s/%[1]s/Maildir|imappw=%[2]s|systempw=%[2]s\n", user, strings.TrimSpace(string(hashed)), s.dir)
		fmt.Fprintf(&script, "mkdir $D/%[1]s\nmaildirmake.courier $D/%[1]s/Maildir\nchown -R nobody:nogroup $D/%[1]s\n", user)
	}
	s.put(t, "etc/courier/userdb", table.String()) // a hash may have $D in it
	if err := os.Chmod(filepath.Join(s.dir, "etc/courier/userdb"), 0o600); err != nil {
		t.Fatal(err)
	}
	script.WriteString("/usr/lib/courier/courier-authlib/authdaemond &\nlisten=$PORT\nset -a\n. /etc/courier/imapd\nexec couriertcpd -address=127.0.0.1 -maxprocs=200 -maxperip=100 $TCPDOPTS $listen /usr/lib/courier/courier/imaplogin /usr/bin/imapd Maildir\n")
	s.run(t, users[0], password, script.String())
	return s
}

// prepare finds what a server needs, or skips the test.
func prepare(t testing.TB, name string) *Server {
	t.Helper()
	place := os.Getenv(Place)
	if place == "" {
		t.Skipf("no real %s: run .ci/servers DIR as root and set %s=DIR", name, Place)
	}
	root := filepath.Join(place, name)
	if _, err := os.Stat(filepath.Join(root, "usr")); err != nil || os.Geteuid() != 0 {
		t.Fatalf("a real %s is required (%s is set): as root, and unpacked by .ci/servers: %v", name, Place, err)
	}
	dir, err := os.MkdirTemp("", "fs") // short: unix sockets are below it
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &Server{dir: dir}
	t.Cleanup(func() {
		s.stop()
		os.RemoveAll(dir)
	})
	s.Port = corpus.Port(t, "127.0.0.1")
	s.cmd = exec.Command("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec")
	s.cmd.Env = append(os.Environ(), "D="+dir, "ROOT="+root, fmt.Sprintf("PORT=%d", s.Port))
	return s
}

// write writes a file of the server, with $D and $PORT set.
func (s *Server) write(t testing.TB, name, text string) {
	t.Helper()
	s.put(t, name, strings.NewReplacer("$D", s.dir, "$PORT", fmt.Sprint(s.Port)).Replace(text))
}

func (s *Server) put(t testing.TB, name, text string) {
	t.Helper()
	file := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// run starts the server by a script and waits until it admits its users.
func (s *Server) run(t testing.TB, user, password, script string) {
	t.Helper()
	var said bytes.Buffer
	s.cmd.Args = append(s.cmd.Args, "mount -t overlay overlay -o ro,lowerdir=$ROOT/usr:/usr /usr\n"+script)
	s.cmd.Env = append(s.cmd.Env, "PASSWORD="+password)
	s.cmd.Stdout, s.cmd.Stderr = &said, &said
	s.cmd.WaitDelay = time.Second
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := corpus.Admitted(s.Address(), user, password); err != nil {
		s.stop()
		t.Fatalf("it does not come up: %v\n%s", err, said.String())
	}
}

// stop ends the server: its processes live in a namespace that ends with the
// first of them.
func (s *Server) stop() {
	if s.cmd.Process == nil {
		return
	}
	syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	s.cmd.Wait()
}
