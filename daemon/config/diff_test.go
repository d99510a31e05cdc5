package config

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

// accounts writes a configuration with some accounts; "b!" is b with other
// keys.
func accounts(t *testing.T, top string, names ...string) *Config {
	t.Helper()
	text := top + "\n[source]\nhost = \"127.0.0.1\"\n[destination]\nhost = \"127.0.0.2\"\n"
	for _, name := range names {
		own := ""
		if strings.HasSuffix(name, "!") {
			name = strings.TrimSuffix(name, "!")
			own = "[account.mailboxes]\nexclude = [\"\\\\Junk\"]\n"
		}
		text += fmt.Sprintf("[[account]]\nname = %q\n[account.source]\nuser = %q\npassword = \"x\"\n[account.destination]\nuser = %q\npassword = \"x\"\n%s", name, name, name, own)
	}
	c, err := Load(write(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func names(accounts []Account) (list []string) {
	for _, a := range accounts {
		list = append(list, a.Name)
	}
	return list
}

func TestDiff(t *testing.T) {
	for _, c := range []struct {
		name                    string
		old, next               *Config
		added, changed, removed []string
		atRestart               []string
	}{
		{"same", accounts(t, "", "a", "b!"), accounts(t, "", "a", "b!"), nil, nil, nil, nil},
		{"order", accounts(t, "", "a", "b"), accounts(t, "", "b", "a"), nil, nil, nil, nil},
		{"added", accounts(t, "", "a"), accounts(t, "", "a", "b"), []string{"b"}, nil, nil, nil},
		{"removed", accounts(t, "", "a", "b"), accounts(t, "", "b"), nil, nil, []string{"a"}, nil},
		{"changed", accounts(t, "", "a", "b"), accounts(t, "", "a", "b!"), nil, []string{"b"}, nil, nil},
		{"all three", accounts(t, "", "a", "b"), accounts(t, "", "b!", "c"), []string{"c"}, []string{"b"}, []string{"a"}, nil},
		{"timing", accounts(t, "", "a"), accounts(t, "poll_interval = \"5s\"", "a"), nil, nil, nil, nil},
		{"at restart", accounts(t, "", "a"), accounts(t, "[limits]\nmemory = \"64MiB\"", "a"), nil, nil, nil, []string{"[limits] memory"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.next.StateDir, c.next.Socket = c.old.StateDir, c.old.Socket // relative to each file's directory
			d := Diff(c.old, c.next)
			got := [][]string{names(d.Added), names(d.Changed), names(d.Removed), d.AtRestart}
			if want := [][]string{c.added, c.changed, c.removed, c.atRestart}; !reflect.DeepEqual(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

func TestRemovals(t *testing.T) {
	for _, c := range []struct {
		removed, of int
		refused     bool
	}{{0, 1, false}, {1, 1, true}, {1, 19, true}, {1, 20, false}, {5, 100, false}, {6, 1000, true}, {5, 99, true}} {
		err := Difference{Removed: make([]Account, c.removed)}.Removals(c.of)
		if (err != nil) != c.refused {
			t.Errorf("%d of %d: %v", c.removed, c.of, err)
		}
	}
}

// TestWatch: each new content is told of once, however the file is replaced.
func TestWatch(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c.toml")
	replace := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+"~", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+"~", path); err != nil {
			t.Fatal(err)
		}
	}
	overwrite := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	replace("one")
	password := filepath.Join(t.TempDir(), "password")
	newPassword := func(text string) {
		if err := os.WriteFile(password, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	newPassword("old\n")
	changed := make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		Watch(ctx, WatchOptions{
			Path: path, Known: sha256.Sum256([]byte("one")), Settle: 30 * time.Millisecond, Interval: time.Hour,
			Secrets: func() map[string][sha256.Size]byte {
				return map[string][sha256.Size]byte{password: sha256.Sum256([]byte("old\n"))}
			},
			Changed: func() { changed <- struct{}{} }, Logger: slog.New(slog.DiscardHandler),
		})
	})
	defer running.Wait()
	defer cancel()
	for _, change := range []func(){
		func() { replace("two") },
		func() { overwrite("three") },
		func() { os.Remove(path); replace("four") },
		func() { replace("four"); overwrite("four"); replace("five") },
		func() { newPassword("new\n") },
	} {
		change()
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatal("a change was not seen")
		}
		if len(changed) != 0 {
			t.Error("one change was told of twice")
		}
	}
}
