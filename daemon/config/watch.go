package config

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// WatchOptions are what [Watch] needs.
type WatchOptions struct {
	Path string
	// Known is the Sum of the configuration that was read last.
	Known [sha256.Size]byte
	// Secrets are the SecretFiles of the configuration in force; nil: none.
	Secrets func() map[string][sha256.Size]byte
	// Changed is called when the content, or a secret, is not the last one any
	// more.
	Changed func()
	// Settle is how long the file has to be left alone before it is looked at;
	// 0: half a second. Interval is how often it is looked at without any
	// event; 0: a minute.
	Settle, Interval time.Duration
	Logger           *slog.Logger
}

// Watch tells of changes of a configuration until ctx ends. It watches the
// directories, since editors and tools put a new file in the place of the old
// one, and looks by itself now and then, since not every file system tells.
func Watch(ctx context.Context, o WatchOptions) {
	if o.Settle == 0 {
		o.Settle = 500 * time.Millisecond
	}
	if o.Interval == 0 {
		o.Interval = time.Minute
	}
	if o.Secrets == nil {
		o.Secrets = func() map[string][sha256.Size]byte { return nil }
	}
	var events chan fsnotify.Event
	var errs chan error
	listen := func(string) error { return nil }
	notify, err := fsnotify.NewWatcher()
	if err == nil {
		defer notify.Close()
		events, errs, listen = notify.Events, notify.Errors, notify.Add
		err = listen(filepath.Dir(o.Path))
	}
	if err != nil {
		o.Logger.Warn("changes of the configuration are seen after a minute only", "error", err)
	}
	settle := time.NewTimer(o.Settle)
	defer settle.Stop()
	every := time.NewTicker(o.Interval)
	defer every.Stop()
	seen := make(map[string][sha256.Size]byte) // of secrets
	look := func() {
		changed := false
		// What cannot be read or is empty is being replaced; a file that stays
		// away is no change.
		if data, err := os.ReadFile(o.Path); err == nil && len(data) > 0 {
			sum := sha256.Sum256(data)
			changed, o.Known = sum != o.Known, sum
		}
		for file, inForce := range o.Secrets() {
			if err := listen(filepath.Dir(file)); err != nil {
				o.Logger.Debug("watch secret", "file", file, "error", err)
			}
			if sum, err := (Secret{file: file}).fileSum(); err == nil {
				changed = changed || sum != inForce && sum != seen[file]
				seen[file] = sum
			}
		}
		if changed {
			o.Changed()
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			settle.Reset(o.Settle)
		case err := <-errs:
			o.Logger.Debug("watch configuration", "error", err)
		case <-settle.C:
			look()
		case <-every.C:
			look()
		}
	}
}
