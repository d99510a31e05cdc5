package imapsim

import (
	"bufio"
	"cmp"
	"encoding/base64"
	"strings"
)

// capabilities are those of the moment: before the log-in only what is of use
// then.
func (c *session) capabilities() string {
	list := []string{"IMAP4rev1"}
	for _, name := range c.Capabilities {
		early := strings.HasPrefix(name, "AUTH=") || strings.HasPrefix(name, "LITERAL") || name == "SASL-IR" || name == "ID"
		if c.account != nil || early {
			list = append(list, name)
		}
	}
	if c.StartTLS && !c.encrypted {
		list = append(list, "STARTTLS")
	}
	return strings.Join(list, " ")
}

func (c *session) capability(k *command) (string, error) {
	if err := k.end(); err != nil {
		return "", err
	}
	c.send("* CAPABILITY %s", c.capabilities())
	return "OK done", nil
}

func (c *session) logout(*command) (string, error) {
	c.send("* BYE see you")
	return "OK done", errLogout
}

// startTLS forgets what has come unprotected.
func (c *session) startTLS(k *command) (string, error) {
	if c.TLS == nil || !c.StartTLS || c.encrypted {
		return "BAD not offered", nil
	}
	c.send("%s OK begin", k.tag)
	if err := c.secure(); err != nil {
		return "", err
	}
	c.in = bufio.NewReader(c.conn)
	return "", nil
}

func (c *session) login(k *command) (string, error) {
	user, err := k.word()
	if err != nil {
		return "", err
	}
	password, err := k.word()
	if err != nil {
		return "", err
	}
	return c.admit(user, password), k.end()
}

// authenticate is AUTHENTICATE PLAIN (RFC 4616), with an initial response if
// the client has sent one (RFC 4959).
func (c *session) authenticate(k *command) (string, error) {
	mechanism, err := k.word()
	if err != nil {
		return "", err
	}
	if !strings.EqualFold(mechanism, "PLAIN") {
		return "NO not offered", nil
	}
	var response string
	if len(k.rest) > 0 && !c.has("SASL-IR") {
		return "", errSyntax("an initial response that is not offered")
	}
	if len(k.rest) > 0 {
		response, _ = k.word()
	} else {
		c.send("+ ")
		if response, err = c.line(); err != nil {
			return "", err
		}
	}
	text, err := base64.StdEncoding.DecodeString(response)
	parts := strings.Split(string(text), "\x00")
	if err != nil || len(parts) != 3 || parts[0] != "" {
		return "", errSyntax("no PLAIN response")
	}
	return c.admit(parts[1], parts[2]), nil
}

func (c *session) admit(user, password string) string {
	account := c.Users[user]
	if account == nil || password != c.Password {
		return "NO [AUTHENTICATIONFAILED] who are you?"
	}
	if !c.enter(user, c.MostOfUser) {
		return "NO [LIMIT] Maximum number of connections from user+IP exceeded"
	}
	c.user, c.account = user, account
	return "OK [CAPABILITY " + c.capabilities() + "] welcome"
}

func (c *session) id(k *command) (string, error) {
	if _, err := k.next(); err != nil {
		return "", err
	}
	c.send(`* ID ("name" %s)`, quote(cmp.Or(c.Options.Name, "imapsim")))
	return "OK done", k.end()
}

// enable knows CONDSTORE only (RFC 5161, RFC 7162 §3.1).
func (c *session) enable(k *command) (string, error) {
	enabled := ""
	for _, name := range words(k.rest) {
		if strings.EqualFold(name, "CONDSTORE") && c.has("CONDSTORE") {
			c.aware, enabled = true, " CONDSTORE"
		}
	}
	c.send("* ENABLED%s", enabled)
	return "OK done", nil
}
