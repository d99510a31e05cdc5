package main

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proxy"
	"github.com/imapsyncd/imapsyncd/state"
)

const (
	// asProgram makes the test binary the program, so that it can be killed.
	asProgram = "IMAPSYNCD_TEST_AS_PROGRAM"
	// verifying lets it verify by itself, which many tests must not be mixed with.
	verifying = "IMAPSYNCD_TEST_VERIFYING"
)

// The patience of the program in tests: the servers are near.
const (
	quiet     = time.Second
	lookAgain = time.Second
	twinWait  = 5 * time.Second
)

func TestMain(m *testing.M) {
	if order := os.Getenv(asCrowd); order != "" {
		if err := crowdMain(order); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(asProgram) != "" {
		stopping, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		c := &common{stopping: stopping, quiet: quiet, lookAgain: lookAgain, twinWait: twinWait, unverified: os.Getenv(verifying) == ""}
		os.Exit(run(c, commandLine(os.Args[1:]), os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// site is two servers and the configuration to get from one to the other.
type site struct {
	t        *testing.T
	old, new *dovecot.Server
	dir      string
}

func newSite(t *testing.T, old, new dovecot.Options) *site {
	t.Helper()
	s := &site{t: t, old: dovecot.Start(t, old), new: dovecot.Start(t, new), dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(s.dir, "password"), []byte(dovecot.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// near is how a server is written that listens in clear text on loopback.
func near(port int) string {
	return fmt.Sprintf("host = \"127.0.0.1\"\nport = %d\ntls = \"none\"\n", port)
}

// configure writes a configuration for accounts of equal names on both sides.
func (s *site) configure(source, destination string, accounts ...string) {
	s.t.Helper()
	text := "state_dir = \"state\"\n[source]\n" + source + "password_file = \"password\"\n[destination]\n" + destination + "password_file = \"password\"\n"
	for _, a := range accounts {
		text += fmt.Sprintf("[[account]]\nname = %q\n[account.source]\nuser = %q\n[account.destination]\nuser = %q\n", a, a, a)
	}
	s.write(text)
}

func (s *site) write(text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "c.toml"), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// patience is how long a command may take before it is told to stop, and how long
// a test waits for what it is told to wait for.
const patience = 5 * time.Minute

// run runs a command and returns its exit code and what it printed.
func (s *site) run(args ...string) (int, string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	code := run(&common{stopping: ctx, quiet: quiet, lookAgain: lookAgain}, append([]string{"--config", filepath.Join(s.dir, "c.toml")}, args...), &stdout, &stderr)
	out := stdout.String() + stderr.String()
	if strings.Contains(out, dovecot.Password) {
		s.t.Errorf("%v prints the password", args)
	}
	if ctx.Err() != nil {
		s.t.Errorf("%v has not ended after %s\n%s", args, patience, out)
	}
	return code, out
}

// must runs a command that has to succeed.
func (s *site) must(args ...string) string {
	s.t.Helper()
	code, out := s.run(args...)
	if code != 0 {
		s.t.Fatalf("%v: exit %d\n%s", args, code, out)
	}
	return out
}

func (s *site) client(server *dovecot.Server, user string) *corpus.Client {
	s.t.Helper()
	return corpus.Dial(s.t, server.Address(), user, dovecot.Password)
}

// same fails unless both servers show the same account.
func (s *site) same(user string) {
	s.t.Helper()
	differences := corpus.Compare(s.t, s.old.Address(), s.new.Address(), user, dovecot.Password)
	if len(differences) > 0 {
		s.t.Errorf("%d differences, first: %q", len(differences), differences[:min(len(differences), 5)])
	}
	s.checkState(user)
}

// checkState looks at every invariant of an account's state.
func (s *site) checkState(user string) {
	s.t.Helper()
	store, err := state.Open(daemon.StatePath(filepath.Join(s.dir, "state"), user), state.Options{Identity: state.Identity{
		SourceHost: "127.0.0.1", SourceUser: user, DestinationHost: "127.0.0.1", DestinationUser: user,
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	defer store.Close()
	if err := store.Check(); err != nil {
		s.t.Errorf("state: %v", err)
	}
}

// TestCopy copies 25 mailboxes and 2,000 messages up to 30 MB over TLS and
// STARTTLS, and holds both sides against one another.
func TestCopy(t *testing.T) {
	t.Parallel()
	messages, largest := 2000, 30<<20
	if testing.Short() {
		messages, largest = 200, 3<<20
	}
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	boxes := corpus.Make(1, messages, largest)
	s.client(s.old, "u").Fill(boxes)
	s.configure(
		fmt.Sprintf("host = \"127.0.0.1\"\nport = %d\ntls_ca_file = %q\n", s.old.TLSPort, s.old.CAFile),
		fmt.Sprintf("host = \"127.0.0.1\"\nport = %d\ntls = \"starttls\"\ntls_ca_file = %q\n", s.new.Port, s.new.CAFile), "u")

	out := s.must("check")
	if !strings.Contains(out, fmt.Sprintf("u: ok, 25 mailboxes with %d messages on the old server, %d to carry", messages, messages)) {
		t.Errorf("check: %s", out)
	}
	if out := s.must("plan"); !strings.Contains(out, "Kunden/Müller & Söhne/2019") || !strings.Contains(out, "(will be created)") {
		t.Errorf("plan: %s", out)
	}
	if out := s.must("sync"); !strings.Contains(out, fmt.Sprintf("1 account: %d messages copied", messages)) {
		t.Errorf("sync: %s", out)
	}
	s.same("u")
	if found := s.client(s.new, "u").Do(`LIST "" pwned`); len(found) > 0 {
		t.Error("mail was executed: there is a mailbox pwned")
	}
	if out := s.must("verify", "--deep"); !strings.Contains(out, fmt.Sprintf("%d equal", messages)) {
		t.Errorf("verify: %s", out)
	}

	s.secondSync()
	s.planted()
}

// secondSync: nothing is sent or fetched, and the number of commands does not
// depend on the number of mailboxes.
func (s *site) secondSync() {
	t := s.t
	t.Helper()
	few := s.client(s.old, "few")
	for _, name := range []string{"a", "b"} {
		few.Do("CREATE " + name)
	}
	few.Append("a", corpus.Make(2, 25, 2000)[0].Messages...)
	counts := make(map[string][2]int)
	for _, user := range []string{"u", "few"} {
		source, destination := proxy.Start(t, s.old.Address()), proxy.Start(t, s.new.Address())
		s.configure(near(source.Port()), near(destination.Port()), user)
		s.must("sync")
		source.Forget()
		destination.Forget()
		if out := s.must("sync"); !strings.Contains(out, " 0 messages copied") {
			t.Errorf("second sync: %s", out)
		}
		counts[user] = [2]int{len(source.Commands()), len(destination.Commands())}
		for _, command := range slices.Concat(source.Commands(), destination.Commands()) {
			if regexp.MustCompile(`(?i)^(APPEND|UID STORE|STORE|CREATE|SUBSCRIBE|UID FETCH|FETCH|SELECT|EXAMINE)`).MatchString(command) {
				t.Errorf("%s: a sync without news sends %s", user, command)
			}
		}
		readOnly(t, source.Commands())
	}
	if counts["u"] != counts["few"] {
		t.Errorf("25 mailboxes need %v commands, 3 need %v", counts["u"], counts["few"])
	}
	t.Logf("commands of a sync without news: %v", counts["u"])
}

// readOnly fails when the old server has seen anything but reading.
func readOnly(t *testing.T, commands []string) {
	t.Helper()
	if len(commands) == 0 {
		t.Error("nothing was recorded")
	}
	allowed := regexp.MustCompile(`^(CAPABILITY|NOOP|LOGOUT|ID|ENABLE|NAMESPACE|LIST|LSUB|STATUS|EXAMINE|UNSELECT|UID FETCH|UID SEARCH|NOTIFY|IDLE|DONE|AUTHENTICATE|LOGIN)( |$)`)
	for _, c := range commands {
		if !allowed.MatchString(c) || strings.Contains(c, "BODY[") {
			t.Errorf("the old server has seen %s", c)
		}
	}
}

// planted: verify --deep names one removed message, one altered octet, one
// wrong date and one wrong flag among all, and nothing else.
func (s *site) planted() {
	t := s.t
	t.Helper()
	s.configure(near(s.old.Port), near(s.new.Port), "u")
	new := s.client(s.new, "u")
	new.Do("SELECT Sent")
	new.Do(`UID STORE 1 +FLAGS.SILENT (\Deleted)`)
	new.Do("UID EXPUNGE 1")
	new.Do("SELECT Drafts")
	new.Do(`UID STORE 1 FLAGS.SILENT (Planted)`)
	new.Do("LOGOUT")

	// Bytes and dates cannot be changed over IMAP; in the Maildir they can.
	files, err := filepath.Glob(filepath.Join(s.new.Maildir("u"), ".Kunden", "cur", "*"))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(files[0])
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-5] ^= 1
	if err := os.WriteFile(files[0], data, 0o600); err != nil {
		t.Fatal(err)
	}
	os.Chtimes(files[0], info.ModTime(), info.ModTime())
	os.Chtimes(files[1], time.Now(), time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC))
	os.Remove(filepath.Join(s.new.Maildir("u"), ".Kunden", "dovecot.index.cache"))

	code, out := s.run("verify", "--deep")
	if code != exitHeld {
		t.Errorf("exit %d", code)
	}
	for _, want := range []string{" 1 removed", " 1 changed", " 1 date", " 1 damaged", "removed  Sent UID", "changed  Drafts UID", "date     Kunden UID", "damaged  Kunden UID", "there (Planted)"} {
		if strings.Count(out, want) != 1 {
			t.Errorf("%q is not there once:\n%.3000s", want, out)
		}
	}
}

// TestKill kills the program at 50 random moments of first copies.
func TestKill(t *testing.T) {
	t.Parallel()
	lanes, kills := 10, 5
	if testing.Short() {
		lanes = 2
	}
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	boxes := corpus.Make(3, 400, 300_000)
	var users []string
	for i := range lanes {
		user := fmt.Sprintf("k%d", i)
		users = append(users, user)
	}
	t.Run("lanes", func(t *testing.T) {
		for i, user := range users {
			t.Run(user, func(t *testing.T) {
				t.Parallel()
				lane := &site{t: t, old: s.old, new: s.new, dir: t.TempDir()}
				os.WriteFile(filepath.Join(lane.dir, "password"), []byte(dovecot.Password), 0o600)
				lane.configure(near(s.old.Port), near(s.new.Port), user)
				lane.client(s.old, user).Fill(boxes)
				rng := rand.New(rand.NewPCG(uint64(i), 50))
				for range kills {
					lane.killed(time.Duration(rng.IntN(1800)) * time.Millisecond)
				}
				lane.must("sync")
				lane.same(user)
				if out := lane.must("sync"); !strings.Contains(out, " 0 messages copied") {
					t.Errorf("a further sync: %s", out)
				}
			})
		}
	})
}

// killed runs sync as a process of its own and kills it after a while.
func (s *site) killed(after time.Duration) {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command(self, "--config", filepath.Join(s.dir, "c.toml"), "sync")
	cmd.Env = append(os.Environ(), asProgram+"=1")
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { cmd.Process.Kill() })
	cmd.Wait()
	timer.Stop()
}

// TestLostAnswer cuts the connection to the new server before the answer to an
// APPEND that it has stored, again and again.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	s.client(s.old, "u").Fill(corpus.Make(4, 300, 100_000))
	source, destination := proxy.Start(t, s.old.Address()), proxy.Start(t, s.new.Address())
	var mu sync.Mutex
	stored, cuts := 0, 0 // messages since the last cut: how many one answer tells of is a matter of time
	destination.Cut = func(_, next []byte) bool {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range appended.FindAllSubmatch(next, -1) {
			stored += len(uidsOf(t, string(m[1])))
		}
		if stored <= 20 {
			return false
		}
		stored = 0
		cuts++
		return true
	}
	s.configure(near(source.Port()), near(destination.Port()), "u")
	s.must("sync")
	s.same("u")
	readOnly(t, source.Commands())
	for _, c := range destination.Commands() {
		if c == "CLOSE" || c == "EXPUNGE" {
			t.Errorf("the new server has seen %s", c)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	t.Logf("%d answers were lost", cuts)
	if cuts < 2 {
		t.Errorf("%d answers only were lost", cuts)
	}
}

// TestLostState removes the state after a full copy, while mail arrives on
// both sides and its user moves and reads mail on the new one.
func TestLostState(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	old := s.client(s.old, "u")
	old.Fill(corpus.Make(5, 300, 50_000))
	s.configure(near(s.old.Port), near(s.new.Port), "u")
	s.must("sync")
	if err := os.RemoveAll(filepath.Join(s.dir, "state")); err != nil {
		t.Fatal(err)
	}
	news := corpus.Make(6, 60, 5000)
	old.Append("INBOX", news[0].Messages...)
	new := s.client(s.new, "u")
	foreign := corpus.Message{Data: []byte("Subject: born here\r\n\r\nx\r\n"), Date: time.Now()}
	new.Append("INBOX", foreign)
	new.Do("CREATE Moved")
	new.Do("SELECT INBOX")
	new.Do("UID MOVE 1:10 Moved")
	new.Do(`UID STORE 20:25 FLAGS (\Flagged)`)

	out := s.must("sync")
	if !strings.Contains(out, fmt.Sprintf("%d messages copied", len(news[0].Messages))) || !strings.Contains(out, "300 there already") {
		t.Errorf("sync: %s", out)
	}
	boxes, _ := corpus.Read(t, s.old.Address(), "u", dovecot.Password)
	copies, _ := corpus.Read(t, s.new.Address(), "u", dovecot.Password)
	count := make(map[string]int)
	for _, list := range boxes {
		for _, m := range list {
			count[fmt.Sprint(m.Sum, m.Date.Unix())]++
		}
	}
	surplus := 0
	for _, list := range copies {
		for _, m := range list {
			if count[fmt.Sprint(m.Sum, m.Date.Unix())]--; count[fmt.Sprint(m.Sum, m.Date.Unix())] < 0 {
				surplus++
			}
		}
	}
	missing := 0
	for _, n := range count {
		missing += max(n, 0)
	}
	if surplus != 1 || missing != 0 { // what was born there
		t.Errorf("%d surplus, %d missing", surplus, missing)
	}
	if len(copies["Moved"]) != 10 {
		t.Errorf("Moved holds %d messages", len(copies["Moved"]))
	}
	for _, m := range copies["INBOX"] {
		if m.UID >= 20 && m.UID <= 25 && !strings.Contains(m.Flags, `\flagged`) {
			t.Errorf("UID %d: what its user flagged is %s now", m.UID, m.Flags)
		}
	}
	s.checkState("u")
	if out := s.must("sync"); !strings.Contains(out, " 0 messages copied") {
		t.Errorf("a further sync: %s", out)
	}
}

// TestNothingSecretIsLeft searches everything that is written for the password.
func TestNothingSecretIsLeft(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	s.client(s.old, "u").Fill(corpus.Make(7, 25, 2000))
	s.configure(near(s.old.Port), near(s.new.Port), "u")
	s.write(strings.Replace(readFile(t, filepath.Join(s.dir, "c.toml")), "[source]", "[log]\nlevel = \"debug\"\n[source]", 1))
	for _, args := range [][]string{{"check"}, {"plan"}, {"sync"}, {"sync"}, {"verify", "--deep", "--json"}, {"hold", "list"}} {
		s.must(args...) // which looks at the output
	}
	err := filepath.WalkDir(filepath.Join(s.dir, "state"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.Contains(readFile(t, path), dovecot.Password) {
			t.Errorf("%s holds the password", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
