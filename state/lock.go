package state

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// DirLock is the lock on a state directory: one process works on it at a time.
type DirLock struct{ file *os.File }

// LockedError says that another process holds a state directory or file.
type LockedError struct {
	Path string
	PID  int // of the holder; 0: not known
}

func (e *LockedError) Error() string {
	if e.PID != 0 {
		return fmt.Sprintf("%s is in use by another imapsyncd (pid %d); wait for it, or stop it", e.Path, e.PID)
	}
	return fmt.Sprintf("%s is in use by another process; 'fuser %s' tells which", e.Path, e.Path)
}

// Lock takes the lock of a state directory, which it makes when there is none,
// or fails at once with a [*LockedError]. The lock ends with the process.
func Lock(dir string) (*DirLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	if err := hold(f); err != nil {
		defer f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, &LockedError{Path: dir, PID: holder(f)}
		}
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	return &DirLock{f}, nil
}

// hold takes the lock and writes our pid into the file.
func hold(f *os.File) error {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// holder reads the pid of the process that holds the lock.
func holder(f *os.File) int {
	data, _ := io.ReadAll(io.LimitReader(f, 32))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return pid
}

// Close gives the lock back. The file stays: removing it would let two
// processes hold locks on two files of one name. A process that is being started
// just now has the file open as well, until it is the program it is to be: so
// closing it would not do.
func (l *DirLock) Close() error {
	return errors.Join(syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN), l.file.Close())
}
