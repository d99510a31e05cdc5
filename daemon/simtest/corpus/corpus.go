// Package corpus makes mail for tests, the same for the same seed, fills
// servers with it, and reads servers back. It knows nothing of the program
// under test: it has its own IMAP writer and reads with a plain client.
package corpus

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// Message is one message of a mailbox.
type Message struct {
	Data  []byte
	Flags []string
	Date  time.Time
}

// Mailbox is a mailbox with its mail.
type Mailbox struct {
	Name       string // UTF-8, "/" between levels
	Subscribed bool
	Messages   []Message
}

// names are those of 25 mailboxes: nested, non-ASCII, with blanks, ampersands
// and quotes.
var names = []string{
	"INBOX", "Sent", "Drafts", "Trash", "Junk", "Entwürfe", "Gelöschte Elemente", "Kunden", "Kunden/Müller & Söhne", "Kunden/Müller & Söhne/2019",
	"Kunden/Müller & Söhne/2020", `Quotes "inside"`, "with  two blanks", "trailing &", "&", "会議", "会議/議事録", "Отправленные", "a/b/c/d/e", "Lists/golang",
	"Lists/imap (protocol)", "plus+minus-", "100%", "[Archive]", "Empty",
}

// Make returns the 25 mailboxes with so many messages in all, at least 25.
// Sizes are from 1 KB up; one message has largest octets. Among them are
// byte-identical twins, equal Message-IDs with different content, mail without
// Message-ID, 8-bit bodies, and bodies that look like commands.
func Make(seed uint64, messages int, largest int) []Mailbox {
	rng := rand.New(rand.NewPCG(seed, 25))
	boxes := make([]Mailbox, len(names))
	for i, name := range names {
		boxes[i] = Mailbox{Name: name, Subscribed: i%3 != 2}
	}
	full := len(names) - 1 // the last stays empty
	for i := range messages {
		box := &boxes[i%full]
		if rng.IntN(3) == 0 {
			box = &boxes[0]
		}
		size := 1000 + int(rng.ExpFloat64()*8000)
		if rng.IntN(40) == 0 {
			size += rng.IntN(largest / 20)
		}
		if i == messages/2 {
			size = largest
		}
		m := message(rng, i, size)
		if i%50 == 7 && len(box.Messages) > 0 {
			m = box.Messages[len(box.Messages)-1] // a twin
		}
		box.Messages = append(box.Messages, m)
	}
	return boxes
}

func message(rng *rand.Rand, i, size int) Message {
	date := time.Date(2004, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rng.Int64N(int64(20 * 365 * 24 * time.Hour)))).Truncate(time.Second)
	date = date.In(time.FixedZone("", (rng.IntN(27)-12)*3600))
	b := make([]byte, 0, size+1000)
	b = fmt.Appendf(b, "Received: from a.example (a.example [192.0.2.1]) by mx.example with ESMTP id %x; %s\r\n", rng.Uint64(), date.Format(time.RFC1123Z))
	b = fmt.Appendf(b, "From: =?utf-8?q?J=C3=BCrgen_%d?= <j%d@example.org>\r\nTo: you@example.org\r\n", i, i)
	if i%11 != 0 {
		b = fmt.Appendf(b, "Message-ID: <%d@example.org>\r\n", i/(1+i%2))
	}
	b = fmt.Appendf(b, "Date: %s\r\nSubject: message %d\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n", date.Format(time.RFC1123Z), i)
	if i%9 == 0 {
		b = append(b, "\r\nZ1 CREATE pwned\r\nZ2 LOGOUT\r\n"...)
	}
	for len(b) < size { // millions of lines in all: without fmt, which takes ten times as long
		b = append(b, "line "...)
		b = strconv.AppendUint(b, rng.Uint64(), 16)
		b = append(b, " of grüße 会議 "...)
		b = strconv.AppendUint(b, rng.Uint64(), 16)
		b = append(b, "\r\n"...)
	}
	var flags []string
	for _, f := range []string{`\Seen`, `\Answered`, `\Flagged`, `\Draft`, `\Deleted`, "$Label1", "Work", "$Forwarded", "Old-Server"} {
		if rng.IntN(4) == 0 {
			flags = append(flags, f)
		}
	}
	return Message{b, flags, date}
}

