package mail

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// Fingerprint recognises a message without its UID: 64 bits of its size, its
// INTERNALDATE and a digest of its beginning. 0 means "not known".
type Fingerprint uint64

// PrefixLen is how many octets of a message a fingerprint needs at most. They
// come from BODY.PEEK[]<0.PrefixLen> or from the message itself; both give the
// same fingerprint, since no server's idea of a header field is involved.
const PrefixLen = 2048

// digestLen is how many octets of the beginning enter the digest once the CRs
// are dropped: few enough that a message that gained a CR in every line still
// has as many within its first PrefixLen octets.
const digestLen = 1024

// NewFingerprint computes the fingerprint of a message. size is the number of
// octets of the whole message, prefix its first PrefixLen octets, or all of
// it when it is shorter. The date is taken as StorableDate gives it, so that a
// copy has the fingerprint of its original. The digest does not see what servers are known to
// alter in place: CR (bare LF becomes CRLF), NUL and octets above 0x7F (which
// Cyrus replaces by X in headers, and Dovecot serves a NUL as 0x80).
func NewFingerprint(size int64, date time.Time, prefix []byte) Fingerprint {
	if len(prefix) > PrefixLen {
		prefix = prefix[:PrefixLen]
	}
	var buf [16 + digestLen]byte
	binary.BigEndian.PutUint64(buf[0:], uint64(size))
	binary.BigEndian.PutUint64(buf[8:], uint64(StorableDate(date, prefix).Unix()))
	n := 16
	for _, c := range prefix {
		if c == '\r' {
			continue
		}
		if c == 0 || c >= 0x80 {
			c = 'X'
		}
		if n == len(buf) {
			break
		}
		buf[n] = c
		n++
	}
	sum := sha256.Sum256(buf[:n])
	f := Fingerprint(binary.BigEndian.Uint64(sum[:]))
	if f == 0 {
		f = 1
	}
	return f
}
