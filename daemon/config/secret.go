package config

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Secret is a password or the like, or where it is read when it is needed.
// However it is printed, nothing of it shows.
type Secret struct {
	value   string
	file    string
	sealed  bool              // systemd sees to who can read file
	whole   bool              // all of it counts, not only one line
	sum     [sha256.Size]byte // of what stood in file when the configuration was read
	command []string
	env     []string // what command is told
	absent  error    // why it cannot be read by this process
}

const masked = "***"

func (Secret) String() string               { return masked }
func (Secret) GoString() string             { return masked }
func (Secret) Format(f fmt.State, _ rune)   { io.WriteString(f, masked) }
func (Secret) MarshalText() ([]byte, error) { return []byte(masked), nil }

// commandTime is how long a command may take.
const commandTime = 30 * time.Second

// Read returns the secret: as the file, without its last line end, or the
// command gives it now.
func (s Secret) Read(ctx context.Context) (string, error) {
	switch {
	case s.absent != nil:
		return "", s.absent
	case s.file != "":
		data, err := s.content()
		if err != nil {
			return "", err
		}
		text, err := s.text(data)
		if err != nil {
			err = fmt.Errorf("%s: %w", s.file, err)
		}
		return text, err
	case len(s.command) > 0:
		out, err := s.run(ctx)
		if err != nil {
			return "", fmt.Errorf("%s: %w", s.command[0], err)
		}
		text, err := s.text(out)
		if err != nil {
			err = fmt.Errorf("what %s prints: %w", s.command[0], err)
		}
		return text, err
	}
	return s.value, nil
}

// content is what stands in the file.
func (s Secret) content() ([]byte, error) {
	if !s.sealed {
		err := private(s.file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w; type the secret, then Ctrl-D, into: install -m 640 /dev/stdin %s", err, s.file)
		}
		if err != nil {
			return nil, err
		}
	}
	data, err := os.ReadFile(s.file)
	if err == nil && len(data) == 0 {
		err = fmt.Errorf("%s: %w", s.file, errEmpty)
	}
	return data, forUs(s.file, err)
}

// fileSum tells one content of the file from another.
func (s Secret) fileSum() ([sha256.Size]byte, error) {
	data, err := s.content()
	return sha256.Sum256(data), err
}

// run runs the command. What it complains of is part of its error.
func (s Secret) run(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.command[0], s.command[1:]...)
	cmd.Env = append(os.Environ(), s.env...)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		return nil, fmt.Errorf("no answer within %s", commandTime)
	}
	if err != nil {
		if words := lastLine(complaints.String()); words != "" {
			err = fmt.Errorf("%w: %s", err, words)
		}
		return nil, err
	}
	return out.Bytes(), nil
}

// lastLine is the last line with anything in it, or the beginning of it.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	text = text[strings.LastIndexByte(text, '\n')+1:]
	if len(text) > 200 {
		text = strings.ToValidUTF8(text[:200], "") + "…"
	}
	return text
}

// Key is the same for secrets that are read in the same way and were the same
// when the configuration was read.
func (s Secret) Key() [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%q %q %x %q %q", s.value, s.file, s.sum, s.command, s.env))
}

// Key is the same for all accounts that get their tokens in the same way.
func (o OAuth2) Key() string {
	return fmt.Sprintf("%x %x %q %q %x %x %q", o.Command.Key(), o.ServiceAccount.Key(), o.URL, o.ClientID, o.ClientSecret.Key(), o.RefreshToken.Key(), o.Scopes)
}

var errEmpty = errors.New("it is empty")

// systemd is a secret that systemd has put where only this service finds it
// (LoadCredential=, systemd.exec(5)). Outside of a service it is absent: a
// command that asks the daemon needs none.
func systemd(name string) (Secret, error) {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	switch {
	case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00"):
		return Secret{}, fmt.Errorf("%q is no name of a credential; write the one of LoadCredential=", name)
	case dir == "":
		absent := fmt.Errorf("there are no credentials here: they are there for the systemd unit only, with LoadCredential=%s:/path", name)
		return Secret{file: name, sealed: true, absent: absent}, nil
	}
	return Secret{file: filepath.Join(dir, name), sealed: true}, nil
}

// text is the secret in what was read.
func (s Secret) text(data []byte) (string, error) {
	if s.whole && len(bytes.TrimSpace(data)) > 0 {
		return string(data), nil
	}
	return lineOf(data)
}

func lineOf(data []byte) (string, error) {
	s := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case s == "":
		return "", errEmpty
	case strings.ContainsAny(s, "\n\x00"):
		return "", errors.New("it has more than one line")
	}
	return s, nil
}

// private refuses a file that others can read. The group may, if it is one of
// the process's own. What is no file gets no advice that would lock others out of it.
func private(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a directory; name a file", path)
	case info.Mode()&os.ModeDevice != 0:
		return fmt.Errorf("%s is a device; name a file", path)
	}
	mode := info.Mode().Perm()
	stat, ok := info.Sys().(*syscall.Stat_t)
	mend := "chmod 600 " + path
	if ok && int(stat.Uid) != os.Geteuid() {
		mend = openTo(path)
	}
	if mode&0o007 != 0 {
		return fmt.Errorf("%s can be read by everybody; mend it with: %s", path, mend)
	}
	if mode&0o070 == 0 || !ok || ownGroup(int(stat.Gid)) {
		return nil
	}
	return fmt.Errorf("%s can be read by a group that is not imapsyncd's own; mend it with: %s", path, mend)
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
