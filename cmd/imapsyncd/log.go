package main

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/spf13/cobra"

	"github.com/imapsyncd/imapsyncd/daemon/config"
)

// newLogger writes to standard error as [log] says.
func newLogger(cmd *cobra.Command, cfg *config.Config) *slog.Logger {
	return slog.New(newHandler(cmd.ErrOrStderr(), cfg.Log, toJournal()))
}

// toJournal tells whether standard error goes to the journal of systemd.
func toJournal() bool {
	// The only error is an environment that systemd has not made.
	is, _ := journal.StderrIsJournalStream()
	return is
}

// lastWords is where the errors go that a command ends with.
func lastWords(stderr io.Writer) io.Writer {
	if toJournal() {
		return prefixed{stderr, "<3>"}
	}
	return stderr
}

func newHandler(out io.Writer, log config.Log, toJournal bool) slog.Handler {
	options := &slog.HandlerOptions{Level: log.Level}
	lines := func(out io.Writer) slog.Handler {
		if log.Format == "json" {
			return slog.NewJSONHandler(out, options)
		}
		return slog.NewTextHandler(out, options)
	}
	if !toJournal {
		return lines(out)
	}
	if log.Format == "auto" {
		// The journal has the time and the priority of each line.
		options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
				return slog.Attr{}
			}
			return a
		}
	}
	return journalHandler{
		debug: lines(prefixed{out, "<7>"}),
		info:  lines(prefixed{out, "<6>"}),
		warn:  lines(prefixed{out, "<4>"}),
		err:   lines(prefixed{out, "<3>"}),
	}
}

// journalHandler tells the journal the priority of each line, as sd-daemon(3)
// says, so that 'journalctl -p warning' finds what matters.
type journalHandler struct{ debug, info, warn, err slog.Handler }

func (h journalHandler) of(level slog.Level) slog.Handler {
	switch {
	case level < slog.LevelInfo:
		return h.debug
	case level < slog.LevelWarn:
		return h.info
	case level < slog.LevelError:
		return h.warn
	}
	return h.err
}

func (h journalHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.of(level).Enabled(ctx, level)
}

func (h journalHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.of(r.Level).Handle(ctx, r)
}

func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.each(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (h journalHandler) WithGroup(name string) slog.Handler {
	return h.each(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (h journalHandler) each(f func(slog.Handler) slog.Handler) slog.Handler {
	return journalHandler{f(h.debug), f(h.info), f(h.warn), f(h.err)}
}

// prefixed puts a prefix before each line; whole lines are written to it.
type prefixed struct {
	out    io.Writer
	prefix string
}

func (p prefixed) Write(line []byte) (int, error) {
	text := strings.ReplaceAll(strings.TrimSuffix(string(line), "\n"), "\n", "\n"+p.prefix)
	_, err := io.WriteString(p.out, p.prefix+text+"\n")
	return len(line), err
}
