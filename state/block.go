package state

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// The bits beside the five system flags in the first octet of a receipt.
const (
	systemMask  = 0x1f
	hasKeywords = 0x20
	isElsewhere = 0x40
	isTouched   = 0x80
)

// encodeBlock writes receipts, ascending by source UID, as
//
//	uvarint count
//	count × { uvarint source UID − previous, varint destination UID − previous,
//	          8 octets fingerprint, octet of flags and bits,
//	          [uvarint keywords], [uvarint mailbox, uvarint UIDVALIDITY] }
//	[uvarint count, count × uvarint distance to the next one that is gone]
//
// where keywords and mailbox are numbers of the table of strings. The last
// line is left out when none is gone, which is all that format 1 knew.
func encodeBlock(receipts []mail.Receipt, number func(string) uint32) []byte {
	out := binary.AppendUvarint(make([]byte, 0, 16+16*len(receipts)), uint64(len(receipts)))
	var source, destination mail.UID
	for _, r := range receipts {
		out = binary.AppendUvarint(out, uint64(r.Source-source))
		out = binary.AppendVarint(out, int64(r.Destination)-int64(destination))
		out = binary.BigEndian.AppendUint64(out, uint64(r.Fingerprint))
		source, destination = r.Source, r.Destination
		bits := byte(r.Flags.System) & systemMask
		if r.Flags.Keywords != "" {
			bits |= hasKeywords
		}
		if r.Mailbox != "" {
			bits |= isElsewhere
		}
		if r.Touched {
			bits |= isTouched
		}
		out = append(out, bits)
		if r.Flags.Keywords != "" {
			out = binary.AppendUvarint(out, uint64(number(r.Flags.Keywords)))
		}
		if r.Mailbox != "" {
			out = binary.AppendUvarint(out, uint64(number(r.Mailbox)))
			out = binary.AppendUvarint(out, uint64(r.UIDValidity))
		}
	}
	var gone []byte
	count, next := uint64(0), 0
	for i, r := range receipts {
		if r.Gone {
			gone = binary.AppendUvarint(gone, uint64(i-next))
			count, next = count+1, i+1
		}
	}
	if count > 0 {
		out = append(binary.AppendUvarint(out, count), gone...)
	}
	return out
}

var errBlock = fmt.Errorf("%w: a block of receipts makes no sense", ErrDamaged)

// decodeBlock is the reverse of encodeBlock. It appends to a list.
func decodeBlock(list []mail.Receipt, data []byte, text func(uint64) (string, error)) ([]mail.Receipt, error) {
	d := decoder{data: data}
	count := d.uvarint()
	if d.failed || count == 0 || count > blockMost {
		return nil, errBlock
	}
	known := len(list)
	list = slices.Grow(list, int(count))
	var source, destination uint64
	for range count {
		source += d.uvarint()
		destination += uint64(d.varint())
		r := mail.Receipt{Fingerprint: mail.Fingerprint(d.uint64())}
		bits := d.octet()
		r.Flags.System = mail.System(bits & systemMask)
		r.Touched = bits&isTouched != 0
		var validity uint64
		var err error
		if bits&hasKeywords != 0 {
			if r.Flags.Keywords, err = text(d.uvarint()); err != nil {
				return nil, err
			}
		}
		if bits&isElsewhere != 0 {
			if r.Mailbox, err = text(d.uvarint()); err != nil {
				return nil, err
			}
			validity = d.uvarint()
		}
		if d.failed || max(source, destination, validity) > math.MaxUint32 {
			return nil, errBlock
		}
		r.Source, r.Destination, r.UIDValidity = mail.UID(source), mail.UID(destination), mail.UIDValidity(validity)
		list = append(list, r)
	}
	if len(d.data) == 0 {
		return list, nil
	}
	block := list[known:]
	gone := d.uvarint()
	if gone == 0 || gone > count {
		return nil, errBlock
	}
	for range gone {
		distance := d.uvarint()
		if d.failed || distance >= uint64(len(block)) {
			return nil, errBlock
		}
		block[distance].Gone = true
		block = block[distance+1:]
	}
	if len(d.data) != 0 {
		return nil, errBlock
	}
	return list, nil
}

// decoder reads a block; failed is set, and zero returned, when it is short.
type decoder struct {
	data   []byte
	failed bool
}

func (d *decoder) take(n int) []byte {
	if n <= 0 || n > len(d.data) {
		d.failed, d.data = true, nil
		return make([]byte, 8)
	}
	out := d.data[:n]
	d.data = d.data[n:]
	return out
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.data)
	d.take(n)
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.data)
	d.take(n)
	return v
}

// uint32 is uvarint for a number of no more than 32 bits.
func (d *decoder) uint32() uint32 {
	v := d.uvarint()
	if v > math.MaxUint32 {
		d.failed = true
	}
	return uint32(v)
}

// text is octets behind their number.
func (d *decoder) text() string {
	n := d.uvarint()
	if n == 0 || n > uint64(len(d.data)) {
		d.failed = d.failed || n > 0
		return ""
	}
	return string(d.take(int(n)))
}

// time is seconds since 1970 and nanoseconds.
func (d *decoder) time() time.Time {
	seconds, nanoseconds := d.varint(), d.uint32()
	if nanoseconds >= 1e9 {
		d.failed = true
	}
	return time.Unix(seconds, int64(nanoseconds)).UTC()
}

func (d *decoder) uint64() uint64 { return binary.BigEndian.Uint64(d.take(8)) }
func (d *decoder) octet() byte    { return d.take(1)[0] }
