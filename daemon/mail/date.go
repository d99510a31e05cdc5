package mail

import (
	netmail "net/mail"
	"strings"
	"time"
)

// undated is what a message gets that has neither an INTERNALDATE that can be
// stored nor a date of its own. It is fixed, and not "now", so that the
// message has the same fingerprint whenever it is looked at.
var undated = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// DateStorable tells whether every server takes the date: RFC 3501 sets no
// bounds, but Dovecot wraps what lies before 1970 and Cyrus answers BAD.
func DateStorable(t time.Time) bool {
	t = t.UTC()
	return t.Year() >= 1970 && t.Year() <= 2099
}

// StorableDate is the INTERNALDATE to be given to a copy: the source's own
// where it can be stored, else that of the Date field, else that of the first
// Received field, else 1 January 1980. prefix is the beginning of the message,
// of which at most PrefixLen octets are looked at.
func StorableDate(internal time.Time, prefix []byte) time.Time {
	if DateStorable(internal) {
		return internal
	}
	if len(prefix) > PrefixLen {
		prefix = prefix[:PrefixLen]
	}
	header := headerFields(prefix)
	if t, err := netmail.ParseDate(header.Get("Date")); err == nil && DateStorable(t) {
		return t
	}
	received := header.Get("Received")
	if t, err := netmail.ParseDate(strings.TrimSpace(received[strings.LastIndexByte(received, ';')+1:])); err == nil && DateStorable(t) {
		return t
	}
	return undated
}
