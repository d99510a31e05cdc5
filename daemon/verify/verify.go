// Package verify compares the two sides of an account and names every
// difference. It is the one comparator that operators, the demo and the tests
// of this program share; it reads and changes nothing.
//
// With receipts each source message is compared with the copy that its receipt
// names. Where there are none, or where a new UIDVALIDITY has voided them,
// messages are paired by fingerprint, as multisets.
//
// Invariants:
//   - Every message that the old server lists in a mailbox that is wanted is
//     counted in exactly one class; every message of the new server is the copy
//     of one of them, or is counted as kept, doubled or extra.
//   - Only what a receipt proves to have been copied counts as removed or changed
//     by its user.
//   - Subjects and bodies are in no report.
package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/plan"
)

// Reader is what both sides are asked.
type Reader interface {
	Mailboxes(ctx context.Context) (mail.Listing, error)
	UIDs(ctx context.Context, box mail.Ref, from mail.UID) ([]mail.UID, error)
	Messages(ctx context.Context, box mail.Ref, uids []mail.UID, fingerprints bool) iter.Seq2[mail.Message, error]
	Headers(ctx context.Context, box mail.Ref, uids []mail.UID) iter.Seq2[mail.Message, error]
	Bodies(ctx context.Context, box mail.Ref, uids []mail.UID) iter.Seq2[mail.Body, error]
}

// Journal is what is remembered of the account.
type Journal interface {
	Pairs() ([]mail.Pair, error)
	Receipts(pair mail.PairID) iter.Seq2[mail.Receipt, error]
	Holds() ([]mail.Hold, error)
}

// Options says what to compare, and how.
type Options struct {
	Account     string
	Source      Reader
	Destination Reader
	Journal     Journal
	Rules       plan.Rules // which mailboxes are carried, and where to
	Mode        Mode
	Sample      float64 // share of the messages, with mode Sample; at least 100
	// UsersMoved tells that users are at work on the new server, so that what they
	// change and remove there is no difference.
	UsersMoved bool
	// FlagsKept tells that flags are not followed (policy.flags = "copy").
	FlagsKept bool
	// Progress, when given, is where comparing contents goes on, and where it
	// writes down how far it has come: whatever Account returns, the value can be
	// stored and given to the next call. Saved is told whenever it has moved.
	Progress *Progress
	Saved    func(Progress)
	// Pace is called before contents of so many octets are read from each side; it
	// returns when they may be. nil: at once.
	Pace   func(ctx context.Context, octets int64) error
	Now    func() time.Time
	Logger *slog.Logger
}

// comparison is one run over an account.
type comparison struct {
	Options
	report      Report
	holds       map[mail.HoldKey]mail.Hold
	boxes       []*box
	destination map[string]mail.Mailbox // by raw name
	left        map[string]*pile        // of the new server: what no source message was paired with; by raw name
	unpaired    []*unpaired
}

// Account compares one account. The time it takes with mode Quick is that of
// reading the metadata of both sides.
func Account(ctx context.Context, o Options) (Report, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Progress == nil {
		o.Progress = new(Progress)
	}
	c := &comparison{Options: o, left: make(map[string]*pile), report: Report{
		Account: o.Account, Mode: o.Mode, Started: o.Now().UTC(), UsersMoved: o.UsersMoved,
		Counts: make(map[Class]int64), Alterations: make(map[Alteration]int64), Differences: []Difference{},
	}}
	for _, class := range Classes() {
		c.report.Counts[class] = 0
	}
	err := c.run(ctx)
	c.report.Finished = o.Now().UTC()
	c.report.finish()
	return c.report, err
}

func (c *comparison) run(ctx context.Context) error {
	if err := c.load(ctx); err != nil {
		return err
	}
	for _, b := range c.boxes {
		err := c.mailbox(ctx, b)
		var refused *mail.Refused
		if errors.As(err, &refused) {
			// It is listed, but cannot be opened; nor is anything told of its place.
			c.note(b, Difference{Class: Unread, Mailbox: b.source.DisplayName(), What: "the mailbox: " + refused.Error()}, int64(b.source.Status.Messages))
			delete(c.destination, b.place.Name)
			continue
		}
		if err != nil {
			return fmt.Errorf("compare mailbox %q: %w", b.source.DisplayName(), err)
		}
	}
	if err := c.elsewhere(ctx); err != nil {
		return fmt.Errorf("look over the new server: %w", err)
	}
	if err := c.surplus(ctx); err != nil {
		return fmt.Errorf("look over the new server: %w", err)
	}
	if err := c.contents(ctx); err != nil {
		return fmt.Errorf("compare contents: %w", err)
	}
	if err := c.identify(ctx); err != nil {
		return fmt.Errorf("read Message-IDs: %w", err)
	}
	return nil
}

