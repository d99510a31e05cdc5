package remote

import (
	"context"
	"slices"
	"strings"

	"github.com/xdg-go/scram"
)

// shows is what a way to log in shows to the server.
type shows int

const (
	showsPassword shows = iota
	showsToken
	showsCertificate
)

// mechanism is one way to log in.
type mechanism struct {
	auth  string // as in [source] auth
	name  string // in messages
	shows shows
	// hides: who listens does not learn the password.
	hides bool
	// authzid: it can say in whose place somebody logs in.
	authzid bool
	offered func(*Conn) bool
	sasl    func(*Conn, credentials) *dialogue // nil: by
	by      func(context.Context, *Conn, credentials) (attempt, error)
}

// mechanisms are the ways to log in, in the order in which "auto" takes them.
//
// PLAIN comes first. Over TLS the certificate has been checked before anything
// is said, so it gives nothing away, and it works however a server keeps its
// passwords. A challenge and response needs passwords that are kept for it;
// where they are not, each log-in is a failed one, and servers count those
// until they lock an account or an address. In clear text, which has to be
// allowed, the ways that hide the password come first, in this order.
//
// XOAUTH2 comes before OAUTHBEARER because it is what mail programs use, and so
// what is known to work.
var mechanisms = []mechanism{
	{auth: "plain", name: "PLAIN", authzid: true, offered: sasl("PLAIN"), sasl: saslPlain},
	{auth: "login", name: "LOGIN", offered: func(c *Conn) bool { return !c.Has("LOGINDISABLED") }, by: logInCommand},
	{auth: "login", name: "AUTH=LOGIN", offered: sasl("LOGIN"), sasl: saslLogin},
	{auth: "scram-sha-256", name: "SCRAM-SHA-256", hides: true, authzid: true, offered: sasl("SCRAM-SHA-256"), sasl: saslSCRAM("SCRAM-SHA-256", scram.SHA256)},
	{auth: "scram-sha-1", name: "SCRAM-SHA-1", hides: true, authzid: true, offered: sasl("SCRAM-SHA-1"), sasl: saslSCRAM("SCRAM-SHA-1", scram.SHA1)},
	{auth: "cram-md5", name: "CRAM-MD5", hides: true, offered: sasl("CRAM-MD5"), sasl: saslCRAMMD5},
	{auth: "xoauth2", name: "XOAUTH2", shows: showsToken, offered: sasl("XOAUTH2"), sasl: saslXOAUTH2},
	{auth: "oauthbearer", name: "OAUTHBEARER", shows: showsToken, offered: sasl("OAUTHBEARER"), sasl: saslOAUTHBEARER},
	{auth: "external", name: "EXTERNAL", shows: showsCertificate, offered: sasl("EXTERNAL"), sasl: saslExternal},
}

// kerio is the log-in of Kerio's administrator, which the server does not
// announce.
var kerio = mechanism{name: "X-MASTERAUTH", hides: true, authzid: true, by: logInKerio}

func sasl(name string) func(*Conn) bool {
	return func(c *Conn) bool { return c.Has("AUTH=" + name) }
}

// mechanisms returns the ways to log in that are offered and fit what there is
// to show, the best first.
func (c *Conn) mechanisms() ([]mechanism, error) {
	s := &c.server
	if s.Admin.Style == AdminKerio {
		return []mechanism{kerio}, nil
	}
	auto := s.Auth == "" || s.Auth == "auto"
	_, authzid := s.names()
	var fit []mechanism
	for _, m := range mechanisms {
		if (auto || m.auth == s.Auth) && m.shows == s.shows() && (m.authzid || authzid == "") && m.offered(c) {
			fit = append(fit, m)
		}
	}
	if len(fit) == 0 {
		return nil, c.nothingFits(auto, authzid != "")
	}
	if c.isClear() {
		slices.SortStableFunc(fit, func(a, b mechanism) int { return -compareBool(a.hides, b.hides) })
	}
	if worked := c.server.LogIns.worked(c.server); worked != "" {
		slices.SortStableFunc(fit, func(a, b mechanism) int { return -compareBool(a.name == worked, b.name == worked) })
	}
	return fit, nil
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// isClear tells whether others may listen.
func (c *Conn) isClear() bool { return c.server.TLS == TLSNone && !isLoopback(c.server.Host) }

// nothingFits says what is offered instead.
func (c *Conn) nothingFits(auto, inPlaceOf bool) error {
	var offered []string
	for name := range c.caps {
		if way, ok := strings.CutPrefix(name, "AUTH="); ok {
			offered = append(offered, printable(way))
		}
	}
	slices.Sort(offered)
	if !c.Has("LOGINDISABLED") {
		offered = append(offered, "the command LOGIN")
	}
	list := "nothing"
	if len(offered) > 0 {
		list = strings.Join(offered, ", ")
	}
	text, advice := "offers no log-in that fits", ""
	switch section := "[" + string(c.server.Side) + "]"; {
	case !auto:
		text, advice = `does not offer auth = "`+c.server.Auth+`"`, `set auth = "auto" in `+section
	case inPlaceOf:
		advice = `admin_style = "authzid" needs PLAIN or SCRAM: set another admin_style in ` + section
	case c.server.shows() == showsToken:
		advice = "it does not take access tokens: set a password in " + section
	case c.server.shows() == showsCertificate:
		advice = "it does not take client certificates: set a password in " + section
	case c.server.TLS == TLSNone:
		advice = `it may offer one with tls = "implicit" or "starttls" only`
	}
	return c.server.fail(ClassAuth, nil, text+"; it offers "+list, advice)
}
