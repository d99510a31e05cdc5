package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// TLSMode is how a connection is protected.
type TLSMode string

// The ways to protect a connection.
const (
	TLSImplicit TLSMode = "implicit" // from the first octet (RFC 8314)
	TLSStartTLS TLSMode = "starttls" // after STARTTLS
	TLSNone     TLSMode = "none"     // not at all: loopback, or allowed
)

// Server is how to reach one IMAP server as one user.
type Server struct {
	Side           Side
	Account        string
	Host           string
	Port           int
	TLS            TLSMode
	AllowCleartext bool
	TLSServerName  string // the certificate's name; empty: Host
	TLSCAFile      string // PEM; empty: the system's roots
	TLSFingerprint string // SHA-256 of the certificate, hexadecimal; instead of a CA
	TLSMinVersion  string // "1.0" to "1.3"; empty: 1.2
	TLSLegacy      bool   // ciphers that are no longer safe are taken too
	TLSCertFile    string // our own certificate, PEM; empty: none
	TLSKeyFile     string // its key, PEM
	// AddOnly lets the destination see no command that changes or removes what is
	// there (I8): from the handover on.
	AddOnly bool
	Auth    string // auto, or a mechanism; empty: auto
	User    string // whose mailboxes
	Admin   Admin  // who logs in in his place
	// Password is that of the user or of the administrator. It is nil where
	// there are Tokens or, with neither, a certificate of our own.
	Password func(context.Context) (string, error)
	Tokens   Tokens
	LogIns   *LogIns // may be nil
	// Compress says when the connection is compressed; never without Compression.
	Compress    Compress
	Compression *Compression
}

// Admin logs in in the place of users.
type Admin struct {
	Style     AdminStyle
	User      string // Kerio has none
	Separator string // between user and administrator, for AdminMaster
}

// AdminStyle is how an administrator names the user whose mailbox it is.
type AdminStyle string

// The styles of administrators.
const (
	AdminAuthzid  AdminStyle = "authzid"  // as authorization identity of SASL (RFC 4616): Cyrus, Zimbra, Dovecot
	AdminMaster   AdminStyle = "master"   // user*admin: Dovecot's master users
	AdminExchange AdminStyle = "exchange" // domain\admin\mailbox
	AdminKerio    AdminStyle = "kerio"    // X-MASTERAUTH
)

// Tokens hands out access tokens (RFC 6750). An error that has a method
// Temporary() bool may be one that goes away by itself.
type Tokens interface {
	// Token returns a token that is good for a while.
	Token(ctx context.Context) (string, error)
	// Refused says that a server does not take a token, which is not handed out
	// any more. It tells whether another may do: the token was not new.
	Refused(token string) bool
}

// shows is what there is to be shown to the server.
func (s Server) shows() shows {
	switch {
	case s.Tokens != nil:
		return showsToken
	case s.Password != nil:
		return showsPassword
	}
	return showsCertificate
}

