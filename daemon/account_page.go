package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/web"
	"github.com/imapsyncd/imapsyncd/state"
)

// passesKept is how many of the last passes of an account are shown.
const passesKept = 10

// passed notes a pass that has ended.
func (f *follower) passed(result pass.Result, began time.Time, err error) {
	p := web.PassStatus{
		Passes: 1, Ended: time.Now(), Took: time.Since(began), Copied: result.Copied, Bytes: result.Bytes, Recognised: result.Recognised,
		Reflagged: result.Reflagged, Moved: result.Moved, Removed: result.Removed,
	}
	if err != nil {
		p.Error = err.Error()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.passes = p.Join(f.passes, passesKept)
}

// accountDetails is what the page of one account shows.
func (r *running) accountDetails(name string) (web.AccountDetails, bool) {
	f, err := r.follower(name)
	if err != nil {
		return web.AccountDetails{}, false
	}
	d := web.AccountDetails{AccountStatus: f.webStatus(time.Now()), Source: whose(f.account.Source), Destination: whose(f.account.Destination)}
	f.mu.Lock()
	d.Deletions, d.Passes = f.status.Deletions, f.passes
	f.mu.Unlock()
	if d.Mailboxes, d.Holds, err = f.seen.look(f); err != nil {
		d.Unread = err.Error()
	}
	return d, true
}

func whose(s config.Server) string { return s.User + " at " + addressOf(s) }

// seen is what the page of an account has last read of its state. Opening a state
// that is closed reads all of it, so that it is done again only when it has
// changed.
type seen struct {
	mu        sync.Mutex
	changed   time.Time // of the file; zero: it has not been read
	size      int64
	mailboxes []web.MailboxStatus
	holds     []mail.Hold
}

// look returns the mailboxes of an account, and what is held.
func (s *seen) look(f *follower) ([]web.MailboxStatus, []mail.Hold, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	info, err := os.Stat(StatePath(f.daemon.Config.StateDir, f.account.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if info.Size() == s.size && info.ModTime().Equal(s.changed) {
		return s.mailboxes, s.holds, nil
	}
	err = f.inspect(func(store *state.Store) (err error) {
		s.mailboxes, s.holds, err = readMailboxes(store)
		return err
	})
	if err != nil {
		s.changed = time.Time{}
		return nil, nil, fmt.Errorf("look at the state: %w", err)
	}
	// Of before it was read, and long enough before: a change since has another
	// time, and is seen when the page is next looked at.
	if s.changed, s.size = info.ModTime(), info.Size(); time.Since(s.changed) < time.Second {
		s.changed = time.Time{}
	}
	return s.mailboxes, s.holds, nil
}

// readMailboxes reads the mailboxes of an account by name, and what is held, the
// newest first.
func readMailboxes(store *state.Store) ([]web.MailboxStatus, []mail.Hold, error) {
	pairs, err := store.Pairs()
	if err != nil {
		return nil, nil, err
	}
	holds, err := store.Holds()
	if err != nil {
		return nil, nil, err
	}
	held := make(map[mail.PairID]int)
	for _, h := range holds {
		if h.Pair != 0 && !h.Skipped {
			held[h.Pair]++
		}
	}
	mailboxes := make([]web.MailboxStatus, len(pairs))
	for i, p := range pairs {
		mailboxes[i] = web.MailboxStatus{Name: p.SourcePath, Destination: p.DestinationPath, Messages: int(p.SourceAnchor.Messages), Held: held[p.ID]}
	}
	slices.SortFunc(mailboxes, func(a, b web.MailboxStatus) int {
		switch { // INBOX first, as people expect it
		case a.Name == b.Name:
			return 0
		case a.Name == "INBOX" || b.Name != "INBOX" && a.Name < b.Name:
			return -1
		}
		return 1
	})
	slices.SortStableFunc(holds, func(a, b mail.Hold) int { return b.Since.Compare(a.Since) })
	return mailboxes, holds, nil
}
