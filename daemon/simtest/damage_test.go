package simtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proof"
	"github.com/imapsyncd/imapsyncd/state"
)

var (
	me      = state.Identity{SourceHost: "old", SourceUser: "u", DestinationHost: "new", DestinationUser: "u"}
	someone = state.Identity{SourceHost: "old", SourceUser: "v", DestinationHost: "new", DestinationUser: "v"}
)

// clone is a server as it is now.
func (s *Server) clone() *Server {
	c := &Server{Boxes: make(map[string]*Box, len(s.Boxes)), validity: s.validity, Refuse: s.Refuse}
	for name, b := range s.Boxes {
		copied := *b
		copied.Messages = slices.Clone(b.Messages)
		c.Boxes[name] = &copied
	}
	return c
}

// filed is two servers and a state in a file.
type filed struct {
	old, new *Server
	path     string
	log      bytes.Buffer
}

// run opens the state and runs passes until there is nothing to do.
func (w *filed) run(identity state.Identity) (err error) {
	logger := slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	store, err := state.Open(w.path, state.Options{Identity: identity, Logger: logger})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Check(), store.Close()) }()
	nothing := &Faults{}
	p := pass.New(pass.Options{
		Source: View{w.old, nothing}, Journal: store, SpoolDir: spool, Logger: logger,
		Destination: Writable{
			View:     View{w.new, nothing},
			Intended: func(string, int64, mail.Fingerprint) error { return nil },
			Changing: func(mail.IntentKind, mail.Ref, mail.UID) {},
		},
	})
	for range 4 {
		result, err := p.Run(context.Background())
		if err != nil {
			return err
		}
		if !result.Changed {
			return nil
		}
	}
	return errors.New("four runs do not suffice")
}

// contents is everything on a server, by mailbox and text.
func (s *Server) contents() map[string]int {
	all := make(map[string]int)
	for name, b := range s.Boxes {
		for _, m := range b.Messages {
			all[fmt.Sprintf("%s: %s %v", name, m.Data, m.Flags)]++
		}
	}
	return all
}

// TestDamagedStates gives a pass states that are damaged in every way, old, or
// not its own. Whatever it is given: no panic, nothing twice, nothing lost,
// what its users changed as they left it, and a line that says what happened.
func TestDamagedStates(t *testing.T) {
	begun := time.Now()
	dir, err := os.MkdirTemp("/dev/shm", "imapsyncd-damage-")
	if err != nil {
		dir = t.TempDir()
	}
	defer os.RemoveAll(dir)
	first, sound, others, world := grown(t, dir)
	counts := make(map[string]int)
	n := 0
	try := func(name string, data []byte, allowed ...string) string {
		t.Helper()
		if t.Failed() {
			return ""
		}
		n++
		verdict := ""
		synctest.Test(t, func(t *testing.T) { verdict = world.survive(t, name, data) })
		counts[verdict]++
		if !slices.Contains(allowed, verdict) {
			t.Errorf("%s: %s, must be one of %v", name, verdict, allowed)
		}
		return verdict
	}
	page := os.Getpagesize()
	rng := rand.New(rand.NewPCG(4, 4))

	try("as it was", sound, "used")
	try("as it was long before", first, "used")
	try("none", nil, "new")
	try("empty", []byte{}, "set aside")
	try("another account's", others, "set aside")
	try("a later version's", later(t, sound), "refused")
	try("no state at all", []byte("[account]\nname = 1\n"), "set aside")
	for range 150 / oneIn() {
		at := rng.IntN(len(sound))
		try(fmt.Sprint("cut at ", at), sound[:at], "set aside", "used") // its end may be empty
	}
	var used []int // pages, by where they begin
	damages := 0
	for at := 0; at < len(sound); at += page {
		for name, damage := range map[string]func(page []byte){
			"zeros":          func(p []byte) { clear(p) },
			"ones":           func(p []byte) { copy(p, bytes.Repeat([]byte{0xff}, len(p))) },
			"as long before": func(p []byte) { copy(p, first[min(at, len(first)):]) },
			"another page":   func(p []byte) { copy(p, sound[rng.IntN(len(sound)/page)*page:]) },
			"another's":      func(p []byte) { copy(p, others[min(at, len(others)):]) },
		} {
			if damages++; damages%oneIn() != 0 && name != "zeros" {
				continue
			}
			data := slices.Clone(sound)
			damage(data[at:min(at+page, len(data))])
			verdict := try(fmt.Sprintf("page %d: %s", at/page, name), data, "set aside", "used", "refused")
			if name == "zeros" && verdict == "set aside" {
				used = append(used, at)
			}
		}
	}
	for range max(1000, *worlds/20) / oneIn() {
		data := slices.Clone(sound)
		bit := used[rng.IntN(len(used))]*8 + rng.IntN(page*8)
		data[bit/8] ^= 1 << (bit % 8)
		try(fmt.Sprintf("bit %d of octet %d", bit%8, bit/8), data, "set aside", "used", "refused")
	}
	if n < 1000/oneIn() || oneIn() == 1 && counts["set aside"] < 350 || counts["set aside"] == 0 || counts["used"] == 0 {
		t.Errorf("the mutations do not reach all there is: %d, %v", n, counts)
	}
	proof.Count(t, begun, "%d states: %v", n, counts)
}