// load reads what is remembered and lists both sides.
func (c *comparison) load(ctx context.Context) error {
	pairs, err := c.Journal.Pairs()
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	holds, err := c.Journal.Holds()
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	c.holds = make(map[mail.HoldKey]mail.Hold, len(holds))
	for _, h := range holds {
		c.holds[h.HoldKey] = h
	}
	source, err := c.Source.Mailboxes(ctx)
	if err != nil {
		return fmt.Errorf("list source mailboxes: %w", err)
	}
	destination, err := c.Destination.Mailboxes(ctx)
	if err != nil {
		return fmt.Errorf("list destination mailboxes: %w", err)
	}
	c.destination = make(map[string]mail.Mailbox)
	for _, m := range destination.Mailboxes {
		if !m.NoSelect {
			c.destination[m.Name] = m
		}
	}
	for _, m := range source.Mailboxes {
		if !m.NoSelect && !c.Rules.Wants(m) {
			c.report.Excluded = append(c.report.Excluded, m.DisplayName())
		}
	}
	// A mailbox without a pair is looked for where the first pass would put it.
	nowhere := func(path []string) string { return "\x00" + strings.Join(path, "/") }
	pairings, conflicts := plan.Mailboxes(source, destination, pairs, c.Rules, nowhere)
	for _, conflict := range conflicts {
		pairings = append(pairings, plan.Pairing{Source: conflict.Source})
	}
	for _, p := range pairings {
		b := c.box(p.Source, p.Destination, p.Pair)
		b.begun = len(pairs) > 0
		b.proven = p.Pair.ID != 0 && p.Pair.SourceAnchor.UIDValidity == p.Source.Status.UIDValidity && validHere(p.Pair, p.Destination)
	}
	c.report.Mailboxes = len(c.boxes)
	c.orphans(pairs, source.Mailboxes)
	return nil
}

// validHere tells whether receipts of a pair name what they named.
func validHere(p mail.Pair, place mail.Mailbox) bool {
	return place.Name == "" || p.DestinationValidity == 0 || p.DestinationValidity == place.Status.UIDValidity
}

func (c *comparison) box(source, place mail.Mailbox, pair mail.Pair) *box {
	b := &box{source: source, place: place, pair: pair, out: len(c.report.ByMailbox)}
	c.report.ByMailbox = append(c.report.ByMailbox, Mailbox{Name: source.DisplayName(), Destination: place.DisplayName(), Counts: make(map[Class]int64)})
	c.boxes = append(c.boxes, b)
	return b
}

// orphans adds the mailboxes that are gone from the old server, of which copies
// are kept, and leaves out of account the copies of those that are not selected
// any more.
func (c *comparison) orphans(pairs []mail.Pair, listed []mail.Mailbox) {
	for _, p := range pairs {
		place, there := c.destination[p.Destination]
		if !there || slices.ContainsFunc(c.boxes, func(b *box) bool { return b.place.Name == place.Name }) {
			continue
		}
		if slices.ContainsFunc(listed, func(m mail.Mailbox) bool { return m.Name == p.Source && !m.NoSelect }) {
			delete(c.destination, place.Name)
		} else if validHere(p, place) {
			b := c.box(mail.Mailbox{Name: p.Source, Path: []string{p.SourcePath}}, place, p)
			b.proven, b.gone = true, true
		}
	}
}

// box is a mailbox of the old server with its place on the new one.
type box struct {
	source mail.Mailbox
	place  mail.Mailbox // without a name: there is none
	pair   mail.Pair
	proven bool // the receipts hold
	begun  bool // the account has been copied from before
	gone   bool // the old server has the mailbox no more
	out    int  // index in Report.ByMailbox
	// receipts is how many there are; matched are the messages with their copies.
	receipts int
	matched  []match
}

func (b *box) ref() mail.Ref {
	return mail.Ref{Name: b.source.Name, UIDValidity: b.source.Status.UIDValidity}
}

