package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCompletion: each shell can read its script, and the program offers what
// is in the configuration.
func TestCompletion(t *testing.T) {
	output := func(args ...string) string {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if code := run(&common{stopping: t.Context()}, args, &stdout, &stderr); code != exitDone {
			t.Fatalf("%v: exit %d\n%s", args, code, stderr.String())
		}
		return stdout.String()
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			path, err := exec.LookPath(shell)
			switch {
			case err == nil:
			case os.Getenv("IMAPSYNCD_REQUIRE_SERVERS") != "":
				t.Fatal(err)
			default:
				t.Skip(err)
			}
			check := exec.CommandContext(t.Context(), path, "-n")
			check.Stdin = strings.NewReader(output("completion", shell))
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}

	file := filepath.Join(t.TempDir(), "c.toml")
	text := "[source]\nhost = \"192.0.2.1\"\npassword = \"x\"\n[destination]\nhost = \"192.0.2.2\"\npassword = \"x\"\n"
	for _, name := range []string{"foo", "bar"} {
		text += "[[account]]\nname = \"" + name + "\"\nsource.user = \"" + name + "\"\ndestination.user = \"" + name + "\"\n"
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, try := range []struct {
		args []string
		want string
	}{
		{[]string{"sync", "--account", ""}, "foo\nbar\n"},
		{[]string{"deletions", "list", "--account", ""}, "foo\nbar\n"},
		{[]string{"status", "--phase", ""}, "seeding\nfollowing\ndraining\nfinished\n"},
	} {
		args := append([]string{"__complete", "--config", file}, try.args...)
		if got := output(args...); !strings.HasPrefix(got, try.want) {
			t.Errorf("%v offers %q, not %q", try.args, got, try.want)
		}
	}
}
