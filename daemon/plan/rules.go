package plan

import (
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Rules are what the operator says about mailboxes. Names are those that people
// see: UTF-8, with "/" between levels.
type Rules struct {
	// Want tells which source mailboxes are carried; nil: all.
	Want func(mail.Mailbox) bool
	// Rename gives mailboxes other names. Those below them go along, as with
	// RENAME (RFC 3501 §6.3.5); the rule for the longest name decides. The names are
	// in Unicode NFC, and stand for all that are composed otherwise.
	Rename map[string]string
	// Prefix is the mailbox below which everything goes; empty: none.
	Prefix string
}

// Wants tells whether a source mailbox is carried.
func (r Rules) Wants(m mail.Mailbox) bool { return !m.View && (r.Want == nil || r.Want(m)) }

// place is where the rules put a path; false: they say nothing about it.
func (r Rules) place(path []string) (place []string, told bool) {
	place = path
	for n := len(path); n > 0 && len(r.Rename) > 0; n-- {
		name, ok := r.Rename[norm.NFC.String(strings.Join(path[:n], "/"))]
		if ok {
			place, told = slices.Concat(strings.Split(name, "/"), path[n:]), true
			break
		}
	}
	if r.Prefix != "" {
		place, told = slices.Concat(strings.Split(r.Prefix, "/"), place), true
	}
	return place, told
}

// Place is the name that the rules give a mailbox, empty when they say nothing
// about it.
func (r Rules) Place(name string) string {
	if place, told := r.place(strings.Split(name, "/")); told {
		return strings.Join(place, "/")
	}
	return ""
}

// Moved is a pair whose place the rules would have elsewhere.
type Moved struct {
	Pair mail.Pair
	Now  string // where the rules put it
}

// Changed tells whether the rules that gave a pair its place have changed since
// (I11), and where they put it now.
func (r Rules) Changed(p mail.Pair) (Moved, bool) {
	place := r.Place(p.SourcePath)
	now := place
	if now == "" {
		now = p.SourcePath
	}
	return Moved{p, now}, place != p.Rule && now != p.DestinationPath
}

// Moves tells whether the operator has a pair go where these rules put it.
func (r Rules) Moves(p mail.Pair) bool { return p.Moves && r.Place(p.SourcePath) == p.Rule }