// names returns who authenticates and, where that is somebody else, in whose
// place (RFC 4422 §2).
func (s Server) names() (authcid, authzid string) {
	switch s.Admin.Style {
	case AdminAuthzid, AdminKerio:
		return s.Admin.User, s.User
	case AdminMaster:
		return s.User + s.Admin.Separator + s.Admin.User, ""
	case AdminExchange:
		return s.Admin.User + `\` + s.User, ""
	}
	return s.User, ""
}

func (s Server) address() string { return net.JoinHostPort(s.Host, strconv.Itoa(s.Port)) }

// Dial returns a logged-in connection: TLS, greeting, log-in, ID, ENABLE,
// COMPRESS. Its errors are of type *Error, but for those of its context and of
// [Options] Admit.
func Dial(ctx context.Context, server Server, options Options) (*Conn, error) {
	if server.TLS == TLSNone && !server.AllowCleartext && !isLoopback(server.Host) {
		return nil, server.fail(ClassTLS, nil, "would be talked to in clear text", `set tls = "implicit" or "starttls", or allow_cleartext = true`)
	}
	dial := options.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	c := newConn(server, options, nil)
	dialing, cancel := context.WithTimeout(ctx, c.options.Timeout)
	defer cancel()
	transport, err := dial(dialing, "tcp", server.address())
	if err != nil {
		return nil, server.dialError(err)
	}
	// The whole log-in is bounded too: no server may draw it out for ever.
	defer context.AfterFunc(dialing, func() { transport.Close() })()
	c.use(transport)
	if err := c.logIn(dialing); err != nil {
		c.Close()
		var known *Error
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.As(err, new(notAdmitted)): // which is nothing that the server did
			return nil, err
		case dialing.Err() != nil: // whatever that has broken
			return nil, server.lost(dialing.Err(), "")
		case errors.As(err, &known):
			return nil, known
		}
		return nil, server.fail(ClassProtocol, err, err.Error(), "")
	}
	c.inUse = true
	return c, nil
}

// notAdmitted is why a log-in was not to be tried.
type notAdmitted struct{ error }

func (e notAdmitted) Unwrap() error { return e.error }

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func (c *Conn) logIn(ctx context.Context) error {
	if c.server.TLS == TLSImplicit {
		if err := c.startTLS(ctx); err != nil {
			return err
		}
	}
	if err := c.greeting(ctx); err != nil {
		return err
	}
	if c.server.TLS == TLSStartTLS {
		if err := c.upgrade(ctx); err != nil {
			return err
		}
	}
	if err := c.capabilities(ctx); err != nil {
		return err
	}
	if admit := c.options.Admit; admit != nil {
		if err := admit(ctx); err != nil {
			return notAdmitted{err}
		}
	}
	if err := c.authenticate(ctx); err != nil {
		return err
	}
	if err := c.capabilities(ctx); err != nil {
		return err
	}
	if err := c.introduce(ctx); err != nil {
		return err
	}
	return c.compress(ctx)
}

// greeting reads the server's first words. A PREAUTH is refused, because it
// would be somebody else's log-in, and before TLS an attack (RFC 8314 §6).
func (c *Conn) greeting(ctx context.Context) error {
	r, err := c.Next(ctx)
	if err != nil {
		var e *Error
		if errors.As(err, &e) && e.Class == ClassCut {
			return c.server.fail(ClassLimit, err, "closed the connection without a word", "it may allow fewer connections from one address: lower max_connections in ["+string(c.server.Side)+"]")
		}
		return err
	}
	switch {
	case r.Tag != "*":
	case r.Type == "OK":
		c.greeted = r.Text
		c.tells(r)
		return nil
	case r.Type == "BYE":
		return c.server.lost(errProtocol, printable(strings.TrimSpace(r.Text)))
	case r.Type == "PREAUTH":
		return c.server.fail(ClassProtocol, nil, "greets with PREAUTH, as if somebody had logged in already", "this is refused")
	}
	return c.server.fail(ClassProtocol, nil, "does not speak IMAP", "check port and tls in ["+string(c.server.Side)+"]")
}

// upgrade is STARTTLS. Octets that came together with its OK were not
// protected, and are somebody's who wants them taken for protected.
func (c *Conn) upgrade(ctx context.Context) error {
	replies, err := c.Raw(ctx, "STARTTLS")
	if err != nil {
		return err
	}
	if answer := replies[0].Tagged; answer.Type != "OK" {
		return c.server.fail(ClassTLS, refusal("STARTTLS", answer), "offers no STARTTLS", `set tls = "implicit" (port 993) in [`+string(c.server.Side)+"]; the password is not sent in clear text")
	}
	if c.in.Buffered() > 0 {
		return c.server.fail(ClassProtocol, nil, "sent more than the answer to STARTTLS: somebody may be injecting commands", "")
	}
	return c.startTLS(ctx)
}

func (c *Conn) startTLS(ctx context.Context) error {
	config, seen, err := c.server.tlsConfig()
	if err != nil {
		return err
	}
	secured := tls.Client(c.transport, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return c.server.tlsError(err, *seen)
	}
	c.security = securityOf(secured.ConnectionState())
	c.use(secured)
	return nil
}

// tells takes the capabilities that a server tells unasked, with its greeting and with
// the OK to the log-in (RFC 3501 §7.1).
func (c *Conn) tells(r Response) {
	if r.Code == "CAPABILITY" {
		c.offers(r.Args)
	}
}

func (c *Conn) offers(list []Value) {
	names := texts(list)
	for i, name := range names {
		names[i] = strings.ToUpper(name)
	}
	c.caps = c.server.LogIns.offer(names)
}

// capabilities asks for them where the server has not told: what was offered before
// TLS or before the log-in does not count after it.
func (c *Conn) capabilities(ctx context.Context) error {
	if c.caps == nil {
		replies, err := c.timed(ctx, "CAPABILITY")
		if err != nil {
			return err
		}
		var list []Value
		for _, r := range replies[0].Untagged {
			if r.Type == "CAPABILITY" {
				list = append(list, r.Data...)
			}
		}
		c.offers(list)
	}
	if !c.caps["IMAP4REV1"] && !c.caps["IMAP4REV2"] {
		return c.server.fail(ClassProtocol, nil, "does not speak IMAP4rev1", "")
	}
	return nil
}

// timed is Raw for commands that take a server no time: how long the answer takes is
// how far it is away.
func (c *Conn) timed(ctx context.Context, commands ...string) ([]Reply, error) {
	asked := time.Now()
	replies, err := c.Raw(ctx, commands...)
	if took := time.Since(asked); c.away == 0 || took < c.away {
		c.away = took
	}
	return replies, err
}

// introduce tells who we are (RFC 2971), hears who it is, and asks for
// HIGHESTMODSEQ (RFC 7162). A server that refuses either is taken as it is. Who the old
// server is has to be known before anything else is asked (I10); the new one is heard
// together with the answer to the first command.
func (c *Conn) introduce(ctx context.Context) error {
	var lines []string
	if c.Has("ID") {
		lines = append(lines, `ID ("name" "imapsyncd")`)
	}
	if c.Has("CONDSTORE") && c.Has("ENABLE") {
		lines = append(lines, "ENABLE CONDSTORE")
	}
	measures := c.server.Compress == CompressAuto && c.mayCompress()
	if len(lines) == 0 && measures && c.away == 0 {
		lines = append(lines, "NOOP")
	}
	if len(lines) == 0 {
		return nil
	}
	if c.server.Side == SideDestination && !measures {
		tags, err := c.ask(ctx, lines...)
		c.earlier = tags
		return err
	}
	replies, err := c.timed(ctx, lines...)
	for _, reply := range replies {
		for _, r := range reply.Untagged {
			c.identify(r)
		}
	}
	return err
}

// identify takes the answer to ID.
func (c *Conn) identify(r Response) {
	if r.Type == "ID" && len(r.Data) > 0 {
		c.id = printable(strings.Join(texts(r.Data[0].List), " "))
	}
}

// hears takes what answers earlier commands, while that is due: what a server says of
// itself unasked, before TLS perhaps, is nothing.
func (c *Conn) hears(r Response) {
	if len(c.earlier) == 0 {
		return
	}
	c.identify(r)
	if i := slices.Index(c.earlier, r.Tag); i >= 0 {
		c.earlier = slices.Delete(c.earlier, i, i+1)
		c.due(-1)
	}
}
