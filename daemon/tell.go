package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/cutover"
)

// notice is what notify_command is told: one JSON object on its standard input.
type notice struct {
	// Event is phase, verdict or attention.
	Event   string    `json:"event"`
	Time    time.Time `json:"time"`
	Domain  string    `json:"domain,omitempty"`
	Account string    `json:"account,omitempty"`
	// What has happened, such as "handed over", or the health of an account that
	// needs its operator; Text says why.
	What string `json:"what,omitempty"`
	Text string `json:"text,omitempty"`
	// Verdict, OK and Reasons are those of a verdict that has changed.
	Verdict      cutover.Verdict   `json:"verdict,omitempty"`
	OK           *bool             `json:"ok,omitempty"`
	Reasons      []cutover.Finding `json:"reasons,omitempty"`
	YouMustCheck []string          `json:"you_must_check,omitempty"`
}

const (
	// noticesMost is how many notices may wait for the command.
	noticesMost = 200
	// noticeTime is how long the command may take for one.
	noticeTime = 30 * time.Second
)

// notify has the command told. Where too many wait already it is not.
func (m *migration) notify(n notice) {
	if len(m.running.record.policy().NotifyCommand) == 0 {
		return
	}
	select {
	case m.notices <- n:
	default:
		m.running.Logger.Warn("notify_command is too slow, and is not told", "event", n.Event, "domain", n.Domain, "account", n.Account)
	}
}

// notifying tells the command, one notice after the other. What has happened
// before the end is told.
func (m *migration) notifying(ctx context.Context) {
	for {
		select {
		case n := <-m.notices:
			m.runNotice(ctx, n)
			continue
		default:
		}
		select {
		case n := <-m.notices:
			m.runNotice(ctx, n)
		case <-ctx.Done():
			return
		}
	}
}

// runNotice runs the command, without a shell.
func (m *migration) runNotice(ctx context.Context, n notice) {
	command := m.running.record.policy().NotifyCommand
	if len(command) == 0 {
		return
	}
	facts, err := json.Marshal(n)
	if err != nil {
		m.running.Logger.Error("notice", "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noticeTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(append(facts, '\n')), nil, &limited{to: &said, left: 1 << 10}
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		m.running.Logger.Warn("notify_command failed", "command", command[0], "event", n.Event, "error", err, "stderr", said.String())
	}
}

// limited passes on the first octets only.
type limited struct {
	to   *bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.to.Write(p[:n])
	l.left -= n
	return len(p), nil
}
