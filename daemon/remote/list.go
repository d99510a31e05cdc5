package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// statusesAtOnce is how many STATUS commands are pipelined.
const statusesAtOnce = 300

// roles are the SPECIAL-USE attributes (RFC 6154, RFC 8457) as they are
// spelled in [mail.Mailbox].
var roles = []string{`\All`, `\Archive`, `\Drafts`, `\Flagged`, `\Important`, `\Junk`, `\Sent`, `\Trash`}

// Mailboxes lists the mailboxes of the personal namespace, or of those that are
// wanted: one round trip with LIST-STATUS (RFC 5819), else one more for all STATUS
// commands together, and one more for the namespaces of others.
func (s *session) Mailboxes(ctx context.Context) (mail.Listing, error) {
	conn, err := s.connection(ctx)
	if err != nil {
		return mail.Listing{}, err
	}
	list, items, withStatus := s.list(conn)
	var lines []string
	if s.at != "" && !s.stays {
		// No STATUS of an open mailbox (RFC 2683 §3.4.4).
		if conn.Has("UNSELECT") {
			lines = append(lines, "UNSELECT")
		} else {
			lines = append(lines, "NOOP")
		}
	}
	if !s.asked && conn.Has("NAMESPACE") {
		lines = append(lines, "NAMESPACE")
	}
	lines = append(lines, list)
	extended := list != plainList
	if !extended {
		lines = append(lines, `LSUB "" "*"`)
	}
	replies, ahead, err := s.askList(ctx, conn, lines)
	if err != nil {
		return mail.Listing{}, fmt.Errorf("list mailboxes: %w", err)
	}

	l := newLister()
	for i, reply := range replies {
		if err := verdict(strings.Fields(lines[i])[0], reply.Tagged); passing(err) && reply.Tagged.Code != "NOPERM" {
			// It says nothing about what the server can do, or where mail belongs.
			return mail.Listing{}, fmt.Errorf("list mailboxes: %w", err)
		}
		if lines[i] == "UNSELECT" && reply.Tagged.Type == "OK" {
			s.isOpen, s.at = false, ""
		}
		isList := strings.HasPrefix(lines[i], "LIST")
		if isList && reply.Tagged.Type != "OK" {
			if extended {
				s.plainList = true
				return s.Mailboxes(ctx)
			}
			return mail.Listing{}, refusal("LIST", reply.Tagged)
		}
		if isList && s.heard != nil {
			s.heard(reply.Untagged)
		}
		s.taken(l, reply)
	}
	first := !s.asked
	if first && (l.spaces != nil || s.spaces == nil) {
		s.spaces = l.namespaces() // else they are what they were
	}
	s.asked = true
	if ahead != nil {
		ahead(l.statuses)
	}
	if err := s.listForeign(ctx, l, lines[len(lines)-1], extended); err != nil {
		return mail.Listing{}, err
	}
	boxes := l.boxes(*s.spaces, s.kinds())
	if !withStatus || len(l.statuses) == 0 {
		if err := s.statuses(ctx, l, boxes, items); err != nil {
			return mail.Listing{}, err
		}
	}
	if first {
		s.remark(l, boxes)
	}
	return s.listing(boxes, l.statuses), nil
}

// listForeign lists the namespaces of others as well, as far as they are wanted:
// not every server shows them with "*". last is the command that lists the rest.
func (s *session) listForeign(ctx context.Context, l *lister, last string, extended bool) error {
	var lines []string
	for _, space := range s.spaces.foreign {
		if prefix, err := quote(space.prefix + "*"); err == nil && space.prefix != "" && slices.Contains(s.kinds(), space.kind) {
			if extended {
				lines = append(lines, strings.Replace(last, `"*"`, prefix, 1))
			} else {
				lines = append(lines, `LIST "" `+prefix, `LSUB "" `+prefix)
			}
		}
	}
	if len(lines) == 0 {
		return nil
	}
	replies, err := s.raw(ctx, lines...)
	if err != nil {
		return fmt.Errorf("list mailboxes: %w", err)
	}
	for i, reply := range replies {
		if err := verdict("LIST", reply.Tagged); err != nil && strings.HasPrefix(lines[i], "LIST") {
			return fmt.Errorf("list mailboxes: %w", err)
		}
		s.taken(l, reply)
	}
	return nil
}

// plainList is LIST where LIST-EXTENDED (RFC 5258) is not offered, or not done.
const plainList = `LIST "" "*"`

