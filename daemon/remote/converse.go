package remote

import (
	"context"
	"slices"
	"strings"
)

// converse sends a command and, after each "+", the line that next makes of
// what stands there. Its lines are never traced. When next fails, "*" ends the
// command (RFC 3501 §6.2.2).
func (c *Conn) converse(ctx context.Context, command string, next func(challenge string) (string, error)) (Response, error) {
	tag := c.nextTag()
	// What follows are no commands: it goes past the allow-list, which has seen
	// the verb.
	if err := allowed(c.server.Side, tag+" "+command); err != nil {
		return Response{}, err
	}
	line := tag + " " + command
	var failed error
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
				return r, failed
			case "+":
				if failed != nil {
					return Response{}, failed // it goes on all the same
				}
				asked = true
				line, failed = next(strings.TrimSpace(r.Text))
			}
		}
		if failed != nil {
			line = "*"
		}
	}
}

// hideLeast is how long a secret has to be to be hidden: one that is shorter
// would make holes into every sentence.
const hideLeast = 4

// hide keeps a secret out of what is told of the server's words, in case it
// says it back.
func (c *Conn) hide(secret string) {
	if len(secret) >= hideLeast && !slices.Contains(c.hidden, secret) {
		c.hidden = append(c.hidden, secret, strings.ToUpper(secret)) // as in a response code
	}
}

// masked returns a text without what is hidden.
func (c *Conn) masked(text string) string {
	for _, secret := range c.hidden {
		text = strings.ReplaceAll(text, secret, "***")
	}
	return text
}
