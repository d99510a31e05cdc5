package remote

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// attempt is what a server made of one log-in.
type attempt struct {
	answer Response
	// judged: what was shown to the server when it answered depends on the
	// secret.
	judged    bool
	complaint string // what it said of an access token
}

// authenticate logs in with the mechanism that is configured, or the best that
// is offered. Only where the server cannot have judged the secret, because it
// does not do what it offers or refuses before it has seen anything, another
// mechanism is tried, once: a wrong password is never shown twice.
func (c *Conn) authenticate(ctx context.Context) error {
	ways, err := c.mechanisms()
	if err != nil {
		return err
	}
	who, err := c.credentials(ctx)
	if err != nil {
		return err
	}
	leave, err := c.server.LogIns.enter(ctx, c.server, who)
	if err != nil {
		return err
	}
	err = c.logInBy(ctx, ways, who)
	leave(err)
	return err
}

// logInBy tries the first mechanism, and another when authenticate says so.
func (c *Conn) logInBy(ctx context.Context, ways []mechanism, who credentials) error {
	m, again := ways[0], true
	for {
		a, err := c.try(ctx, m, who)
		if err != nil {
			return err
		}
		if a.answer.Type == "OK" {
			if m.name != ways[0].name {
				c.server.LogIns.remember(c.server, m.name)
			}
			c.caps = nil // what was offered to a stranger
			c.tells(a.answer)
			return nil
		}
		refused := c.refused(m, a)
		if !again || refused.Class != ClassAuth {
			return refused
		}
		again = false
		switch {
		case !a.judged && len(ways) > 1:
			m = other(ways)
			c.options.Logger.Info("log-in by another mechanism", "side", string(c.server.Side), "user", c.server.User,
				"refused", ways[0].name, "answer", refused.LogIn.Error(), "now", m.name)
		case m.shows == showsToken && c.server.Tokens.Refused(who.secret):
			// It was good once; there may be a newer one.
			if who, err = c.credentials(ctx); err != nil {
				return err
			}
		default:
			return refused
		}
	}
}

// other returns what to try after the first way: one that differs in what it
// needs of how the server keeps the password, if there is one.
func other(ways []mechanism) mechanism {
	for _, m := range ways[1:] {
		if m.hides != ways[0].hides {
			return m
		}
	}
	return ways[1]
}

// credentials reads who logs in and by what.
func (c *Conn) credentials(ctx context.Context) (credentials, error) {
	var who credentials
	var err error
	who.authcid, who.authzid = c.server.names()
	switch c.server.shows() {
	case showsPassword:
		if who.secret, err = c.server.Password(ctx); err != nil {
			return who, c.server.fail(ClassAuth, err, "the password cannot be read: "+printable(err.Error()), "")
		}
	case showsToken:
		if who.secret, err = c.server.Tokens.Token(ctx); err != nil {
			return who, c.server.tokenError(err)
		}
	}
	c.hide(who.secret)
	return who, nil
}

// tokenError says why there is no access token.
func (s Server) tokenError(err error) *Error {
	text := "no access token: " + printable(err.Error())
	var later interface{ Temporary() bool }
	if errors.As(err, &later) && later.Temporary() {
		return s.fail(ClassUnavailable, err, text, "")
	}
	return s.fail(ClassAuth, err, text, "check the OAuth2 keys in ["+string(s.Side)+"]")
}

// try logs in by one mechanism.
func (c *Conn) try(ctx context.Context, m mechanism, who credentials) (attempt, error) {
	if m.sasl == nil {
		return m.by(ctx, c, who)
	}
	d := m.sasl(c, who)
	taken := 0
	step := func(challenge string) (string, error) {
		if taken == len(d.steps) {
			return "", fmt.Errorf("%w: %s asks for more than there is to say", errProtocol, d.mechanism)
		}
		taken++
		response, err := d.steps[taken-1](challenge)
		line := base64.StdEncoding.EncodeToString([]byte(response))
		c.hide(line)
		return line, err
	}
	command := "AUTHENTICATE " + d.mechanism
	var kept *string // what we say first, to be sent after the first "+"
	if d.firstIsOurs {
		first, err := step("")
		if err != nil {
			return attempt{}, err
		}
		if c.Has("SASL-IR") && len(command)+len(first) <= initialMost {
			command += " " + cmp.Or(first, "=")
		} else {
			kept = &first
		}
	}
	answer, err := c.converse(ctx, command, func(challenge string) (string, error) {
		if kept != nil {
			line := *kept
			kept = nil
			return line, nil
		}
		return step(challenge)
	})
	if kept != nil {
		taken = 0
	}
	if errors.Is(err, errRefusedAlready) {
		answer, err = Response{Type: "NO", Text: d.complaint}, nil
	}
	switch {
	case errors.Is(err, errUnproven):
		return attempt{}, c.server.fail(ClassAuth, err, "answers "+d.mechanism+" wrongly: "+err.Error(), "")
	case err != nil:
		return attempt{}, err
	case answer.Type == "OK" && taken < d.needed && d.complaint != "":
		return attempt{}, c.server.fail(ClassProtocol, nil, "says OK to a log-in that it has refused: "+c.masked(d.complaint), "")
	case answer.Type == "OK" && taken < d.needed && d.mutual:
		return attempt{}, c.server.fail(ClassAuth, errUnproven, "says OK in the middle of "+d.mechanism+": "+errUnproven.Error(), "")
	case answer.Type == "OK" && taken < d.needed:
		return attempt{}, c.server.fail(ClassProtocol, nil, "says OK in the middle of the log-in", "")
	}
	return attempt{answer: answer, judged: answer.Type == "NO" && taken > d.proof, complaint: d.complaint}, nil
}