// later is a state as a later version would write it.
func later(t *testing.T, file []byte) []byte {
	t.Helper()
	sealed := func(version string) []byte {
		sum := crc32.Checksum([]byte("metaversion"+version), crc32.MakeTable(crc32.Castagnoli))
		return append(binary.BigEndian.AppendUint32([]byte("version"), sum), version...)
	}
	if !bytes.Contains(file, sealed("3")) {
		t.Fatal("the state has no version 3")
	}
	return bytes.ReplaceAll(file, sealed("3"), sealed("4"))
}

// grown makes a world with a state that has something of everything. It
// returns the state as it was early and as it is, another account's, and the
// world.
func grown(t *testing.T, dir string) (first, sound, others []byte, w *filed) {
	t.Helper()
	w = &filed{old: NewServer(10), new: NewServer(5000), path: filepath.Join(dir, "a.db")}
	w.new.Refuse = func(data string) bool { return strings.Contains(data, "refuse") }
	settle := func(w *filed, identity state.Identity) []byte {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			if err := w.run(identity); err != nil {
				t.Fatal(err)
			}
		})
		data, err := os.ReadFile(w.path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	w.old.Deliver("INBOX", "n0", day, mail.Flags{})
	w.old.Deliver("a/b", "n1", day, mail.Flags{})
	stranger := &filed{old: w.old.clone(), new: w.new.clone(), path: filepath.Join(dir, "b.db")}
	first = settle(w, me)
	others = settle(stranger, someone)
	for i := range 150 {
		w.old.Deliver([]string{"INBOX", "a/b"}[i%2], fmt.Sprintf("n%03d", i), day.Add(time.Duration(i)*time.Hour), mail.Flags{System: mail.System(i % 4), Keywords: []string{"", "Work", "Home Work"}[i%3]})
	}
	w.old.Deliver("INBOX", "ntwin", day, mail.Flags{})
	w.old.Deliver("INBOX", "ntwin", day, mail.Flags{})
	w.old.Deliver("a/b", "refuse me", day, mail.Flags{})
	settle(w, me)
	w.new.Flag("INBOX", 3, mail.Flags{System: 31, Keywords: "Mine"}) // touched
	w.new.Move("INBOX", 5, "kept")
	w.new.Deliver("INBOX", "born here", day, mail.Flags{})
	w.old.Flag("INBOX", 3, mail.Flags{System: mail.Seen})
	w.old.Expunge("a/b", 7)
	w.old.Move("INBOX", 9, "a/b")
	return first, settle(w, me), others, w
}

// survive has a pass begin with a state, and compares. It tells what became of
// the state.
func (w *filed) survive(t *testing.T, name string, data []byte) string {
	t.Helper()
	dir := filepath.Dir(w.path)
	if old, err := filepath.Glob(w.path + "*"); err == nil {
		for _, path := range old {
			os.Remove(path)
		}
	}
	if data != nil {
		if err := os.WriteFile(w.path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := &filed{old: w.old.clone(), new: w.new.clone(), path: w.path}
	run.old.Deliver("INBOX", "news", day, mail.Flags{}) // else there is nothing to recognise for
	want := run.new.contents()
	want["INBOX: news ()"]++
	before := run.new.clone()
	err := run.run(me)
	if err != nil {
		if !strings.Contains(err.Error(), "newer imapsyncd") || !maps.Equal(run.new.contents(), before.contents()) {
			t.Fatalf("%s: %v", name, err)
		}
		return "refused"
	}
	if have := run.new.contents(); !maps.Equal(have, want) {
		t.Fatalf("%s: %s\n%s", name, difference(have, want), run.log.String())
	}
	changes := run.new.Changes
	if err := run.run(me); err != nil || run.new.Changes != changes {
		t.Fatalf("%s: a second run: %v, %d changes", name, err, run.new.Changes-changes)
	}
	aside, err := state.SetAside(w.path)
	if err != nil {
		t.Fatal(err)
	}
	switch lines := strings.Count(run.log.String(), "state file set aside"); {
	case data == nil && len(aside)+lines == 0:
		return "new"
	case len(aside) == 1 && lines == 1 && strings.Contains(run.log.String(), filepath.Base(aside[0].Path)) && aside[0].Reason != "":
		if kept, err := os.ReadFile(aside[0].Path); err != nil || !bytes.Equal(kept, data) {
			t.Fatalf("%s: what was set aside was changed: %v", name, err)
		}
		return "set aside"
	case len(aside)+lines == 0:
		return "used"
	}
	t.Fatalf("%s: %d files set aside in %s\n%s", name, len(aside), dir, run.log.String())
	return ""
}

// difference names what is there too often, or not often enough.
func difference(have, want map[string]int) string {
	var list []string
	for what, n := range want {
		if have[what] != n {
			list = append(list, fmt.Sprintf("%s is there %d times, not %d", what, have[what], n))
		}
	}
	for what, n := range have {
		if want[what] == 0 {
			list = append(list, fmt.Sprintf("%s is there %d times and should not be", what, n))
		}
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}
