package remote

import (
	"context"
	"fmt"
	"io"
	"iter"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// headerMost is how much of a header is looked at.
const headerMost = 256 << 10

// Headers yields the metadata of the given ascending UIDs, but for their sizes,
// with their header keys and Message-IDs (BODY.PEEK[HEADER]), each at most once.
func (s *session) Headers(ctx context.Context, box mail.Ref, uids []mail.UID) iter.Seq2[mail.Message, error] {
	return func(yield func(mail.Message, error) bool) {
		f := &fetch{session: s, box: box, items: "UID FLAGS INTERNALDATE BODY.PEEK[HEADER]"}
		f.take = func(r *row) outcome {
			read := false
			for r.next() {
				if r.content == nil {
					continue
				}
				header, err := io.ReadAll(io.LimitReader(r.content, headerMost))
				if err != nil {
					return incomplete
				}
				r.Key, r.MessageID, read = mail.HeaderKey(header), mail.MessageID(header), true
			}
			switch {
			case r.UID == 0 || !read:
				return incomplete
			case !f.wants(r.UID):
				return unwanted
			}
			if !yield(r.Message, nil) {
				return stopped
			}
			return taken
		}
		if err := f.run(ctx, uids); err != nil && !f.stopped {
			yield(mail.Message{}, fmt.Errorf("fetch headers: %w", err))
		}
	}
}
