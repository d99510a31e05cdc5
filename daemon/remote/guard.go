package remote

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// What stands before a literal decides whether the server reads the literal
// or executes it: Dovecot that answers BAD to an APPEND with {n+} goes on
// parsing the message as commands. So everything that goes into a command
// line passes this file.

// quote spells a raw mailbox name as a quoted string (RFC 3501 §4.3), which
// cannot hold CR, LF or NUL.
func quote(name string) (string, error) {
	if strings.ContainsAny(name, "\r\n\x00") {
		return "", fmt.Errorf("mailbox name %q cannot be sent", name)
	}
	return quoted(name), nil
}

// sendableKeyword tells whether the keyword can be sent at all: it stays one
// token of its line. Atoms may hold more (RFC 3501 §9), so such a keyword is
// offered, but never together with a literal that does not wait.
func sendableKeyword(keyword string) bool {
	return keyword != "" && len(keyword) <= 1024 && !strings.ContainsFunc(keyword, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()"\{%*`, r)
	})
}

// unsendable returns why a message may not be announced to a server, or nil.
// It is decided here, before anything is sent.
func unsendable(m mail.Upload) *mail.Refused {
	if refused := unsendableFlags("APPEND", m.Flags); refused != nil {
		return refused
	}
	if !mail.DateStorable(m.Date) {
		return &mail.Refused{Command: "APPEND", Type: "BAD", Text: "date " + m.Date.UTC().Format(time.RFC3339) + " cannot be sent"}
	}
	if m.Size < 0 || m.Content == nil {
		return &mail.Refused{Command: "APPEND", Type: "BAD", Text: "message without content"}
	}
	return nil
}

// unsendableFlags returns why flags may not be part of a command, or nil.
func unsendableFlags(command string, f mail.Flags) *mail.Refused {
	for _, keyword := range f.KeywordList() {
		if !sendableKeyword(keyword) {
			return &mail.Refused{Command: command, Type: "BAD", Code: "FLAGS", Text: fmt.Sprintf("keyword %q cannot be sent", keyword)}
		}
	}
	return nil
}

// appendArguments adds the flags and the date of a message that is not unsendable to
// a line.
func appendArguments(line []byte, m mail.Upload) []byte {
	line = m.Flags.AppendTo(append(line, '('))
	line = m.Date.UTC().AppendFormat(append(line, `) "`...), "02-Jan-2006 15:04:05 -0700")
	return append(line, '"')
}

// storable is what one mailbox can store (RFC 3501 §7.1).
type storable struct {
	permanent     map[string]bool // lower case; PERMANENTFLAGS
	permanentSent bool            // false: the client should assume that all can be stored
	anyKeyword    bool            // \* among them
	system        mail.System     // the system flags among them
	flags         map[string]bool // lower case; FLAGS, defined in the mailbox
	trust         *Trust          // of the account

	mu       sync.Mutex
	accepted map[string]bool // lower case; keywords of an APPEND that the server wanted the literal of
}

// Trust is what has been seen of how the new server parses APPEND. It belongs to
// one account, all connections of which share it: those of another may lead to
// another server behind the same address.
type Trust struct {
	// cautious: it said BAD, or "+" to what did not wait for that. Literals wait for its
	// word from now on, and for the answers to what was sent before them.
	cautious atomic.Bool

	mu       sync.Mutex
	keywords map[string]bool // lower case; of an APPEND that the server wanted the literal of
}

// trustedMost bounds the keywords that are remembered of an account.
const trustedMost = 1000

func (t *Trust) has(keyword string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.keywords[keyword]
}

func (t *Trust) add(keyword string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keywords == nil {
		t.keywords = make(map[string]bool)
	}
	if len(t.keywords) < trustedMost {
		t.keywords[keyword] = true
	}
}

func (t *Trust) remove(keyword string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.keywords, keyword)
}

// reduce drops what the mailbox cannot store.
func (s *storable) reduce(f mail.Flags) mail.Flags {
	f.System &= s.system
	if s.anyKeyword || !s.permanentSent {
		return f
	}
	return f.Keep(func(keyword string) bool { return s.permanent[strings.ToLower(keyword)] })
}

// known tells whether the server cannot but parse these flags: only then may a
// literal follow them unasked for. Where a mailbox takes any keyword, that is one
// which another mailbox of the account has taken.
func (s *storable) known(f mail.Flags) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, keyword := range f.KeywordList() {
		key := strings.ToLower(keyword)
		if !mail.PlainKeyword(keyword) || !(s.permanent[key] || s.flags[key] || s.accepted[key] || s.anyKeyword && s.trust.has(key)) {
			return false
		}
	}
	return true
}

// accept remembers the keywords of a command line after which the server has asked
// for the literal.
func (s *storable) accept(f mail.Flags) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, keyword := range f.KeywordList() {
		if s.accepted == nil {
			s.accepted = make(map[string]bool)
		}
		key := strings.ToLower(keyword)
		s.accepted[key] = true
		if s.anyKeyword {
			s.trust.add(key)
		}
	}
}

// refuse forgets them again: the server has refused a message that has them, perhaps
// for their sake, and others should not be refused together with the next.
func (s *storable) refuse(f mail.Flags) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, keyword := range f.KeywordList() {
		key := strings.ToLower(keyword)
		delete(s.accepted, key)
		s.trust.remove(key)
	}
}

// newStorable reads FLAGS and PERMANENTFLAGS as SELECT showed them; permanent
// is nil when the server did not say.
func newStorable(flags, permanent []string, trust *Trust) *storable {
	s := &storable{trust: trust, permanentSent: permanent != nil, permanent: lowerSet(permanent), flags: lowerSet(flags)}
	s.anyKeyword = s.permanent[`\*`]
	s.system = mail.ParseFlags(permanent).System
	if !s.permanentSent || s.anyKeyword && s.system == 0 {
		s.system = ^mail.System(0) // nothing but keywords: the server did not think of the others
	}
	return s
}

func lowerSet(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[strings.ToLower(name)] = true
	}
	return set
}
