package dialogue

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/netsim"
)

// Server plays a dialogue, over any number of connections.
type Server struct {
	*Dialogue

	mu       sync.Mutex
	held     []Message // in its INBOX
	next     uint32    // UIDNEXT of it
	appended []Message
	wrong    []string
	said     strings.Builder
}

// NewServer returns a server that nobody can reach yet.
func NewServer(d *Dialogue) *Server {
	s := &Server{Dialogue: d, held: slices.Clone(d.Has), next: 1}
	for _, m := range s.held {
		s.next = max(s.next, m.UID+1)
	}
	return s
}

// Serve accepts connections until l is closed, and then waits until all have
// ended.
func (s *Server) Serve(l net.Listener) error { return netsim.Serve(l, s.serve) }

func (s *Server) serve(conn net.Conn) {
	defer conn.Close()
	c := &session{Server: s, conn: conn, in: bufio.NewReader(conn)}
	for err := c.play("", ""); err == nil; {
		var line string
		if line, err = c.line(); err == nil {
			tag, command, _ := strings.Cut(line, " ")
			err = c.play(tag, command)
		}
	}
}

// Appended is what has been appended and answered OK, in order.
func (s *Server) Appended() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.appended)
}

// Wrong is what was not as the dialogue has it: commands that nothing is said
// to, and exchanges that were not reached.
func (s *Server) Wrong() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	wrong := slices.Clone(s.wrong)
	for _, e := range s.exchanges {
		if !e.reached {
			wrong = append(wrong, "not reached: "+e.where)
		}
	}
	return wrong
}

// Said is all that was said.
func (s *Server) Said() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.String()
}

// note keeps a line of what was said.
func (s *Server) note(direction, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(&s.said, "%s %.300q\n", direction, line)
}

func (s *Server) isWrong(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, fmt.Sprintf(format, args...))
}

// choose returns what is said to a command.
func (s *Server) choose(command string) (chosen *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.exchanges {
		if chosen == nil && e.fits.MatchString(command) || chosen != nil && chosen.reached && e.fits.String() == chosen.fits.String() {
			chosen = e
		}
	}
	if chosen == nil {
		return s.ordinary(command)
	}
	chosen.reached = true
	return chosen
}

// ordinary is what the plain server says to a command; nil: nothing.
func (s *Server) ordinary(command string) *exchange {
	for _, e := range s.plain {
		if e.fits.MatchString(command) {
			return e
		}
	}
	return nil
}

// session is one connection.
type session struct {
	*Server
	conn net.Conn
	in   *bufio.Reader
}

var errClosed = errors.New("the dialogue ends the connection")

func (c *session) line() (string, error) {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimRight(line, "\r\n")
	c.note("C:", line)
	return line, nil
}

// sourceVerbs are what may be said to the old server.
var sourceVerbs = regexp.MustCompile(`(?i)^(CAPABILITY|LOGIN |AUTHENTICATE |X-MASTERAUTH|X-SETUSER |ID |ENABLE |NAMESPACE|LIST |LSUB |STATUS |EXAMINE |UID SEARCH |UID FETCH |NOOP|UNSELECT|IDLE|NOTIFY |GETQUOTAROOT |STARTTLS|LOGOUT)`)

// literalForm is an announced literal at the end of a line.
var literalForm = regexp.MustCompile(`\{(\d+)(\+?)\}$`)

// play answers one command; the greeting is an answer to none.
func (c *session) play(tag, command string) error {
	if !c.Destination && command != "" && (!sourceVerbs.MatchString(command) || strings.Contains(strings.ToUpper(command), " BODY[")) {
		c.isWrong("to the old server: %s", command)
	}
	e := c.choose(command)
	if e == nil {
		c.isWrong("nothing is said to: %s", command)
		return errClosed
	}
	k := &played{session: c, tag: tag, command: command, announced: literalForm.FindStringSubmatch(command)}
	if k.announced != nil && k.announced[2] == "+" {
		if err := k.literal(); err != nil {
			return err
		}
	}
	return k.steps(e)
}

// played is a command that is being answered.
type played struct {
	*session
	tag, command string
	announced    []string // the literal that the client is going to send; nil: none
	text         string   // of it
	merged       bool     // it is not kept
	drops        string   // or without this flag
}

