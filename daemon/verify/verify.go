// Package verify compares the two sides of an account and names every
// difference. It is the one comparator that operators, the demo and the tests
// of this program share; it reads and changes nothing.
//
// With receipts each source message is compared with the copy that its receipt
// names. Where there are none, or where a new UIDVALIDITY has voided them,
// messages are paired by fingerprint, as multisets.
package verify

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Reader is what both sides are asked.
type Reader interface {
	Mailboxes(ctx context.Context) (mail.Listing, error)
	UIDs(ctx context.Context, box mail.Ref, from mail.UID) ([]mail.UID, error)
	Messages(ctx context.Context, box mail.Ref, uids []mail.UID, fingerprints bool) iter.Seq2[mail.Message, error]
	Bodies(ctx context.Context, box mail.Ref, uids []mail.UID) iter.Seq2[mail.Body, error]
}

// Journal is what is remembered of the account.
type Journal interface {
	Pairs() ([]mail.Pair, error)
	Receipts(pair mail.PairID) iter.Seq2[mail.Receipt, error]
	Holds() ([]mail.Hold, error)
}

// comparison is one run over an account.
type comparison struct {
	Options
	report      Report
	pairs       map[string]mail.Pair // by raw source name
	holds       map[mail.HoldKey]mail.Hold
	destination map[string]mail.Mailbox // by raw name
	byPath      map[string]mail.Mailbox
	named       map[copyAt]bool // copies that a source message was paired with
	strays      map[mail.Fingerprint][]copyAt
	share       float64
	random      *rand.Rand
}

// copyAt is a message of the destination.
type copyAt struct {
	name string
	uid  mail.UID
}

// Account compares one account.
func Account(ctx context.Context, o Options) (Report, error) {
	if o.Select == nil {
		o.Select = func(mail.Mailbox) bool { return true }
	}
	c := &comparison{
		Options: o, named: make(map[copyAt]bool), random: rand.New(rand.NewPCG(1, 2)),
		report: Report{Account: o.Account, Mode: o.Mode, Started: time.Now().UTC(), Counts: make(map[Class]int64), Differences: []Difference{}},
	}
	for _, class := range Classes() {
		c.report.Counts[class] = 0
	}
	err := c.run(ctx)
	c.report.Finished = time.Now().UTC()
	return c.report, err
}

func (c *comparison) run(ctx context.Context) error {
	if err := c.load(); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	source, err := c.Source.Mailboxes(ctx)
	if err != nil {
		return fmt.Errorf("list source mailboxes: %w", err)
	}
	destination, err := c.Destination.Mailboxes(ctx)
	if err != nil {
		return fmt.Errorf("list destination mailboxes: %w", err)
	}
	c.destination, c.byPath = make(map[string]mail.Mailbox), make(map[string]mail.Mailbox)
	for _, m := range destination.Mailboxes {
		if !m.NoSelect {
			c.destination[m.Name], c.byPath[m.DisplayName()] = m, m
		}
	}
	var wanted []mail.Mailbox
	total := 0
	for _, m := range source.Mailboxes {
		if !m.NoSelect && c.Select(m) {
			wanted = append(wanted, m)
			total += int(m.Status.Messages)
		}
	}
	switch c.Mode {
	case Deep:
		c.share = 1
	case Sample:
		c.share = max(c.Options.Sample, min(1, 100/float64(max(total, 1))))
	}
	var unpaired []pairing
	for _, m := range wanted {
		left, err := c.mailbox(ctx, m)
		if err != nil {
			return fmt.Errorf("compare mailbox %q: %w", m.DisplayName(), err)
		}
		unpaired = append(unpaired, left...)
	}
	if err := c.elsewhere(ctx, unpaired); err != nil {
		return err
	}
	for _, m := range c.destination {
		c.report.Counts[Extra] += int64(m.Status.Messages)
	}
	c.report.Counts[Extra] = max(0, c.report.Counts[Extra]-int64(len(c.named)))
	c.report.Mailboxes = len(wanted)
	return nil
}

func (c *comparison) load() error {
	pairs, err := c.Journal.Pairs()
	if err != nil {
		return err
	}
	c.pairs = make(map[string]mail.Pair, len(pairs))
	for _, p := range pairs {
		c.pairs[p.Source] = p
	}
	holds, err := c.Journal.Holds()
	if err != nil {
		return err
	}
	c.holds = make(map[mail.HoldKey]mail.Hold, len(holds))
	for _, h := range holds {
		c.holds[h.HoldKey] = h
	}
	return nil
}

