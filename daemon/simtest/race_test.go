//go:build race

package simtest

// raced tells that the race detector watches.
const raced = true
