package remote

import (
	"bytes"
	"errors"
	"io"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// A message with NUL can go to some servers as literal8 only (BINARY, RFC 3516
// §4.4): Cyrus refuses it otherwise, and stores it octet for octet then.
// Dovecot takes it either way. But what both of them find marked as binary in
// a literal8 they write anew in Base64, and that is no copy any more.

// manner is how the messages of a batch are sent.
type manner int

const (
	asAlways   manner = iota
	oneByOne          // each by a command of its own
	asLiteral8        // and with octets of any kind
)

// literal8 returns which messages of an answered batch are worth another
// command: refused for nothing that has a name, with NUL, and nowhere marked as
// binary.
func (b *batch) literal8() (worth []int) {
	if !b.conn.Has("BINARY") {
		return nil
	}
	for i, outcome := range b.outcomes {
		if outcome.Err == nil {
			continue
		}
		var refused *mail.Refused
		if errors.As(outcome.Err, &refused) && refused.Type == "NO" && refused.Code == "" && keptByLiteral8(b.messages[i]) {
			worth = append(worth, i)
		}
	}
	return worth
}

// binaryMark is what Content-Transfer-Encoding says of such a part (RFC 2045
// §6.1). Wherever it stands, the message is left alone.
var binaryMark = []byte("binary")

func keptByLiteral8(m mail.Upload) bool {
	content := io.NewSectionReader(m.Content, 0, m.Size)
	part := make([]byte, chunk)
	overlap, nul := 0, false
	for {
		n, err := io.ReadFull(content, part[overlap:])
		window := part[:overlap+n]
		nul = nul || bytes.IndexByte(window, 0) >= 0
		if bytes.Contains(bytes.ToLower(window), binaryMark) {
			return false
		}
		if err != nil {
			return nul && (err == io.EOF || err == io.ErrUnexpectedEOF)
		}
		overlap = copy(part, window[len(window)-min(len(window), len(binaryMark)-1):])
	}
}
