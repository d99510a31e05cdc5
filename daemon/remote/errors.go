package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Side is one of the two servers.
type Side string

// The two sides.
const (
	SideSource      Side = "source"
	SideDestination Side = "destination"
)

func (s Side) String() string {
	if s == SideSource {
		return "old server"
	}
	return "new server"
}

// Class is why a connection failed: a closed list.
type Class string

// The classes of connection errors.
const (
	ClassDNS         Class = "dns"         // the name does not resolve
	ClassUnreachable Class = "unreachable" // refused, no route
	ClassTimeout     Class = "timeout"     // no progress
	ClassTLS         Class = "tls"         // no TLS to be had
	ClassCertificate Class = "certificate" // not the one that was expected
	ClassAuth        Class = "auth"        // the log-in was refused
	ClassLimit       Class = "limit"       // too many connections
	ClassUnavailable Class = "unavailable" // the server asks to come back later
	ClassProtocol    Class = "protocol"    // the server says what it must not
	ClassCut         Class = "cut"         // the connection broke
)

// Error is why there is no connection, in one line for the operator.
type Error struct {
	Side    Side
	Account string
	Host    string
	Class   Class
	Text    string // what is wrong
	Advice  string // what to do about it; may be empty
	// Key and Value are what the configuration of this server lacks, where that
	// is one line.
	Key, Value string
	Err        error
	// LogIn is the answer that refused the log-in; nil: it has not come to that. It
	// is not in Err: who opens a mailbox and finds a *mail.Refused there takes it for
	// the answer to that.
	LogIn *mail.Refused

	lost bool // it is a mail.ErrLost
}

func (e *Error) Error() string {
	s := e.Side.String() + " " + e.Host + ": " + e.Text
	if e.Advice != "" {
		s += "; " + e.Advice
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Is tells that the end of a connection in use may be for what was asked.
func (e *Error) Is(target error) bool { return target == mail.ErrLost && e.lost }

// fail makes an *Error of what went wrong with a server.
func (s Server) fail(class Class, err error, text, advice string) *Error {
	return &Error{Side: s.Side, Account: s.Account, Host: s.Host, Class: class, Text: text, Advice: advice, Err: err}
}

// dialError says why no connection came about.
func (s Server) dialError(err error) *Error {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return s.fail(ClassDNS, err, "the name does not resolve ("+dns.Err+")", "check host in ["+string(s.Side)+"]")
	case errors.Is(err, syscall.ECONNREFUSED):
		return s.fail(ClassUnreachable, err, "nothing listens at "+s.address(), "check that the server runs, and port and tls in ["+string(s.Side)+"]")
	case isTimeout(err):
		return s.fail(ClassTimeout, err, "no answer from "+s.address(), "check host, port and the firewalls between")
	}
	return s.fail(ClassUnreachable, err, "cannot be reached: "+err.Error(), "")
}

// lost says why a connection ended, with the server's last words.
func (s Server) lost(err error, bye string) *Error {
	switch {
	case strings.Contains(strings.ToLower(bye), "bandwidth"):
		return s.fail(ClassLimit, err, "closed the connection: "+bye, "the volume of a day may be used up: set daily_bytes in ["+string(s.Side)+".limits]")
	case bye != "" && isLimit(bye):
		return s.fail(ClassLimit, err, "closed the connection: "+bye, "lower max_connections in ["+string(s.Side)+"]")
	case bye != "":
		return s.fail(ClassUnavailable, err, "closed the connection: "+bye, "")
	case isTimeout(err):
		return s.fail(ClassTimeout, err, "stopped answering", "")
	case errors.Is(err, errProtocol):
		return s.fail(ClassProtocol, err, err.Error(), "")
	case err != nil && strings.Contains(err.Error(), remoteAlert):
		return s.fail(ClassTLS, err, "ends TLS: "+brief(err), "it may want another client certificate than tls_cert_file in ["+string(s.Side)+"]")
	}
	return s.fail(ClassCut, err, "the connection broke ("+brief(err)+")", "")
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

// remoteAlert is how crypto/tls marks what the other side complains of; it has
// no type. With TLS 1.3 it comes after the handshake.
const remoteAlert = "remote error: tls: "

// isLimit tells whether the words of a server are about too many connections.
func isLimit(text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(text, "too many") || strings.Contains(text, "maximum number of connections") || strings.Contains(text, "limit") || strings.Contains(text, "throttled")
}

func brief(err error) string {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "end of stream"
	case errors.Is(err, syscall.ECONNRESET):
		return "reset"
	}
	return err.Error()
}

// errProtocol marks what a server must not say.
var errProtocol = errors.New("protocol error")
