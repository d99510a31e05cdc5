package web_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// fakeDaemon notes what it is asked.
type fakeDaemon struct {
	calls   []string
	err     error
	syncing chan struct{} // closed once Sync waits; nil: it does not wait
}

func (d *fakeDaemon) Status() web.Status { return sample() }
func (d *fakeDaemon) note(format string, v ...any) error {
	d.calls = append(d.calls, fmt.Sprintf(format, v...))
	return d.err
}
func (d *fakeDaemon) Pause(accounts []string, all bool) error {
	return d.note("pause %q %t", accounts, all)
}
func (d *fakeDaemon) Resume(accounts []string, all bool) error {
	return d.note("resume %q %t", accounts, all)
}
func (d *fakeDaemon) Reload(_ context.Context, allow bool) error { return d.note("reload %t", allow) }

// question is what the only Method is asked.
type question struct{ Account, ID string }

func (d *fakeDaemon) find(_ context.Context, q question) ([]web.Found, error) {
	return []web.Found{found}, d.note("find %q %q", q.Account, q.ID)
}
func (d *fakeDaemon) Sync(ctx context.Context, accounts []string, all bool) error {
	if d.syncing != nil {
		close(d.syncing)
		<-ctx.Done()
		return ctx.Err()
	}
	return d.note("sync %q %t", accounts, all)
}

var found = web.Found{
	Source:  &web.Place{Mailbox: "Kunden/Müller & Söhne", UID: 7, InternalDate: time.Unix(1e9, 0).UTC(), Size: 99, Flags: []string{`\Seen`, "todo"}},
	Receipt: true, Held: mail.ReasonTooBig, HeldText: "NO [TOOBIG]",
}

