package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/pass"
	"github.com/imapsyncd/imapsyncd/daemon/simtest"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dialogue"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/netsim"
	"github.com/imapsyncd/imapsyncd/state"
)

// TestDialogues carries an account from, or to, each server of
// testdata/dialogues: complete, or held or stopped with the reason and the words
// that stand there. A second run has nothing to do, and finds the same. Whatever
// the server does, an account beside it is carried, memory stays bounded, and no
// octet of the server's gets where it could do harm.
func TestDialogues(t *testing.T) {
	all, err := dialogue.Read(os.DirFS("testdata/dialogues"))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 40 {
		t.Errorf("%d dialogues, 40 are wanted", len(all))
	}
	dir := shm(t)
	for _, d := range all {
		t.Run(d.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playDialogue(t, dir, d) })
		})
	}
}

// play is a world with one server that follows a dialogue.
type play struct {
	*testing.T
	dir      string
	dialogue *dialogue.Dialogue
	scripted *dialogue.Server
	model    *simtest.Server
	other    *imapsim.Server
	others   [2]*simtest.Server // the neighbour's, old and new
	network  netsim.Network
	config   *config.Config
	log      lines

	mu   sync.Mutex
	said int    // octets since the memory was last looked at
	most uint64 // of it in use, in octets
}

const (
	// dialogueMost is how long a server can draw out one run.
	dialogueMost = 3 * time.Hour
	// heapMost is how much memory may be in use while a server says what it likes, in
	// octets; what is garbage already counts too.
	heapMost = 384 << 20
	// looksEach is after how many octets of the servers it is looked at.
	looksEach = 1 << 20
	// neighbourPorts is the first of two.
	neighbourPorts = 3143
)

func playDialogue(t *testing.T, parent string, d *dialogue.Dialogue) {
	dir, err := os.MkdirTemp(parent, "")
	if err != nil {
		t.Fatal(err)
	}
	p := &play{T: t, dir: dir, dialogue: d, scripted: dialogue.NewServer(d), model: simtest.NewServer(10)}
	p.other = imapsim.New(imapsim.Options{
		Users: map[string]*simtest.Server{"u": p.model}, Password: wirePassword, Capabilities: []string{"UIDPLUS", "CONDSTORE", "ENABLE"}, Source: d.Destination,
	})
	for _, m := range d.Other {
		date, err := time.Parse("2-Jan-2006 15:04:05 -0700", strings.TrimSpace(m.Date))
		if err != nil {
			t.Fatal(err)
		}
		p.model.Deliver(m.Mailbox, m.Text, date, mail.ParseFlags(strings.Fields(m.Flags)))
	}
	ports := map[bool]int{false: oldPort, true: newPort}
	var serving sync.WaitGroup
	listen := func(port int, serve func(net.Listener) error) net.Listener {
		l, err := p.network.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		serving.Go(func() {
			if err := serve(l); err != nil {
				t.Error(err)
			}
		})
		return l
	}
	ends := []net.Listener{listen(ports[d.Destination], p.scripted.Serve), listen(ports[!d.Destination], p.other.Serve)}
	for i := range p.others {
		p.others[i] = simtest.NewServer(mail.UIDValidity(100 * (i + 1)))
		server := imapsim.New(imapsim.Options{Users: map[string]*simtest.Server{"v": p.others[i]}, Password: wirePassword, Capabilities: []string{"UIDPLUS"}, Source: i == 0})
		ends = append(ends, listen(neighbourPorts+i, server.Serve))
	}
	p.others[0].Deliver("INBOX", wireText(1), time.Now(), mail.Flags{})
	p.network.Faults = func(string) netsim.Faults { return netsim.Faults{Tap: p.weigh} }
	defer func() {
		for _, l := range ends {
			l.Close()
		}
		p.network.Sever()
		serving.Wait()
	}()

	p.configure(ports)
	began := time.Now()
	first, logged := p.sync(), p.log.String()
	if took := time.Since(began); took < d.Takes || took > dialogueMost {
		t.Errorf("it took %s", took)
	}
	p.compare(d.End, first)
	carried := len(p.carried())
	changes := p.other.Count(imapsim.Changing...)
	if second := p.sync(); !slices.Equal(first, second) {
		t.Errorf("a second run ends otherwise:\n%s", strings.Join(second, "\n"))
	}
	if n, c := len(p.carried())-carried, p.other.Count(imapsim.Changing...)-changes; n != 0 || c != 0 {
		t.Errorf("a second run has appended %d messages and changed something %d times", n, c)
	}
	for _, text := range d.Log {
		if n := strings.Count(logged, text); n != 1 {
			t.Errorf("logged %d times: %s", n, text)
		}
	}
	for _, wrong := range slices.Concat(p.scripted.Wrong(), p.other.Violations()) {
		t.Error(wrong)
	}
	p.harmless(first)
	if p.most > heapMost {
		t.Errorf("%d MB of memory were in use", p.most>>20)
	}
	if t.Failed() {
		t.Logf("said:\n%s\nlogged:\n%s", p.scripted.Said(), &p.log)
	}
}

// weigh looks at the memory every so many octets.
func (p *play) weigh(_ bool, octets []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.said += len(octets); p.said < looksEach {
		return
	}
	p.said = 0
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	p.most = max(p.most, sample[0].Value.Uint64())
}

// harmless looks at what a server could have written into: the log, the words for
// the operator, and the names of files.
func (p *play) harmless(end []string) {
	for _, text := range append(strings.Split(p.log.String(), "\n"), end...) {
		if strings.ContainsFunc(text, unicode.IsControl) {
			p.Errorf("not escaped: %q", text)
		}
	}
	err := filepath.WalkDir(p.dir, func(path string, _ fs.DirEntry, err error) error {
		if strings.Contains(filepath.Base(path), "evil") {
			p.Errorf("a file: %q", path)
		}
		return err
	})
	if err != nil {
		p.Error(err)
	}
}

