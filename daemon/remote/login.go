package remote

import (
	"context"
	"encoding/base64"
	"strconv"
	"strings"
)

// logInBy sends a log-in and returns the tagged answer.
type logInBy func(ctx context.Context, c *Conn, password string) (Response, error)

// mechanisms are the ways to log in, the best first.
var mechanisms = []struct {
	name    string // as in [source] auth
	offered func(*Conn) bool
	by      logInBy
}{
	{"plain", func(c *Conn) bool { return c.Has("AUTH=PLAIN") }, logInPlain},
	{"login", func(c *Conn) bool { return !c.Has("LOGINDISABLED") }, logInCommand},
}

// mechanism chooses how to log in.
func (c *Conn) mechanism() (logInBy, error) {
	wanted := c.server.Auth
	for _, m := range mechanisms {
		if wanted != "" && wanted != "auto" && wanted != m.name {
			continue
		}
		if m.offered(c) {
			return m.by, nil
		}
		if wanted == m.name {
			return nil, c.server.fail(ClassAuth, nil, "does not offer auth = \""+wanted+"\"", `set auth = "auto" in [`+string(c.server.Side)+"]")
		}
	}
	advice := ""
	if c.server.TLS == TLSNone {
		advice = `it may offer a log-in with tls = "implicit" or "starttls" only`
	}
	return nil, c.server.fail(ClassAuth, nil, "offers no log-in that imapsyncd knows", advice)
}

// logInPlain is AUTHENTICATE PLAIN (RFC 4616), with the initial response where
// the server takes it (RFC 4959).
func logInPlain(ctx context.Context, c *Conn, password string) (Response, error) {
	response := base64.StdEncoding.EncodeToString([]byte("\x00" + c.server.User + "\x00" + password))
	if c.Has("SASL-IR") {
		return c.converse(ctx, "AUTHENTICATE PLAIN "+response)
	}
	return c.converse(ctx, "AUTHENTICATE PLAIN", response)
}

// logInCommand is LOGIN (RFC 3501 §6.2.3). What no quoted string can hold goes
// as a literal.
func logInCommand(ctx context.Context, c *Conn, password string) (Response, error) {
	parts := []string{"LOGIN "}
	for i, s := range []string{c.server.User, password} {
		if i > 0 {
			parts[len(parts)-1] += " "
		}
		if isQuotable(s) {
			parts[len(parts)-1] += `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
		} else {
			parts[len(parts)-1] += "{" + strconv.Itoa(len(s)) + "}"
			parts = append(parts, s)
		}
	}
	return c.converse(ctx, parts[0], parts[1:]...)
}

func isQuotable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// converse sends a command and, each after a "+", what follows it. Its lines
// are never traced. A server that asks for more than there is gets "*", which
// ends AUTHENTICATE (RFC 3501 §6.2.2).
func (c *Conn) converse(ctx context.Context, command string, then ...string) (Response, error) {
	tag := c.nextTag()
	// What follows are no commands: it goes past the allow-list, which has seen
	// the verb.
	if err := allowed(c.server.Side, tag+" "+command); err != nil {
		return Response{}, err
	}
	line := tag + " " + command
	for {
		if _, err := c.buffered.WriteString(line + "\r\n"); err != nil {
			return Response{}, c.ended(err)
		}
		if err := c.Flush(ctx); err != nil {
			return Response{}, err
		}
		for asked := false; !asked; {
			r, err := c.Next(ctx)
			if err != nil {
				return Response{}, err
			}
			switch r.Tag {
			case tag:
				return r, nil
			case "+":
				asked = true
			}
		}
		line = "*"
		if len(then) > 0 {
			line, then = then[0], then[1:]
		}
	}
}
