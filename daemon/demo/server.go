package demo

import (
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"
)

// server is one IMAP server in memory on a loopback port of the kernel's
// choice, in clear text.
type server struct {
	addr     *net.TCPAddr
	imap     *imapserver.Server
	listener *listener
	memory   *imapmemserver.Server
	users    map[string]*user // by login name; fixed once the server runs

	appendDelay time.Duration
	closing     chan struct{} // closed when the server ends

	mutex  sync.Mutex
	closed bool           // no session begins any more
	done   sync.WaitGroup // of sessions and the listener
}

// startServer serves the users until close. Each APPEND takes appendDelay
// longer than it would.
func startServer(users []*user, appendDelay time.Duration) (*server, error) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s := &server{
		addr:        tcp.Addr().(*net.TCPAddr),
		listener:    &listener{Listener: tcp, open: map[*conn]bool{}},
		memory:      imapmemserver.New(),
		users:       map[string]*user{},
		appendDelay: appendDelay,
		closing:     make(chan struct{}),
	}
	for _, u := range users {
		s.users[u.login] = u
		s.memory.AddUser(u.memory)
	}
	s.imap = imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			s.mutex.Lock()
			defer s.mutex.Unlock()
			if s.closed {
				return nil, nil, net.ErrClosed
			}
			s.done.Add(1)
			return &session{server: s}, nil, nil
		},
		Caps: imap.CapSet{
			imap.CapIMAP4rev1: {}, imap.CapNamespace: {}, imap.CapUIDPlus: {}, imap.CapESearch: {},
			imap.CapListExtended: {}, imap.CapListStatus: {}, imap.CapMove: {}, imap.CapStatusSize: {},
			imap.CapSpecialUse: {}, imap.CapCreateSpecialUse: {}, imap.CapLiteralPlus: {},
		},
		// What a client does wrong it hears from the server; nobody reads a log.
		Logger:       log.New(io.Discard, "", 0),
		InsecureAuth: true,
	})
	s.done.Go(func() { s.imap.Serve(s.listener) })
	return s, nil
}

// close ends the server with all its connections and waits for them.
func (s *server) close() {
	close(s.closing)
	s.mutex.Lock()
	s.closed = true
	s.mutex.Unlock()
	s.imap.Close()
	s.listener.closeAll()
	s.done.Wait()
}

// user is an account on one server. The memory server neither tells which
// mailboxes it has nor keeps their SPECIAL-USE, so both are kept here.
type user struct {
	login, password string
	memory          *imapmemserver.User

	mutex     sync.Mutex
	mailboxes map[string]*mailbox // by decoded name
}

type mailbox struct {
	role       imap.MailboxAttr // empty: none
	subscribed bool
}

func newUser(login, password string) *user {
	return &user{
		login: login, password: password,
		memory:    imapmemserver.NewUser(login, password),
		mailboxes: map[string]*mailbox{},
	}
}

func (u *user) create(name string, role imap.MailboxAttr) error {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	name = strings.TrimRight(name, "/")
	if err := u.memory.Create(name, nil); err != nil {
		return err
	}
	u.mailboxes[name] = &mailbox{role: role}
	return nil
}

func (u *user) subscribe(name string, subscribed bool) error {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	m := u.mailboxes[name]
	if m == nil {
		return &imap.Error{Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodeNonExistent, Text: "No such mailbox"}
	}
	m.subscribed = subscribed
	return nil
}

// store puts a message into a mailbox as a delivery agent would.
func (u *user) store(mailbox string, m message) error {
	_, err := u.memory.Append(mailbox, strings.NewReader(m.text), &imap.AppendOptions{Flags: m.flags, Time: m.arrived})
	return err
}

// session is what one connection may do: the memory server's, corrected where
// a migration would stumble over it.
type session struct {
	*imapmemserver.UserSession // nil before the log-in

	server *server
	user   *user
}

func (s *session) Login(login, password string) error {
	u := s.server.users[login]
	if u == nil {
		return imapserver.ErrAuthFailed
	}
	if err := u.memory.Login(login, password); err != nil {
		return err
	}
	s.user, s.UserSession = u, imapmemserver.NewUserSession(u.memory)
	return nil
}

