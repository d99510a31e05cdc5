package main

import (
	"slices"
	"strings"
	"unsafe"
)

// commandLine returns a copy of the arguments of the process, and blots the
// passwords of imapsync's options out of the originals: the system shows that
// memory to everybody who lists its processes.
func commandLine(args []string) []string {
	own := make([]string, len(args))
	for i, arg := range args {
		own[i] = strings.Clone(arg)
	}
	for i, arg := range own {
		name, _, inline := strings.Cut(arg, "=")
		switch {
		case !slices.Contains([]string{"--password1", "--password2"}, name):
		case inline:
			blot(args[i][len(name)+1:])
		case i+1 < len(args):
			blot(args[i+1])
		}
	}
	return own
}

// blot overwrites a string that the system, not the program, has put into
// memory; that of a constant cannot be written.
func blot(s string) {
	octets := unsafe.Slice(unsafe.StringData(s), len(s))
	for i := range octets {
		octets[i] = 'x'
	}
}
