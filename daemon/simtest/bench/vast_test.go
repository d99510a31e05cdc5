package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// vast is an IMAP server with one account and one mailbox of any number of
// messages, which are made when they are asked for and of which nothing is
// kept. What is appended to it has to be the message that comes next, octet by
// octet, with its date and flags, so that the number of messages says all that
// there is to know of the mailbox.
type vast struct {
	listener net.Listener
	validity uint32
	all      sync.WaitGroup

	mu       sync.Mutex
	messages int
	commands map[string]int // how often each has come
	conns    map[net.Conn]bool
	wrong    error // the first thing that should not have been
}

// newVast starts a server with so many messages.
func newVast(t testing.TB, validity uint32, messages int) *vast {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &vast{listener: listener, validity: validity, messages: messages, commands: make(map[string]int), conns: make(map[net.Conn]bool)}
	v.all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			v.mu.Lock()
			v.conns[conn] = true
			v.mu.Unlock()
			v.all.Go(func() {
				defer conn.Close()
				s := &vastSession{vast: v, in: bufio.NewReaderSize(conn, 64<<10), out: bufio.NewWriterSize(conn, 64<<10)}
				if err := s.serve(); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
					v.blame(err)
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		v.mu.Lock()
		for conn := range v.conns {
			conn.Close()
		}
		v.mu.Unlock()
		v.all.Wait()
		if v.wrong != nil {
			t.Error(v.wrong)
		}
	})
	return v
}

func (v *vast) port() int { return v.listener.Addr().(*net.TCPAddr).Port }

func (v *vast) blame(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.wrong == nil {
		v.wrong = err
	}
}

// count is how many messages there are.
func (v *vast) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.messages
}

// taken returns the commands since the last call.
func (v *vast) taken() map[string]int {
	v.mu.Lock()
	defer v.mu.Unlock()
	taken := v.commands
	v.commands = make(map[string]int)
	return taken
}

var vastFlags = []string{`\Seen`, ``, `\Seen \Answered`, `\Flagged`, `\Seen $Label1`}

const vastDate = `"02-Jan-2006 15:04:05 -0700"`

// vastMessage makes the message with a UID into a buffer: a kilobyte or so.
func vastMessage(buffer []byte, uid int) (data []byte, date time.Time, flags string) {
	date = time.Date(2005, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(uid) * 7 * time.Minute)
	data = fmt.Appendf(buffer[:0], "From: Person %d <p%d@example.org>\r\nTo: you@example.com\r\nMessage-ID: <%d.%x@example.org>\r\nSubject: Number %d\r\nDate: ", uid%97, uid%97, uid, uid*2654435761, uid)
	data = date.AppendFormat(data, time.RFC1123Z)
	data = append(data, "\r\n\r\n"...)
	for range 6 + uid%13 {
		data = append(data, "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod.\r\n"...)
	}
	return data, date, vastFlags[uid%len(vastFlags)]
}

// vastSession is one connection.
type vastSession struct {
	*vast
	in     *bufio.Reader
	out    *bufio.Writer
	made   []byte // buffers
	sent   []byte
	answer []byte
}

func (s *vastSession) line() (string, error) {
	line, err := s.in.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}

const vastCapabilities = "IMAP4rev1 AUTH=PLAIN SASL-IR LITERAL+ ID ENABLE NAMESPACE UNSELECT IDLE UIDPLUS ESEARCH LIST-EXTENDED LIST-STATUS CONDSTORE MULTIAPPEND MOVE"

func (s *vastSession) serve() error {
	fmt.Fprintf(s.out, "* OK [CAPABILITY %s] at your service\r\n", vastCapabilities)
	for {
		if s.in.Buffered() == 0 {
			if err := s.out.Flush(); err != nil {
				return err
			}
		}
		line, err := s.line()
		if err != nil {
			return err
		}
		tag, command, _ := strings.Cut(line, " ")
		verb, arguments, _ := strings.Cut(command, " ")
		if verb == "UID" {
			var second string
			second, arguments, _ = strings.Cut(arguments, " ")
			verb += " " + second
		}
		s.mu.Lock()
		s.commands[verb]++
		n := s.messages
		s.mu.Unlock()
		code := ""
		switch verb {
		case "CAPABILITY":
			fmt.Fprintf(s.out, "* CAPABILITY %s\r\n", vastCapabilities)
		case "AUTHENTICATE", "ID", "ENABLE", "NOOP", "UNSELECT", "SUBSCRIBE":
		case "NAMESPACE":
			s.out.WriteString("* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n")
		case "LIST":
			fmt.Fprintf(s.out, "* LIST (\\Subscribed) \"/\" INBOX\r\n* STATUS INBOX (MESSAGES %d UIDNEXT %d UIDVALIDITY %d HIGHESTMODSEQ %d)\r\n", n, n+1, s.validity, n+1)
		case "SELECT", "EXAMINE":
			fmt.Fprintf(s.out, "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Label1)\r\n* %d EXISTS\r\n* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Label1 \\*)] \r\n"+
				"* OK [UIDVALIDITY %d] \r\n* OK [UIDNEXT %d] \r\n* OK [HIGHESTMODSEQ %d] \r\n", n, s.validity, n+1, n+1)
		case "UID SEARCH":
			first, last := vastRange(arguments[strings.LastIndexByte(arguments, ' ')+1:], n)
			fmt.Fprintf(s.out, "* ESEARCH (TAG %q) UID", tag)
			if first <= last {
				fmt.Fprintf(s.out, " ALL %d:%d", first, last)
			}
			s.out.WriteString("\r\n")
		case "UID FETCH":
			if err := s.fetch(arguments, n); err != nil {
				return err
			}
		case "APPEND":
			if code, err = s.append(line); err != nil {
				return err
			}
		case "IDLE":
			s.out.WriteString("+ idling\r\n")
			if err := s.out.Flush(); err != nil {
				return err
			}
			if _, err := s.line(); err != nil {
				return err
			}
		case "LOGOUT":
			fmt.Fprintf(s.out, "* BYE\r\n%s OK\r\n", tag)
			return s.out.Flush()
		default:
			return fmt.Errorf("a command that was not expected: %s", line)
		}
		fmt.Fprintf(s.out, "%s OK %sdone\r\n", tag, code)
	}
}

