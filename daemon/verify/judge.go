package verify

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// gravity orders what may be true of a message at once.
var gravity = []Class{Equal, Changed, Altered, Flags, Date, Damaged}

// verdict gathers what is found of one message with its copy: the gravest thing
// counts, and all of them are named.
type verdict struct {
	class       Class
	what        []string
	alterations []Alteration
}

func (v *verdict) add(class Class, format string, args ...any) {
	if slices.Index(gravity, class) > slices.Index(gravity, v.class) {
		v.class = class
	}
	v.what = append(v.what, fmt.Sprintf(format, args...))
}

// pair judges a source message with its copy by their metadata, and remembers
// both for comparing contents. place is where the copy is, when that is not the
// place of its mailbox.
func (c *comparison) pair(b *box, s item, copied *item, r *mail.Receipt, place *pile) {
	v := verdict{class: Equal}
	c.judgeDate(&v, s, *copied)
	c.judgeFlags(&v, s, *copied, r)
	d := Difference{Class: v.class, Mailbox: b.source.DisplayName(), UID: s.uid, Destination: b.place.DisplayName(), Copy: copied.uid, What: strings.Join(v.what, "; ")}
	if place != nil {
		d.Destination = place.DisplayName()
		if v.class == Equal || v.class == Changed {
			d.Class, d.What = Moved, "the copy is in "+place.DisplayName()
		}
	}
	c.note(b, describe(d, s), 1)
	for _, a := range v.alterations {
		c.report.Alterations[a]++
	}
	c.report.Octets += s.size
	if c.Mode == Quick && s.size == copied.size {
		return // it will not be looked into
	}
	b.matched = append(b.matched, match{
		source: s.uid, copied: copied.uid, octets: uint32(min(max(s.size, copied.size), math.MaxUint32)),
		class: uint8(slices.Index(Classes(), d.Class)), resized: s.size != copied.size, place: place,
	})
}

// recently is how long ago a copy may have been stored whose date the server has
// set to that moment: longer than a migration takes.
const recently = 90 * 24 * time.Hour

func (c *comparison) judgeDate(v *verdict, s, copied item) {
	if s.date == copied.date {
		return
	}
	was, is, now := s.time(), copied.time(), c.Now()
	because := ""
	switch storedThen := now.Sub(is) < recently && !is.After(now.Add(time.Hour)); {
	case !mail.DateStorable(was):
		because = "a date that cannot be stored"
	case was.After(now), storedThen && was.After(is):
		because = "a date in the future"
	case storedThen && was.Unix() <= 24*60*60:
		because = "a date of the first day of 1970"
	}
	if because == "" {
		v.add(Date, "date %s, there %s", stamp(was), stamp(is))
		return
	}
	v.add(Altered, "date %s, there %s (%s)", stamp(was), stamp(is), because)
	v.alterations = append(v.alterations, DateReplaced)
}

// judgeFlags tells who is behind flags that differ.
func (c *comparison) judgeFlags(v *verdict, s, copied item, r *mail.Receipt) {
	a, b := s.flags.WithoutNoise(), copied.flags.WithoutNoise()
	if a.Equal(b) {
		return
	}
	differ := fmt.Sprintf("flags %s, there %s", a, b)
	if r != nil {
		decision, _ := plan.Reflag(r.Flags, s.flags, copied.flags)
		if r.Touched || decision != plan.SetFlags {
			v.add(Changed, "%s", differ)
			return
		}
	}
	lost := a.Keep(func(k string) bool { return !b.Has(k) })
	switch {
	case a.System == b.System && b.With(a).Equal(a):
		v.add(Altered, "keywords %s are not there", lost.Keywords)
		v.alterations = append(v.alterations, Keywords)
	case r != nil && (c.UsersMoved || c.FlagsKept):
		v.add(Changed, "%s: changed on the old server, and not followed", differ)
	default:
		v.add(Flags, "%s", differ)
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
