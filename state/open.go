package state

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Open opens the state of an account, making it when there is none. A file
// that is damaged, empty or another account's is set aside under another name
// and begun afresh; what is on the new server is then recognised by content. A
// file that a newer imapsyncd wrote is refused.
func Open(path string, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	var fresh Fresh
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		fresh.New = true
	} else if err != nil {
		return nil, err
	} else {
		s, err := load(path)
		if err == nil && !s.identity.sameAccount(o.Identity) {
			err = fmt.Errorf("%w: it belongs to %s on %s and %s on %s", ErrDamaged,
				s.identity.SourceUser, s.identity.SourceHost, s.identity.DestinationUser, s.identity.DestinationHost)
			s.Close()
		}
		if !errors.Is(err, ErrDamaged) {
			return s, err
		}
		aside, qerr := Quarantine(path)
		if qerr != nil {
			return nil, errors.Join(err, qerr)
		}
		o.Logger.Warn("state file set aside; what is on the new server will be recognised by content", "reason", err, "kept_as", aside)
		fresh = Fresh{Quarantined: aside, Reason: err.Error()}
	}
	if err := create(path, o.Identity); err != nil {
		return nil, fmt.Errorf("create state: %w", err)
	}
	s, err := load(path)
	if err != nil {
		return nil, err
	}
	s.fresh = fresh
	return s, nil
}

// load opens a file that exists and reads what must be there.
func load(path string) (*Store, error) {
	s := &Store{}
	err := guarded(func() (err error) {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if err := checkLength(path, info.Size()); err != nil {
			return err
		}
		// The freelist is synced: without it bbolt walks every page at each
		// open, in a goroutine whose panics over a damaged one nobody can catch.
		s.db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: openTimeout, FreelistType: bolt.FreelistMapType})
		switch {
		case errors.Is(err, berrors.ErrTimeout):
			return fmt.Errorf("%s is in use by another process", path)
		case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		case err != nil:
			return err
		}
		s.db.AllocSize = 256 << 10 // the default, 16 MiB, is many accounts' whole state
		return s.readMeta()
	})
	if err != nil {
		if s.db != nil {
			// A damaged file may not close either; its lock goes with its descriptor.
			if cerr := guarded(s.db.Close); cerr != nil {
				err = errors.Join(err, cerr)
			}
		}
		return nil, err
	}
	return s, nil
}

// checkLength refuses a file that is shorter than its meta pages say, before
// bbolt maps it: touching what is not there ends the process.
func checkLength(path string, length int64) error {
	const (
		magic     = 0xED0CDAED
		headerLen = 16 // of a page; then magic, version, page size, flags, root, freelist, pages
		pagesAt   = headerLen + 40
	)
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	page := int64(os.Getpagesize())
	for _, at := range []int64{0, page} {
		var meta [pagesAt + 8]byte
		if _, err := f.ReadAt(meta[:], at); err != nil {
			return fmt.Errorf("%w: it is too short", ErrDamaged)
		}
		pages := binary.NativeEndian.Uint64(meta[pagesAt:])
		if binary.NativeEndian.Uint32(meta[headerLen:]) == magic && pages > uint64(length/page) {
			return fmt.Errorf("%w: it is cut short", ErrDamaged)
		}
	}
	return nil
}

// readMeta checks that the file is one of ours and whole enough to work with.
func (s *Store) readMeta() error {
	err := s.view(func(tx *bolt.Tx) error {
		meta := tx.Bucket(bucketMeta)
		if meta == nil {
			return fmt.Errorf("%w: it holds no state", ErrDamaged)
		}
		version, err := unseal(bucketMeta, keyVersion, meta.Get(keyVersion))
		if err != nil {
			return err
		}
		if string(version) != formatVersion {
			return fmt.Errorf("%s was written by a newer imapsyncd (format %s, this one knows %s): run that one, or move the file away to begin again from what is on the new server", s.db.Path(), version, formatVersion)
		}
		identity, err := unseal(bucketMeta, keyIdentity, meta.Get(keyIdentity))
		if err != nil {
			return err
		}
		if err := json.Unmarshal(identity, &s.identity); err != nil {
			return fmt.Errorf("%w: identity: %w", ErrDamaged, err)
		}
		for _, name := range buckets {
			if tx.Bucket(name) == nil {
				return fmt.Errorf("%w: it lacks %s", ErrDamaged, name)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.readStrings()
}

// create makes an empty state under another name and renames it into place.
func create(path string, identity Identity) error {
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := bolt.Open(temp, 0o600, &bolt.Options{Timeout: openTimeout})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		if err := tx.Bucket(bucketMeta).Put(keyVersion, seal(bucketMeta, keyVersion, []byte(formatVersion))); err != nil {
			return err
		}
		return put(tx, bucketMeta, keyIdentity, identity)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Quarantine renames a file that is of no use, so that it can be looked at,
// and returns its new name. It never overwrites another.
func Quarantine(path string) (string, error) {
	base := path + ".damaged-" + time.Now().UTC().Format("20060102T150405")
	aside := base
	for n := 2; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return "", err
		}
		aside = fmt.Sprintf("%s-%d", base, n)
	}
	if err := os.Rename(path, aside); err != nil {
		return "", fmt.Errorf("set state aside: %w", err)
	}
	return aside, syncDir(filepath.Dir(path))
}
