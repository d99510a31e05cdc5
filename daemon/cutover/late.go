package cutover

import (
	"bytes"
	"net/netip"
	"strings"
)

// Origin is how a message came to the old server, as far as its header tells.
// Only what the old server wrote itself is believed: fields above the Received
// line by which it took the message from outside, and of that line what it saw,
// not what the other side said.
type Origin struct {
	// Domain is the migrated domain that the message was addressed to; empty where
	// the header does not tell: then it is the account's.
	Domain string
	// Host is who handed the message to the old server: its name as the old server
	// found it in DNS, else its address, else the name by which it went. Empty: the
	// old server delivered it by itself (a form, a list, a user who sends through
	// it), so that no change of the MX will stop such mail.
	Host string
	// Address is that host's; not valid where the old server did not write it down.
	Address netip.Addr
}

const (
	// receivedMost is how many Received lines are looked at: loops end sooner
	// (RFC 5321 §6.3).
	receivedMost = 200
	// fieldMost is how many octets of one field are looked at.
	fieldMost = 16 << 10
)

// OriginOf reads the first octets of a message of the old server, as far as its
// header goes. The old server's own names, globs, addresses and networks are
// oldHosts; isDomain tells the migrated domains, in lower case. Whatever the
// octets are, it takes time in proportion to them and no more.
func OriginOf(message []byte, oldHosts []string, isDomain func(string) bool) Origin {
	old := newHostSet(oldHosts)
	var origin Origin
	var recipients [4]string // of each kind the one that was written first
	note := func(kind int, list string) {
		if domain := domainOf(list, isDomain); domain != "" {
			recipients[kind] = domain
		}
	}
	lines, reached := 0, false
fields:
	for name, value := range headerFields(message) {
		switch name {
		case "x-original-to":
			note(1, value)
		case "envelope-to":
			note(2, value)
		case "delivered-to":
			note(3, value)
		case "received":
			line := parseReceived(value)
			ours := old.has(line.by)
			if lines++; lines > receivedMost || reached && !ours && !line.by.isHere() {
				break fields // what another server wrote, and all below it, is hearsay
			}
			reached = reached || ours
			note(0, line.recipient)
			switch {
			case ours && line.submitted:
				break fields
			case ours && !old.has(line.from) && !line.from.isHere():
				origin.Host, origin.Address = line.from.String(), line.from.address
				break fields
			}
		}
	}
	for _, domain := range recipients {
		if origin.Domain == "" {
			origin.Domain = domain
		}
	}
	return origin
}

// domainOf is the first migrated domain in a list of addresses.
func domainOf(list string, isDomain func(string) bool) string {
	for address := range strings.FieldsFuncSeq(list, func(c rune) bool { return strings.ContainsRune(" \t,<>();\"", c) }) {
		at := strings.LastIndexByte(address, '@')
		if at < 0 || at == len(address)-1 {
			continue
		}
		if domain := hostName(address[at+1:]); isDomain(domain) {
			return domain
		}
	}
	return ""
}

// headerFields yields the fields of a header (RFC 5322 §2.2), names in lower
// case, values unfolded and cut at fieldMost. A line that is no field is passed
// over with what is folded under it; one that the octets end in before its end
// is left out.
func headerFields(message []byte) func(yield func(name, value string) bool) {
	return func(yield func(string, string) bool) {
		var name string
		var value []byte
		emit := func() bool { return name == "" || yield(name, string(value)) }
		for len(message) > 0 {
			end := bytes.IndexByte(message, '\n')
			if end < 0 { // cut: the field that this line belongs to is not whole
				if message[0] != ' ' && message[0] != '\t' {
					emit()
				}
				return
			}
			line := bytes.TrimRight(message[:end], "\r")
			message = message[end+1:]
			switch {
			case len(line) == 0:
				emit()
				return
			case line[0] == ' ' || line[0] == '\t':
				// it goes on
			default:
				if !emit() {
					return
				}
				before, after, _ := bytes.Cut(line[:min(len(line), fieldMost)], []byte(":"))
				name, value = "", nil
				if field := bytes.TrimRight(before, " \t"); len(before) < len(line) && len(field) > 0 && len(field) <= 64 && !bytes.ContainsAny(field, " \t") {
					name = strings.ToLower(string(field))
				}
				line = after
			}
			if name != "" && len(value) < fieldMost {
				value = append(value, line[:min(len(line), fieldMost-len(value))]...)
			}
		}
		emit()
	}
}
