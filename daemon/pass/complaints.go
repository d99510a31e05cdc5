package pass

import "sync"

// Complaints remembers what the operator was told of mailboxes, so that what
// lasts is told once. It may outlive a Pass; lanes use it side by side.
type Complaints struct {
	mu sync.Mutex
	of map[complaint]string // in which words
}

// complaint is what is told, and of which mailbox.
type complaint struct{ what, mailbox string }

// The complaints.
const (
	flagsUnknown   = "flags cannot be compared"
	keywordRefused = "the new server refuses a keyword: what bears it is copied without"
)

// isNew notes what is wrong with a mailbox, and tells whether it was not so
// before.
func (c *Complaints) isNew(what, mailbox, words string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := complaint{what, mailbox}
	if before, told := c.of[key]; told && before == words {
		return false
	}
	if c.of == nil {
		c.of = make(map[complaint]string)
	}
	c.of[key] = words
	return true
}

// over notes that it is not so any more.
func (c *Complaints) over(what, mailbox string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.of, complaint{what, mailbox})
}