// literal reads what was announced, and the rest of the line.
func (k *played) literal() error {
	n, err := strconv.Atoi(k.announced[1])
	if err != nil {
		return err
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(k.in, data); err != nil {
		return err
	}
	k.text, k.announced = string(data), nil
	rest, err := k.line()
	if err == nil {
		k.announced = literalForm.FindStringSubmatch(rest)
	}
	return err
}

func (k *played) steps(e *exchange) error {
	for _, s := range e.steps {
		if err := k.step(s); err != nil {
			return err
		}
	}
	return nil
}

func (k *played) step(s step) error {
	switch s.kind {
	case "plain":
		if e := k.ordinary(k.command); e != nil {
			return k.steps(e)
		}
		k.isWrong("the plain server says nothing to: %s", k.command)
		return errClosed
	case "close":
		return errClosed
	case "wait":
		time.Sleep(s.wait)
		return nil
	case "flood":
		for i := range s.n {
			if _, err := io.WriteString(k.conn, strings.ReplaceAll(s.text, "#", strconv.Itoa(i+1))); err != nil {
				return err
			}
		}
		return nil
	case "trickle":
		for i := range s.text {
			time.Sleep(s.wait)
			if _, err := io.WriteString(k.conn, s.text[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	case "merged":
		k.merged = true
		return nil
	case "drops":
		k.drops = s.text
		return nil
	case "c":
		line, err := k.line()
		if err == nil && !s.fits.MatchString(line) {
			k.isWrong("%q does not fit %s", line, s.fits)
		}
		return err
	}
	text := s.text
	if s.kind == "S" {
		text = k.spoken(text) + "\r\n"
	}
	if strings.HasPrefix(text, k.tag+" OK") {
		switch {
		case strings.HasPrefix(strings.ToUpper(k.command), "APPEND ") && !k.merged:
			k.store()
		case strings.HasPrefix(strings.ToUpper(k.command), "UID STORE "):
			k.flag()
		}
	}
	k.note("S:", text)
	if _, err := io.WriteString(k.conn, text); err != nil {
		return err
	}
	if strings.HasPrefix(text, "+") && k.announced != nil {
		return k.literal()
	}
	return nil
}

// appendForm is the line of an APPEND before its literal.
var appendForm = regexp.MustCompile(`(?i)^APPEND "(.*)" \((.*)\) "(.*)" `)

// store takes an appended message.
func (k *played) store() {
	part := appendForm.FindStringSubmatch(k.command)
	if part == nil {
		k.isWrong("no APPEND: %s", k.command)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	m := Message{UID: k.next, Mailbox: part[1], Flags: part[2], Date: part[3], Text: k.text}
	if k.drops != "" {
		m.Flags = strings.Join(strings.Fields(strings.ReplaceAll(m.Flags, k.drops, "")), " ")
	}
	k.appended = append(k.appended, m)
	if strings.EqualFold(m.Mailbox, "INBOX") {
		k.held = append(k.held, m)
		k.next++
	}
}

// storeForm is the line of a UID STORE that adds flags to one message.
var storeForm = regexp.MustCompile(`(?i)^UID STORE (\d+) \+FLAGS\.SILENT \((.*)\)$`)

// flag adds flags to a message of the INBOX.
func (k *played) flag() {
	part := storeForm.FindStringSubmatch(k.command)
	if part == nil {
		k.isWrong("no UID STORE of one message: %s", k.command)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, list := range [][]Message{k.held, k.appended} {
		for i := range list {
			if m := &list[i]; strconv.Itoa(int(m.UID)) == part[1] && strings.EqualFold(m.Mailbox, "INBOX") {
				m.Flags = strings.TrimSpace(m.Flags + " " + part[2])
			}
		}
	}
}

var placeForm = regexp.MustCompile(`\{([a-z]+)(?: ([a-z]+))?\}`)

// spoken fills in what a line leaves open.
func (k *played) spoken(text string) string {
	if rest, ok := strings.CutPrefix(text, "TAG "); ok {
		text = k.tag + " " + rest
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return placeForm.ReplaceAllStringFunc(text, func(place string) string {
		part := placeForm.FindStringSubmatch(place)
		switch name := part[1]; name {
		case "exists":
			return strconv.Itoa(len(k.held))
		case "next", "uid":
			return strconv.Itoa(int(k.next))
		case "uids":
			var uids []string
			for _, m := range k.held {
				uids = append(uids, strconv.Itoa(int(m.UID)))
			}
			return strings.Join(uids, " ")
		case "rows":
			return k.rows()
		case "size":
			return strconv.Itoa(len(k.Mail[part[2]]))
		default:
			mail, ok := k.Mail[name]
			if !ok {
				return place
			}
			return literal(mail)
		}
	})
}

func literal(text string) string { return fmt.Sprintf("{%d}\r\n%s", len(text), text) }
