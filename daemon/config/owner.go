package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"github.com/pelletier/go-toml/v2"
)

// defaultStateDir is where the state is unless state_dir says otherwise.
const defaultStateDir = "/var/lib/imapsyncd"

// StateDir is the state_dir of a configuration that may be wrong otherwise, for
// those who have to know whose it is before they may read the rest.
func StateDir(path string) string {
	stateDir, _ := places(path)
	return stateDir
}

// Socket is the control socket of a configuration that may be wrong otherwise,
// for those who ask a daemon that has read a better one.
func Socket(path string) string {
	_, socket := places(path)
	return socket
}

// places reads as much as can be read. What is wrong is told by Load.
func places(path string) (stateDir, socket string) {
	var file struct {
		StateDir *string `toml:"state_dir"`
		Socket   *string `toml:"socket"`
	}
	l := loader{}
	if absolute, err := filepath.Abs(path); err == nil {
		l.dir = filepath.Dir(absolute)
		if data, err := os.ReadFile(absolute); err == nil {
			_ = toml.Unmarshal(data, &file)
		}
	}
	return l.places(file.StateDir, file.Socket)
}

// places are where the state and the control socket are.
func (l *loader) places(dir, socket *string) (string, string) {
	stateDir := l.path(or(dir, defaultStateDir))
	return stateDir, cmp.Or(l.path(or(socket, "")), filepath.Join(stateDir, "control.sock"))
}

// forUs adds to a refusal whom the file has to be opened to.
func forUs(path string, err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	name := strconv.Itoa(os.Geteuid())
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	return fmt.Errorf("%w for %s; mend it with: %s", err, name, openTo(path))
}

// openTo is the command that lets us read a file of somebody else, and nobody
// besides.
func openTo(path string) string {
	group := strconv.Itoa(os.Getegid())
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	return fmt.Sprintf("chgrp %s %s; chmod 640 %s", group, path, path)
}