// note counts a message of a source mailbox, or several alike, and lists what is
// worth it. A mailbox as a whole counts as one.
func (c *comparison) note(b *box, d Difference, messages int64) {
	messages = max(messages, 1)
	c.report.Counts[d.Class] += messages
	c.report.ByMailbox[b.out].Counts[d.Class] += messages
	if d.Class != Equal {
		c.report.list(d)
	}
}

// item is one message of either side: much smaller than a mail.Message, since
// there may be a million of them.
type item struct {
	uid         mail.UID
	named       bool // it is the copy of a source message
	size        int64
	date        int64 // INTERNALDATE, seconds since 1970
	flags       mail.Flags
	fingerprint mail.Fingerprint // these two only where they are needed
	opening     mail.Fingerprint
}

func (i item) time() time.Time { return time.Unix(i.date, 0).UTC() }

func newItem(m mail.Message) item {
	return item{m.UID, false, m.Size, m.InternalDate.Unix(), m.Flags, m.Fingerprint, m.Opening}
}

func byUID(i item, uid mail.UID) int { return cmp.Compare(i.uid, uid) }

// pile is messages of one mailbox of the new server, ascending.
type pile struct {
	mail.Mailbox
	items []item
	// twins are copies of source messages that have their like among items, by
	// size and date.
	twins []item
}

func (p *pile) ref() mail.Ref {
	return mail.Ref{Name: p.Name, UIDValidity: p.Status.UIDValidity}
}

// at returns the message with a UID, nil if there is none.
func (p *pile) at(uid mail.UID) *item {
	if i, found := slices.BinarySearchFunc(p.items, uid, byUID); found {
		return &p.items[i]
	}
	return nil
}

// readAtOnce is how many messages of the old server are looked at at a time.
const readAtOnce = 20_000

// read reads the metadata of messages, ascending.
func read(ctx context.Context, side Reader, box mail.Ref, uids []mail.UID, fingerprints bool) ([]item, error) {
	if len(uids) == 0 {
		return nil, nil
	}
	items := make([]item, 0, len(uids))
	for m, err := range side.Messages(ctx, box, uids, fingerprints) {
		if err != nil {
			return nil, err
		}
		items = append(items, newItem(m))
	}
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.uid, b.uid) })
	return items, nil
}

// identifiedMost is of how many differences the Message-ID is read.
const identifiedMost = 2000

// identify reads the Message-IDs of what is listed.
func (c *comparison) identify(ctx context.Context) error {
	type place struct {
		there bool // on the new server
		box   mail.Ref
	}
	wanted := make(map[place]map[mail.UID][]*Difference)
	sources, copies := make(map[string]mail.Ref), make(map[string]mail.Ref)
	for _, b := range c.boxes {
		sources[b.source.DisplayName()] = b.ref()
	}
	for _, m := range c.destination {
		copies[m.DisplayName()] = mail.Ref{Name: m.Name, UIDValidity: m.Status.UIDValidity}
	}
	c.report.finish() // the gravest first
	n := 0
	for i := range c.report.Differences {
		d := &c.report.Differences[i]
		at, uid := place{false, sources[d.Mailbox]}, d.UID
		if uid == 0 {
			at, uid = place{true, copies[d.Destination]}, d.Copy
		}
		if at.box.Name == "" || uid == 0 || n >= identifiedMost {
			continue
		}
		n++
		if wanted[at] == nil {
			wanted[at] = make(map[mail.UID][]*Difference)
		}
		wanted[at][uid] = append(wanted[at][uid], d)
	}
	for at, list := range wanted {
		side := c.Source
		if at.there {
			side = c.Destination
		}
		for m, err := range side.Headers(ctx, at.box, slices.Sorted(maps.Keys(list))) {
			if isOutOfReach(err) {
				break // it is a help for people, no more
			} else if err != nil {
				return err
			}
			for _, d := range list[m.UID] {
				d.MessageID = m.MessageID
				if d.InternalDate.IsZero() {
					*d = describe(*d, item{size: d.Size, date: m.InternalDate.Unix()})
				}
			}
		}
	}
	return nil
}

// isOutOfReach tells whether a mailbox is not what it was when it was listed.
func isOutOfReach(err error) bool {
	var refused *mail.Refused
	return errors.As(err, &refused) || errors.Is(err, mail.ErrUIDValidity)
}
