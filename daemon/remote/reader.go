package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// session reads one account over one connection at a time, dialed when it is
// needed and again after it failed: the call that fails returns its error, the
// next one starts afresh. Mailboxes are opened by EXAMINE only, which cannot
// change them.
type session struct {
	open   func(ctx context.Context) (*Conn, error)
	logger *slog.Logger

	conn   *Conn
	box    string // raw name of the mailbox that is open, when isOpen
	isOpen bool   // by EXAMINE
	at     string // the same, by EXAMINE or SELECT; empty: none
	opened selected
	calls  int              // of raw on this connection: an Editor is of use until the next
	lent   *Appender        // who uses the connection until it is needed; nil: nobody
	stays  bool             // the mailbox that is open stays open over Mailboxes, for IDLE
	told   func(Response)   // of what Mailboxes has not asked for; nil: nobody is
	heard  func([]Response) // is given what LIST brings; nil: nobody is

	lists     []kind      // of namespaces; empty: the personal one
	spaces    *namespaces // nil: not asked yet
	asked     bool        // NAMESPACE was asked on this connection
	plainList bool        // LIST-EXTENDED is offered but not done
	noSearch  bool        // the same of ESEARCH
	bodyFirst bool        // FETCH gives the body before the flags

	expects *mail.Question // what Mailboxes is to ask as well; nil: nothing
	known   *foreseen      // what it has asked; nil: nothing
	inHand  *wholeList     // messages that have come with it; nil: none
	// foresight is that of a source.
	foresight *Foresight

	opens    string    // the mailbox that Mailboxes is to SELECT as well; empty: none
	prepared *prepared // that it has; nil: none

	gmail *gmail // of a source: what labels are known, where there are any
}

// connection returns a connection that has not failed yet.
func (s *session) connection(ctx context.Context) (*Conn, error) {
	s.takeBack("")
	if s.conn != nil && s.conn.Err() == nil && !s.conn.gone(ctx) {
		return s.conn, nil
	}
	s.drop()
	conn, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	s.conn = conn
	return conn, nil
}

// Has tells whether the server offers a capability. It is known while a
// connection is open.
func (s *session) Has(capability string) bool {
	return s.conn != nil && s.conn.Has(capability)
}

// Security is how the connection is protected, while one is open.
func (s *session) Security() Security {
	if s.conn == nil {
		return Security{}
	}
	return s.conn.Security()
}

// oneByOne tells whether messages have to be asked for one by one, because the
// server tells which one it was behind its content.
func (s *session) oneByOne() bool { return s.conn != nil && s.conn.uidLast }

// drop closes the connection, if there is one, and forgets what it told.
func (s *session) drop() {
	if s.conn != nil {
		s.conn.Close()
	}
	*s = session{open: s.open, logger: s.logger, spaces: s.spaces, stays: s.stays, told: s.told, lists: s.lists, gmail: s.gmail, expects: s.expects, opens: s.opens, foresight: s.foresight}
}

// Connect dials and logs in, where that is not done yet.
func (s *session) Connect(ctx context.Context) error {
	_, err := s.connection(ctx)
	return err
}

// leaveTimeout is how long LOGOUT may take.
const leaveTimeout = 5 * time.Second

// Close ends the connection, if there is one, in good order where the server still
// answers.
func (s *session) Close() error {
	if s.conn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	s.takeBack("")
	if err := s.conn.Logout(ctx); err != nil {
		s.logger.Debug("connection ended without a farewell", "error", err)
	}
	s.drop()
	return nil
}

// raw sends command lines at once and returns their answers. A connection that
// fails is dropped.
func (s *session) raw(ctx context.Context, lines ...string) ([]Reply, error) {
	conn, err := s.connection(ctx)
	if err != nil {
		return nil, err
	}
	s.calls++
	return s.exchange(ctx, conn, lines)
}

// exchange is raw on the connection that there is.
func (s *session) exchange(ctx context.Context, conn *Conn, lines []string) ([]Reply, error) {
	return s.exchangeEach(ctx, conn, nil, lines)
}

func (s *session) exchangeEach(ctx context.Context, conn *Conn, each func(int, Response) bool, lines []string) ([]Reply, error) {
	replies, err := conn.rawEach(ctx, each, lines...)
	if err == nil && len(replies) != len(lines) {
		err = errors.New("answers are missing")
	}
	if err != nil {
		s.drop()
		if ctx.Err() != nil {
			err = ctx.Err() // which closed the connection
		}
		return nil, err
	}
	return replies, nil
}

// examine opens the mailbox unless it is open, and checks its UIDVALIDITY
// (I5).
func (s *session) examine(ctx context.Context, box mail.Ref) error {
	if s.shows(ctx, box) {
		return s.opened.check(box)
	}
	return s.reopen(ctx, box)
}

// shows tells whether a mailbox is open, over a connection that is still there.
func (s *session) shows(ctx context.Context, box mail.Ref) bool {
	return s.isOpen && s.box == box.Name && s.conn.Err() == nil && !s.conn.gone(ctx)
}

// reopen opens the mailbox whether it is open or not.
func (s *session) reopen(ctx context.Context, box mail.Ref) error {
	name, err := quote(box.Name)
	if err != nil {
		return unquotable("EXAMINE", err)
	}
	replies, err := s.raw(ctx, "EXAMINE "+name)
	if err != nil {
		return fmt.Errorf("open mailbox: %w", err)
	}
	return s.examined(box, replies[0])
}

// examined takes the answer to EXAMINE.
func (s *session) examined(box mail.Ref, reply Reply) error {
	// A refused EXAMINE leaves no mailbox open (RFC 3501 §6.3.1).
	s.isOpen, s.at = false, ""
	if err := verdict("EXAMINE", reply.Tagged); err != nil {
		return err
	}
	s.at = box.Name
	s.box, s.isOpen, s.opened = box.Name, true, parseSelected(reply)
	return s.opened.check(box)
}

// Status opens the mailbox afresh and says what it shows.
func (s *session) Status(ctx context.Context, box mail.Ref) (mail.Status, error) {
	if err := s.reopen(ctx, box); err != nil {
		return mail.Status{}, err
	}
	status := s.opened.status
	if s.isRest(box.Name) {
		uids, err := s.UIDs(ctx, box, 1)
		if err != nil {
			return mail.Status{}, err
		}
		known, _ := slices.BinarySearch(uids, status.UIDNext)
		status.Messages, status.MessagesKnown = uint32(known), s.gmail.agrees
	}
	return status, nil
}
