package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// DestinationOptions are what a [Destination] needs.
type DestinationOptions struct {
	// Open dials the new server and logs in.
	Open   func(ctx context.Context) (*Conn, error)
	Logger *slog.Logger
	// Trust is shared by all destinations of the account. Nil for one of its own.
	Trust *Trust
}

// Destination is one account of the new server. Only an [Editor] changes or
// removes messages, those that it is given; a mailbox is left by UNSELECT, by
// opening another or by LOGOUT.
type Destination struct {
	session
	trust *Trust
}

// NewDestination makes a Destination. Nothing is dialed before the first call.
func NewDestination(o DestinationOptions) *Destination {
	if o.Trust == nil {
		o.Trust = new(Trust)
	}
	return &Destination{session{open: o.Open, logger: o.Logger}, o.Trust}
}

// Name spells a path as this server does. It is known once Mailboxes has been
// called.
func (d *Destination) Name(path []string) string {
	if d.spaces == nil {
		return namespaces{}.spell(path)
	}
	return d.spaces.spell(path)
}

// command sends one line and returns its answer, a NO or BAD as
// *mail.Refused.
func (d *Destination) command(ctx context.Context, line string) (Reply, error) {
	verb, _, _ := strings.Cut(line, " ")
	replies, err := d.raw(ctx, line)
	if err != nil {
		return Reply{}, fmt.Errorf("%s: %w", strings.ToLower(verb), err)
	}
	return replies[0], verdict(verb, replies[0].Tagged)
}

// commandsAtOnce is how many commands are pipelined that need not wait for one
// another.
const commandsAtOnce = 100

// commands sends lines together, but for those that are refused already, and
// notes which of them the server refuses.
func (d *Destination) commands(ctx context.Context, lines []string, refused []error) error {
	var open []int
	for i := range lines {
		if refused[i] == nil {
			open = append(open, i)
		}
	}
	for part := range slices.Chunk(open, commandsAtOnce) {
		together := make([]string, len(part))
		for k, i := range part {
			together[k] = lines[i]
		}
		replies, err := d.raw(ctx, together...)
		if err != nil {
			return err
		}
		for k, i := range part {
			verb, _, _ := strings.Cut(lines[i], " ")
			refused[i] = verdict(verb, replies[k].Tagged)
		}
	}
	return nil
}

// unquotable is the refusal of a name that cannot be sent.
func unquotable(command string, err error) error {
	return &mail.Refused{Command: command, Type: "BAD", Text: err.Error()}
}

// Create makes mailboxes; one that exists already is no error. A role is given
// along where the server takes it (RFC 6154 §3).
func (d *Destination) Create(ctx context.Context, boxes []mail.Creation) ([]error, error) {
	conn, err := d.connection(ctx)
	if err != nil {
		return nil, err
	}
	lines, refused := make([]string, len(boxes)), make([]error, len(boxes))
	for i, box := range boxes {
		quoted, err := quote(box.Name)
		if err != nil {
			refused[i] = unquotable("CREATE", err)
		} else if !d.Personal(box.Name) {
			refused[i] = &mail.Refused{Command: "CREATE", Type: "NO", Text: "not sent: there the name is one of other users' or shared mailboxes, and what is in them is not looked at; give it another in [mailboxes] rename"}
		} else {
			lines[i] = creation(conn, quoted, box.Role)
		}
	}
	if err := d.commands(ctx, lines, refused); err != nil {
		return nil, fmt.Errorf("create mailboxes: %w", err)
	}
	for i, box := range boxes {
		if refused[i] != nil && lines[i] != "" {
			if refused[i], err = d.createAgain(ctx, box.Name, lines[i], refused[i]); err != nil {
				return nil, err
			}
		}
	}
	return refused, nil
}

// creation is the CREATE of a mailbox.
func creation(conn *Conn, quoted, role string) string {
	line := "CREATE " + quoted
	if role != "" && conn.Has("CREATE-SPECIAL-USE") {
		line += " (USE (" + role + "))"
	}
	return line
}

// Personal tells whether a mailbox of that name would be the account's own, as far as
// Mailboxes has been told.
func (d *Destination) Personal(name string) bool { return d.spaces == nil || d.spaces.isPersonal(name) }

// createAgain makes a mailbox without the role that was refused. It lets a
// refusal pass when the mailbox can be opened: not every server says
// ALREADYEXISTS (RFC 5530). But the server must list it by that very name, or it
// takes the name for that of another mailbox.
func (d *Destination) createAgain(ctx context.Context, name, line string, refusal error) (refused, err error) {
	var answer *mail.Refused
	if plain, _, role := strings.Cut(line, " (USE ("); role && errors.As(refusal, &answer) && answer.Code != "ALREADYEXISTS" {
		if _, err := d.command(ctx, plain); !errors.As(err, new(*mail.Refused)) {
			return nil, err
		} else {
			refusal = err
		}
	}
	switch err := d.reopen(ctx, mail.Ref{Name: name}); {
	case err == nil:
		if listed, err := d.lists(ctx, name); err != nil || listed {
			return nil, err
		}
		return fmt.Errorf("%w: %w", mail.ErrOtherMailbox, refusal), nil
	case !errors.As(err, new(*mail.Refused)):
		return nil, err
	}
	return refusal, nil
}

