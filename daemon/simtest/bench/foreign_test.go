package bench

import (
	"fmt"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/foreign"
)

// foreigner is a new server that is no Dovecot. Its users have to be known when it
// starts.
type foreigner struct {
	*foreign.Server
	users []string // that are not there yet
}

// foreignUsers is how many copies there can be to one.
const foreignUsers = 100

func (b *bench) foreign(t *testing.T, kind string) *foreigner {
	if f := b.foreigners[kind]; f != nil {
		return f
	}
	f := new(foreigner)
	for i := range foreignUsers {
		f.users = append(f.users, fmt.Sprintf("u%d", i))
	}
	start := foreign.Cyrus
	if kind == "courier" {
		start = foreign.Courier
	}
	f.Server = start(t, dovecot.Password, f.users...)
	b.foreigners[kind] = f
	return f
}

// user is one who has nothing yet.
func (f *foreigner) user() string {
	user := f.users[0]
	f.users = f.users[1:]
	return user
}

// named is an account with its mailboxes called as on the old server.
func (s scenario) named(c content) content {
	if s.foreign != "courier" {
		return c
	}
	named := make(content)
	for name, messages := range c {
		named[strings.ReplaceAll(strings.TrimPrefix(name, "INBOX."), ".", "/")] = messages
	}
	return named
}
