// Package proof tells how much the tests have shown.
package proof

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// Counts is the environment variable that names a file to which every count is
// appended, so that a run of all tests can end with them.
const Counts = "IMAPSYNCD_COUNTS"

// Count notes what a test has gone through since begun.
func Count(t testing.TB, begun time.Time, format string, args ...any) {
	t.Helper()
	line := fmt.Sprintf("%s: %s in %s", t.Name(), fmt.Sprintf(format, args...), time.Since(begun).Round(100*time.Millisecond))
	if t.Failed() {
		line += ", FAILED"
	}
	t.Log(line)
	path := os.Getenv(Counts)
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(line + "\n"); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
