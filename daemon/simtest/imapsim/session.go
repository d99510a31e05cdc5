package imapsim

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/simtest"
)

const (
	// autologout is how long a client may be silent (RFC 3501 §5.4).
	autologout = 30 * time.Minute
	// lineMost is how long the line of a command may be (RFC 2683 §3.2.1.5).
	lineMost = 8192
)

// session is one connection.
type session struct {
	*Server
	conn      net.Conn
	in        *bufio.Reader
	encrypted bool
	deflated  bool
	// talking is held by the one who answers a command or tells of news. It is a
	// channel because waiting for it has to let fake time go on.
	talking chan struct{}

	user    string
	account *simtest.Server // nil: not logged in
	aware   bool            // it is told MODSEQs (RFC 7162 §3.1)
	box     *selected       // nil: none
	// unopened: the last SELECT or EXAMINE has failed.
	unopened bool
	listens  func()            // ends the telling of news; nil: only when asked
	watches  bool              // NOTIFY: other mailboxes too
	shown    map[string]string // the STATUS responses of NOTIFY, by mailbox
	notified int               // STATUS responses that NOTIFY has sent
}

var (
	errLogout = errors.New("the session has ended")
	errBye    = errors.New("the server has ended the session")
)

func (s *Server) serve(conn net.Conn) {
	if !s.enter("", s.Most) {
		conn.Close()
		return
	}
	defer s.left("")
	c := &session{Server: s, conn: conn, talking: make(chan struct{}, 1)}
	defer func() {
		c.conn.Close() // before who tells of news is waited for
		c.take()
		c.silence()
		if c.account != nil {
			s.left(c.user)
		}
	}()
	if s.TLS != nil && !s.StartTLS && c.secure() != nil {
		return
	}
	c.in = bufio.NewReader(c.conn)
	switch r := c.before(Command{}); {
	case r.Say == "":
		c.send("* OK [CAPABILITY %s] ready", c.capabilities())
	case strings.HasPrefix(r.Say, "BYE"):
		c.send("* %s", r.Say)
		return
	default:
		return
	}
	for c.command() == nil {
	}
}

// secure begins TLS.
func (c *session) secure() error {
	secured := tls.Server(c.conn, c.TLS)
	secured.SetDeadline(time.Now().Add(autologout))
	if err := secured.Handshake(); err != nil {
		return err
	}
	c.conn, c.encrypted = secured, true
	return nil
}

func (c *session) before(command Command) Reaction {
	if c.Before == nil {
		return Reaction{}
	}
	command.User = c.user
	return c.Before(command)
}

// send sends one response, by one write. A client that has gone does not keep
// what it has sent from being carried out.
func (c *session) send(format string, args ...any) {
	io.WriteString(c.conn, fmt.Sprintf(format, args...)+"\r\n")
}

func (c *session) take()  { c.talking <- struct{}{} }
func (c *session) leave() { <-c.talking }

func (c *session) line() (string, error) {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return "", err
	}
	if len(line) > lineMost {
		c.violated("a line of %d octets: %.60q", len(line), line)
	}
	line, ok := strings.CutSuffix(line, "\r\n")
	if !ok || strings.ContainsAny(line, "\r\x00") {
		c.violated("a line that does not end as it should: %.60q", line)
	}
	return line, nil
}

// command reads a command and answers it. An error ends the session.
func (c *session) command() error {
	c.conn.SetDeadline(time.Now().Add(autologout))
	line, err := c.line()
	if err != nil {
		return err
	}
	k := &command{}
	var text string
	k.tag, k.Line, _ = strings.Cut(line, " ")
	k.Verb, text, _ = strings.Cut(k.Line, " ")
	if k.Verb = strings.ToUpper(k.Verb); k.Verb == "UID" {
		verb, more, _ := strings.Cut(text, " ")
		k.Verb, text = "UID "+strings.ToUpper(verb), more
	}
	c.take()
	defer c.leave()
	reaction := c.before(k.Command)
	var literals []string
	for args := ""; ; text, err = c.line() {
		if err != nil {
			return err
		}
		before, octets, waits, follows := announced(text)
		args += before
		if !follows {
			if reaction.refuses() {
				return c.refuse(k, reaction.Say)
			}
			k.args, err = parse(args, literals)
			break
		}
		if !waits && !c.has("LITERAL+") && (!c.has("LITERAL-") || octets > 4096) {
			c.violated("a literal that did not wait: %s", k.Line)
		}
		if say := c.early(k, args, literals); say != "" && !reaction.refuses() {
			// What cannot be parsed ends here: what follows is the next command.
			return c.refuse(k, say)
		}
		if reaction.refuses() && waits {
			return c.refuse(k, reaction.Say)
		}
		if waits {
			c.send("+ go on")
		}
		data := make([]byte, octets)
		if _, err := io.ReadFull(c.in, data); err != nil {
			return err
		}
		literals = append(literals, string(data))
		args += string(heldPlace)
	}
	if err == nil {
		k.rest = k.args
		err = c.answer(k, reaction)
	}
	var syntax errSyntax
	if errors.As(err, &syntax) {
		c.violated("%s: %s", k.Line, syntax)
		return c.refuse(k, "BAD "+string(syntax))
	}
	return err
}

// early is why a command is refused before its literal has been seen.
func (c *session) early(k *command, args string, literals []string) string {
	if k.Verb != "APPEND" || len(literals) > 0 || c.account == nil {
		return ""
	}
	values, err := parse(args, nil)
	if err != nil || len(values) == 0 {
		return "BAD cannot be parsed"
	}
	if len(values) > 1 && values[1].isList {
		if _, err := parseFlags(values[1].list); err != nil {
			c.violated("%s: %v", k.Line, err)
			return "BAD " + err.Error()
		}
	}
	return ""
}

