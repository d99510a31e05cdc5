package simtest

import (
	"fmt"
	"strings"
	"time"
)

// trace is what happened in a world, put into words only if it is to be read.
type trace []struct {
	at     time.Time
	format string
	args   []any
}

func (t *trace) note(format string, args ...any) {
	*t = append(*t, trace{{time.Now(), format, args}}...)
}

func (t trace) String() string {
	lines := make([]string, len(t))
	for i, line := range t {
		lines[i] = line.at.Format("15:04:05.000 ") + fmt.Sprintf(line.format, line.args...)
	}
	return strings.Join(lines, "\n")
}
