package verify

import (
	"log/slog"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Mode is how closely to look.
type Mode string

// The modes.
const (
	Quick  Mode = "quick"  // that it is there, its date, size and flags
	Sample Mode = "sample" // and the contents of a share
	Deep   Mode = "deep"   // and the contents of all
)

// Class is what a comparison found of one message: a closed list.
type Class string

// The classes.
const (
	Equal   Class = "equal"
	Missing Class = "missing" // on the source, not on the destination
	Changed Class = "changed" // flags or keywords differ
	Date    Class = "date"    // INTERNALDATE differs
	Damaged Class = "damaged" // the contents differ
	Altered Class = "altered" // the new server stores it in another form; named
	Moved   Class = "moved"   // the copy is in another mailbox of the account
	Held    Class = "held"    // could not be copied
	Skipped Class = "skipped" // left out on the operator's word
	Pending Class = "pending" // newer than what has been copied
	Extra   Class = "extra"   // on the destination only: born there
)

// Classes lists every [Class].
func Classes() []Class {
	return []Class{Equal, Missing, Changed, Date, Damaged, Altered, Moved, Held, Skipped, Pending, Extra}
}

// Differs tells whether a class keeps a report from being clean.
func (c Class) Differs() bool {
	switch c {
	case Equal, Altered, Moved, Skipped, Extra:
		return false
	}
	return true
}

// Options says what to compare.
type Options struct {
	Account     string
	Source      Reader
	Destination Reader
	Journal     Journal
	Select      func(mail.Mailbox) bool // nil: every mailbox
	Mode        Mode
	Sample      float64 // share of the messages, with mode Sample; at least 100
	Logger      *slog.Logger
}

// Difference is one finding that is worth a line.
type Difference struct {
	Class       Class    `json:"class"`
	Mailbox     string   `json:"mailbox"`
	UID         mail.UID `json:"uid,omitempty"`
	Destination string   `json:"destination_mailbox,omitempty"`
	Copy        mail.UID `json:"destination_uid,omitempty"`
	What        string   `json:"what"`
}

// differencesMost bounds the list of a report.
const differencesMost = 10_000

// Report is what was found in one account.
type Report struct {
	Account     string          `json:"account"`
	Mode        Mode            `json:"mode"`
	Started     time.Time       `json:"started"`
	Finished    time.Time       `json:"finished"`
	Mailboxes   int             `json:"mailboxes"`
	Compared    int64           `json:"contents_compared"`
	Counts      map[Class]int64 `json:"counts"`
	Differences []Difference    `json:"differences"`
	Left        int64           `json:"differences_not_listed,omitempty"`
}

// Clean tells whether everything is on the destination as it is on the source.
func (r Report) Clean() bool {
	for class, n := range r.Counts {
		if n > 0 && class.Differs() {
			return false
		}
	}
	return true
}

func (r *Report) note(d Difference) {
	r.Counts[d.Class]++
	switch {
	case d.Class == Equal || d.Class == Extra:
	case len(r.Differences) < differencesMost:
		r.Differences = append(r.Differences, d)
	default:
		r.Left++
	}
}
