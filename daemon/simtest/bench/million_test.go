package bench

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMillion copies a mailbox of a million messages, finds nothing new, loses
// the state and finds everything again.
func TestMillion(t *testing.T) {
	messages := 5_000
	if *rounds > 0 {
		messages = 1_000_000
	}
	own := imapsyncds(t)[0]
	old, new := newVast(t, 1_100_000_000, messages), newVast(t, 1_200_000_000, 0)
	j := job{dir: t.TempDir(), oldPort: old.port(), newPort: new.port(), accounts: []pairing{{"u", "u"}}}
	j.passwordFile = j.write(t, "password", "secret\n")
	o := own.order(t, j)

	rows := []string{"| | time | messages/s | CPU | peak RSS | commands to the old server |", "|---|--:|--:|--:|--:|--:|"}
	run := func(what string) usage {
		u := measure(t, o)
		if u.Err != "" {
			t.Fatalf("%s: %s", what, u.Err)
		}
		rows = append(rows, fmt.Sprintf("| %s | %.1f s | %.0f | %.1f s | %.0f MiB | %d |", what, u.Wall.Seconds(), float64(messages)/u.Wall.Seconds(), u.CPU.Seconds(), float64(u.RSS)/(1<<20), sum(old.taken())))
		return u
	}
	run("first copy")
	if n := new.count(); n != messages {
		t.Fatalf("%d messages have been copied of %d", n, messages)
	}
	state := filepath.Join(j.dir, "state", "accounts", "u.db")
	info, err := os.Stat(state)
	if err != nil {
		t.Fatal(err)
	}
	run("sync without news")
	if err := os.Rename(state, state+".lost"); err != nil {
		t.Fatal(err)
	}
	run("state lost: all recognised")
	if n := new.count(); n != messages {
		t.Fatalf("%d messages, of %d, after the state was lost", n, messages)
	}
	followed := follow(t, j, own.binary, old.taken, new.taken)

	fmt.Printf("\n### One mailbox of %d messages, on servers that make them up\n\n%s\n\nState: %.1f octets a message. %s\n", messages, strings.Join(rows, "\n"), float64(info.Size())/float64(messages), followed)
}

// follow has the daemon look for news again and again, and tells what one look
// costs, once it does nothing else.
func follow(t *testing.T, j job, binary string, old, new func() map[string]int) string {
	t.Helper()
	file := imapsyncdConfig(t, j, "poll_interval = \"1s\"\n[web]\nlisten = \"127.0.0.1:0\"\n", "")
	cmd := exec.Command(binary, "--config", file, "run")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Beside the looks there is the IDLE that each of them interrupts.
	looks := func(commands map[string]int) bool { return commands["LIST"]+commands["IDLE"] == sum(commands) }
	deadline := time.Now().Add(2 * time.Minute)
	quiet := false
	var there, here map[string]int
	for !quiet && time.Now().Before(deadline) {
		old()
		new()
		time.Sleep(3 * time.Second) // some looks
		there, here = old(), new()
		quiet = looks(there) && looks(here) && there["LIST"] > 0
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("run: %v\n%s", err, said.String())
	}
	if !quiet {
		t.Errorf("looks for news do not come down to one LIST: %v, %v\n%s", there, here, said.String())
	}
	return fmt.Sprintf("The daemon that follows, with poll_interval at 1 s, sent in 3 s to the old server %s, to the new one %s.", times(there), times(here))
}

func sum(commands map[string]int) (n int) {
	for _, c := range commands {
		n += c
	}
	return n
}

func times(commands map[string]int) string {
	var all []string
	for _, verb := range slices.Sorted(maps.Keys(commands)) {
		all = append(all, fmt.Sprintf("%s %d times", verb, commands[verb]))
	}
	return cmp.Or(strings.Join(all, ", "), "nothing")
}
