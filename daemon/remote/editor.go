package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// editedAtOnce bounds how many messages the commands of one round trip are
// about: a server answers for each of them.
const editedAtOnce = 10_000

// errEditorEnded: the connection has been used for something else, or is gone.
var errEditorEnded = errors.New("the mailbox is not open for changes any more")

// Editor changes messages of the mailbox that is SELECTed on the connection
// for reading. It sends nothing once that connection has been used for
// anything else: the mailbox that is open then is another.
type Editor struct {
	destination *Destination
	conn        *Conn
	calls       int // of the session, when the mailbox was SELECTed
	status      mail.Status
	storable    *storable
	// stored are flags that Store has given already. What is asked for again is
	// done: its condition cannot be met any more, since we have changed it.
	stored map[mail.UID]mail.Flags
}

// Editor opens a mailbox for changes to messages that are in it. An editor in
// use before is of no further use.
func (d *Destination) Editor(ctx context.Context, box mail.Ref) (mail.Editor, error) {
	quoted, err := quote(box.Name)
	if err != nil {
		return nil, unquotable("SELECT", err)
	}
	conn, err := d.connection(ctx)
	if err != nil {
		return nil, err
	}
	d.isOpen, d.at = false, ""
	conditional := conn.Has("CONDSTORE")
	var reply Reply
	if conditional {
		var refused *mail.Refused
		reply, err = d.command(ctx, "SELECT "+quoted+" (CONDSTORE)")
		conditional = !errors.As(err, &refused) || refused.Type != "BAD" // announced, but not done
	}
	if !conditional {
		reply, err = d.command(ctx, "SELECT "+quoted)
	}
	if err != nil {
		return nil, err
	}
	d.at = box.Name
	shown := parseSelected(reply)
	if err := shown.check(box); err != nil {
		return nil, err
	}
	if shown.readOnly {
		return nil, mail.ErrReadOnly
	}
	if !conditional {
		shown.status.HighestModSeq = 0
	}
	return &Editor{
		destination: d, conn: d.conn, calls: d.calls, status: shown.status,
		storable: newStorable(shown.flags, shown.permanent, d.trust), stored: make(map[mail.UID]mail.Flags),
	}, nil
}

// Status is what SELECT showed. HighestModSeq is 0 where no change can be made
// under a condition.
func (e *Editor) Status() mail.Status { return e.status }

// Storable reduces flags to those that the mailbox can store.
func (e *Editor) Storable(flags mail.Flags) mail.Flags { return e.storable.reduce(flags) }

// NotAppended are the flags that the server drops when they come with APPEND.
func (e *Editor) NotAppended() mail.System { return notAppended(e.conn) }

// CanMove tells whether the server says where it moves a message: COPYUID is of
// UIDPLUS (RFC 4315), with MOVE (RFC 6851 §4.3) as with COPY.
func (e *Editor) CanMove() bool { return e.conn.Has("UIDPLUS") }

// CanRemove tells whether there is UID EXPUNGE (RFC 4315).
func (e *Editor) CanRemove() bool { return e.conn.Has("UIDPLUS") }

// inUse tells whether the mailbox is still the one that is SELECTed.
func (e *Editor) inUse() bool {
	return e.destination.conn == e.conn && e.destination.calls == e.calls && e.conn.Err() == nil
}

// exchange sends command lines at once, if the mailbox is still open.
func (e *Editor) exchange(ctx context.Context, lines ...string) ([]Reply, error) {
	if !e.inUse() {
		return nil, errEditorEnded
	}
	return e.destination.exchange(ctx, e.conn, lines)
}