// vastRange reads one range of UIDs as n messages have it.
func vastRange(text string, n int) (first, last int) {
	bound := func(text string) int {
		if text == "*" {
			return n
		}
		i, _ := strconv.Atoi(text)
		return i
	}
	low, high, found := strings.Cut(text, ":")
	first, last = bound(low), bound(low)
	if found {
		last = bound(high)
	}
	return max(min(first, last), 1), min(max(first, last), n)
}

func (s *vastSession) fetch(arguments string, n int) error {
	set, items, _ := strings.Cut(arguments, " ")
	if strings.Contains(items, "CHANGEDSINCE") {
		return nil // nothing has
	}
	for part := range strings.SplitSeq(set, ",") {
		first, last := vastRange(part, n)
		for uid := first; uid <= last; uid++ {
			data, date, flags := vastMessage(s.made, uid)
			s.made = data
			s.answer = fmt.Appendf(s.answer[:0], "* %d FETCH (UID %d FLAGS (%s) INTERNALDATE ", uid, uid, flags)
			s.answer = date.AppendFormat(s.answer, vastDate)
			s.answer = fmt.Appendf(s.answer, " RFC822.SIZE %d", len(data))
			switch {
			case strings.Contains(items, "BODY.PEEK[]<0."):
				_, most, _ := strings.Cut(items, "BODY.PEEK[]<0.")
				most, _, _ = strings.Cut(most, ">")
				size, err := strconv.Atoi(most)
				if err != nil {
					return err
				}
				data = data[:min(size, len(data))]
				s.answer = append(fmt.Appendf(s.answer, " BODY[]<0> {%d}\r\n", len(data)), data...)
			case strings.Contains(items, "BODY.PEEK[]"):
				s.answer = append(fmt.Appendf(s.answer, " BODY[] {%d}\r\n", len(data)), data...)
			}
			s.answer = append(s.answer, ")\r\n"...)
			if _, err := s.out.Write(s.answer); err != nil {
				return err
			}
		}
	}
	return nil
}

// append takes the messages of an APPEND (RFC 3502) and returns APPENDUID.
func (s *vastSession) append(line string) (code string, err error) {
	first := s.count() + 1
	next := first
	for ; strings.HasSuffix(line, "}"); next++ {
		open := strings.LastIndexByte(line, '{')
		size, err := strconv.Atoi(strings.TrimRight(line[open+1:], "+}"))
		if err != nil {
			return "", err
		}
		if !strings.HasSuffix(line, "+}") {
			s.out.WriteString("+ go on\r\n")
			if err := s.out.Flush(); err != nil {
				return "", err
			}
		}
		s.sent = append(s.sent[:0], make([]byte, size)...)
		if _, err := io.ReadFull(s.in, s.sent); err != nil {
			return "", err
		}
		data, date, flags := vastMessage(s.made, next)
		s.made = data
		if !bytes.Equal(data, s.sent) {
			return "", fmt.Errorf("what is appended is not message %d", next)
		}
		if wanted := "(" + flags + ") " + date.Format(vastDate) + " "; !strings.HasSuffix(line[:open], wanted) {
			return "", fmt.Errorf("message %d comes with %s, not with %s", next, line[:open], wanted)
		}
		if line, err = s.line(); err != nil {
			return "", err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.messages != first-1 {
		return "", errors.New("two at once append to one mailbox")
	}
	s.messages = next - 1
	return fmt.Sprintf("[APPENDUID %d %d:%d] ", s.validity, first, s.messages), nil
}
