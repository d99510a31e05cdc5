package config

import (
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
	absolute, err := filepath.Abs(path)
	if err != nil {
		return defaultStateDir
	}
	var file struct {
		StateDir *string `toml:"state_dir"`
	}
	// What is wrong is told by Load.
	if data, err := os.ReadFile(absolute); err == nil {
		_ = toml.Unmarshal(data, &file)
	}
	l := loader{dir: filepath.Dir(absolute)}
	return l.path(or(file.StateDir, defaultStateDir))
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
