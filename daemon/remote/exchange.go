package remote

import (
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// isExchange tells whether the server is Exchange, by its answer to ID (RFC 2971)
// or by its greeting: it has no capability of its own.
func (c *Conn) isExchange() bool {
	is := func(text, name string) bool { return strings.Contains(strings.ToLower(text), name) }
	return is(c.id, "microsoft.exchange") || is(c.greeted, "microsoft exchange")
}

// notAppended are the flags that a server drops when they come with APPEND, and
// says OK. A copy is sent without them, and given them by STORE.
func notAppended(c *Conn) mail.System {
	if c.isExchange() {
		return mail.Flagged
	}
	return 0
}

// appendable is what a mailbox can store of the flags that are given by APPEND.
func appendable(c *Conn, shown selected, trust *Trust) *storable {
	s := newStorable(shown.flags, shown.permanent, trust)
	s.system &^= notAppended(c)
	return s
}
