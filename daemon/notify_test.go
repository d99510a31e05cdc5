package daemon_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNotify: systemd hears when the daemon is ready, that it is alive, how it
// is, that it reads its configuration again, and that it stops.
func TestNotify(t *testing.T) {
	w := newWorld(t, 1, 5)
	path := filepath.Join(filepath.Dir(w.path), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	defer os.Remove(path)
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "300000")
	hear := func(want string) {
		t.Helper()
		if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		for buffer := make([]byte, 4096); ; {
			n, err := socket.Read(buffer)
			if err != nil {
				t.Fatalf("systemd did not hear %q: %v", want, err)
			}
			if strings.Contains("\n"+string(buffer[:n])+"\n", "\n"+want+"\n") {
				return
			}
		}
	}
	r := w.run()
	hear("READY=1")
	r.untilFollowing()
	hear("STATUS=1 of 1 accounts following, 0 not well, 0 messages pending, 0 held")
	hear("WATCHDOG=1")
	if err := r.client.Reload(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	hear("RELOADING=1")
	hear("READY=1")
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	hear("STOPPING=1")
}