// pairing is a source message with the copy that should be it.
type pairing struct {
	box    mail.Mailbox
	source mail.Message
	at     copyAt
	copied mail.Message
	why    string // of a message without a copy
	class  Class  // Missing or Pending
}

// place is where the mail of a source mailbox should be.
func (c *comparison) place(m mail.Mailbox) (destination mail.Mailbox, pair mail.Pair, receiptsHold bool) {
	pair, paired := c.pairs[m.Name]
	if !paired {
		destination = c.byPath[m.DisplayName()]
		return destination, pair, false
	}
	destination = c.destination[pair.Destination]
	return destination, pair, pair.SourceAnchor.UIDValidity == m.Status.UIDValidity &&
		(destination.Name == "" || pair.DestinationValidity == 0 || pair.DestinationValidity == destination.Status.UIDValidity)
}

// mailbox compares one source mailbox with its place, and returns the messages
// that have no copy there.
func (c *comparison) mailbox(ctx context.Context, m mail.Mailbox) ([]pairing, error) {
	destination, pair, receiptsHold := c.place(m)
	if h, held := c.holds[mail.HoldKey{Pair: pair.ID, Path: onlyWithout(pair, m)}]; held {
		class := Held
		if h.Skipped {
			class = Skipped
		}
		c.report.note(Difference{Class: class, Mailbox: m.DisplayName(), What: "the mailbox: " + h.Text})
		if h.Skipped {
			return nil, nil
		}
	}
	copies := make(map[mail.UID]mail.Message)
	if destination.Name != "" {
		if _, err := readAll(ctx, c.Destination, destination, !receiptsHold, func(x mail.Message) { copies[x.UID] = x }); err != nil {
			return nil, err
		}
	}
	receipts := make(map[mail.UID]mail.Receipt)
	if receiptsHold {
		for r, err := range c.Journal.Receipts(pair.ID) {
			if err != nil {
				return nil, fmt.Errorf("state: %w", err)
			}
			receipts[r.Source] = r
		}
	}
	free := make(map[mail.Fingerprint][]mail.UID) // without receipts: by content
	if !receiptsHold {
		for _, uid := range slices.Sorted(maps.Keys(copies)) {
			free[copies[uid].Fingerprint] = append(free[copies[uid].Fingerprint], uid)
		}
	}

	var found, left []pairing
	unserved, err := readAll(ctx, c.Source, m, !receiptsHold, func(x mail.Message) {
		p := pairing{box: m, source: x, class: Missing, at: copyAt{name: destination.Name}}
		if receiptsHold {
			r, ok := receipts[x.UID]
			switch {
			case !ok && c.isHeld(p, pair):
				return
			case !ok && x.UID >= pair.SourceAnchor.UIDNext:
				p.class, p.why = Pending, "not copied yet"
			case !ok:
				p.why = "never copied"
			case r.Mailbox != "":
				p.why = "its copy was last seen in another mailbox"
			default:
				p.at.uid, p.why = r.Destination, fmt.Sprintf("its copy, UID %d, is gone", r.Destination)
			}
		} else if uids := free[x.Fingerprint]; len(uids) > 0 {
			p.at.uid, free[x.Fingerprint] = uids[0], uids[1:]
		} else if pair.ID == 0 && len(c.pairs) > 0 {
			p.class, p.why = Pending, "its mailbox has not been copied yet"
		} else {
			p.why = "there is no message like it"
		}
		copied, there := copies[p.at.uid]
		if c.named[p.at] {
			there, p.why = false, fmt.Sprintf("its receipt names UID %d, which is the copy of another message", p.at.uid)
		}
		if !there || p.at.uid == 0 {
			left = append(left, p)
			return
		}
		p.copied = copied
		c.named[p.at] = true
		found = append(found, p)
	})
	if err != nil {
		return nil, err
	}
	for _, uid := range unserved {
		if p := (pairing{box: m, source: mail.Message{UID: uid}}); !c.isHeld(p, pair) {
			c.report.note(Difference{Class: Missing, Mailbox: m.DisplayName(), UID: uid, What: "the old server lists the message but does not serve it"})
		}
	}
	return left, c.compare(ctx, m, destination, found)
}