func (s *session) Close() error {
	defer s.server.done.Done()
	return s.UserSession.Close()
}

// Select adds the system flags, which the memory server names only where a
// message bears them, so that a client would take them for unknown.
func (s *session) Select(name string, options *imap.SelectOptions) (*imap.SelectData, error) {
	data, err := s.UserSession.Select(name, options)
	if err != nil {
		return nil, err
	}
	flags := []imap.Flag{imap.FlagAnswered, imap.FlagFlagged, imap.FlagDeleted, imap.FlagSeen, imap.FlagDraft}
	for _, f := range data.Flags {
		if !strings.HasPrefix(string(f), `\`) {
			flags = append(flags, f)
		}
	}
	data.Flags = flags
	data.PermanentFlags = append(slices.Clone(flags), imap.FlagWildcard)
	return data, nil
}

func (s *session) Append(mailbox string, r imap.LiteralReader, options *imap.AppendOptions) (*imap.AppendData, error) {
	if s.server.appendDelay > 0 {
		select {
		case <-time.After(s.server.appendDelay):
		case <-s.server.closing:
		}
	}
	return s.UserSession.Append(mailbox, &whole{LiteralReader: r, left: r.Size()}, options)
}

// whole fails where a literal breaks off, which the memory server would take
// for the end of the message.
type whole struct {
	imap.LiteralReader
	left int64
}

func (w *whole) Read(p []byte) (int, error) {
	n, err := w.LiteralReader.Read(p)
	if w.left -= int64(n); err == io.EOF && w.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (s *session) Create(name string, options *imap.CreateOptions) error {
	var role imap.MailboxAttr
	if len(options.SpecialUse) > 0 {
		role = options.SpecialUse[0]
	}
	return s.user.create(name, role)
}

func (s *session) Delete(name string) error {
	s.user.mutex.Lock()
	defer s.user.mutex.Unlock()
	if err := s.UserSession.Delete(name); err != nil {
		return err
	}
	delete(s.user.mailboxes, name)
	return nil
}

func (s *session) Rename(from, to string, options *imap.RenameOptions) error {
	s.user.mutex.Lock()
	defer s.user.mutex.Unlock()
	if err := s.UserSession.Rename(from, to, options); err != nil {
		return err
	}
	s.user.mailboxes[strings.TrimRight(to, "/")] = s.user.mailboxes[from]
	delete(s.user.mailboxes, from)
	return nil
}

func (s *session) Subscribe(name string) error   { return s.user.subscribe(name, true) }
func (s *session) Unsubscribe(name string) error { return s.user.subscribe(name, false) }

// List answers LIST with SPECIAL-USE (RFC 6154) and STATUS (RFC 5819).
func (s *session) List(w *imapserver.ListWriter, ref string, patterns []string, options *imap.ListOptions) error {
	if len(patterns) == 0 { // the separator is asked for (RFC 3501 §6.3.8)
		return w.WriteList(&imap.ListData{Attrs: []imap.MailboxAttr{imap.MailboxAttrNoSelect}, Delim: '/'})
	}
	s.user.mutex.Lock()
	defer s.user.mutex.Unlock()
	for _, name := range slices.Sorted(maps.Keys(s.user.mailboxes)) {
		m := s.user.mailboxes[name]
		matches := slices.ContainsFunc(patterns, func(p string) bool { return imapserver.MatchList(name, '/', ref, p) })
		if !matches || (options.SelectSubscribed && !m.subscribed) || (options.SelectSpecialUse && m.role == "") {
			continue
		}
		data := imap.ListData{Mailbox: name, Delim: '/'}
		if m.subscribed {
			data.Attrs = append(data.Attrs, imap.MailboxAttrSubscribed)
		}
		if m.role != "" {
			data.Attrs = append(data.Attrs, m.role)
		}
		if options.ReturnStatus != nil {
			status, err := s.Status(name, options.ReturnStatus)
			if err != nil {
				return err
			}
			data.Status = status
		}
		if err := w.WriteList(&data); err != nil {
			return err
		}
	}
	return nil
}