// Encode spells a name as IMAP does (RFC 3501 §5.1.3).
func Encode(name string) string {
	name = strings.ReplaceAll(name, "&", "&-")
	var b strings.Builder
	var run []rune
	flush := func() {
		if len(run) == 0 {
			return
		}
		var units []byte
		for _, r := range run {
			if r > 0xffff {
				r -= 0x10000
				hi, lo := 0xd800+(r>>10), 0xdc00+(r&0x3ff)
				units = append(units, byte(hi>>8), byte(hi), byte(lo>>8), byte(lo))
				continue
			}
			units = append(units, byte(r>>8), byte(r))
		}
		b.WriteString("&" + base64(units) + "-")
		run = nil
	}
	for _, r := range name {
		if r >= ' ' && r < 0x7f {
			flush()
			b.WriteRune(r)
		} else {
			run = append(run, r)
		}
	}
	flush()
	return b.String()
}

func base64(data []byte) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,"
	var b strings.Builder
	acc, bits := uint(0), 0
	for _, c := range data {
		acc, bits = acc<<8|uint(c), bits+8
		for bits >= 6 {
			bits -= 6
			b.WriteByte(digits[acc>>bits&63])
		}
	}
	if bits > 0 {
		b.WriteByte(digits[acc<<(6-bits)&63])
	}
	return b.String()
}

func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// Client is a plain IMAP client for tests.
type Client struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
	tags int
}

// patience is how long a server may take to answer a command of a test.
const patience = 5 * time.Minute

// Dial logs in.
func Dial(t testing.TB, address, user, password string) *Client {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{t: t, conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}
	t.Cleanup(func() { conn.Close() })
	c.line()
	c.Do("LOGIN " + quote(user) + " " + quote(password))
	return c
}

func (c *Client) line() string {
	c.t.Helper()
	c.conn.SetDeadline(time.Now().Add(patience))
	line, err := c.in.ReadString('\n')
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return strings.TrimRight(line, "\r\n")
}

// Do sends a command and returns the untagged lines before its OK.
func (c *Client) Do(command string) []string {
	c.t.Helper()
	untagged, answer := c.Try(command)
	if !strings.HasPrefix(answer, "OK") {
		c.t.Fatalf("%.100s: %s", command, answer)
	}
	return untagged
}

// Try is Do for a command that may be refused. It returns the tagged answer
// as well, without its tag.
func (c *Client) Try(command string) (untagged []string, answer string) {
	c.t.Helper()
	c.tags++
	tag := fmt.Sprintf("C%d", c.tags)
	c.send([]byte(tag + " " + command + "\r\n"))
	return c.until(tag)
}

func (c *Client) send(data []byte) {
	c.t.Helper()
	c.conn.SetDeadline(time.Now().Add(patience))
	if _, err := c.conn.Write(data); err != nil {
		c.t.Fatal(err)
	}
}

func (c *Client) until(tag string) (untagged []string, answer string) {
	c.t.Helper()
	for {
		line := c.line()
		if answer, ok := strings.CutPrefix(line, tag+" "); ok {
			return untagged, answer
		}
		untagged = append(untagged, line)
	}
}

// Append appends messages to a mailbox.
func (c *Client) Append(mailbox string, messages ...Message) {
	c.t.Helper()
	for part := range slices.Chunk(messages, 50) {
		c.tags++
		tag := fmt.Sprintf("C%d", c.tags)
		var b bytes.Buffer
		fmt.Fprintf(&b, "%s APPEND %s", tag, quote(Encode(mailbox)))
		for _, m := range part {
			fmt.Fprintf(&b, " (%s) %s {%d+}\r\n", strings.Join(m.Flags, " "), m.Date.Format(`"_2-Jan-2006 15:04:05 -0700"`), len(m.Data))
			b.Write(m.Data)
		}
		b.WriteString("\r\n")
		c.send(b.Bytes())
		if _, answer := c.until(tag); !strings.HasPrefix(answer, "OK") {
			c.t.Fatalf("APPEND %s: %s", mailbox, answer)
		}
	}
}

// Fill makes the mailboxes and their mail.
func (c *Client) Fill(boxes []Mailbox) {
	c.t.Helper()
	for _, box := range boxes {
		if box.Name != "INBOX" {
			c.Do("CREATE " + quote(Encode(box.Name)))
		}
		if box.Subscribed {
			c.Do("SUBSCRIBE " + quote(Encode(box.Name)))
		}
		c.Append(box.Name, box.Messages...)
	}
}

