package main

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/config"
)

func TestLog(t *testing.T) {
	for name, test := range map[string]struct {
		log       config.Log
		toJournal bool
		want      []string // the lines, each without its time
	}{
		"text": {config.Log{Format: "auto"}, false, []string{
			"level=INFO msg=started account=foo", "level=WARN msg=trying account=foo g.try=2", "level=ERROR msg=failed account=foo error=\"two words\""}},
		"journal": {config.Log{Format: "auto"}, true, []string{
			"<6>msg=started account=foo", "<4>msg=trying account=foo g.try=2", "<3>msg=failed account=foo error=\"two words\""}},
		"journal, debug": {config.Log{Format: "auto", Level: slog.LevelDebug}, true, []string{
			"<7>msg=looking account=foo", "<6>msg=started account=foo", "<4>msg=trying account=foo g.try=2", "<3>msg=failed account=foo error=\"two words\""}},
		"journal, warnings": {config.Log{Format: "auto", Level: slog.LevelWarn}, true, []string{
			"<4>msg=trying account=foo g.try=2", "<3>msg=failed account=foo error=\"two words\""}},
		"JSON": {config.Log{Format: "json", Level: slog.LevelError}, true, []string{
			`<3>{"level":"ERROR","msg":"failed","account":"foo","error":"two words"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			logger := slog.New(newHandler(&out, test.log, test.toJournal)).With("account", "foo")
			logger.Debug("looking")
			logger.Info("started")
			logger.WithGroup("g").Warn("trying", "try", 2)
			logger.Error("failed", "error", errors.New("two words"))
			lines := strings.SplitAfter(out.String(), "\n")
			if len(lines) != len(test.want)+1 {
				t.Fatalf("%q", lines)
			}
			for i, want := range test.want {
				if got := withoutTime(lines[i]); got != want+"\n" {
					t.Errorf("%q, want %q", got, want)
				}
			}
		})
	}
}

// TestLastWords: each line of an error has its priority.
func TestLastWords(t *testing.T) {
	var out strings.Builder
	if n, err := (prefixed{&out, "<3>"}).Write([]byte("a\nb\n")); n != 4 || err != nil || out.String() != "<3>a\n<3>b\n" {
		t.Errorf("%d, %v: %q", n, err, out.String())
	}
}

// withoutTime removes the time from a log line.
func withoutTime(line string) string {
	for before, after := range map[string]string{"time=": " ", `"time":"`: `",`} {
		if i := strings.Index(line, before); i >= 0 {
			if j := strings.Index(line[i:], after); j >= 0 {
				line = line[:i] + line[i+j+len(after):]
			}
		}
	}
	return line
}
