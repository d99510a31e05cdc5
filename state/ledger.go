package state

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
)

// Entry is one value of a [Ledger]. A nil Value takes the entry away.
type Entry struct {
	Kind  string          `json:"k"`
	Name  string          `json:"n"`
	Value json.RawMessage `json:"v,omitempty"`
}

// Ledger keeps named values that must outlive the state of every account: a
// file of lines, each a CRC32C and, as JSON, the entries of one change, of which
// the last of a name counts. It can be read by people.
//
// Invariants:
//   - A change is one line, written and synced before Put returns.
//   - A last line without an end is a change that was being written when the
//     process ended: it never was. Any other that is not valid is damage.
//   - The first line says what the file is: an empty file is damaged, never new.
type Ledger struct {
	path string

	mu     sync.Mutex
	file   *os.File
	end    int64 // of what is valid
	values map[entryKey]json.RawMessage
	lines  int
	failed error // of an earlier Put: what the file holds is not known
}

type entryKey struct{ kind, name string }

// ledgerHead is the first line.
const ledgerHead = "imapsyncd ledger 1"

// OpenLedger opens the ledger at path, making it when there is none: created
// tells that. A damaged one is an error that is [ErrDamaged]. The caller holds
// the lock of the state directory.
func OpenLedger(path string) (l *Ledger, created bool, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		created, text = true, sealLine([]byte(ledgerHead))
		err = ReplaceFile(path, text)
	}
	if err != nil {
		return nil, false, fmt.Errorf("open ledger: %w", err)
	}
	l = &Ledger{path: path}
	if l.values, l.lines, l.end, err = readLines(text); err != nil {
		return nil, false, fmt.Errorf("%s: %w", path, err)
	}
	if l.swollen() {
		if err := l.compact(); err != nil {
			return nil, false, fmt.Errorf("compact ledger: %w", err)
		}
	}
	if l.file, err = os.OpenFile(path, os.O_RDWR, 0o600); err != nil {
		return nil, false, fmt.Errorf("open ledger: %w", err)
	}
	if err := l.file.Truncate(l.end); err != nil { // what never was
		return nil, false, errors.Join(fmt.Errorf("open ledger: %w", err), l.file.Close())
	}
	return l, created, nil
}

// ReadLedger returns the values of the ledger at path as it is. One that is
// not there is fs.ErrNotExist.
func ReadLedger(path string) ([]Entry, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read ledger: %w", err)
	}
	values, _, _, err := readLines(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return entries(values), nil
}

// Entries returns all values, sorted by kind and name.
func (l *Ledger) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return entries(l.values)
}

func entries(values map[entryKey]json.RawMessage) []Entry {
	list := make([]Entry, 0, len(values))
	for key, value := range values {
		list = append(list, Entry{key.kind, key.name, value})
	}
	slices.SortFunc(list, func(a, b Entry) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return list
}

// Put makes a change durable, all of it or nothing. After an error it is not
// known whether it is: what the file holds is written anew by the next Put.
func (l *Ledger) Put(change ...Entry) error {
	payload, err := json.Marshal(change)
	if err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	line := sealLine(payload)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil || l.swollen() {
		if err := l.rewrite(); err != nil {
			return fmt.Errorf("write ledger: %w", err)
		}
	}
	_, err = l.file.WriteAt(line, l.end)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		l.failed = err
		return fmt.Errorf("write ledger: %w", err)
	}
	l.end += int64(len(line))
	l.lines++
	apply(l.values, change)
	return nil
}

// swollen tells whether most of the file counts for nothing any more.
func (l *Ledger) swollen() bool { return l.lines > 1000 && l.lines > 4*len(l.values) }

// rewrite puts a new file in the place of one that holds what is not known, or
// too much.
func (l *Ledger) rewrite() error {
	if err := l.compact(); err != nil {
		return err
	}
	file, err := os.OpenFile(l.path, os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	l.file.Close()
	l.file, l.failed = file, nil
	return nil
}

// compact writes what counts, and nothing else, in the place of the file.
func (l *Ledger) compact() error {
	payload, err := json.Marshal(entries(l.values))
	if err != nil {
		return err
	}
	text := append(sealLine([]byte(ledgerHead)), sealLine(payload)...)
	if err := ReplaceFile(l.path, text); err != nil {
		return err
	}
	l.end, l.lines = int64(len(text)), 2
	return nil
}

// Close closes the file.
func (l *Ledger) Close() error { return l.file.Close() }

// sealLine puts the checksum before a payload and a line end behind it.
func sealLine(payload []byte) []byte {
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(payload, castagnoli), payload)
}

// unsealLine is the reverse, of a line without its end.
func unsealLine(line []byte) ([]byte, bool) {
	sum, payload, ok := bytes.Cut(line, []byte(" "))
	return payload, ok && fmt.Sprintf("%08x", crc32.Checksum(payload, castagnoli)) == string(sum)
}

// readLines reads all valid lines and tells where they end.
func readLines(text []byte) (values map[entryKey]json.RawMessage, lines int, end int64, err error) {
	values = make(map[entryKey]json.RawMessage)
	r := bufio.NewReader(bytes.NewReader(text))
	broken := 0 // the first line that is not valid
	for n, at := 1, int64(0); ; n++ {
		line, err := r.ReadBytes('\n')
		if len(line) == 0 && err == io.EOF {
			break
		}
		at += int64(len(line))
		payload, ok := unsealLine(bytes.TrimSuffix(line, []byte("\n")))
		var change []Entry
		switch {
		case !ok || err != nil:
			if broken == 0 {
				broken = n
			}
			continue
		case broken > 0:
			return nil, 0, 0, fmt.Errorf("%w: line %d has a wrong checksum", ErrDamaged, broken)
		case n == 1 && string(payload) != ledgerHead:
			return nil, 0, 0, fmt.Errorf("the first line is not %q: another version of imapsyncd wrote it", ledgerHead)
		case n > 1:
			if err := json.Unmarshal(payload, &change); err != nil {
				return nil, 0, 0, fmt.Errorf("%w: line %d: %w", ErrDamaged, n, err)
			}
		}
		apply(values, change)
		lines, end = n, at
	}
	if broken > 0 && bytes.HasSuffix(text, []byte("\n")) {
		return nil, 0, 0, fmt.Errorf("%w: line %d has a wrong checksum", ErrDamaged, broken)
	}
	if lines == 0 {
		return nil, 0, 0, fmt.Errorf("%w: it has no first line", ErrDamaged)
	}
	return values, lines, end, nil
}

func apply(values map[entryKey]json.RawMessage, change []Entry) {
	for _, e := range change {
		if e.Value == nil {
			delete(values, entryKey{e.Kind, e.Name})
		} else {
			values[entryKey{e.Kind, e.Name}] = e.Value
		}
	}
}
