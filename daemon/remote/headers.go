package remote

import (
	"context"
	"fmt"
	"io"
	"iter"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// headerMost is how much of a header is looked at.
const headerMost = 256 << 10

// Headers yields the metadata of the given ascending UIDs, but for their sizes,
// with their header keys and Message-IDs (BODY.PEEK[HEADER]), each at most once.
func (s *session) Headers(ctx context.Context, box mail.Ref, uids []mail.UID) iter.Seq2[mail.Message, error] {
	return func(yield func(mail.Message, error) bool) {
		f := &fetch{session: s, box: box, options: imap.FetchOptions{
			UID: true, Flags: true, InternalDate: true, BodySection: []*imap.FetchItemBodySection{{Peek: true, Specifier: imap.PartSpecifierHeader}},
		}}
		f.take = func(data *imapclient.FetchMessageData) (mail.UID, outcome) {
			var r row
			read := false
			for r.next(data) {
				if r.literal == nil {
					continue
				}
				text := f.content(r.literal)
				header, err := io.ReadAll(io.LimitReader(text, headerMost))
				if err == nil {
					_, err = io.Copy(io.Discard, text)
				}
				if err != nil {
					return r.UID, incomplete
				}
				r.Key, r.MessageID, read = mail.HeaderKey(header), mail.MessageID(header), true
			}
			if !read {
				return r.UID, incomplete
			}
			if !yield(r.Message, nil) {
				return r.UID, stopped
			}
			return r.UID, taken
		}
		if err := f.run(ctx, uids); err != nil && !f.stopped {
			yield(mail.Message{}, fmt.Errorf("fetch headers: %w", err))
		}
	}
}