// onlyWithout is the path that names the hold of a mailbox without a pair.
func onlyWithout(pair mail.Pair, m mail.Mailbox) string {
	if pair.ID != 0 {
		return ""
	}
	return m.DisplayName()
}

// isHeld notes a message that is held.
func (c *comparison) isHeld(p pairing, pair mail.Pair) bool {
	h, held := c.holds[mail.HoldKey{Pair: pair.ID, UID: p.source.UID}]
	if !held {
		return false
	}
	d := Difference{Class: Held, Mailbox: p.box.DisplayName(), UID: p.source.UID, What: string(h.Reason) + ": " + h.Text}
	if h.Skipped {
		d.Class, d.What = Skipped, "because: "+h.Because
	}
	c.report.note(d)
	return true
}

// readAll reads the metadata of a mailbox and returns the UIDs that the server
// lists, twice, and does not serve.
func readAll(ctx context.Context, side Reader, m mail.Mailbox, fingerprints bool, use func(mail.Message)) (unserved []mail.UID, err error) {
	ref := mail.Ref{Name: m.Name, UIDValidity: m.Status.UIDValidity}
	uids, err := side.UIDs(ctx, ref, 1)
	if err != nil {
		return nil, err
	}
	served := make(map[mail.UID]bool, len(uids))
	for x, err := range side.Messages(ctx, ref, uids, fingerprints) {
		if err != nil {
			return nil, err
		}
		served[x.UID] = true
		use(x)
	}
	if len(served) == len(uids) {
		return nil, nil
	}
	again, err := side.UIDs(ctx, ref, 1)
	if err != nil {
		return nil, err
	}
	for _, uid := range uids {
		if _, still := slices.BinarySearch(again, uid); still && !served[uid] {
			unserved = append(unserved, uid)
		}
	}
	return unserved, nil
}

// compare compares messages with their copies in one mailbox: date and flags,
// and the contents of the share that is due.
func (c *comparison) compare(ctx context.Context, m, destination mail.Mailbox, found []pairing) error {
	due := found[:0:0]
	for _, p := range found {
		// A size that differs is looked into whatever the mode.
		if p.source.Size != p.copied.Size || c.share > 0 && (c.share >= 1 || c.random.Float64() < c.share) {
			due = append(due, p)
		}
	}
	contents := make(map[mail.UID]finding, len(due))
	for part := range slices.Chunk(due, 256) {
		if err := c.contents(ctx, m, destination, part, contents); err != nil {
			return err
		}
	}
	for _, p := range found {
		f, looked := contents[p.source.UID]
		if looked {
			c.report.Compared++
		}
		c.judge(p, destination, f, looked)
	}
	return nil
}

// judge notes what was found of one message: the gravest thing counts, and all
// of them are named.
func (c *comparison) judge(p pairing, destination mail.Mailbox, f finding, looked bool) {
	class := Equal
	var what []string
	worse := func(to Class, format string, args ...any) {
		class = to
		what = append(what, fmt.Sprintf(format, args...))
	}
	if looked && f.class != Equal {
		worse(f.class, "%s", f.what)
	}
	if damaged := class == Damaged; !p.source.InternalDate.Equal(p.copied.InternalDate) {
		to, because := Date, ""
		switch {
		case !mail.DateStorable(p.source.InternalDate):
			to, because = Altered, " (a date that cannot be stored)"
		case p.source.InternalDate.After(time.Now()):
			to, because = Altered, " (a date in the future)"
		}
		if damaged {
			to = Damaged
		}
		worse(to, "date %s, there %s%s", stamp(p.source.InternalDate), stamp(p.copied.InternalDate), because)
	}
	if a, b := p.source.Flags.WithoutNoise(), p.copied.Flags.WithoutNoise(); !a.Equal(b) {
		to := Changed
		if class.Differs() {
			to = class
		}
		worse(to, "flags %s, there %s", a, b)
	}
	c.report.note(Difference{
		Class: class, Mailbox: p.box.DisplayName(), UID: p.source.UID,
		Destination: destination.DisplayName(), Copy: p.copied.UID, What: strings.Join(what, "; "),
	})
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
