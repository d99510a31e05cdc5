package bench

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// printMachine says what is measured, on what, and how busy that was with
// other things.
func printMachine(t testing.TB, w io.Writer) {
	t.Helper()
	var programs []string
	version := func(name, path string, args ...string) {
		out, err := exec.Command(path, args...).CombinedOutput()
		if err == nil {
			programs = append(programs, name+" "+regexp.MustCompile(`\d+(\.\d+)+`).FindString(string(out)))
		}
	}
	version("Dovecot", "/usr/sbin/dovecot", "--version")
	version("mbsync", "mbsync", "--version")
	version("interimap", "interimap", "--version")
	if path := os.Getenv(imapsync); path != "" {
		version("imapsync", path, "--version")
	}
	revision, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		revision = []byte("?") // not a checkout
	}
	memory, err := strconv.Atoi(first(t, "/proc/meminfo", `MemTotal:\s*(\d+) kB`))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(w, "\nMeasured on %s: imapsyncd %s, %s, on %d cores (%s), %d GB of memory, Linux %s, %s; load at the beginning %s.\n",
		time.Now().Format("2 January 2006"), strings.TrimSpace(string(revision)), strings.Join(programs, ", "),
		runtime.NumCPU(), first(t, "/proc/cpuinfo", `model name\s*: (.*)`), memory/1_000_000,
		first(t, "/proc/sys/kernel/osrelease", `(\S+)`), runtime.Version(), first(t, "/proc/loadavg", `(\S+)`))
}

// first returns what the first group of a pattern matches in a file.
func first(t testing.TB, path, pattern string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if found := regexp.MustCompile(pattern).FindSubmatch(text); found != nil {
		return string(found[1])
	}
	return "?"
}
