package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/verify"
	"github.com/imapsyncd/imapsyncd/state"
)

// mayEnd tells, once, that a domain may be ended: it is safe to stop, and the
// operator has nothing to say any more.
func (m *migration) mayEnd(f cutover.Facts, safe cutover.Ruling) bool {
	if f.Policy.Ask && !f.Memory.Finish.Happened() || !safe.OK {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	name := f.Domain.Name
	if m.ending[name] || f.Now.Before(m.retry["domain "+name]) {
		return false
	}
	m.ending[name] = true
	return true
}

// end ends a domain: a last pass, a last verification, the report. What goes
// wrong is tried again later.
func (m *migration) end(ctx context.Context, d cutover.Domain) {
	err := m.endOnce(ctx, d)
	m.mu.Lock()
	delete(m.ending, d.Name)
	if err != nil {
		m.retry["domain "+d.Name] = m.running.now().Add(retryAfter)
	}
	m.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		m.running.Logger.Warn("the domain is not finished yet", "domain", d.Name, "error", err, "again_in", retryAfter)
	}
	m.look()
}

// errNoLongerSafe: the last look has found something.
var errNoLongerSafe = errors.New("it is not safe to stop after all")

func (m *migration) endOnce(ctx context.Context, d cutover.Domain) error {
	r := m.running
	r.Logger.Info("safe to stop: the last pass", "domain", d.Name)
	var names []string
	for _, a := range m.facts(d).Accounts {
		if !a.Skipped.Happened() && a.Phase != mail.PhaseFinished {
			names = append(names, a.Name)
		}
	}
	for _, name := range names {
		f, err := r.follower(name)
		if err != nil {
			return err
		}
		select {
		case err = <-f.AskFull():
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("the last pass over account %s: %w", name, err)
		}
	}
	var reports []AccountReport
	for _, name := range names {
		report, err := r.operator().Verify(ctx, []string{name}, verify.Sample, scheduledSample)
		if err == nil && report[0].Error != "" {
			err = errors.New(report[0].Error)
		}
		if err != nil {
			return fmt.Errorf("the last verification of account %s: %w", name, err)
		}
		reports = append(reports, report...)
	}
	facts := m.facts(d)
	ruling := facts.Rule(cutover.SafeToStop)
	if !ruling.OK {
		return fmt.Errorf("%w: %s", errNoLongerSafe, ruling.Reasons[0].Text)
	}
	path, err := m.writeReport(facts, ruling, reports)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	why := "safe to stop; the last pass and the last verification are done, the report is " + path
	done := cutover.Change{At: r.now(), Domain: d.Name, What: "finished", Why: why}
	if err := r.record.domain(d.Name, func(known cutover.Memory) (cutover.Memory, []cutover.Change, error) {
		known.Finished = cutover.Event{At: done.At, Why: why}
		return known, []cutover.Change{done}, nil
	}); err != nil {
		return err
	}
	r.operator().tell([]cutover.Change{done})
	for _, name := range names {
		if f, err := r.follower(name); err == nil && r.record.phase(name) == mail.PhaseFinished {
			f.End()
			<-f.done
			f.show(func(s *followerStatus) { s.Phase = mail.PhaseFinished })
		}
	}
	return nil
}

// finalReport is what stays of the migration of a domain.
type finalReport struct {
	Domain       string            `json:"domain"`
	Finished     time.Time         `json:"finished"`
	Version      string            `json:"version"`
	History      []cutover.Change  `json:"history"`
	Verdict      cutover.Ruling    `json:"safe_to_stop"`
	YouMustCheck []string          `json:"you_must_check"`
	Skipped      map[string]string `json:"skipped_accounts"` // with the operator's reasons
	LateMail     cutover.LateMail  `json:"late_mail"`
	Accounts     []AccountReport   `json:"accounts"`
}

// ReportPath is where the final report of a domain is. Beside it there is one
// for people, which ends in .html.
func ReportPath(stateDir, domain string) string {
	return filepath.Join(stateDir, "reports", domain+".json")
}

// writeReport writes the final report and returns where it is.
func (m *migration) writeReport(f cutover.Facts, ruling cutover.Ruling, accounts []AccountReport) (string, error) {
	report := finalReport{
		Domain: f.Domain.Name, Finished: f.Now, Version: m.running.Version, History: m.running.record.history(f.Domain.Name),
		Verdict: ruling, YouMustCheck: cutover.YouMustCheck(), Skipped: make(map[string]string), LateMail: f.Memory.Late, Accounts: accounts,
	}
	for _, a := range f.Accounts {
		if a.Skipped.Happened() {
			report.Skipped[a.Name] = a.Skipped.Why
		}
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return "", err
	}
	path := ReportPath(m.running.Config.StateDir, f.Domain.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	page, err := report.page()
	if err != nil {
		return "", err
	}
	if err := state.ReplaceFile(strings.TrimSuffix(path, ".json")+".html", page); err != nil {
		return "", err
	}
	return path, state.ReplaceFile(path, append(text, '\n'))
}