// configure writes and reads the configuration.
func (p *play) configure(ports map[bool]int) {
	var text strings.Builder
	fmt.Fprintln(&text, `state_dir = "state"`)
	for _, isNew := range []bool{false, true} {
		section, most := "source", 1
		if isNew {
			section, most = "destination", 2
		}
		own := ""
		if isNew == p.dialogue.Destination {
			own = strings.Join(p.dialogue.Config, "\n")
		}
		fmt.Fprintf(&text, "[%s]\nhost = \"127.0.0.1\"\nport = %d\n%s\n", section, ports[isNew], own)
		if !strings.Contains(own, "tls =") {
			fmt.Fprintln(&text, `tls = "none"`)
		}
		if !strings.Contains(own, "max_connections_per_account") {
			fmt.Fprintf(&text, "max_connections_per_account = %d\n", most)
		}
	}
	fmt.Fprintf(&text, "[[account]]\nname = \"u\"\n")
	for _, isNew := range []bool{false, true} {
		section := map[bool]string{false: "source", true: "destination"}[isNew]
		if isNew == p.dialogue.Destination && strings.Contains(strings.Join(p.dialogue.Config, "\n"), "password") {
			fmt.Fprintf(&text, "%s = { user = \"u\" }\n", section)
		} else {
			fmt.Fprintf(&text, "%s = { user = \"u\", password = %q }\n", section, wirePassword)
		}
	}
	fmt.Fprintf(&text, "[[account]]\nname = \"v\"\n")
	for i, section := range []string{"source", "destination"} {
		fmt.Fprintf(&text, "%s = { port = %d, tls = \"none\", user = \"v\", password = %q }\n", section, neighbourPorts+i, wirePassword)
	}
	path := filepath.Join(p.dir, "imapsyncd.toml")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		p.Fatal(err)
	}
	var err error
	if p.config, err = config.Load(path); err != nil {
		p.Fatal(err)
	}
}

// sync runs one command "sync" and returns how it ends.
func (p *play) sync() (end []string) {
	d, err := Open(Options{
		Config: p.config, Dial: p.network.Dial, Jitter: func(below time.Duration) time.Duration { return below / 2 },
		Logger: slog.New(slog.NewTextHandler(&p.log, &slog.HandlerOptions{Level: slog.LevelInfo})),
	})
	if err != nil {
		p.Fatal(err)
	}
	outcomes := d.Sync(context.Background(), func(string) {}, func(Outcome) {})
	if err := d.Close(); err != nil {
		p.Error(err)
	}
	outcome, neighbour, there := outcomes[0], outcomes[1], 0
	p.others[1].Look(func() { there = len(p.others[1].Boxes["INBOX"].Messages) })
	if neighbour.Err != nil || neighbour.Held != 0 || there != 1 {
		p.Errorf("the account beside it: %+v, %d messages", neighbour, there)
	}
	switch {
	case errors.Is(outcome.Err, pass.ErrOverQuota):
		end = append(end, "paused: "+outcome.Err.Error())
	case outcome.Err != nil:
		end = append(end, "stopped: "+outcome.Err.Error())
	case outcome.Held > 0:
		end = append(end, "held")
	default:
		end = append(end, "complete")
	}
	end = append(append(end, p.carried()...), p.holds()...)
	slices.Sort(end[1:])
	return end
}

// carried are the messages on the new server.
func (p *play) carried() (list []string) {
	show := func(mailbox, text, date, flags string) {
		name := ""
		for n, t := range p.dialogue.Mail {
			if t == text {
				name = n
			}
		}
		list = append(list, fmt.Sprintf("%s %s (%s) %s", mailbox, cmp.Or(name, fmt.Sprintf("%q", text)), flags, date))
	}
	for _, m := range p.scripted.Appended() {
		show(m.Mailbox, m.Text, m.Date, m.Flags)
	}
	if p.dialogue.Destination {
		return list
	}
	p.model.Look(func() {
		for name, box := range p.model.Boxes {
			for _, m := range box.Messages {
				show(name, m.Data, m.Date.UTC().Format("02-Jan-2006 15:04:05 -0700"), strings.Join(m.Flags.Names(), " "))
			}
		}
	})
	return list
}

// holds are what is held.
func (p *play) holds() (list []string) {
	store, err := state.Open(StatePath(p.config.StateDir, "u"), state.Options{ReadOnly: true})
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		p.Fatal(err)
	}
	defer store.Close()
	holds, err := store.Holds()
	if err != nil {
		p.Fatal(err)
	}
	pairs, err := store.Pairs()
	if err != nil {
		p.Fatal(err)
	}
	for _, h := range holds {
		mailbox := h.Path
		for _, pair := range pairs {
			if pair.ID == h.Pair {
				mailbox = pair.SourcePath
			}
		}
		list = append(list, fmt.Sprintf("held %q %d %s: %s", mailbox, h.UID, h.Reason, h.Text))
	}
	return list
}

// compare compares the end with what is said of it, in any order.
func (p *play) compare(want, got []string) {
	left := slices.Clone(got)
	for _, pattern := range want {
		i := slices.IndexFunc(left, func(line string) bool { return dialogue.Fits(line, pattern) })
		if i < 0 {
			p.Errorf("it does not end so: %s", pattern)
			continue
		}
		left = slices.Delete(left, i, i+1)
	}
	if len(left) > 0 {
		p.Errorf("it ends so as well:\n%s", strings.Join(left, "\n"))
	}
}