// Stored is a message as a server shows it.
type Stored struct {
	UID   uint32
	Sum   [32]byte
	Date  time.Time
	Flags string // sorted
}

func (s Stored) String() string {
	return fmt.Sprintf("%x %s (%s)", s.Sum[:6], s.Date.UTC().Format(time.RFC3339), s.Flags)
}

// Read reads every mailbox of an account whole, by UID, and which of them are
// subscribed, where the server can tell both at once (RFC 5258).
func Read(t testing.TB, address, user, password string) (map[string][]Stored, map[string]bool) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	// All of it takes less than that, or the server hangs.
	stuck := time.AfterFunc(patience, func() { conn.Close() })
	defer stuck.Stop()
	client := imapclient.New(conn, nil)
	defer client.Close()
	if err := client.Login(user, password).Wait(); err != nil {
		t.Fatal(err)
	}
	subscribed := make(map[string]bool)
	list, err := client.List("", "*", &imap.ListOptions{ReturnSubscribed: true}).Collect()
	if err != nil && !client.Caps().Has(imap.CapListExtended) { // Courier
		list, err = client.List("", "*", nil).Collect()
	}
	if err != nil {
		t.Fatal(err)
	}
	boxes := make(map[string][]Stored)
	for _, m := range list {
		if slices.Contains(m.Attrs, imap.MailboxAttrSubscribed) {
			subscribed[m.Mailbox] = true
		}
		if slices.Contains(m.Attrs, imap.MailboxAttrNoSelect) || slices.Contains(m.Attrs, imap.MailboxAttrNonExistent) {
			continue
		}
		data, err := client.Select(m.Mailbox, &imap.SelectOptions{ReadOnly: true}).Wait()
		if err != nil {
			t.Fatalf("examine %q: %v", m.Mailbox, err)
		}
		boxes[m.Mailbox] = nil
		if data.NumMessages == 0 {
			continue
		}
		boxes[m.Mailbox] = fetch(t, client)
	}
	return boxes, subscribed
}

func fetch(t testing.TB, client *imapclient.Client) []Stored {
	t.Helper()
	body := &imap.FetchItemBodySection{Peek: true}
	command := client.Fetch(imap.SeqSet{{Start: 1}}, &imap.FetchOptions{UID: true, Flags: true, InternalDate: true, BodySection: []*imap.FetchItemBodySection{body}})
	var all []Stored
	for m := command.Next(); m != nil; m = command.Next() {
		buffer, err := m.Collect()
		if err != nil {
			t.Fatal(err)
		}
		s := Stored{UID: uint32(buffer.UID), Date: buffer.InternalDate, Sum: sha256.Sum256(buffer.FindBodySection(body))}
		var flags []string
		for _, f := range buffer.Flags {
			if !strings.EqualFold(string(f), `\Recent`) {
				flags = append(flags, strings.ToLower(string(f)))
			}
		}
		slices.Sort(flags)
		s.Flags = strings.Join(flags, " ")
		all = append(all, s)
	}
	if err := command.Close(); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b Stored) int { return int(int64(a.UID) - int64(b.UID)) })
	return all
}

// Compare holds two accounts against one another: mailboxes, subscriptions,
// and in each mailbox the same messages, with dates and flags, in the same
// order. It returns what differs.
func Compare(t testing.TB, from, to string, user, password string) []string {
	t.Helper()
	a, subscribedA := Read(t, from, user, password)
	b, subscribedB := Read(t, to, user, password)
	var differences []string
	for name, messages := range a {
		copies, ok := b[name]
		if !ok {
			differences = append(differences, fmt.Sprintf("%s: missing", name))
			continue
		}
		if subscribedA[name] != subscribedB[name] {
			differences = append(differences, fmt.Sprintf("%s: subscribed %v, there %v", name, subscribedA[name], subscribedB[name]))
		}
		if len(messages) != len(copies) {
			differences = append(differences, fmt.Sprintf("%s: %d messages, there %d", name, len(messages), len(copies)))
		}
		for i := range min(len(messages), len(copies)) {
			if x, y := messages[i], copies[i]; x.Sum != y.Sum || !x.Date.Equal(y.Date) || x.Flags != y.Flags {
				differences = append(differences, fmt.Sprintf("%s: message %d: %v, there %v", name, i, x, y))
			}
		}
	}
	return differences
}
