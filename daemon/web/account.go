package web

import (
	"net/url"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// AccountDetails is what the page of one account shows besides its
// [AccountStatus].
type AccountDetails struct {
	AccountStatus
	Source      string // USER at HOST:PORT
	Destination string
	// Deletions is how many messages were deleted on the old server, many at once,
	// and wait for the operator's word.
	Deletions int
	Mailboxes []MailboxStatus
	Passes    []PassStatus // the last ones, the newest first
	Holds     []mail.Hold  // the newest first
	// Unread says why Mailboxes and Holds are not known; empty: they are.
	Unread string
}

// MailboxStatus is one mailbox.
type MailboxStatus struct {
	Name        string // as people read it
	Destination string
	// Messages is how many messages of the old server have been dealt with.
	Messages int
	Held     int // of them, without the operator's word
}

// PassStatus is a pass, or several in a row that had nothing to do.
type PassStatus struct {
	Passes int
	Ended  time.Time     // of the last one
	Took   time.Duration // the last one
	// What they did, in messages. Recognised were on the new server already.
	Copied, Recognised, Reflagged, Moved, Removed int
	Bytes                                         int64  // copied
	Error                                         string // empty: they ended well
}

// Quiet tells whether there was nothing to do.
func (p PassStatus) Quiet() bool {
	return p.Error == "" && p.Copied+p.Recognised+p.Reflagged+p.Moved+p.Removed == 0
}

// Join adds a pass to the last ones, of which it keeps so many: those in a row that
// had nothing to do are one.
func (p PassStatus) Join(last []PassStatus, keep int) []PassStatus {
	if len(last) > 0 && last[0].Quiet() && p.Quiet() {
		p.Passes += last[0].Passes
		last = last[1:]
	}
	last = last[:min(len(last), keep-1)]
	joined := make([]PassStatus, 0, 1+len(last)) // there are thousands of accounts
	return append(append(joined, p), last...)
}

// What bounds the page of an account.
const (
	mailboxesAtMost = 500
	holdsAtMost     = 200
)

// accountLink leads to the page of an account, whatever its name has in it.
func accountLink(name string) string { return "/account/" + url.PathEscape(name) }

// accountView is what the page of an account shows.
type accountView struct {
	frame
	Account                  AccountDetails
	MoreMailboxes, MoreHolds int
}

func newAccountView(s Status, a AccountDetails, stays bool) accountView {
	path := accountLink(a.Name)
	v := accountView{Account: a, frame: frame{Status: s, Title: a.Name, Events: path + "/events", Stays: stays, Toggle: path}}
	if !stays {
		v.Toggle += "?still=1"
	}
	if n := len(a.Mailboxes) - mailboxesAtMost; n > 0 {
		v.Account.Mailboxes, v.MoreMailboxes = a.Mailboxes[:mailboxesAtMost], n
	}
	if n := len(a.Holds) - holdsAtMost; n > 0 {
		v.Account.Holds, v.MoreHolds = a.Holds[:holdsAtMost], n
	}
	return v
}