// Close ends the use of the mailbox, by UNSELECT where there is one: CLOSE
// would remove messages (I4).
func (e *Editor) Close() error {
	if !e.inUse() {
		return nil
	}
	e.destination.calls++
	if !e.conn.Has("UNSELECT") {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	replies, err := e.destination.exchange(ctx, e.conn, []string{"UNSELECT"})
	if err != nil {
		return fmt.Errorf("leave mailbox: %w", err)
	}
	if replies[0].Tagged.Type == "OK" {
		e.destination.at = ""
	}
	return nil
}

// Flags reads the flags of messages (ascending UIDs); one that is not there is
// left out.
func (e *Editor) Flags(ctx context.Context, uids []mail.UID) ([]mail.Message, error) {
	var rows []mail.Message
	for part := range slices.Chunk(uids, editedAtOnce) {
		lines, _ := uidSets(part)
		for i := range lines {
			lines[i] = "UID FETCH " + lines[i] + " (FLAGS)"
		}
		replies, err := e.exchange(ctx, lines...)
		if err != nil {
			return nil, fmt.Errorf("fetch flags: %w", err)
		}
		var all Reply // a row may stand before the answer to another of the commands
		for _, reply := range replies {
			if err := verdict("UID FETCH", reply.Tagged); err != nil {
				return nil, err
			}
			all.Untagged = append(all.Untagged, reply.Untagged...)
		}
		rows = append(rows, parseFlagRows(all, func(uid mail.UID) bool {
			_, asked := slices.BinarySearch(part, uid)
			return asked
		})...)
	}
	return rows, nil
}

// Store changes flags from From to To, but of those messages only whose flags
// have not changed since they were read. The others are returned. Beside an
// error they are those that are known; what became of the rest is not.
func (e *Editor) Store(ctx context.Context, edits []mail.Edit) (changed []mail.UID, err error) {
	spell := func(edit mail.Edit) []string { return []string{"FLAGS.SILENT " + edit.To.String()} }
	if e.status.HighestModSeq == 0 {
		spell = func(edit mail.Edit) (items []string) {
			if add := minus(edit.To, edit.From); add != (mail.Flags{}) {
				items = append(items, "+FLAGS.SILENT "+add.String())
			}
			if remove := minus(edit.From, edit.To); remove != (mail.Flags{}) {
				items = append(items, "-FLAGS.SILENT "+remove.String())
			}
			return items
		}
	}
	var left []mail.Edit
	for _, edit := range edits {
		send := edit.To
		if e.status.HighestModSeq == 0 {
			send = minus(edit.To, edit.From).With(minus(edit.From, edit.To))
		}
		if refused := unsendableFlags("UID STORE", send); refused != nil {
			return nil, refused
		}
		if to, ok := e.stored[edit.UID]; !ok || !to.Equal(edit.To) {
			left = append(left, edit)
		}
	}
	to := make(map[mail.UID]mail.Flags, len(left))
	for _, edit := range left {
		to[edit.UID] = edit.To
	}
	stored, changed, err := e.apply(ctx, left, spell)
	for _, uid := range stored {
		e.stored[uid] = to[uid]
	}
	return changed, err
}

// minus returns those flags of f that other has not.
func minus(f, other mail.Flags) mail.Flags {
	has := lowerSet(other.KeywordList())
	f.System &^= other.System
	return f.Keep(func(keyword string) bool { return !has[strings.ToLower(keyword)] })
}

// Remove marks messages \Deleted, under the condition of Store, and expunges
// those that were marked, and no other (I4). The others are returned. What
// Store has changed before does not fulfil the condition.
func (e *Editor) Remove(ctx context.Context, edits []mail.Edit) (changed []mail.UID, err error) {
	if !e.CanRemove() {
		return nil, errors.New("remove messages: the server has no UID EXPUNGE (RFC 4315)")
	}
	marked, changed, err := e.apply(ctx, edits, func(mail.Edit) []string { return []string{markDeleted} })
	return changed, errors.Join(err, e.expunge(ctx, marked))
}

const markDeleted = `+FLAGS.SILENT (\Deleted)`

// expunge removes those of the messages that are marked \Deleted.
func (e *Editor) expunge(ctx context.Context, uids []mail.UID) error {
	for part := range slices.Chunk(uids, editedAtOnce) {
		lines, _ := uidSets(part)
		for i := range lines {
			lines[i] = "UID EXPUNGE " + lines[i]
		}
		replies, err := e.exchange(ctx, lines...)
		if err != nil {
			return fmt.Errorf("expunge: %w", err)
		}
		for _, reply := range replies {
			if err := verdict("UID EXPUNGE", reply.Tagged); err != nil {
				return err
			}
		}
	}
	return nil
}

// apply sends for each edit what spell makes of it, under the condition of
// Store. stored are the messages of which the server has said so, or that were
// not there; changed are those that did not fulfil the condition.
func (e *Editor) apply(ctx context.Context, edits []mail.Edit, spell func(mail.Edit) []string) (stored, changed []mail.UID, err error) {
	edits = slices.Clone(edits)
	slices.SortFunc(edits, func(a, b mail.Edit) int { return cmp.Compare(a.UID, b.UID) })
	for part := range slices.Chunk(edits, editedAtOnce) {
		if e.status.HighestModSeq == 0 {
			var others []mail.UID
			part, others, err = e.unchanged(ctx, part)
			changed = append(changed, others...)
		}
		if err == nil {
			var done, others []mail.UID
			done, others, err = e.stores(ctx, part, spell)
			stored, changed = append(stored, done...), append(changed, others...)
		}
		if err != nil {
			break
		}
	}
	return ascending(stored), ascending(changed), err
}

// unchanged reads the flags again and parts the edits by whether they still
// are as they were. A message that has gone is none of either.
func (e *Editor) unchanged(ctx context.Context, edits []mail.Edit) (same []mail.Edit, changed []mail.UID, err error) {
	from := make(map[mail.UID]mail.Edit, len(edits))
	uids := make([]mail.UID, len(edits))
	for i, edit := range edits {
		from[edit.UID], uids[i] = edit, edit.UID
	}
	// Some servers show what others have changed after NOOP only. It goes ahead
	// by itself, since pipelined commands may overtake it.
	replies, err := e.exchange(ctx, "NOOP")
	if err != nil {
		return nil, nil, fmt.Errorf("fetch flags: %w", err)
	}
	if err := verdict("NOOP", replies[0].Tagged); err != nil {
		return nil, nil, err
	}
	rows, err := e.Flags(ctx, uids)
	if err != nil {
		return nil, nil, err
	}
	for _, m := range rows {
		if edit := from[m.UID]; m.Flags.Equal(edit.From) {
			same = append(same, edit)
		} else {
			changed = append(changed, m.UID)
		}
	}
	return same, changed, nil
}

// stores sends the commands for edits, those alike together, in one round trip.
func (e *Editor) stores(ctx context.Context, edits []mail.Edit, spell func(mail.Edit) []string) (stored, changed []mail.UID, err error) {
	alike := make(map[string][]mail.UID)
	for _, edit := range edits {
		for _, items := range spell(edit) {
			alike[items] = append(alike[items], edit.UID)
		}
	}
	condition := ""
	if e.status.HighestModSeq > 0 {
		condition = "(UNCHANGEDSINCE " + strconv.FormatUint(uint64(e.status.HighestModSeq), 10) + ") "
	}
	var lines []string
	var asked [][]mail.UID
	for _, items := range slices.Sorted(maps.Keys(alike)) {
		sets, parts := uidSets(ascending(alike[items]))
		for i, set := range sets {
			lines, asked = append(lines, "UID STORE "+set+" "+condition+items), append(asked, parts[i])
		}
	}
	if len(lines) == 0 {
		return nil, nil, nil
	}
	replies, err := e.exchange(ctx, lines...)
	if err != nil {
		return nil, nil, fmt.Errorf("store flags: %w", err)
	}
	failed := make(map[mail.UID]bool)
	for i, reply := range replies {
		others, verr := unfulfilled(reply.Tagged, asked[i])
		if verr != nil {
			err = errors.Join(err, verr)
			others = asked[i]
		} else {
			changed = append(changed, others...)
		}
		for _, uid := range others {
			failed[uid] = true
		}
	}
	for _, edit := range edits {
		if !failed[edit.UID] {
			stored = append(stored, edit.UID)
		}
	}
	return stored, changed, err
}

// unfulfilled returns those of the messages of a conditional STORE that the
// server left as they were: MODIFIED stands in OK, or in NO when some of the
// messages are not there any more (RFC 7162 §3.1.3).
func unfulfilled(tagged Response, asked []mail.UID) ([]mail.UID, error) {
	if tagged.Code != "MODIFIED" || tagged.Type == "BAD" {
		return nil, verdict("UID STORE", tagged)
	}
	if len(tagged.Args) != 1 {
		return nil, fmt.Errorf("store flags: %w: MODIFIED without a set", errProtocol)
	}
	changed, err := namedBy(asked, tagged.Args[0].Text)
	if err != nil {
		return nil, fmt.Errorf("store flags: %w: MODIFIED: %w", errProtocol, err)
	}
	return changed, nil
}
