package simtest

import (
	"fmt"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Check compares every message with what should have become of it.
func (p *People) Check() (errs []error) {
	have := make(map[string][]placed)
	p.New.Look(func() {
		for name, b := range p.New.Boxes {
			for _, m := range b.Messages {
				if !m.Date.Equal(day) {
					errs = append(errs, fmt.Errorf("%.20q in %s has the date %v", m.Data, name, m.Date))
				}
				text := stored(m.Data)
				have[text] = append(have[text], placed{name, m.Flags})
			}
		}
	})
	for _, f := range p.fates {
		text := stored(f.text)
		if got := have[text]; !p.fulfilled(f, got) {
			errs = append(errs, fmt.Errorf("%s should be in %v and is in %v", f.name, f.expected(), got))
		}
		delete(have, text)
	}
	for text, n := range p.Foreign {
		if len(have[text]) != n {
			errs = append(errs, fmt.Errorf("%s is there %d times, not %d", text, len(have[text]), n))
		}
		delete(have, text)
	}
	for text, got := range have {
		errs = append(errs, fmt.Errorf("%q should not be there: %v", text, got))
	}
	return errs
}

// fulfilled tells whether a message is where it should be.
func (p *People) fulfilled(f *fate, got []placed) bool {
	want := f.expected()
	switch {
	case want == nil:
		return len(got) == 0 || f.late && len(got) == 1
	case len(got) != 1:
		return false
	case got[0].box == want.box && p.sameFlags(f, got[0].flags, want.flags):
		return true
	case f.underway && (!f.flagged || p.sameFlags(f, got[0].flags, want.flags)):
		return true
	}
	// They were on their way when the message died.
	return want == f.left && got[0].box == want.box && (got[0].flags.Equal(f.flags) || p.Beside && slices.ContainsFunc(f.had, got[0].flags.Equal))
}

// sameFlags compares flags. Where the new server has no CONDSTORE, what its
// user does at the moment in which a flag of the source is carried is mixed
// with it: only what the source never has is his for certain.
func (p *People) sameFlags(f *fate, got, want mail.Flags) bool {
	if f.flagged && p.Beside && p.New.NoCondstore {
		const his = mail.Flagged | mail.Deleted
		return got.System&his == want.System&his
	}
	return got.Equal(want)
}

// Named is where a receipt says that a copy is.
type Named struct {
	Mailbox     string
	UIDValidity mail.UIDValidity
	UID         mail.UID // 0: nobody knows
	Fingerprint mail.Fingerprint
}

// CheckNamed compares receipts with the copies: one to one, but for what its
// user has moved or removed.
func (p *People) CheckNamed(receipts []Named) (errs []error) {
	type place struct {
		box      string
		validity mail.UIDValidity
		uid      mail.UID
	}
	named := make(map[place]Named)
	for _, r := range receipts {
		at := place{r.Mailbox, r.UIDValidity, r.UID}
		if _, twice := named[at]; twice && r.UID != 0 {
			errs = append(errs, fmt.Errorf("two receipts name %v", at))
		}
		named[at] = r
	}
	fates := make(map[string]*fate)
	for _, f := range p.fates {
		fates[stored(f.text)] = f
	}
	p.New.Look(func() {
		for name, b := range p.New.Boxes {
			for _, m := range b.Messages {
				r, ok := named[place{name, b.Validity, m.UID}]
				f := fates[stored(m.Data)]
				switch {
				case !ok && f != nil && f.kept == "":
					errs = append(errs, fmt.Errorf("no receipt names %s in %s, UID %d", f.name, name, m.UID))
				case ok && !p.New.Alters && r.Fingerprint != mail.NewFingerprint(int64(len(m.Data)), m.Date, []byte(m.Data)):
					errs = append(errs, fmt.Errorf("the receipt for UID %d in %s is of another message than %.20q", m.UID, name, m.Data))
				}
			}
		}
	})
	return errs
}
