package imapsim

import "github.com/imapsyncd/imapsyncd/daemon/simtest"

// quotaRoot tells of the one root that all mailboxes of a user have (RFC 9208
// §4.1.2), in units of 1024 octets.
func (c *session) quotaRoot(k *command) (string, error) {
	if _, err := c.mailbox(k); err != nil {
		return "", err
	}
	used := 0
	c.account.Look(func() { used = c.used() })
	c.send(`* QUOTAROOT INBOX "User"`)
	if most := c.quota(); most == 0 {
		c.send(`* QUOTA "User" ()`)
	} else {
		c.send(`* QUOTA "User" (STORAGE %d %d)`, (used+1023)/1024, most/1024)
	}
	return "OK done", k.end()
}

// SetQuota changes how many octets a user may store.
func (s *Server) SetQuota(octets int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Quota = octets
}

func (s *Server) quota() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Quota
}

// used is how many octets the user has stored; called inside Do or Look.
func (c *session) used() (octets int) {
	for _, b := range c.account.Boxes {
		for _, m := range b.Messages {
			octets += len(m.Data)
		}
	}
	return octets
}

// full tells whether there is no room for some messages.
func (c *session) full(messages []simtest.Message) bool {
	most := c.quota()
	octets := c.used()
	for _, m := range messages {
		octets += len(m.Data)
	}
	return most > 0 && octets > most
}