// list is how to ask for all mailboxes, which items of STATUS are of use, and
// whether it asks for these too.
func (s *session) list(conn *Conn) (command, items string, withStatus bool) {
	items = "MESSAGES UIDNEXT UIDVALIDITY"
	if conn.Has("CONDSTORE") || conn.Has("QRESYNC") {
		items += " HIGHESTMODSEQ"
	}
	if s.plainList || !conn.Has("LIST-EXTENDED") {
		return plainList, items, false
	}
	returns := []string{"SUBSCRIBED"}
	if conn.Has("SPECIAL-USE") {
		returns = append(returns, "SPECIAL-USE")
	}
	if withStatus = conn.Has("LIST-STATUS"); withStatus {
		returns = append(returns, "STATUS ("+items+")")
	}
	return plainList + " RETURN (" + strings.Join(returns, " ") + ")", items, withStatus
}

// remark tells, once a connection, what of the listing is not as it should be.
func (s *session) remark(l *lister, boxes []*listed) {
	if n := len(l.byName) - len(boxes); n > 0 {
		s.logger.Info("mailboxes of namespaces that are not asked for are left out", "count", n)
	}
	for _, box := range boxes {
		if _, err := quote(box.name); err != nil {
			s.logger.Warn("mailbox cannot be opened", "error", err)
		} else if _, decoded := s.spaces.path(box.name, box.separator); !decoded {
			s.logger.Info("mailbox name cannot be decoded", "name", fmt.Sprintf("%q", box.name))
		}
	}
}

// listing turns what was listed into mailboxes, ordered by raw name.
func (s *session) listing(boxes []*listed, statuses map[string]mail.Status) mail.Listing {
	home := s.spaces.home()
	out := mail.Listing{Separator: home.separator, Prefix: home.prefix}
	for _, box := range boxes {
		path, _ := s.spaces.path(box.name, box.separator)
		m := mail.Mailbox{Name: box.name, Path: path, Role: box.role, NoSelect: box.noSelect, Subscribed: box.subscribed}
		if _, err := quote(box.name); err != nil {
			m.NoSelect = true
		}
		if !m.NoSelect {
			m.Status = statuses[statusKey(box.name)]
		}
		out.Mailboxes = append(out.Mailboxes, m)
	}
	for _, space := range append(slices.Clone(s.spaces.foreign), s.spaces.personal...) {
		if slices.Contains(s.kinds(), space.kind) {
			out.Listed = append(out.Listed, space.prefix)
		} else {
			out.LeftOut = append(out.LeftOut, space.prefix)
		}
	}
	rolesByName(out.Mailboxes)
	if s.gmail != nil && s.Has(gmailExtension) {
		s.gmail.sort(&out)
	}
	return out
}

// statuses asks for the status of every mailbox that can be opened. One that
// is refused stays zero. The one that is open is opened again instead.
func (s *session) statuses(ctx context.Context, l *lister, boxes []*listed, items string) error {
	var lines []string
	for _, box := range boxes {
		if s.at != "" && statusKey(s.at) == statusKey(box.name) {
			status, err := s.Status(ctx, mail.Ref{Name: box.name})
			if err != nil && !errors.As(err, new(*mail.Refused)) {
				return err
			}
			l.statuses[statusKey(box.name)] = status
		} else if name, err := quote(box.name); err == nil && !box.noSelect {
			lines = append(lines, "STATUS "+name+" ("+items+")")
		}
	}
	for part := range slices.Chunk(lines, statusesAtOnce) {
		replies, err := s.raw(ctx, part...)
		if err != nil {
			return fmt.Errorf("ask for the status of mailboxes: %w", err)
		}
		for _, reply := range replies {
			s.taken(l, reply)
		}
	}
	return nil
}

// taken gathers an answer.
func (s *session) taken(l *lister, reply Reply) {
	for _, r := range reply.Untagged {
		if !l.take(r) && s.told != nil {
			s.told(r)
		}
	}
}

// listed is one mailbox of LIST. Repeated rows are merged.
type listed struct {
	name       string
	separator  byte
	role       string
	noSelect   bool
	subscribed bool
}

// lister gathers LIST, LSUB, STATUS and NAMESPACE responses.
type lister struct {
	byName     map[string]*listed
	subscribed map[string]bool
	statuses   map[string]mail.Status
	spaces     *namespaces
	separator  byte
}

func newLister() *lister {
	return &lister{byName: make(map[string]*listed), subscribed: make(map[string]bool), statuses: make(map[string]mail.Status)}
}

// statusKey is the name under which a status is kept: servers answer for INBOX
// in any case.
func statusKey(name string) string {
	if isInbox(name) {
		return "INBOX"
	}
	return name
}