// control serves d on a fresh socket and returns a client and its end.
func control(t *testing.T, d *fakeDaemon, path string) (*web.Client, func() error) {
	t.Helper()
	c, err := web.ListenControl(web.ControlOptions{
		Path: path, Controller: d, Methods: map[string]web.Method{"find": web.NewMethod(d.find)}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- c.Serve(ctx) }()
	end := func() error { cancel(); return <-served }
	t.Cleanup(cancel)
	return web.Dial(path), end
}

func TestControl(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	d := &fakeDaemon{}
	client, end := control(t, d, path)
	if info, err := os.Stat(path); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}

	ctx := t.Context()
	status, err := client.Status(ctx)
	if err != nil || len(status.Accounts) != 2 || status.Totals.Messages.Held != 1 {
		t.Errorf("status %+v, %v", status, err)
	}
	var got []web.Found
	err = client.Call(ctx, "find", question{"foo", "<a@b>"}, &got)
	if err != nil || !reflect.DeepEqual(got, []web.Found{found}) {
		t.Errorf("found %+v, %v", got, err)
	}
	for _, err := range []error{
		client.Pause(ctx, []string{"foo"}, false), client.Resume(ctx, nil, true), client.Reload(ctx, true), client.Sync(ctx, []string{"foo", "bar"}, false),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	want := []string{`find "foo" "<a@b>"`, `pause ["foo"] false`, `resume [] true`, "reload true", `sync ["foo" "bar"] false`}
	if !reflect.DeepEqual(d.calls, want) {
		t.Errorf("asked %q, want %q", d.calls, want)
	}

	d.err = errors.New("no account \"nobody\"; accounts are foo, bar")
	for name, err := range map[string]error{
		"pause": client.Pause(ctx, nil, false), "resume": client.Resume(ctx, nil, false), "reload": client.Reload(ctx, false), "sync": client.Sync(ctx, nil, true),
		"find": client.Call(ctx, "find", question{}, nil),
	} {
		if err == nil || err.Error() != d.err.Error() {
			t.Errorf("%s: %v, want the daemon's words", name, err)
		}
	}

	if err := end(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestNoDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	if _, err := web.Dial(path).Status(t.Context()); !errors.Is(err, web.ErrNoDaemon) || !strings.Contains(err.Error(), path) {
		t.Errorf("without a socket: %v", err)
	}
	leaveStale(t, path)
	if err := web.Dial(path).Pause(t.Context(), nil, true); !errors.Is(err, web.ErrNoDaemon) {
		t.Errorf("with a stale socket: %v", err)
	}
}

// leaveStale makes a socket that nobody listens on, as a kill leaves it.
func leaveStale(t *testing.T, path string) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	leaveStale(t, path)
	leaveStale(t, filepath.Join(filepath.Dir(path), ".sock~")) // killed between the two steps
	client, end := control(t, &fakeDaemon{}, path)
	if _, err := client.Status(t.Context()); err != nil {
		t.Error(err)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

func TestListenControlRefuses(t *testing.T) {
	dir := t.TempDir()
	file, live := filepath.Join(dir, "file"), filepath.Join(dir, "live")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	client, end := control(t, &fakeDaemon{}, live)
	for _, test := range []struct{ name, path, group, want string }{
		{"a file", file, "", "is not a socket"},
		{"a living daemon", live, "", "another daemon answers"},
		{"a long path", filepath.Join(dir, strings.Repeat("x", 108)), "", "set socket to a shorter path"},
		{"no directory", filepath.Join(dir, "none", "s"), "", "no such file"},
		{"no group", filepath.Join(dir, "s"), "no-such-group-here", "no-such-group-here"},
	} {
		_, err := web.ListenControl(web.ControlOptions{Path: test.path, Group: test.group, Controller: &fakeDaemon{}, Logger: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("the file: %q, %v", text, err)
	}
	if _, err := client.Status(t.Context()); err != nil {
		t.Errorf("the living daemon: %v", err)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	if _, err := web.Dial(filepath.Join(dir, strings.Repeat("x", 108))).Status(t.Context()); err == nil || !strings.Contains(err.Error(), "shorter path") {
		t.Errorf("client with a long path: %v", err)
	}
}

func TestControlEndsWhatIsUnderWay(t *testing.T) {
	d := &fakeDaemon{syncing: make(chan struct{})}
	client, end := control(t, d, filepath.Join(t.TempDir(), "control.sock"))
	synced := make(chan error, 1)
	go func() { synced <- client.Sync(context.Background(), nil, true) }()
	<-d.syncing
	if err := end(); err != nil {
		t.Error(err)
	}
	if err := <-synced; err == nil {
		t.Error("a pass that was cut short went well")
	}
}

func TestControlRefusesWhatItDoesNotUnderstand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	d := &fakeDaemon{}
	_, end := control(t, d, path)
	raw := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	for _, test := range []struct {
		method, name, body string
		code               int
	}{
		{"POST", "pause", `{"acounts":["foo"]}`, 400}, // a slip must not become "nobody"
		{"POST", "pause", ``, 400},
		{"POST", "pause", `[`, 400},
		{"POST", "reload", `{"allow_removals":"yes"}`, 400},
		{"POST", "pause", `{"accounts":["` + strings.Repeat("x", 2<<20) + `"]}`, 400},
		{"GET", "pause", ``, 405},
		{"POST", "status", `{}`, 405},
		{"POST", "explode", `{}`, 404},
	} {
		q, err := http.NewRequest(test.method, "http://imapsyncd/"+test.name, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := raw.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, got.Body)
		got.Body.Close()
		if got.StatusCode != test.code {
			t.Errorf("%s %s %.40s: %d, want %d", test.method, test.name, test.body, got.StatusCode, test.code)
		}
	}
	if len(d.calls) != 0 {
		t.Errorf("asked %q", d.calls)
	}
	if err := end(); err != nil {
		t.Error(err)
	}
}

func TestClientOfAnotherVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- web.Serve(ctx, l, "", http.NotFoundHandler(), slog.New(slog.DiscardHandler)) }()
	if err := web.Dial(path).Reload(t.Context(), false); err == nil || !strings.Contains(err.Error(), "another version") {
		t.Errorf("got %v", err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
