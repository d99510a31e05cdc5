package state

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// What is set aside is named PATH.damaged-TIME or PATH.damaged-TIME-N, and
// beside it stands why, in a file of that name and .txt.
const (
	asideInfix = ".damaged-"
	asideNote  = ".txt"
)

// Quarantine renames a file that is of no use, so that it can be looked at,
// notes the reason beside it and returns its new name. It never overwrites
// another. The file must not be open.
func Quarantine(path, reason string) (string, error) {
	aside, err := noteReason(path+asideInfix+time.Now().UTC().Format("20060102T150405"), reason)
	if err == nil {
		if err = os.Rename(path, aside); err != nil {
			os.Remove(aside + asideNote)
		}
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return "", fmt.Errorf("set state aside: %w", err)
	}
	return aside, nil
}

// noteReason finds a free name that begins with base and writes the note that
// goes with it.
func noteReason(base, reason string) (aside string, err error) {
	for n := 1; ; n++ {
		aside = base
		if n > 1 {
			aside = fmt.Sprintf("%s-%d", base, n)
		}
		if _, err := os.Lstat(aside); err == nil {
			continue
		}
		note, err := os.OpenFile(aside+asideNote, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			return "", err
		}
		_, err = note.WriteString(reason + "\n")
		return aside, errors.Join(err, note.Close())
	}
}

// Aside is a file that was set aside.
type Aside struct {
	Path   string `json:"path"`
	Reason string `json:"reason"` // empty: the note is lost
}

// SetAside lists what was set aside of the state that is, or was, at path: the
// oldest first.
func SetAside(path string) ([]Aside, error) {
	dir, name := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []Aside
	for _, e := range entries { // by name, and so by time
		if strings.HasPrefix(e.Name(), name+asideInfix) && !strings.HasSuffix(e.Name(), asideNote) {
			aside := filepath.Join(dir, e.Name())
			reason, _ := os.ReadFile(aside + asideNote)
			list = append(list, Aside{aside, strings.TrimSpace(string(reason))})
		}
	}
	return list, nil
}

// setAsideBefore tells whether a file that is not there was set aside, be it
// that the process ended before another was made: lost is not new.
func setAsideBefore(path string) (Fresh, error) {
	if some, err := lists(filepath.Dir(path), filepath.Base(path)+asideInfix); err != nil || !some {
		return Fresh{New: err == nil}, err
	}
	list, err := SetAside(path)
	if err != nil || len(list) == 0 {
		return Fresh{New: err == nil}, err
	}
	last := list[len(list)-1]
	return Fresh{Quarantined: last.Path, Reason: last.Reason}, nil
}

// lists tells whether a part of a name is in a directory. It goes over the directory as
// the system lists it: of thousands of accounts that begin at the same time each one
// comes by here, and names that are made of the files of all the others would be most of
// the memory that it takes.
func lists(dir, part string) (bool, error) {
	d, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	defer d.Close()
	for entries := make([]byte, 16<<10); ; {
		n, err := syscall.ReadDirent(int(d.Fd()), entries)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || n <= 0 {
			return false, err
		}
		if bytes.Contains(entries[:n], []byte(part)) {
			return true, nil
		}
	}
}