// initialMost is how long a line with an initial response may be, in octets
// (RFC 2683 §3.2.1.5 with room for the tag). A longer one waits for the "+",
// where servers take more.
const initialMost = 7500

// logInCommand is LOGIN (RFC 3501 §6.2.3). What no quoted string can hold goes
// as a literal.
func logInCommand(ctx context.Context, c *Conn, who credentials) (attempt, error) {
	parts := []string{"LOGIN "}
	for i, s := range []string{who.authcid, who.secret} {
		if i > 0 {
			parts[len(parts)-1] += " "
		}
		if isQuotable(s) {
			parts[len(parts)-1] += quoted(s)
		} else {
			parts[len(parts)-1] += "{" + strconv.Itoa(len(s)) + "}"
			parts = append(parts, s)
		}
	}
	rest := parts[1:]
	answer, err := c.converse(ctx, parts[0], func(string) (string, error) {
		if len(rest) == 0 {
			return "", fmt.Errorf("%w: LOGIN asks for more than there is to say", errProtocol)
		}
		part := rest[0]
		rest = rest[1:]
		return part, nil
	})
	if err == nil && answer.Type == "OK" && len(rest) > 0 {
		err = c.server.fail(ClassProtocol, nil, "says OK in the middle of the log-in", "")
	}
	return attempt{answer: answer, judged: answer.Type == "NO" && len(rest) == 0}, err
}

func isQuotable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// logInKerio is X-MASTERAUTH and X-SETUSER: the server's administrator, by the
// digest of a challenge and the master password, becomes the user.
func logInKerio(ctx context.Context, c *Conn, who credentials) (attempt, error) {
	if !isQuotable(who.authzid) {
		return attempt{}, c.server.fail(ClassAuth, nil, fmt.Sprintf("user %q cannot be named to Kerio", who.authzid), "write it in ASCII")
	}
	shown := false
	answer, err := c.converse(ctx, "X-MASTERAUTH", func(challenge string) (string, error) {
		if shown {
			return "", fmt.Errorf("%w: X-MASTERAUTH asks twice", errProtocol)
		}
		shown = true
		sum := md5.Sum([]byte(challenge + who.secret))
		return hex.EncodeToString(sum[:]), nil
	})
	switch {
	case err != nil:
		return attempt{}, err
	case answer.Type == "OK" && !shown:
		return attempt{}, c.server.fail(ClassProtocol, nil, "says OK in the middle of the log-in", "")
	case answer.Type != "OK":
		return attempt{answer: answer, judged: shown}, nil
	}
	replies, err := c.Raw(ctx, "X-SETUSER "+quoted(who.authzid))
	if err != nil {
		return attempt{}, err
	}
	return attempt{answer: replies[0].Tagged, judged: true}, nil
}

// refused says why a log-in was refused, and what to do about it.
func (c *Conn) refused(m mechanism, a attempt) *Error {
	s := &c.server
	code := a.answer.Code
	a.answer.Code, a.answer.Text = c.masked(code), c.masked(a.answer.Text)
	refused := refusal("log-in", a.answer)
	fail := func(class Class, text, advice string) *Error {
		e := s.fail(class, nil, text, advice)
		e.LogIn = refused
		return e
	}
	as := s.User
	if s.Admin.Style != "" {
		as = strings.TrimSpace(s.Admin.User + " for " + s.User)
	}
	text := fmt.Sprintf("log-in as %s refused: %s", as, strings.TrimSpace(refused.Code+" "+refused.Text))
	if a.complaint != "" {
		text += " (" + c.masked(a.complaint) + ")"
	}
	section := "[" + string(s.Side) + "]"
	switch {
	case code == "LIMIT" || code == "INUSE" || code != "AUTHENTICATIONFAILED" && isLimit(refused.Text):
		return fail(ClassLimit, text, "lower max_connections_per_account in "+section)
	case code == "UNAVAILABLE" || code == "SERVERBUG":
		return fail(ClassUnavailable, text, "")
	}
	advice := "check user and password of the account"
	switch {
	case code == "PRIVACYREQUIRED":
		advice = `set tls = "implicit" or "starttls" in ` + section
	case code == "EXPIRED":
		advice = "the password has expired: set a new one"
	case s.Admin.Style != "":
		advice = "check admin_user and its password in " + section + ", that the user is there, and that the administrator may log in in his place"
	case m.shows == showsToken:
		advice = "the token server gave a token, but this server does not take it: check user, scopes, and that the application may use IMAP for this mailbox"
	case m.shows == showsCertificate:
		advice = "check that the server takes tls_cert_file for this user"
	case m.hides:
		advice += `; if they are right, the server may keep the password in a form that ` + m.name + ` cannot be used with: try auth = "plain" or "login" in ` + section
	case c.Has("AUTH=XOAUTH2") || c.Has("AUTH=OAUTHBEARER"):
		advice += "; the server offers OAuth2 and may take nothing else"
	}
	return fail(ClassAuth, text, advice)
}
