package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// becomeOwner has root work as the owner of the state directory, who is the one
// that the daemon runs as: files that root made there would be closed to the
// daemon, and what the daemon cannot read is to fail here as well. Where the
// directory is root's own or not there, root stays root.
func becomeOwner(stateDir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(stateDir)
	if err != nil {
		return nil // whoever takes it says what is wrong and what to do
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid == 0 {
		return nil
	}
	gid, groups := int(stat.Gid), []int{int(stat.Gid)}
	if u, err := user.LookupId(strconv.Itoa(int(stat.Uid))); err == nil {
		if n, err := strconv.Atoi(u.Gid); err == nil {
			gid = n
		}
		// Without the others the daemon's own group has to do.
		ids, _ := u.GroupIds()
		for _, id := range ids {
			if n, err := strconv.Atoi(id); err == nil {
				groups = append(groups, n)
			}
		}
	}
	// The saved ID stays root's, for asCaller; a program that is started from
	// here has it no more.
	if err := errors.Join(syscall.Setgroups(groups), syscall.Setresgid(gid, gid, 0), syscall.Setresuid(int(stat.Uid), int(stat.Uid), 0)); err != nil {
		return fmt.Errorf("become the owner of %s: %w", stateDir, err)
	}
	return nil
}

// asCaller runs f as who has called the command, such as to write a file where
// he wants it.
func asCaller(f func() error) error {
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 || syscall.Setresuid(-1, 0, -1) != nil {
		return f() // nobody else
	}
	if err := syscall.Setresgid(-1, 0, -1); err != nil {
		return fmt.Errorf("become root again: %w", err)
	}
	err := f()
	return errors.Join(err, syscall.Setresgid(-1, gid, -1), syscall.Setresuid(-1, uid, -1))
}
