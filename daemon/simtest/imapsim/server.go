// Package imapsim speaks IMAP for the model servers of simtest, for tests that
// run the whole daemon inside testing/synctest. It knows what the daemon may
// use, with every capability to be left away, and says of everything else that
// it is wrong: what a client does that it should not is kept as a violation.
//
// Where servers differ it does what is hardest for a client. A command line
// that it cannot parse is answered BAD, and a literal that follows it unasked
// is read as commands, as Dovecot does; what has been sent is carried out
// although the connection has broken meanwhile.
package imapsim

import (
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/simtest"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/netsim"
)

// Capabilities are all that a server can be given, besides IMAP4rev1.
var Capabilities = []string{
	"AUTH=PLAIN", "SASL-IR", "LITERAL+", "LITERAL-", "ID", "ENABLE", "NAMESPACE", "IDLE", "NOTIFY", "UNSELECT",
	"CHILDREN", "LIST-EXTENDED", "LIST-STATUS", "SPECIAL-USE", "CREATE-SPECIAL-USE",
	"CONDSTORE", "UIDPLUS", "MULTIAPPEND", "MOVE", "ESEARCH", "COMPRESS=DEFLATE",
}

// Options says what a server is like.
type Options struct {
	// Users are the accounts by log-in name, Password is that of all.
	Users    map[string]*simtest.Server
	Password string
	// Capabilities are offered once a client has logged in, besides IMAP4rev1.
	Capabilities []string
	// Name is what it calls itself (RFC 2971); empty: imapsim.
	Name string
	// Source is the old server: whatever could change it is a violation.
	Source bool
	// Separator of levels, where the model has "/"; 0: "/". Prefix stands before
	// every name but INBOX.
	Separator byte
	Prefix    string
	// Shared begins the names of mailboxes that many have; empty: there are none.
	Shared string
	// TLS is spoken from the first octet, or with StartTLS after that command.
	TLS      *tls.Config
	StartTLS bool
	// Before is asked before each command is carried out, in the place of the
	// greeting with an empty verb; nil: nobody.
	Before func(Command) Reaction
	// Commit is how long it takes until an APPEND is stored; nil: no time.
	Commit func() time.Duration
	// Most is how many connections there may be at a time: of one more not a word
	// is said, as Courier does. MostOfUser are those of one user, whose log-in is
	// refused by LIMIT, as Dovecot does. 0: any number.
	Most, MostOfUser int
	// Quota is how many octets a user may store, where QUOTA is offered; 0: any
	// number. What is over it is refused.
	Quota int
	// NotifyMost is how many STATUS responses NOTIFY sends before it gives up
	// (RFC 5465 §5.8); 0: any number.
	NotifyMost int
	// Eager tells clients of what others have changed before it answers their
	// commands, not after.
	Eager bool
}

// Command is what a client sent. What stands behind an announced literal is not
// known yet when it is asked about.
type Command struct {
	User string // empty before the log-in
	Verb string // upper case, such as "UID FETCH"
	Line string // of the tag nothing, of literals only how long they are
}

// Reaction is what a server does instead of carrying out a command. The zero
// value carries it out.
type Reaction struct {
	// Say is the answer without its tag, such as "NO [LIMIT] later", or BYE with
	// a text, which ends the connection.
	Say string
	// After: the command is carried out, and its own answer not sent.
	After bool
}

func (r Reaction) refuses() bool { return r.Say != "" && !r.After }

// Server is an IMAP server.
type Server struct {
	Options

	mu         sync.Mutex
	counts     map[string]int // commands carried out, by verb
	violations []string
	open       map[string]int // connections by user; "": all
	logIns     map[string]int // taken, by user
	turnedAway int
	deflater   deflater
}

// New returns a server that nobody can reach yet.
func New(o Options) *Server {
	if o.Separator == 0 {
		o.Separator = '/'
	}
	return &Server{Options: o, counts: make(map[string]int), open: make(map[string]int), logIns: make(map[string]int)}
}

// Serve accepts connections until l is closed, and then waits until all have
// ended.
func (s *Server) Serve(l net.Listener) error { return netsim.Serve(l, s.serve) }

func (s *Server) has(capability string) bool { return slices.Contains(s.Capabilities, capability) }

// Count is how many commands of these verbs have been carried out.
func (s *Server) Count(verbs ...string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, verb := range verbs {
		n += s.counts[verb]
	}
	return n
}

// TurnedAway is how many connections there have been too many.
func (s *Server) TurnedAway() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.turnedAway
}

// LogIns is how many log-ins of each user have been taken.
func (s *Server) LogIns() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.logIns)
}

// enter counts a connection of a user, "" for all, unless there are too many.
func (s *Server) enter(user string, most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if most > 0 && s.open[user] >= most {
		s.turnedAway++
		return false
	}
	s.open[user]++
	s.logIns[user]++
	return true
}

func (s *Server) left(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open[user]--
}

// Changing are the verbs of what changes mail, mailboxes or flags.
var Changing = []string{
	"APPEND", "CREATE", "DELETE", "RENAME", "SUBSCRIBE", "UNSUBSCRIBE", "CLOSE", "EXPUNGE", "STORE", "COPY", "MOVE",
	"UID EXPUNGE", "UID STORE", "UID COPY", "UID MOVE",
}

// Violations is what clients did that they should not have done.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

const mostViolations = 20

func (s *Server) violated(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.violations) < mostViolations {
		s.violations = append(s.violations, fmt.Sprintf(format, args...))
	}
}

func (s *Server) count(verb string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[verb]++
}

// spell is a name of the model as clients see it.
func (s *Server) spell(name string) string {
	if name == "INBOX" {
		return name
	}
	return s.Prefix + strings.ReplaceAll(name, "/", string(s.Separator))
}

// Name is a name as clients see it in the model.
func (s *Server) Name(spelled string) string {
	if strings.EqualFold(spelled, "INBOX") {
		return "INBOX"
	}
	return strings.ReplaceAll(strings.TrimPrefix(spelled, s.Prefix), string(s.Separator), "/")
}
