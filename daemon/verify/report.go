package verify

import (
	"cmp"
	"slices"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Difference is one finding that is worth a line.
type Difference struct {
	Class       Class    `json:"class"`
	Mailbox     string   `json:"mailbox"` // of the old server; of the new one for extra, kept and doubled
	UID         mail.UID `json:"uid,omitempty"`
	Destination string   `json:"destination_mailbox,omitempty"`
	Copy        mail.UID `json:"destination_uid,omitempty"`
	What        string   `json:"what"`
	// What names the message for people: its Message-ID, INTERNALDATE and size in
	// octets, as far as known.
	MessageID    string    `json:"message_id,omitempty"`
	InternalDate time.Time `json:"internal_date,omitzero"`
	Size         int64     `json:"size,omitempty"`
}

// Where is the UID in Mailbox.
func (d Difference) Where() mail.UID { return cmp.Or(d.UID, d.Copy) }

// Mailbox is what was found in one mailbox of the old server, or in one that is
// on the new server only.
type Mailbox struct {
	Name        string          `json:"mailbox,omitempty"`
	Destination string          `json:"destination_mailbox,omitempty"`
	Counts      map[Class]int64 `json:"counts"` // those that are not 0
}

const (
	// wrongMost and otherMost bound how many differences of one class are listed.
	wrongMost = 10_000
	otherMost = 100
)

// Report is what was found in one account. Its zero value can be added to.
type Report struct {
	Account   string    `json:"account"`
	Mode      Mode      `json:"mode"`
	Started   time.Time `json:"started"`
	Finished  time.Time `json:"finished"`
	Mailboxes int       `json:"mailboxes"`
	// UsersMoved tells that users were expected to be at work on the new server.
	UsersMoved bool `json:"users_moved"`
	// Octets are those of the messages that both sides have, as the old server
	// gives their sizes; Compared is of how many the contents were compared.
	Octets      int64                `json:"octets"`
	Compared    int64                `json:"contents_compared"`
	Counts      map[Class]int64      `json:"counts"` // every class is there
	Alterations map[Alteration]int64 `json:"alterations,omitempty"`
	ByMailbox   []Mailbox            `json:"by_mailbox,omitempty"`
	Differences []Difference         `json:"differences"`
	Left        int64                `json:"differences_not_listed,omitempty"`
	// Excluded are the mailboxes of the old server that the configuration leaves
	// out; Notes say what else was not looked at, for people.
	Excluded []string `json:"excluded_mailboxes,omitempty"`
	Notes    []string `json:"notes,omitempty"`

	listed map[Class]int
}

// Clean tells whether everything is on the destination as it is on the source,
// but for what users were expected to do there.
func (r Report) Clean() bool {
	for class, n := range r.Counts {
		if n > 0 && class.differs(r.UsersMoved) {
			return false
		}
	}
	return true
}

// Wrong counts the findings that stand against switching and stopping.
func (r Report) Wrong() int64 {
	var wrong int64
	for class, n := range r.Counts {
		if class.Wrong() {
			wrong += n
		}
	}
	return wrong
}

// Messages is how many messages of the old server were looked at.
func (r Report) Messages() int64 { return messages(r.Counts) }

func messages(counts map[Class]int64) int64 {
	var all int64
	for class, n := range counts {
		switch class {
		case Kept, Extra, Doubled:
		default:
			all += n
		}
	}
	return all
}

// list adds a difference to the list, as far as there is room for its class.
func (r *Report) list(d Difference) {
	most := otherMost
	if d.Class.differs(false) {
		most = wrongMost
	}
	if r.listed == nil {
		r.listed = make(map[Class]int)
	}
	if r.listed[d.Class] >= most {
		r.Left++
		return
	}
	r.listed[d.Class]++
	r.Differences = append(r.Differences, d)
}

// Totals are the sums over accounts.
type Totals struct {
	Accounts, Clean, Mailboxes int
	Messages, Octets, Compared int64
	Counts                     map[Class]int64
	Alterations                map[Alteration]int64
	Started, Finished          time.Time // of the first and the last
}

// Total sums reports up.
func Total(reports []Report) Totals {
	t := Totals{Counts: make(map[Class]int64), Alterations: make(map[Alteration]int64)}
	for _, r := range reports {
		t.Accounts++
		t.Mailboxes += r.Mailboxes
		t.Messages += r.Messages()
		t.Octets += r.Octets
		t.Compared += r.Compared
		if r.Clean() {
			t.Clean++
		}
		for class, n := range r.Counts {
			t.Counts[class] += n
		}
		for a, n := range r.Alterations {
			t.Alterations[a] += n
		}
		if t.Started.IsZero() || r.Started.Before(t.Started) {
			t.Started = r.Started
		}
		if r.Finished.After(t.Finished) {
			t.Finished = r.Finished
		}
	}
	return t
}

// finish brings a report into the order in which it is read: the gravest
// differences first.
func (r *Report) finish() {
	order := Classes()
	slices.SortStableFunc(r.Differences, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(slices.Index(order, b.Class), slices.Index(order, a.Class)), cmp.Compare(a.Mailbox, b.Mailbox), cmp.Compare(a.Where(), b.Where()))
	})
	r.ByMailbox = slices.DeleteFunc(r.ByMailbox, func(m Mailbox) bool { return m.Name == "" && len(m.Counts) == 0 })
	slices.Sort(r.Excluded)
}
