package bench

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
)

// ceiling is the least that can be done to fill one server from another: it
// remembers nothing, checks nothing and believes every answer. One connection
// to either side works on one mailbox at a time; what it reads it sends on at
// once, in UID order, many messages in one APPEND, without waiting for any
// answer but the log-in's and the list's. What it needs is what the servers
// need.
type ceiling struct {
	Source, Destination string // addresses
	Accounts            []pairing
	Connections         int // to either side
	Batch               int // messages in one APPEND (RFC 3502)
}

// pairing is one account under its names on both sides.
type pairing struct{ Old, New string }

// inFlight bounds what one connection has read and not sent yet, in octets.
const inFlight = 8 << 20

// run copies everything.
func (c ceiling) run() error {
	var group errgroup.Group
	if len(c.Accounts) > 1 { // an account for each connection
		group.SetLimit(c.Connections)
		for _, account := range c.Accounts {
			group.Go(func() error {
				names, err := c.list(account)
				if err != nil {
					return err
				}
				return c.copy(account, slices.Values(names))
			})
		}
		return group.Wait()
	}
	account := c.Accounts[0]
	names, err := c.list(account)
	if err != nil {
		return err
	}
	queue := make(chan string, len(names))
	for _, name := range names {
		queue <- name
	}
	close(queue)
	for range min(c.Connections, len(names)) {
		group.Go(func() error {
			return c.copy(account, func(yield func(string) bool) {
				for name := range queue {
					if !yield(name) {
						return
					}
				}
			})
		})
	}
	return group.Wait()
}

// list returns the mailboxes of an account as they are spelt, the largest
// first, so that none is left for the end.
func (c ceiling) list(account pairing) ([]string, error) {
	old, err := dial(c.Source, account.Old)
	if err != nil {
		return nil, err
	}
	defer old.Close()
	sizes := make(map[string]int)
	status := regexp.MustCompile(`^\* STATUS (.*) \(SIZE (\d+)\)$`)
	err = old.command(`LIST "" "*" RETURN (STATUS (SIZE))`, 0, func(line string) error {
		if m := status.FindStringSubmatch(line); m != nil {
			sizes[m[1]], _ = strconv.Atoi(m[2])
		}
		return nil
	})
	var names []string
	for name := range sizes {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(sizes[b], sizes[a]), cmp.Compare(a, b)) })
	return names, err
}

// copy copies mailboxes, one after the other, over one connection to either
// side.
func (c ceiling) copy(account pairing, names func(func(string) bool)) error {
	var old, new *wire
	var both errgroup.Group
	both.Go(func() (err error) { old, err = dial(c.Source, account.Old); return })
	both.Go(func() (err error) { new, err = dial(c.Destination, account.New); return })
	if err := both.Wait(); err != nil {
		return err
	}
	defer old.Close()
	defer new.Close()

	type message struct {
		mailbox, flags, date string
		data                 []byte
	}
	messages := make(chan message, 1000)
	room := semaphore.NewWeighted(inFlight)
	weight := func(m message) int64 { return min(int64(len(m.data)), inFlight) }
	work, ctx := errgroup.WithContext(context.Background())
	work.Go(func() error {
		defer close(messages)
		item := regexp.MustCompile(`^\* \d+ FETCH \(UID \d+ FLAGS \(([^)]*)\) INTERNALDATE ("[^"]*") BODY\[\] \{(\d+)\}$`)
		for name := range names {
			old.begin("EXAMINE " + name + "\r\n")
			exists := false
			// Both at once: the answer to the first is never in question.
			err := old.command("UID FETCH 1:* (FLAGS INTERNALDATE BODY.PEEK[])", 1, func(line string) error {
				found := item.FindStringSubmatch(line)
				if found == nil {
					exists = exists || strings.HasSuffix(line, " EXISTS")
					return nil
				}
				size, _ := strconv.Atoi(found[3])
				m := message{name, strings.TrimSpace(strings.Replace(found[1], `\Recent`, "", 1)), found[2], make([]byte, size)}
				if err := room.Acquire(ctx, weight(m)); err != nil {
					return err
				}
				if _, err := io.ReadFull(old.in, m.data); err != nil {
					return err
				}
				if rest, err := old.line(); err != nil || rest != ")" {
					return fmt.Errorf("a message is followed by %q: %w", rest, err)
				}
				select {
				case messages <- m:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
			if err != nil || !exists {
				return fmt.Errorf("fetch %s: %w", name, err)
			}
			messages <- message{mailbox: name} // the end of it, so that an empty one is made too
		}
		return nil
	})

	sent := make(chan struct{}, 1<<20) // commands whose answers are due
	work.Go(func() error {
		defer close(sent)
		selected, together := "", 0
		begin := func(command string) {
			new.begin(command)
			sent <- struct{}{}
		}
		for m := range messages {
			if m.mailbox != selected {
				selected = m.mailbox
				if !strings.EqualFold(selected, "INBOX") {
					begin("CREATE " + selected + "\r\n")
				}
				begin("SELECT " + selected + "\r\n")
			}
			if m.data != nil {
				if together == 0 {
					begin("APPEND " + m.mailbox)
				}
				fmt.Fprintf(new.out, " (%s) %s {%d+}\r\n", m.flags, m.date, len(m.data))
				new.out.Write(m.data)
				room.Release(weight(m))
				together++
			}
			if together == c.Batch || m.data == nil && together > 0 {
				together = 0
				if _, err := new.out.WriteString("\r\n"); err != nil {
					return err
				}
			}
			if len(messages) == 0 {
				if err := new.out.Flush(); err != nil {
					return err
				}
			}
		}
		return new.out.Flush()
	})
	work.Go(func() error {
		for range sent {
			if err := new.answer(ignore); err != nil {
				new.Close() // the writer may wait for it to read
				return err
			}
		}
		return nil
	})
	return work.Wait()
}

// wire is a connection that has logged in.
type wire struct {
	net.Conn
	in   *bufio.Reader
	out  *bufio.Writer
	tags int
}

func dial(address, user string) (*wire, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: conn, in: bufio.NewReaderSize(conn, 64<<10), out: bufio.NewWriterSize(conn, 64<<10)}
	if _, err = w.line(); err == nil {
		quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace
		err = w.command(fmt.Sprintf(`LOGIN "%s" "%s"`, quote(user), quote(dovecot.Password)), 0, ignore)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("log in as %s: %w", user, err)
	}
	return w, nil
}

// line reads a line without its end.
func (w *wire) line() (string, error) {
	line, err := w.in.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

// begin writes the beginning of a command.
func (w *wire) begin(text string) {
	w.tags++
	w.out.WriteString("c" + strconv.Itoa(w.tags) + " " + text)
}

// command writes a command and reads until it and so many before it have been
// answered.
func (w *wire) command(text string, before int, untagged func(line string) error) error {
	w.begin(text + "\r\n")
	if err := w.out.Flush(); err != nil {
		return err
	}
	for range before + 1 {
		if err := w.answer(untagged); err != nil {
			return err
		}
	}
	return nil
}

// answer reads up to the next tagged answer. Which one it is does not matter:
// Dovecot answers a CREATE before the APPEND that was sent earlier.
func (w *wire) answer(untagged func(line string) error) error {
	for {
		line, err := w.line()
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, "* ") {
			if err := untagged(line); err != nil {
				return err
			}
			continue
		}
		if _, text, _ := strings.Cut(line, " "); !strings.HasPrefix(text, "OK") && !strings.Contains(text, "[ALREADYEXISTS]") {
			return errors.New(line)
		}
		return nil
	}
}

func ignore(string) error { return nil }
