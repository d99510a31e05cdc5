package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/state"
)

// AccountState is what is known of one account, in numbers.
type AccountState struct {
	Account string `json:"account"`
	Path    string `json:"path"`
	// Error says why it is not known; empty: it is.
	Error string `json:"error,omitempty"`
	// Octets is the length of the file; 0: there is none yet.
	Octets   int64         `json:"octets"`
	Identity IdentityState `json:"identity"`
	Pairs    []PairState   `json:"pairs"`
	// OpenIntents are commands of which the outcome is not known yet, LateIntents
	// those that were sent again, whose first copies may still appear.
	OpenIntents int `json:"open_intents"`
	LateIntents int `json:"late_intents"`
	// Held and Skipped are messages and mailboxes, without the operator's word
	// and with it.
	Held    int `json:"held"`
	Skipped int `json:"skipped"`
	// SetAside are files that were of no use, or that were to be rebuilt.
	SetAside []state.Aside `json:"set_aside,omitempty"`
}

// IdentityState is a [state.Identity].
type IdentityState struct {
	SourceHost        string `json:"source_host"`
	SourceUser        string `json:"source_user"`
	DestinationHost   string `json:"destination_host"`
	DestinationUser   string `json:"destination_user"`
	SourceCertificate string `json:"source_certificate,omitempty"`
	SourceID          string `json:"source_id,omitempty"`
}

// PairState is one pair, in numbers.
type PairState struct {
	ID          mail.PairID `json:"id"`
	Mailbox     string      `json:"mailbox"` // display names
	Destination string      `json:"destination"`
	// SourceAnchor and DestinationAnchor say what of either side has been
	// processed.
	SourceAnchor      AnchorState `json:"source_anchor"`
	DestinationAnchor AnchorState `json:"destination_anchor"`
	Receipts          int         `json:"receipts"`
	// Of these, Touched have copies that their users have changed, Gone lost
	// their source message, Elsewhere have their copies in another mailbox than
	// the pair's, and of Lost nobody knows where the copy is.
	Touched   int `json:"touched"`
	Gone      int `json:"gone"`
	Elsewhere int `json:"elsewhere"`
	Lost      int `json:"lost"`
	// Missing vanished from the source and will be looked for again, Waiting
	// were too many and wait for the operator's word.
	Missing int `json:"missing"`
	Waiting int `json:"waiting"`
}

// AnchorState is a [mail.Anchor]; all is 0 where nothing has been processed.
type AnchorState struct {
	UIDValidity   mail.UIDValidity `json:"uidvalidity"`
	UIDNext       mail.UID         `json:"uidnext"`
	HighestModSeq mail.ModSeq      `json:"highestmodseq"`
	Messages      uint32           `json:"messages"`
}

// StateCheck is what is wrong with the state of one account.
type StateCheck struct {
	Account string
	Path    string
	None    bool // there is no state yet
	// Problems are what must not be, and why it could not be looked at.
	Problems []string
	SetAside []state.Aside
}

// OK tells whether nothing is wrong.
func (c StateCheck) OK() bool { return len(c.Problems)+len(c.SetAside) == 0 }

// CheckStates implements [Operator].
func (d *desk) CheckStates(_ context.Context, accounts []string) ([]StateCheck, error) {
	chosen, err := d.named(accounts)
	if err != nil {
		return nil, err
	}
	checks := make([]StateCheck, len(chosen))
	for i, a := range chosen {
		c := StateCheck{Account: a.Name, Path: StatePath(d.Config.StateDir, a.Name)}
		err := d.inspect(a, func(store *state.Store) error {
			problems, err := store.Problems()
			for _, p := range problems {
				c.Problems = append(c.Problems, string(p))
			}
			return err
		})
		if c.None = errors.Is(err, fs.ErrNotExist); err != nil && !c.None {
			c.Problems = append(c.Problems, err.Error())
		}
		if c.SetAside, err = state.SetAside(c.Path); err != nil {
			c.Problems = append(c.Problems, err.Error())
		}
		checks[i] = c
	}
	return checks, nil
}

// States implements [Operator].
func (d *desk) States(_ context.Context, accounts []string) ([]AccountState, error) {
	chosen, err := d.named(accounts)
	if err != nil {
		return nil, err
	}
	states := make([]AccountState, len(chosen))
	for i, a := range chosen {
		s := AccountState{Account: a.Name, Path: StatePath(d.Config.StateDir, a.Name), Pairs: []PairState{}}
		err := d.inspect(a, s.read)
		aside, asideErr := state.SetAside(s.Path)
		s.SetAside = aside
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		if err := errors.Join(err, asideErr); err != nil {
			s.Error = err.Error()
		}
		states[i] = s
	}
	return states, nil
}

// read counts what a state holds.
func (s *AccountState) read(store *state.Store) (err error) {
	if s.Octets, err = store.Size(); err != nil {
		return err
	}
	s.Identity = IdentityState(store.Identity())
	intents, err := store.Intents()
	if err != nil {
		return err
	}
	for _, i := range intents {
		if i.Open() {
			s.OpenIntents++
		} else {
			s.LateIntents++
		}
	}
	holds, err := store.Holds()
	if err != nil {
		return err
	}
	for _, h := range holds {
		if h.Skipped {
			s.Skipped++
		} else {
			s.Held++
		}
	}
	absences, err := store.Absences()
	if err != nil {
		return err
	}
	missing := make(map[mail.PairID]mail.Absence, len(absences))
	for _, a := range absences {
		missing[a.Pair] = a
	}
	anchors, err := store.DestinationAnchors()
	if err != nil {
		return err
	}
	pairs, err := store.Pairs()
	if err != nil {
		return err
	}
	for _, pair := range pairs {
		p := PairState{
			ID: pair.ID, Mailbox: pair.SourcePath, Destination: pair.DestinationPath,
			SourceAnchor: AnchorState(pair.SourceAnchor), DestinationAnchor: AnchorState(anchors[pair.Destination]),
		}
		if err := p.count(store, missing[pair.ID]); err != nil {
			return err
		}
		s.Pairs = append(s.Pairs, p)
	}
	return nil
}

// count counts the receipts of a pair, and what is missing of it.
func (p *PairState) count(store *state.Store, absence mail.Absence) error {
	for r, err := range store.Receipts(p.ID) {
		if err != nil {
			return err
		}
		p.Receipts++
		for _, c := range []struct {
			is bool
			n  *int
		}{{r.Touched, &p.Touched}, {r.Vanished(), &p.Gone}, {r.Mailbox != "", &p.Elsewhere}, {r.Destination == 0, &p.Lost}} {
			if c.is {
				*c.n++
			}
		}
	}
	for _, m := range absence.Missing {
		if m.Guarded && !m.Apply {
			p.Waiting += len(m.UIDs)
		} else {
			p.Missing += len(m.UIDs)
		}
	}
	return nil
}

// inspect lends the state of an account to be read, and changes nothing, not
// even a file that is damaged. One that is not there is fs.ErrNotExist.
func (d *Daemon) inspect(a config.Account, use func(*state.Store) error) (err error) {
	o := d.stateOptions(a)
	o.ReadOnly = true
	store, err := state.Open(StatePath(d.Config.StateDir, a.Name), o)
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	return use(store)
}

// SetAside sets the state of an account aside, so that the next pass begins
// anew and recognises by content what is on the new server. It returns where
// the file is now; empty: there was none.
func (d *Daemon) SetAside(account string) (string, error) {
	aside, err := state.Quarantine(StatePath(d.Config.StateDir, account), "to be rebuilt, on the operator's word")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return aside, err
}
