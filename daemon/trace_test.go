package daemon

import (
	"io"
	"log/slog"
	"strings"
	"testing"
)

// TestTraceThatNobodyWouldSee: where the log leaves out what a trace has, whoever
// asks for one is told.
func TestTraceThatNobodyWouldSee(t *testing.T) {
	for level, refused := range map[slog.Level]bool{slog.LevelDebug: false, slog.LevelInfo: false, slog.LevelWarn: true} {
		logger := slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: level}))
		r := &running{Daemon: &Daemon{Options: Options{Logger: logger}}}
		for _, on := range []bool{true, false} {
			err := r.trace([]string{"nobody"}, on)
			if err == nil || strings.Contains(err.Error(), "[log] level") != (refused && on) {
				t.Errorf("trace %t at %v: %v", on, level, err)
			}
		}
	}
}
