package verify

import (
	"cmp"
	"context"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Progress is how far comparing the contents of an account has come: a plain
// value, which outlives the process in whatever form its owner keeps it. Metadata
// are read afresh by every call.
type Progress struct {
	Mode   Mode    `json:"mode,omitempty"`
	Sample float64 `json:"sample,omitempty"`
	// Seed decides which messages are in the sample.
	Seed     uint64 `json:"seed,omitempty"`
	Compared int64  `json:"compared,omitempty"`
	// Through says of each source mailbox, by raw name and place, up to which UID
	// its messages have been compared. Found is what differed.
	Through map[string]Through `json:"through,omitempty"`
	Found   []Found            `json:"found,omitempty"`
}

// Through is a UID under a UIDVALIDITY.
type Through struct {
	UIDValidity mail.UIDValidity `json:"uidvalidity"`
	UID         mail.UID         `json:"uid"`
}

// Found is what was found of the contents of some messages.
type Found struct {
	Mailbox     string           `json:"mailbox"` // raw, of the source
	UIDValidity mail.UIDValidity `json:"uidvalidity"`
	Class       Class            `json:"class"`
	What        string           `json:"what"`
	Alterations []Alteration     `json:"alterations,omitempty"`
	Messages    [][2]mail.UID    `json:"messages"` // with their copies
}

const (
	sampleLeast = 100 // messages of an account that a sample has
	// looksMost is how many messages of a mailbox are looked into in mode Quick
	// because the servers give different sizes: some servers never give the right
	// one.
	looksMost = 500
	// partMessages and partOctets bound what is compared between two entries in
	// the Progress.
	partMessages = 256
	partOctets   = 16 << 20
)

// contents compares the contents of what is due.
func (c *comparison) contents(ctx context.Context) error {
	p := c.Progress
	if p.Mode != c.Mode || p.Sample != c.Sample || p.Seed == 0 {
		*p = Progress{Mode: c.Mode, Sample: c.Sample, Seed: rand.Uint64() | 1}
	}
	if p.Through == nil {
		p.Through = make(map[string]Through)
	}
	for _, b := range c.boxes {
		slices.SortFunc(b.matched, func(x, y match) int { return cmp.Compare(x.source, y.source) })
	}
	due := c.due()
	c.recall()
	for _, b := range c.boxes {
		for place, list := range byPlace(b, due[b]) {
			key := b.source.Name + "\x00" + place.Name
			through := p.Through[key]
			if through.UIDValidity != b.source.Status.UIDValidity {
				through = Through{UIDValidity: b.source.Status.UIDValidity}
			}
			list = slices.DeleteFunc(list, func(m *match) bool { return m.source <= through.UID })
			for len(list) > 0 {
				part := list[:1]
				octets := int64(list[0].octets)
				for len(part) < min(len(list), partMessages) && octets+int64(list[len(part)].octets) <= partOctets {
					octets += int64(list[len(part)].octets)
					part = list[:len(part)+1]
				}
				list = list[len(part):]
				if c.Pace != nil {
					if err := c.Pace(ctx, octets); err != nil {
						return err
					}
				}
				if err := c.compare(ctx, b, place, part); err != nil {
					return fmt.Errorf("%q: %w", b.source.DisplayName(), err)
				}
				through.UID = part[len(part)-1].source
				p.Through[key] = through
				if c.Saved != nil {
					c.Saved(*p)
				}
			}
		}
	}
	c.report.Compared = p.Compared
	*p = Progress{} // it is done
	return nil
}

// byPlace sorts matches by where the copies are, ascending by source UID.
func byPlace(b *box, list []*match) map[*pile][]*match {
	own := &pile{Mailbox: b.place}
	places := make(map[*pile][]*match)
	for _, m := range list {
		place := cmp.Or(m.place, own)
		places[place] = append(places[place], m)
	}
	for _, list := range places {
		slices.SortFunc(list, func(a, b *match) int { return cmp.Compare(a.source, b.source) })
	}
	return places
}

// lot decides whether a message is in a sample: a number that depends on the
// seed and the message only, so that a sample is gone on with as it was begun.
func (c *comparison) lot(b *box, m *match) uint64 {
	h := fnv.New64a()
	h.Write(strconv.AppendUint([]byte(b.source.Name+"\x00"), uint64(m.source), 10))
	return rand.NewPCG(h.Sum64(), c.Progress.Seed).Uint64()
}

// due chooses the messages whose contents are compared: all, or a sample, and in
// any case those whose size differs.
func (c *comparison) due() map[*box][]*match {
	var limit uint64 // of the lots that are in the sample
	if c.Mode == Sample {
		var all []uint64
		for _, b := range c.boxes {
			for i := range b.matched {
				all = append(all, c.lot(b, &b.matched[i]))
			}
		}
		slices.Sort(all)
		if n := min(len(all), max(int(math.Ceil(c.Sample*float64(len(all)))), sampleLeast)); n > 0 {
			limit = all[n-1]
		}
	}
	due := make(map[*box][]*match)
	for _, b := range c.boxes {
		var resized []*match
		for i := range b.matched {
			m := &b.matched[i]
			switch {
			case c.Mode == Deep, c.Mode == Sample && c.lot(b, m) <= limit:
				due[b] = append(due[b], m)
			case m.resized:
				resized = append(resized, m)
			}
		}
		if len(resized) > looksMost {
			slices.SortFunc(resized, func(x, y *match) int { return cmp.Compare(c.lot(b, x), c.lot(b, y)) })
			for _, m := range resized[looksMost:] {
				c.amend(b, m, finding{Altered, "another size there, not looked into", []Alteration{Length}})
			}
			resized = resized[:looksMost]
		}
		due[b] = append(due[b], resized...)
	}
	return due
}

// recall takes in what was found before.
func (c *comparison) recall() {
	for _, b := range c.boxes {
		for _, f := range c.Progress.Found {
			if f.Mailbox != b.source.Name || f.UIDValidity != b.source.Status.UIDValidity {
				continue
			}
			for _, uids := range f.Messages {
				i, found := slices.BinarySearchFunc(b.matched, uids[0], func(m match, uid mail.UID) int { return cmp.Compare(m.source, uid) })
				if found && b.matched[i].copied == uids[1] {
					c.amend(b, &b.matched[i], finding{f.Class, f.What, f.Alterations})
				}
			}
		}
	}
}

// amend notes what the contents of a message have shown besides its metadata.
func (c *comparison) amend(b *box, m *match, f finding) {
	known := Classes()[m.class]
	now := known
	// What users have done weighs less than anything about the contents.
	if slices.Index(gravity, f.class) > slices.Index(gravity, known) {
		now = f.class
	}
	for _, a := range f.alterations {
		c.report.Alterations[a]++
	}
	place := b.place.DisplayName()
	if m.place != nil {
		place = m.place.DisplayName()
	}
	d := Difference{Class: now, Mailbox: b.source.DisplayName(), UID: m.source, Destination: place, Copy: m.copied, What: f.what, Size: int64(m.octets)}
	if known != Equal {
		same := func(other Difference) bool {
			return other.UID == d.UID && other.Class == known && other.Mailbox == d.Mailbox
		}
		if i := slices.IndexFunc(c.report.Differences, same); i >= 0 {
			d.What += "; " + c.report.Differences[i].What
			c.report.Differences = slices.Delete(c.report.Differences, i, i+1)
			c.report.listed[known]--
		}
	}
	c.report.list(d)
	c.report.Counts[known]--
	c.report.Counts[now]++
	counts := c.report.ByMailbox[b.out].Counts
	counts[now]++
	if counts[known]--; counts[known] == 0 {
		delete(counts, known)
	}
	m.class = uint8(slices.Index(Classes(), now))
}

// compare compares the contents of messages with those of their copies, which
// are all in one place.
func (c *comparison) compare(ctx context.Context, b *box, place *pile, part []*match) error {
	sources, copies := make([]mail.UID, len(part)), make([]mail.UID, len(part))
	for i, m := range part {
		sources[i], copies[i] = m.source, m.copied
	}
	var theirs, ours map[mail.UID]digest
	both, together := errgroup.WithContext(ctx)
	both.Go(func() (err error) {
		theirs, err = digests(together, c.Source, b.ref(), sources)
		return err
	})
	both.Go(func() (err error) {
		ours, err = digests(together, c.Destination, place.ref(), copies)
		return err
	})
	if err := both.Wait(); err != nil {
		return err
	}
	return c.settle(ctx, b, place, part, theirs, ours)
}

// settle notes what comparing a part has shown.
func (c *comparison) settle(ctx context.Context, b *box, place *pile, part []*match, theirs, ours map[mail.UID]digest) error {
	var unserved []*match
	for _, m := range part {
		a, okA := theirs[m.source]
		d, okB := ours[m.copied]
		if !okA || !okB {
			unserved = append(unserved, m)
			continue
		}
		c.Progress.Compared++
		f := a.against(d)
		if f.class == Equal {
			continue
		}
		if f.class == Damaged {
			mended, err := c.isMended(ctx, b, place, m)
			if err != nil {
				return err
			}
			at := ""
			if mended {
				f = finding{Altered, "lines in the header that are no fields were made fields, at [policy] fixups' word", []Alteration{HeaderLines}}
			} else if at, err = c.differAt(ctx, b, place, m); err != nil {
				return err
			}
			f.what += at
		}
		c.finding(b, m, f)
	}
	if len(unserved) == 0 {
		return nil
	}
	// What has been removed meanwhile is none of our business.
	listedThere, err := c.Destination.UIDs(ctx, place.ref(), 1)
	if err != nil {
		return err
	}
	listedHere, err := c.Source.UIDs(ctx, b.ref(), 1)
	if err != nil {
		return err
	}
	for _, m := range unserved {
		_, here := slices.BinarySearch(listedHere, m.source)
		_, there := slices.BinarySearch(listedThere, m.copied)
		if !here || !there {
			continue
		}
		side := "new"
		if _, served := theirs[m.source]; !served {
			side = "old"
		}
		c.finding(b, m, finding{class: Damaged, what: "the contents cannot be compared: the " + side + " server lists the message but does not serve it"})
	}
	return nil
}

// finding notes a finding, in the Progress too.
func (c *comparison) finding(b *box, m *match, f finding) {
	p := c.Progress
	i := slices.IndexFunc(p.Found, func(known Found) bool {
		return known.Mailbox == b.source.Name && known.UIDValidity == b.source.Status.UIDValidity && known.Class == f.class && known.What == f.what
	})
	if i < 0 {
		i = len(p.Found)
		p.Found = append(p.Found, Found{Mailbox: b.source.Name, UIDValidity: b.source.Status.UIDValidity, Class: f.class, What: f.what, Alterations: f.alterations})
	}
	p.Found[i].Messages = append(p.Found[i].Messages, [2]mail.UID{m.source, m.copied})
	c.amend(b, m, f)
}

// finding is what comparing contents has found.
type finding struct {
	class       Class
	what        string
	alterations []Alteration
}

// against names what the new server has made of a message.
func (d digest) against(there digest) finding {
	if d.exact == there.exact {
		return finding{class: Equal}
	}
	if d.lenient != there.lenient {
		return finding{class: Damaged, what: fmt.Sprintf("contents differ (%d octets, there %d)", d.size, there.size)}
	}
	var found []Alteration
	var words []string
	add := func(a Alteration, word string) {
		found, words = append(found, a), append(words, word)
	}
	// How many line ends there are at the end is told apart from what they are.
	if d.tail != there.tail {
		add(FinalLineEnd, "final CRLF")
	}
	if d.cr-d.tailCR != there.cr-there.tailCR || d.lf-d.tail != there.lf-there.tail || d.tail == there.tail && d.tailCR != there.tailCR {
		add(LineEnds, "line ends")
	}
	if d.nul != there.nul {
		add(NUL, "NUL")
	}
	if d.eightBit+d.nul != there.eightBit+there.nul || len(found) == 0 {
		add(EightBit, "8-bit octets")
	}
	return finding{Altered, "the new server altered " + strings.Join(words, ", "), found}
}
