package state

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	bolt "go.etcd.io/bbolt"
)

// total says what the values of one bucket add up to, so that a value that is
// missing, or an old one in place of a new, is noticed: each value may be
// sound by itself.
type total struct {
	count uint64
	sum   uint64 // of the values' checksums
}

func (t *total) add(sealed []byte) {
	t.count++
	t.sum += uint64(binary.BigEndian.Uint32(sealed))
}

func (t *total) subtract(sealed []byte) {
	t.count--
	t.sum -= uint64(binary.BigEndian.Uint32(sealed))
}

func (t total) encode() []byte { return append(u64(t.count), u64(t.sum)...) }

func decodeTotal(data []byte) (total, error) {
	if len(data) != 16 {
		return total{}, fmt.Errorf("%w: a total of %d octets", ErrDamaged, len(data))
	}
	return total{binary.BigEndian.Uint64(data), binary.BigEndian.Uint64(data[8:])}, nil
}

// encodeCommit is the mark that each commit leaves: its number, and what the
// totals of the buckets add up to.
func encodeCommit(tx *bolt.Tx, all total) []byte {
	return append(u64(uint64(tx.ID())), all.encode()...)
}

func decodeCommit(data []byte) (commit uint64, all total, err error) {
	if len(data) != 24 {
		return 0, total{}, fmt.Errorf("%w: a commit of %d octets", ErrDamaged, len(data))
	}
	all, err = decodeTotal(data[8:])
	return binary.BigEndian.Uint64(data), all, err
}

// newerError says that a file was written by a newer imapsyncd.
type newerError struct{ version string }

func (e *newerError) Error() string {
	return fmt.Sprintf("written by a newer imapsyncd (format %s, this one knows %s): run that one, or move the file away to begin again from what is on the new server",
		e.version, formatVersion)
}

// contents is what an audit finds out of a file.
type contents struct {
	version  string
	identity Identity
	strings  []string
	totals   map[string]total // by bucket, as recorded
	all      total            // what the totals themselves add up to, as recorded
	commit   uint64           // the number of the last commit, as recorded

	identified bool
	buckets    map[string]total // by bucket, as found
	damage     error            // the first value that is not sound
}

// audit reads a whole state file and checks every page, checksum and total of
// it. Its reader must hold the lock of the file. What passes is what was
// written last, or, where the newest meta page was lost, the commit before.
func audit(file io.ReaderAt, length int64) (*contents, error) {
	c := &contents{totals: make(map[string]total), buckets: make(map[string]total)}
	commit, err := walkPages(file, length, c)
	switch {
	case errors.Is(err, errForeignFormat):
		return nil, &newerError{"unknown"}
	case err != nil:
		return nil, err
	// A newer format may well look damaged to us.
	case c.version != "" && c.version != formatVersion && c.version != "2" && c.version != "1":
		return nil, &newerError{c.version}
	case c.damage != nil:
		return nil, c.damage
	case c.commit != commit:
		return nil, fmt.Errorf("%w: the last commit was %d, but it holds the state of %d", ErrDamaged, commit, c.commit)
	}
	return c, c.complete()
}

// auditFile is audit for a file that is open and locked.
func auditFile(file *os.File) (*contents, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	c, err := audit(file, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	return c, nil
}

// complete checks that nothing is missing.
func (c *contents) complete() error {
	if c.version == "" || !c.identified {
		return fmt.Errorf("%w: it does not say whose it is", ErrDamaged)
	}
	for _, name := range buckets {
		if _, ok := c.buckets[string(name)]; !ok && (c.version != "1" || string(name) != string(bucketAbsences)) {
			return fmt.Errorf("%w: it lacks %s", ErrDamaged, name)
		}
	}
	if c.buckets[string(bucketTotals)] != c.all {
		return fmt.Errorf("%w: the totals do not add up", ErrDamaged)
	}
	for name, found := range c.buckets {
		if found != c.totals[name] && name != string(bucketTotals) && name != string(bucketMeta) {
			return fmt.Errorf("%w: %q holds %d values, or others than the %d it should hold", ErrDamaged, name, found.count, c.totals[name].count)
		}
	}
	for name := range c.totals {
		if _, ok := c.buckets[name]; !ok {
			return fmt.Errorf("%w: it lacks %q", ErrDamaged, name)
		}
	}
	return nil
}

func (c *contents) bucket(path []byte) { c.buckets[string(path)] = total{} }

// value takes note of one value. What is wrong is kept for later: in a newer
// format it may be right.
func (c *contents) value(path, key, sealed []byte) {
	if err := c.note(path, key, sealed); err != nil && c.damage == nil {
		c.damage = err
	}
}

func (c *contents) note(path, key, sealed []byte) error {
	data, err := unseal(path, key, sealed)
	if err != nil {
		return err
	}
	found := c.buckets[string(path)]
	found.add(sealed)
	c.buckets[string(path)] = found
	switch string(path) {
	case string(bucketMeta):
		return c.noteMeta(key, data)
	case string(bucketTotals):
		c.totals[string(key)], err = decodeTotal(data)
		return err
	case string(bucketStrings):
		if number(key, 4) != uint64(len(c.strings)) {
			return fmt.Errorf("%w: the table of strings has a hole", ErrDamaged)
		}
		c.strings = append(c.strings, string(data))
	}
	return nil
}

func (c *contents) noteMeta(key, data []byte) (err error) {
	switch string(key) {
	case string(keyVersion):
		c.version = string(data)
	case string(keyIdentity):
		c.identified = true
		if err := json.Unmarshal(data, &c.identity); err != nil {
			return fmt.Errorf("%w: identity: %w", ErrDamaged, err)
		}
	case string(keyCommit):
		c.commit, c.all, err = decodeCommit(data)
	}
	return err
}