// refuse answers a command without carrying it out.
func (c *session) refuse(k *command, say string) error {
	if strings.HasPrefix(say, "BYE") {
		c.send("* %s", say)
		return errBye
	}
	if k.Verb == "SELECT" || k.Verb == "EXAMINE" {
		c.box, c.unopened = nil, true // none is open after a refusal (RFC 3501 §6.3.1)
	}
	c.send("%s %s", k.tag, say)
	return nil
}

// answer carries out a command. It is answered by what its handler says.
func (c *session) answer(k *command, reaction Reaction) error {
	handler, ok := handlerOf(k.Verb)
	switch {
	case !ok || handler.needs != "" && !slices.ContainsFunc(strings.Fields(handler.needs), c.has):
		c.violated("a command that is not known: %s", k.Line)
		return c.refuse(k, "BAD unknown command")
	case handler.in == inMailbox && c.account != nil && c.box == nil && c.unopened:
		return c.refuse(k, "BAD no mailbox is open") // sent before that could be known
	case handler.in > anyone && c.account == nil, handler.in == inMailbox && c.box == nil, handler.in == stranger && c.account != nil:
		c.violated("a command that is out of place: %s", k.Line)
		return c.refuse(k, "BAD not now")
	case c.Source && (handler.changes || k.Verb == "SELECT"):
		c.violated("the old server must not see this: %s", k.Line)
	case handler.never:
		c.violated("no server must see this: %s", k.Line)
	}
	c.count(k.Verb)
	if c.Eager {
		if err := c.news(); err != nil {
			return err
		}
	}
	say, err := handler.run(c, k)
	if err != nil && err != errLogout {
		return err
	}
	if k.Verb == "SELECT" || k.Verb == "EXAMINE" {
		c.unopened = c.box == nil
	}
	if err == nil && say == "" {
		return nil // it has been answered
	}
	if reaction.After {
		return c.refuse(k, reaction.Say)
	}
	if err == nil {
		if err := c.news(); err != nil {
			return err
		}
	}
	c.send("%s %s", k.tag, say)
	return err
}

// Where a command may be used.
const (
	stranger  = iota - 1 // only before the log-in
	anyone               // at any time
	member               // after the log-in
	inMailbox            // with a mailbox selected
)

// handler carries out a command and returns the tagged answer; empty: it has
// answered itself.
type handler struct {
	in      int
	needs   string // a capability, or one of several
	changes bool
	never   bool // imapsyncd has no use for it
	run     func(c *session, k *command) (say string, err error)
}

// handlerOf returns how a command is carried out. What imapsyncd can have no
// use for it does not know.
func handlerOf(verb string) (h handler, known bool) {
	switch verb {
	case "CAPABILITY":
		h = handler{run: (*session).capability}
	case "NOOP":
		h = handler{run: func(*session, *command) (string, error) { return "OK done", nil }}
	case "LOGOUT":
		h = handler{run: (*session).logout}
	case "STARTTLS":
		h = handler{in: stranger, run: (*session).startTLS}
	case "LOGIN":
		h = handler{in: stranger, run: (*session).login}
	case "AUTHENTICATE":
		h = handler{in: stranger, needs: "AUTH=PLAIN", run: (*session).authenticate}
	case "ID":
		h = handler{needs: "ID", run: (*session).id}
	case "ENABLE":
		h = handler{in: member, needs: "ENABLE", run: (*session).enable}
	case "COMPRESS":
		h = handler{in: member, needs: "COMPRESS=DEFLATE", run: (*session).compress}
	case "NAMESPACE":
		h = handler{in: member, needs: "NAMESPACE", run: (*session).namespace}
	case "LIST":
		h = handler{in: member, run: (*session).list}
	case "LSUB":
		h = handler{in: member, run: (*session).list}
	case "STATUS":
		h = handler{in: member, run: (*session).status}
	case "GETQUOTAROOT":
		h = handler{in: member, needs: "QUOTA", run: (*session).quotaRoot}
	case "CREATE":
		h = handler{in: member, changes: true, run: (*session).create}
	case "SUBSCRIBE":
		h = handler{in: member, changes: true, run: (*session).subscribe}
	case "APPEND":
		h = handler{in: member, changes: true, run: (*session).append}
	case "SELECT":
		h = handler{in: member, run: (*session).open}
	case "EXAMINE":
		h = handler{in: member, run: (*session).open}
	case "IDLE":
		h = handler{in: member, needs: "IDLE", run: (*session).idle}
	case "NOTIFY":
		h = handler{in: member, needs: "NOTIFY", run: (*session).notify}
	case "UNSELECT":
		h = handler{in: inMailbox, needs: "UNSELECT", run: (*session).unselect}
	case "CLOSE":
		h = handler{in: inMailbox, changes: true, never: true, run: (*session).close}
	case "EXPUNGE":
		h = handler{in: inMailbox, changes: true, never: true, run: (*session).expunge}
	case "UID EXPUNGE":
		h = handler{in: inMailbox, needs: "UIDPLUS", changes: true, run: (*session).expunge}
	case "UID FETCH":
		h = handler{in: inMailbox, run: (*session).fetch}
	case "UID SEARCH":
		h = handler{in: inMailbox, run: (*session).search}
	case "UID STORE":
		h = handler{in: inMailbox, changes: true, run: (*session).store}
	case "UID COPY":
		h = handler{in: inMailbox, changes: true, run: (*session).copy}
	case "UID MOVE":
		h = handler{in: inMailbox, needs: "MOVE", changes: true, run: (*session).copy}
	default:
		return h, false
	}
	return h, true
}

func number[N ~uint32 | ~uint64 | ~int](n N) string { return strconv.FormatUint(uint64(n), 10) }
