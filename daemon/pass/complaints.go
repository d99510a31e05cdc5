package pass

// Complaints remembers what the operator was told of mailboxes, so that what
// lasts is told once. It may outlive a Pass.
type Complaints struct{ of map[string]string } // by display name

// isNew notes what is wrong with a mailbox, and tells whether it was not so
// before.
func (c *Complaints) isNew(mailbox, words string) bool {
	if c.of[mailbox] == words {
		return false
	}
	if c.of == nil {
		c.of = make(map[string]string)
	}
	c.of[mailbox] = words
	return true
}

// over notes that nothing is wrong any more.
func (c *Complaints) over(mailbox string) { delete(c.of, mailbox) }
