package config

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Secret is a password, or where it is read when it is needed. However it is
// printed, nothing of it shows.
type Secret struct {
	value   string
	file    string
	sum     [sha256.Size]byte // of what stood in file when the configuration was read
	command []string
}

const masked = "***"

func (Secret) String() string               { return masked }
func (Secret) GoString() string             { return masked }
func (Secret) Format(f fmt.State, _ rune)   { io.WriteString(f, masked) }
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// commandTime is how long password_command may take.
const commandTime = 30 * time.Second

// Read returns the password: as the file, without its last line end, or the
// command gives it now.
func (s Secret) Read(ctx context.Context) (string, error) {
	switch {
	case s.file != "":
		if err := private(s.file); err != nil {
			return "", err
		}
		data, err := os.ReadFile(s.file)
		if err != nil {
			return "", err
		}
		line, err := lineOf(data)
		if err != nil {
			err = fmt.Errorf("%s: %w", s.file, err)
		}
		return line, err
	case len(s.command) > 0:
		ctx, cancel := context.WithTimeout(ctx, commandTime)
		defer cancel()
		cmd := exec.CommandContext(ctx, s.command[0], s.command[1:]...)
		var out bytes.Buffer
		cmd.Stdout = &out
		cmd.WaitDelay = time.Second
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("password_command %s: %w", s.command[0], err)
		}
		return lineOf(out.Bytes())
	}
	return s.value, nil
}

func lineOf(data []byte) (string, error) {
	s := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case s == "":
		return "", errors.New("it is empty")
	case strings.ContainsAny(s, "\n\x00"):
		return "", errors.New("it has more than one line")
	}
	return s, nil
}

// private refuses a file that others can read. The group may, if it is one of
// the process's own.
func private(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	mode := info.Mode().Perm()
	if mode&0o007 != 0 {
		return fmt.Errorf("%s can be read by everybody; mend it with: chmod 600 %s", path, path)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if mode&0o070 == 0 || !ok || ownGroup(int(stat.Gid)) {
		return nil
	}
	return fmt.Errorf("%s can be read by a group that is not imapsyncd's own; mend it with: chmod 600 %s", path, path)
}

func ownGroup(gid int) bool {
	if gid == os.Getegid() {
		return true
	}
	groups, err := os.Getgroups()
	if err != nil {
		return false
	}
	for _, g := range groups {
		if g == gid {
			return true
		}
	}
	return false
}
