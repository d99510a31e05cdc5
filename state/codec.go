package state

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// ErrDamaged marks what a checksum, or the lack of what must be there, shows.
// The file is then of no use: Quarantine it and let the new server tell what
// is there.
var ErrDamaged = errors.New("state file is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal puts a CRC32C before a value. It covers the bucket and the key as well,
// so that a value in the wrong place is noticed too.
func seal(bucket, key, payload []byte) []byte {
	out := make([]byte, 4, 4+len(payload))
	binary.BigEndian.PutUint32(out, checksum(bucket, key, payload))
	return append(out, payload...)
}

// unseal is the reverse of seal. The payload is valid as long as the value.
func unseal(bucket, key, value []byte) ([]byte, error) {
	if len(value) < 4 || binary.BigEndian.Uint32(value) != checksum(bucket, key, value[4:]) {
		return nil, fmt.Errorf("%w: %s/%x has a wrong checksum", ErrDamaged, bucket, key)
	}
	return value[4:], nil
}

func checksum(bucket, key, payload []byte) uint32 {
	sum := crc32.Update(0, castagnoli, bucket)
	sum = crc32.Update(sum, castagnoli, key)
	return crc32.Update(sum, castagnoli, payload)
}

// octets is a string of any octets: JSON would mend what is not UTF-8.
type octets string

func (o octets) MarshalJSON() ([]byte, error) { return json.Marshal([]byte(o)) }

func (o *octets) UnmarshalJSON(data []byte) error {
	var b []byte
	err := json.Unmarshal(data, &b)
	*o = octets(b)
	return err
}

// instant is a time as seconds and nanoseconds since 1970, in UTC. JSON's own
// form fails for the years and zones that an INTERNALDATE may have.
type instant time.Time

func (i instant) IsZero() bool { return time.Time(i).IsZero() }

func (i instant) MarshalJSON() ([]byte, error) {
	return json.Marshal([2]int64{time.Time(i).Unix(), int64(time.Time(i).Nanosecond())})
}

func (i *instant) UnmarshalJSON(data []byte) error {
	var n [2]int64
	err := json.Unmarshal(data, &n)
	*i = instant(time.Unix(n[0], n[1]).UTC())
	return err
}

type storedAnchor struct {
	UIDValidity   uint32 `json:"v,omitempty"`
	UIDNext       uint32 `json:"n,omitempty"`
	HighestModSeq uint64 `json:"m,omitempty"`
	Messages      uint32 `json:"c,omitempty"`
}

func anchorOf(a mail.Anchor) storedAnchor {
	return storedAnchor{uint32(a.UIDValidity), uint32(a.UIDNext), uint64(a.HighestModSeq), a.Messages}
}

func (a storedAnchor) mail() mail.Anchor {
	return mail.Anchor{
		UIDValidity: mail.UIDValidity(a.UIDValidity), UIDNext: mail.UID(a.UIDNext),
		HighestModSeq: mail.ModSeq(a.HighestModSeq), Messages: a.Messages,
	}
}

type storedPair struct {
	Source              octets       `json:"s"`
	Destination         octets       `json:"d"`
	SourcePath          octets       `json:"sp"`
	DestinationPath     octets       `json:"dp"`
	SourceAnchor        storedAnchor `json:"a"`
	DestinationValidity uint32       `json:"dv,omitempty"`
	OwesSubscription    bool         `json:"owe,omitempty"`
	Rule                octets       `json:"ru,omitempty"`
	Moves               bool         `json:"mv,omitempty"`
	Left                octets       `json:"l,omitempty"`
	LeftValidity        uint32       `json:"lv,omitempty"`
}

func pairOf(p mail.Pair) storedPair {
	return storedPair{
		octets(p.Source), octets(p.Destination), octets(p.SourcePath), octets(p.DestinationPath),
		anchorOf(p.SourceAnchor), uint32(p.DestinationValidity), p.OwesSubscription,
		octets(p.Rule), p.Moves, octets(p.Left), uint32(p.LeftValidity),
	}
}

func (p storedPair) mail(id mail.PairID) mail.Pair {
	return mail.Pair{
		ID: id, Source: string(p.Source), Destination: string(p.Destination),
		SourcePath: string(p.SourcePath), DestinationPath: string(p.DestinationPath),
		SourceAnchor: p.SourceAnchor.mail(), DestinationValidity: mail.UIDValidity(p.DestinationValidity), OwesSubscription: p.OwesSubscription,
		Rule: string(p.Rule), Moves: p.Moves, Left: string(p.Left), LeftValidity: mail.UIDValidity(p.LeftValidity),
	}
}

// storedIntent is an intent as formats 1 and 2 had it.
type storedIntent struct {
	Kind         uint8   `json:"k"`
	Pair         uint32  `json:"p"`
	Source       uint32  `json:"s,omitempty"`
	Size         int64   `json:"z,omitempty"`
	InternalDate instant `json:"t,omitzero"`
	Fingerprint  uint64  `json:"f"`
	System       uint8   `json:"sf,omitempty"`
	Keywords     octets  `json:"kw"`
	Mailbox      octets  `json:"b"`
	UIDValidity  uint32  `json:"v,omitempty"`
	Floor        uint32  `json:"fl,omitempty"`
	Destination  uint32  `json:"d,omitempty"`
	Resent       instant `json:"r,omitzero"`
	Looks        uint8   `json:"l,omitempty"`
	FromPair     uint32  `json:"fp,omitempty"`
	FromSource   uint32  `json:"fs,omitempty"`
	FromMailbox  octets  `json:"fb,omitempty"`
	FromValidity uint32  `json:"fv,omitempty"`
	Original     uint64  `json:"o,omitempty"`
	Mended       uint8   `json:"m,omitempty"`
}

func (i storedIntent) mail(id uint64) mail.Intent {
	return mail.Intent{
		ID: id, Kind: mail.IntentKind(i.Kind), Pair: mail.PairID(i.Pair), Source: mail.UID(i.Source), Size: i.Size,
		InternalDate: time.Time(i.InternalDate), Fingerprint: mail.Fingerprint(i.Fingerprint),
		Flags:   mail.Flags{System: mail.System(i.System), Keywords: string(i.Keywords)},
		Mailbox: string(i.Mailbox), UIDValidity: mail.UIDValidity(i.UIDValidity), Floor: mail.UID(i.Floor),
		Destination: mail.UID(i.Destination), Resent: time.Time(i.Resent), Looks: i.Looks,
		FromPair: mail.PairID(i.FromPair), FromSource: mail.UID(i.FromSource),
		FromMailbox: string(i.FromMailbox), FromValidity: mail.UIDValidity(i.FromValidity),
		Original: mail.Fingerprint(i.Original), Mended: mail.Fixups(i.Mended),
	}
}

type storedHold struct {
	Pair      uint32  `json:"p,omitempty"`
	UID       uint32  `json:"u,omitempty"`
	Path      octets  `json:"path"`
	Reason    string  `json:"r"`
	Text      octets  `json:"t"`
	Mailbox   octets  `json:"m"`
	Size      int64   `json:"z,omitempty"`
	Since     instant `json:"since,omitzero"`
	Skipped   bool    `json:"skip,omitempty"`
	Because   octets  `json:"because"`
	SkippedAt instant `json:"at,omitzero"`
	Retry     bool    `json:"retry,omitempty"`
}

func holdOf(h mail.Hold) storedHold {
	return storedHold{
		uint32(h.Pair), uint32(h.UID), octets(h.Path), string(h.Reason), octets(h.Text), octets(h.Mailbox), h.Size,
		instant(h.Since), h.Skipped, octets(h.Because), instant(h.SkippedAt), h.Retry,
	}
}

func (h storedHold) mail() mail.Hold {
	return mail.Hold{
		HoldKey: mail.HoldKey{Pair: mail.PairID(h.Pair), UID: mail.UID(h.UID), Path: string(h.Path)},
		Reason:  mail.Reason(h.Reason), Text: string(h.Text), Mailbox: string(h.Mailbox), Size: h.Size,
		Since: time.Time(h.Since), Skipped: h.Skipped, Because: string(h.Because), SkippedAt: time.Time(h.SkippedAt), Retry: h.Retry,
	}
}

type storedAbsence struct {
	Missing []storedMissing `json:"m,omitempty"`
	Removed []storedRemoval `json:"r,omitempty"`
}

type storedMissing struct {
	Since   instant     `json:"t"`
	Runs    [][2]uint32 `json:"u"` // first and last UID
	Guarded bool        `json:"g,omitempty"`
	Apply   bool        `json:"a,omitempty"`
}

type storedRemoval struct {
	At       instant `json:"t"`
	Messages int     `json:"n"`
}

func absenceOf(a mail.Absence) storedAbsence {
	var out storedAbsence
	for _, m := range a.Missing {
		s := storedMissing{Since: instant(m.Since), Guarded: m.Guarded, Apply: m.Apply}
		for _, uid := range m.UIDs {
			if n := len(s.Runs); n > 0 && s.Runs[n-1][1]+1 == uint32(uid) {
				s.Runs[n-1][1]++
			} else {
				s.Runs = append(s.Runs, [2]uint32{uint32(uid), uint32(uid)})
			}
		}
		out.Missing = append(out.Missing, s)
	}
	for _, r := range a.Removed {
		out.Removed = append(out.Removed, storedRemoval{instant(r.At), r.Messages})
	}
	return out
}

// missingMost bounds the UIDs of one absence: more than any mailbox holds.
const missingMost = 20_000_000

func (a storedAbsence) mail(pair mail.PairID) (mail.Absence, error) {
	out := mail.Absence{Pair: pair}
	total := uint64(0)
	for _, s := range a.Missing {
		m := mail.Missing{Since: time.Time(s.Since), Guarded: s.Guarded, Apply: s.Apply}
		for _, run := range s.Runs {
			if run[0] == 0 || run[0] > run[1] {
				return mail.Absence{}, fmt.Errorf("%w: UIDs %d to %d are missing", ErrDamaged, run[0], run[1])
			}
			if total += uint64(run[1]-run[0]) + 1; total > missingMost {
				return mail.Absence{}, fmt.Errorf("%w: more than %d messages are missing", ErrDamaged, missingMost)
			}
			for uid := uint64(run[0]); uid <= uint64(run[1]); uid++ {
				m.UIDs = append(m.UIDs, mail.UID(uid))
			}
		}
		out.Missing = append(out.Missing, m)
	}
	for _, r := range a.Removed {
		out.Removed = append(out.Removed, mail.Removal{At: time.Time(r.At), Messages: r.Messages})
	}
	return out, nil
}