// lists tells whether the server lists a mailbox by that very name.
func (d *Destination) lists(ctx context.Context, name string) (bool, error) {
	reply, err := d.command(ctx, `LIST "" `+quoted(name))
	l := newLister()
	for _, r := range reply.Untagged {
		l.take(r)
	}
	return l.byName[statusKey(name)] != nil, err
}

// Folds tells whether the server takes names for one that differ only by case,
// as one of the listed mailboxes shows. It changes nothing. Where none can show
// it, the answer is no.
func (d *Destination) Folds(ctx context.Context, listed mail.Listing) (bool, error) {
	names := make(map[string]bool, len(listed.Mailboxes))
	for _, m := range listed.Mailboxes {
		names[m.Name] = true
	}
	for _, m := range listed.Mailboxes {
		other := otherCase(m.Name, listed.Separator)
		if m.NoSelect || isInbox(m.Name) || other == "" {
			continue
		}
		if names[other] {
			return false, nil
		}
		_, err := d.command(ctx, "STATUS "+quoted(other)+" (UIDVALIDITY)")
		if errors.As(err, new(*mail.Refused)) {
			return false, nil
		}
		return err == nil, err
	}
	return false, nil
}

// Subscribe subscribes to mailboxes.
func (d *Destination) Subscribe(ctx context.Context, names []string) ([]error, error) {
	lines, refused := make([]string, len(names)), make([]error, len(names))
	for i, name := range names {
		quoted, err := quote(name)
		if lines[i] = "SUBSCRIBE " + quoted; err != nil {
			refused[i] = unquotable("SUBSCRIBE", err)
		}
	}
	if err := d.commands(ctx, lines, refused); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return refused, nil
}

// Appender opens a mailbox for writing, on the connection that there is. It is of use
// until any other method is called, which ends its use and waits for its answers.
func (d *Destination) Appender(ctx context.Context, box mail.Ref) (mail.Appender, error) {
	quoted, err := quote(box.Name)
	if err != nil {
		return nil, unquotable("SELECT", err)
	}
	_, reply := d.takeBack(quoted)
	if reply == nil {
		reply = d.takePrepared(ctx, box.Name)
	}
	return d.appender(ctx, box, quoted, reply)
}

// appender is Appender with the answer to SELECT; nil: it is to be sent.
func (d *Destination) appender(ctx context.Context, box mail.Ref, quoted string, reply *Reply) (mail.Appender, error) {
	shown, err := d.shown(reply)
	if shown == nil {
		shown, err = d.selectBox(ctx, quoted)
	}
	if err != nil {
		return nil, err
	}
	d.at = box.Name
	if err := shown.check(box); err != nil {
		return nil, err
	}
	if shown.readOnly {
		return nil, mail.ErrReadOnly
	}
	d.lent = &Appender{conn: d.conn, mailbox: quoted, status: shown.status, storable: appendable(d.conn, *shown, d.trust)}
	return d.lent, nil
}

// Make is Create and Appender, of a mailbox whose name is [Destination.Personal], in one
// round trip. A refusal of the CREATE is a *mail.Refused that says so.
func (d *Destination) Make(ctx context.Context, box mail.Creation) (mail.Appender, error) {
	quoted, err := quote(box.Name)
	if err != nil {
		return nil, unquotable("CREATE", err)
	}
	made, shown := d.takeBack(quoted)
	before := d.conn
	conn, err := d.connection(ctx)
	if err != nil {
		return nil, err
	}
	line := creation(conn, quoted, box.Role)
	if made == nil || conn != before {
		replies, err := d.opening(ctx, conn == before, line, "SELECT "+quoted)
		if err != nil {
			return nil, fmt.Errorf("create mailbox: %w", err)
		}
		made, shown = &replies[0], &replies[1]
	}
	if refusal := verdict("CREATE", made.Tagged); refusal != nil {
		refused, err := d.createAgain(ctx, box.Name, line, refusal)
		if err = cmp.Or(err, refused); err != nil {
			return nil, err
		}
		shown = nil
	} else if shown.Tagged.Type != "OK" { // the server may have looked before it was there
		shown = nil
	}
	return d.appender(ctx, mail.Ref{Name: box.Name}, quoted, shown)
}

// selectBox SELECTs a mailbox.
func (d *Destination) selectBox(ctx context.Context, quoted string) (*selected, error) {
	before := d.conn
	conn, err := d.connection(ctx)
	if err != nil {
		return nil, err
	}
	replies, err := d.opening(ctx, conn == before, "SELECT "+quoted)
	if err != nil {
		return nil, fmt.Errorf("select mailbox: %w", err)
	}
	return d.shown(&replies[0])
}

// opening sends commands of which the last opens a mailbox.
func (d *Destination) opening(ctx context.Context, used bool, lines ...string) ([]Reply, error) {
	replies, err := d.raw(ctx, lines...)
	if err != nil && used && ctx.Err() == nil {
		// Idle since the last use, the connection may have been closed by the server.
		replies, err = d.raw(ctx, lines...)
	}
	d.isOpen, d.at = false, ""
	return replies, err
}

// shown reads the answer to SELECT. One that is refused leaves none open (RFC 3501
// §6.3.1).
func (d *Destination) shown(reply *Reply) (*selected, error) {
	if reply == nil {
		return nil, nil
	}
	s := parseSelected(*reply)
	return &s, verdict("SELECT", reply.Tagged)
}
