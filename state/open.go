package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Open opens the state of an account, making it when there is none. A file
// that is damaged, empty or another account's is set aside under another name
// and begun afresh; what is on the new server is then recognised by content. A
// file that a newer imapsyncd wrote is refused, as is one that another process
// has open, with a [*LockedError].
func Open(path string, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Identity == (Identity{}) && !o.ReadOnly {
		return nil, errors.New("open state: it must be said whose it is to be")
	}
	s, err := load(path, o)
	if err == nil || o.ReadOnly {
		return s, err
	}
	var fresh Fresh
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if fresh, err = setAsideBefore(path); err != nil {
			return nil, err
		}
	case errors.Is(err, ErrDamaged), errors.Is(err, ErrOtherAccount):
		aside, qerr := Quarantine(path, err.Error())
		if qerr != nil {
			return nil, errors.Join(err, qerr)
		}
		o.Logger.Warn("state file set aside; what is on the new server will be recognised by content", "reason", err, "kept_as", aside)
		fresh = Fresh{Quarantined: aside, Reason: err.Error()}
	default:
		return nil, err
	}
	if err := create(path, o.Identity); err != nil {
		return nil, fmt.Errorf("create state: %w", err)
	}
	if s, err = load(path, o); err != nil {
		return nil, err
	}
	s.fresh = fresh
	return s, nil
}

// ErrOtherAccount marks a file that is sound, but not the account's.
var ErrOtherAccount = errors.New("state file is another account's")

// openTimeout is how long another process may hold the file: as long as a
// command takes to look at it. Nothing ever hangs on a lock.
const openTimeout = time.Second

// load opens a file that exists and is sound.
func load(path string, o Options) (*Store, error) {
	s := &Store{numbers: make(map[string]uint32)}
	err := s.guard(func() (err error) {
		s.db, err = bolt.Open(path, 0o600, &bolt.Options{
			ReadOnly: o.ReadOnly,
			OpenFile: s.openFile,
			// The list of free pages stays in the file: without it bbolt
			// walks every page at each open, in a goroutine of its own.
			FreelistType: bolt.FreelistMapType,
		})
		return err
	})
	if err != nil {
		if s.wrecked {
			err = errors.Join(err, s.abandon())
		}
		return nil, err
	}
	if i := s.identity; o.Identity != (Identity{}) && !i.Same(o.Identity) {
		err := fmt.Errorf("%w: it belongs to %s on %s and %s on %s", ErrOtherAccount,
			i.SourceUser, i.SourceHost, i.DestinationUser, i.DestinationHost)
		return nil, errors.Join(err, s.db.Close())
	}
	s.db.AllocSize = 256 << 10 // the default, 16 MiB, is many accounts' whole state
	if s.outdated && !o.ReadOnly {
		if err := s.upgrade(); err != nil {
			return nil, errors.Join(fmt.Errorf("bring the state to format %s: %w", formatVersion, err), s.Close())
		}
	}
	return s, nil
}

// upgrade makes the present format of an older one, all or nothing.
func (s *Store) upgrade() error {
	intents, err := s.Intents()
	if err != nil {
		return err
	}
	err = s.update(func(w *writer) error {
		if _, err := w.tx.CreateBucketIfNotExists(bucketAbsences); err != nil {
			return err
		}
		for _, i := range intents {
			if err := w.shelf(bucketIntents).remove(u64(i.ID)); err != nil {
				return err
			}
		}
		if err := w.changeIntents(nil, intents); err != nil {
			return err
		}
		return w.tx.Bucket(bucketMeta).Put(keyVersion, seal(bucketMeta, keyVersion, []byte(formatVersion)))
	})
	s.outdated = s.outdated && err != nil
	return err
}

// openFile opens, locks and audits the file, so that bbolt sees it only when
// it is sound. What must be there at hand is read on the way.
func (s *Store) openFile(path string, flag int, mode fs.FileMode) (file *os.File, err error) {
	if s.file, err = os.OpenFile(path, flag&^os.O_CREATE, mode); err != nil {
		return nil, err
	}
	if err := lockFile(s.file, flag&os.O_RDWR == 0); err != nil {
		return s.file, err
	}
	c, err := auditFile(s.file)
	if err != nil {
		return s.file, err
	}
	s.identity, s.strings, s.totals, s.all, s.outdated = c.identity, c.strings, c.totals, c.all, c.version != formatVersion
	for n, text := range s.strings {
		s.numbers[text] = uint32(n)
	}
	return s.file, nil
}

// lockFile takes the lock that bbolt takes (again, which does no harm).
func lockFile(f *os.File, shared bool) error {
	how := syscall.LOCK_EX
	if shared {
		how = syscall.LOCK_SH
	}
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		case time.Since(begun) > openTimeout:
			return &LockedError{Path: f.Name()}
		}
	}
}

// create makes an empty state under another name and renames it into place.
func create(path string, identity Identity) (err error) {
	id, err := json.Marshal(identity)
	if err != nil {
		return err
	}
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(temp)
		}
	}()
	db, err := bolt.Open(temp, 0o600, &bolt.Options{NoSync: true, NoGrowSync: true}) // lengthen syncs it
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		return errors.Join(
			meta.Put(keyVersion, seal(bucketMeta, keyVersion, []byte(formatVersion))),
			meta.Put(keyIdentity, seal(bucketMeta, keyIdentity, id)),
			meta.Put(keyCommit, seal(bucketMeta, keyCommit, encodeCommit(tx, total{}))),
		)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := lengthen(temp); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// firstSize is how long a new file is, in octets: room for the first commits.
const firstSize = 64 << 10

// lengthen makes a file as long as a new one is and syncs it. It is written to its end: to
// sync what lies in a hole of a file takes a third longer (ext4), and others wait for it,
// since the file system has to record where it is.
func lengthen(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil {
		_, err = f.Write(make([]byte, max(firstSize-info.Size(), 0)))
	}
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
