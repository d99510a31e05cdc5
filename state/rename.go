package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// IdentityOf says whose state a file holds.
func IdentityOf(path string) (Identity, error) {
	s, err := Open(path, Options{ReadOnly: true})
	if err != nil {
		return Identity{}, err
	}
	return s.Identity(), s.Close()
}

// Rename gives a file that is not open a new name in its directory. One that
// has it already is not overwritten. The caller holds the lock of the state
// directory, so that none comes in between.
func Rename(from, to string) error {
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rename state: %s is there already", to)
	}
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("rename state: %w", err)
	}
	return syncDir(filepath.Dir(to))
}
