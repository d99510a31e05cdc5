package demo

import (
	"context"
	"crypto/sha256"
	"fmt"
	netmail "net/mail"
	"slices"
	"strings"
	"time"
)

// Kind is in what a message or a mailbox differs.
type Kind string

// The kinds of differences.
const (
	KindMailbox Kind = "mailbox" // the mailbox is not on the new server
	KindMissing Kind = "missing" // the message is not on the new server
	KindSurplus Kind = "surplus" // the message is on the new server only
	KindDate    Kind = "date"    // another INTERNALDATE
	KindFlags   Kind = "flags"   // other flags or keywords
)

// Difference is one thing that is not the same on both servers.
type Difference struct {
	Account string
	Mailbox string // as people read it, on the old server where it is there
	Kind    Kind
	// Message names the message by its Message-ID, else by its SHA-256; empty
	// for a mailbox.
	Message string
}

func (d Difference) String() string {
	s := fmt.Sprintf("%s: %s: %s", d.Account, d.Mailbox, d.Kind)
	if d.Message != "" {
		s += " " + d.Message
	}
	return s
}

// Compare reads every message of both servers and returns what differs in
// content (SHA-256), INTERNALDATE, flags or number.
func (w *World) Compare(ctx context.Context) ([]Difference, error) {
	var differences []Difference
	for _, a := range w.accounts {
		old, err := look(ctx, w.old, a.old)
		if err != nil {
			return nil, fmt.Errorf("look at %s on the old server: %w", a.name, err)
		}
		new, err := look(ctx, w.new, a.new)
		if err != nil {
			return nil, fmt.Errorf("look at %s on the new server: %w", a.name, err)
		}
		for _, d := range compareAccount(old, new) {
			d.Account = a.name
			differences = append(differences, d)
		}
	}
	return differences, nil
}

// content is a mailbox with its messages.
type content struct {
	name     string // as on the wire
	role     string // SPECIAL-USE, empty: none
	messages []copied
}

// copied is what of a message must be the same on both servers.
type copied struct {
	hash  [sha256.Size]byte
	date  int64  // INTERNALDATE, seconds since 1970
	flags string // in lower case, sorted, separated by blanks
	id    string
}

// look reads all mailboxes of a user.
func look(ctx context.Context, s *server, u *user) ([]content, error) {
	r, err := dial(ctx, s, u)
	if err != nil {
		return nil, err
	}
	defer r.close()
	var mailboxes []content
	err = r.command(`LIST "" "*"`, func(response []any) error {
		if len(response) != 4 || response[0] != "LIST" {
			return nil
		}
		name, _ := response[3].(string)
		m := content{name: name}
		for _, attr := range list(response[1]) {
			if slices.Contains([]string{`\Sent`, `\Drafts`, `\Trash`, `\Junk`}, attr) {
				m.role = attr
			}
		}
		mailboxes = append(mailboxes, m)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i := range mailboxes {
		m := &mailboxes[i]
		if err := r.command("EXAMINE "+quoted(m.name), nil); err != nil {
			return nil, err
		}
		err := r.command("UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])", func(response []any) error {
			c, ok, err := parseFetch(response)
			if ok {
				m.messages = append(m.messages, c)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", readable(m.name), err)
		}
	}
	return mailboxes, nil
}

// list returns the strings of a list.
func list(v any) []string {
	var all []string
	values, _ := v.([]any)
	for _, v := range values {
		if s, ok := v.(string); ok {
			all = append(all, s)
		}
	}
	return all
}

// parseFetch reads a FETCH response; ok is false for any other, and for one
// that only tells of new flags.
func parseFetch(response []any) (c copied, ok bool, err error) {
	if len(response) != 3 || response[1] != "FETCH" {
		return c, false, nil
	}
	items, _ := response[2].([]any)
	for i := 0; i+1 < len(items); i += 2 {
		text, _ := items[i+1].(string)
		switch items[i] {
		case "FLAGS":
			flags := list(items[i+1])
			for i, f := range flags {
				flags[i] = strings.ToLower(f)
			}
			slices.Sort(flags)
			c.flags = strings.Join(flags, " ")
		case "INTERNALDATE":
			t, err := time.Parse("_2-Jan-2006 15:04:05 -0700", text)
			if err != nil {
				return c, false, fmt.Errorf("read INTERNALDATE: %w", err)
			}
			c.date = t.Unix()
		case "BODY[]":
			ok = true
			c.hash = sha256.Sum256([]byte(text))
			c.id = fmt.Sprintf("sha256 %x", c.hash)
			if m, err := netmail.ReadMessage(strings.NewReader(text)); err == nil && m.Header.Get("Message-ID") != "" {
				c.id = m.Header.Get("Message-ID")
			}
		}
	}
	return c, ok, nil
}

// compareAccount compares all mailboxes of one account. A mailbox with a role
// belongs to the one with that role on the other server, others by name.
func compareAccount(old, new []content) []Difference {
	var differences []Difference
	seen := map[string]bool{} // mailboxes of the new server
	for _, o := range old {
		i := -1
		if o.role != "" {
			i = slices.IndexFunc(new, func(n content) bool { return n.role == o.role })
		}
		if i < 0 {
			i = slices.IndexFunc(new, func(n content) bool { return n.name == o.name })
		}
		var n content
		if i < 0 {
			differences = append(differences, Difference{Mailbox: readable(o.name), Kind: KindMailbox})
		} else {
			n = new[i]
			seen[n.name] = true
		}
		differences = append(differences, compareMailbox(readable(o.name), o.messages, n.messages)...)
	}
	for _, n := range new {
		if !seen[n.name] {
			differences = append(differences, compareMailbox(readable(n.name), nil, n.messages)...)
		}
	}
	return differences
}

// compareMailbox matches the messages of a mailbox one to one: first those
// that are the same, then those with the same content.
func compareMailbox(name string, old, new []copied) []Difference {
	left := map[copied]int{} // of the new server, not matched yet
	for _, n := range new {
		left[n]++
	}
	var unmatched []copied
	for _, o := range old {
		if left[o] > 0 {
			left[o]--
		} else {
			unmatched = append(unmatched, o)
		}
	}
	var rest []copied // of the new server, in its order
	for _, n := range slices.Backward(new) {
		if left[n] > 0 {
			left[n]--
			rest = append(rest, n)
		}
	}
	slices.Reverse(rest)

	var differences []Difference
	add := func(kind Kind, c copied) {
		differences = append(differences, Difference{Mailbox: name, Kind: kind, Message: c.id})
	}
	for _, o := range unmatched {
		i := slices.IndexFunc(rest, func(n copied) bool { return n.hash == o.hash })
		if i < 0 {
			add(KindMissing, o)
			continue
		}
		if rest[i].date != o.date {
			add(KindDate, o)
		}
		if rest[i].flags != o.flags {
			add(KindFlags, o)
		}
		rest = slices.Delete(rest, i, i+1)
	}
	for _, n := range rest {
		add(KindSurplus, n)
	}
	return differences
}