// take tells whether a response is one of those that it gathers.
func (l *lister) take(r Response) bool {
	switch r.Type {
	case "LIST", "LSUB":
		if len(r.Data) < 3 || r.Data[2].Nil || r.Data[2].IsList || r.Data[2].Text == "" {
			return true
		}
		l.row(r.Type == "LSUB", texts(r.Data[0].List), r.Data[1], r.Data[2].Text)
	case "STATUS":
		if len(r.Data) >= 2 {
			// NOTIFY may tell of some of it only, in the middle of a listing.
			status := l.statuses[statusKey(r.Data[0].Text)]
			parseStatus(&status, r.Data[1].List)
			l.statuses[statusKey(r.Data[0].Text)] = status
		}
	case "NAMESPACE":
		if len(r.Data) >= 1 {
			spaces := &namespaces{personal: parseNamespaces(r.Data[0], kindPersonal)}
			for i, part := range r.Data[1:] {
				spaces.foreign = append(spaces.foreign, parseNamespaces(part, []kind{kindOther, kindShared}[min(i, 1)])...)
			}
			l.spaces = spaces
		}
	default:
		return false
	}
	return true
}

func (l *lister) row(lsub bool, attributes []string, separator Value, name string) {
	has := func(attribute string) bool {
		return slices.ContainsFunc(attributes, func(a string) bool { return strings.EqualFold(a, attribute) })
	}
	if lsub {
		// \Noselect marks a name that is not subscribed itself (RFC 3501
		// §6.3.9).
		if !has(`\Noselect`) {
			l.subscribed[statusKey(name)] = true
		}
		return
	}
	box := l.byName[statusKey(name)]
	if box == nil {
		box = &listed{name: name}
		l.byName[statusKey(name)] = box
	}
	if len(separator.Text) == 1 && !separator.Nil {
		box.separator = separator.Text[0]
		if l.separator == 0 {
			l.separator = box.separator
		}
	}
	box.noSelect = box.noSelect || has(`\Noselect`) || has(`\NonExistent`)
	box.subscribed = box.subscribed || has(`\Subscribed`)
	for _, role := range roles {
		if box.role == "" && has(role) {
			box.role = role
		}
	}
}

// namespaces are those of NAMESPACE, else one without prefix, unless everything
// is in INBOX: then that is where new mailboxes can be made, on such a server.
func (l *lister) namespaces() *namespaces {
	if l.spaces != nil && len(l.spaces.personal) > 0 {
		return l.spaces
	}
	home := namespace{separator: l.separator, kind: kindPersonal}
	if inbox := "INBOX" + string(l.separator); l.separator != 0 {
		within := 0
		for name := range l.byName {
			if len(name) > len(inbox) && strings.EqualFold(name[:len(inbox)], inbox) {
				within++
			} else if !isInbox(name) {
				within = 0
				break
			}
		}
		if within > 0 {
			home.prefix = inbox
		}
	}
	return &namespaces{personal: []namespace{home}}
}

// boxes returns the mailboxes of these kinds of namespaces by raw name. The bare
// root of the personal one is no mailbox. What is not the user's own has no role.
func (l *lister) boxes(spaces namespaces, kinds []kind) []*listed {
	var boxes []*listed
	for _, box := range l.byName {
		root := strings.TrimSuffix(spaces.home().prefix, string(spaces.home().separator))
		of := spaces.kindOf(box.name)
		if !slices.Contains(kinds, of) || box.noSelect && (box.name == root || box.name == spaces.home().prefix) && !isInbox(box.name) {
			continue
		}
		if of != kindPersonal {
			box.role = ""
		}
		box.subscribed = box.subscribed || l.subscribed[statusKey(box.name)]
		boxes = append(boxes, box)
	}
	slices.SortFunc(boxes, func(a, b *listed) int { return strings.Compare(a.name, b.name) })
	return boxes
}

// parseStatus reads the pairs of a STATUS response (RFC 3501 §7.2.4). What it does not
// tell stays.
func parseStatus(status *mail.Status, pairs []Value) {
	for i := 0; i+1 < len(pairs); i += 2 {
		value := pairs[i+1]
		switch strings.ToUpper(pairs[i].Text) {
		case "MESSAGES":
			n, err := strconv.ParseUint(value.Text, 10, 32)
			status.Messages, status.MessagesKnown = uint32(n), err == nil
		case "UIDNEXT":
			status.UIDNext = mail.UID(number(value, 32))
		case "UIDVALIDITY":
			status.UIDValidity = mail.UIDValidity(number(value, 32))
		case "HIGHESTMODSEQ":
			status.HighestModSeq = mail.ModSeq(number(value, 63))
		}
	}
}

// parseNamespaces reads one part of NAMESPACE (RFC 2342 §5): NIL or a list of
// prefix and separator.
func parseNamespaces(part Value, of kind) []namespace {
	var list []namespace
	for _, element := range part.List {
		if len(element.List) < 2 {
			continue
		}
		space := namespace{prefix: element.List[0].Text, kind: of}
		if separator := element.List[1]; len(separator.Text) == 1 && !separator.Nil {
			space.separator = separator.Text[0]
		}
		list = append(list, space)
	}
	return list
}
