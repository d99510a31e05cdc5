package remote

import (
	"bufio"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"strings"
	"testing"
)

// TestSweepDigest: whatever tells of a change of a mailbox makes another digest,
// what tells of none does not, and a server that does not do what it offers is
// asked in the other way.
func TestSweepDigest(t *testing.T) {
	const (
		inbox   = "* LIST (\\HasNoChildren) \"/\" INBOX\r\n* STATUS INBOX (MESSAGES 2 UIDNEXT 3 UIDVALIDITY 1)\r\n"
		archive = "* LIST () \"/\" Archive\r\n* STATUS Archive (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 1)\r\n"
	)
	literals := "* LIST () \"/\" " + literal("Archive") + "\r\n* STATUS " + literal("Archive") + " (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 1)\r\n"
	seed := maphash.MakeSeed()
	answer := func(list string) (digest uint64, hints int) {
		t.Helper()
		server := newFakeServer(t, SideSource, "IMAP4rev1 LIST-EXTENDED LIST-STATUS", answers(func(command string) string {
			if strings.HasPrefix(command, "LIST") {
				return list + "TAG OK listed\r\n"
			}
			return "* STATUS INBOX (MESSAGES 2 UIDNEXT 3 UIDVALIDITY 1)\r\nTAG OK\r\n" // where LIST has not told it
		}))
		conn, err := server.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		w := &watcher{conn: conn, seed: seed, WatchOptions: WatchOptions{Hint: func(string) { hints++ }}, session: session{conn: conn, logger: quiet()}}
		if digest, _, err = w.digest(t.Context()); err != nil {
			t.Fatal(err)
		}
		again, _, err := w.digest(t.Context())
		if err != nil || again != digest {
			t.Errorf("%q: %x, and then %x (%v)", list, digest, again, err)
		}
		return digest, hints
	}
	base, _ := answer(inbox + archive)
	for what, list := range map[string]string{
		"another order":       archive + inbox,
		"another attribute":   strings.Replace(inbox, `\HasNoChildren`, `\HasChildren \Marked`, 1) + archive,
		"news of the mailbox": inbox + "* 3 EXISTS\r\n" + archive,
	} {
		digest, hints := answer(list)
		if digest != base {
			t.Errorf("%s is taken for a change of the list", what)
		}
		if want := 2 * strings.Count(list, "EXISTS"); hints != want {
			t.Errorf("%s: %d hints, want %d", what, hints, want)
		}
	}
	known := map[uint64]string{base: "nothing"}
	for what, list := range map[string]string{
		"a message":          inbox + strings.Replace(archive, "UIDNEXT 2", "UIDNEXT 3", 1),
		"a removed message":  inbox + strings.Replace(archive, "MESSAGES 1", "MESSAGES 0", 1),
		"another mailbox":    inbox + archive + strings.ReplaceAll(archive, "Archive", "Archive2"),
		"a mailbox less":     inbox,
		"one without status": inbox + archive + "* LIST () \"/\" Archive2\r\n",
		"literals":           inbox + literals,
		"news in literals":   inbox + strings.Replace(literals, "UIDNEXT 2", "UIDNEXT 3", 1),
	} {
		digest, _ := answer(list)
		if same, seen := known[digest]; seen {
			t.Errorf("%s looks like %s", what, same)
		}
		known[digest] = what
	}
	if digest, _ := answer("* LIST () \"/\" INBOX\r\n"); digest == 0 {
		t.Error("a server that has told no STATUS was not asked for it")
	}
}

// TestSweepOfOthers: what changes in mailboxes of others is told only where these
// are asked about.
func TestSweepOfOthers(t *testing.T) {
	const inbox = "* LIST () \"/\" INBOX\r\n* STATUS INBOX (MESSAGES 2 UIDNEXT 3 UIDVALIDITY 1)\r\n"
	seed := maphash.MakeSeed()
	digest := func(namespaces []string, public string) uint64 {
		t.Helper()
		server := newFakeServer(t, SideSource, "IMAP4rev1 NAMESPACE LIST-EXTENDED LIST-STATUS", answers(func(command string) string {
			switch {
			case strings.HasPrefix(command, "NAMESPACE"):
				return "* NAMESPACE ((\"\" \"/\")) NIL ((\"Public/\" \"/\"))\r\nTAG OK\r\n"
			case strings.HasPrefix(command, "LIST"):
				return inbox + "* LIST () \"/\" Public/a\r\n* STATUS Public/a (MESSAGES 1 UIDNEXT " + public + " UIDVALIDITY 1)\r\nTAG OK\r\n"
			}
			return ""
		}))
		conn, err := server.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		w := &watcher{conn: conn, seed: seed, session: session{conn: conn, logger: quiet(), lists: kindsOf(namespaces)}}
		sum, _, err := w.digest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if again, _, err := w.digest(t.Context()); err != nil || again != sum {
			t.Errorf("%v: %x, and then %x (%v)", namespaces, sum, again, err)
		}
		return sum
	}
	if digest(nil, "2") != digest(nil, "3") {
		t.Error("news of others is told though nobody asks about them")
	}
	if all := []string{"personal", "shared"}; digest(all, "2") == digest(all, "3") {
		t.Error("news of a shared mailbox is not told")
	}
}

// TestSweepEndless: a listing that does not end is the end of the connection.
func TestSweepEndless(t *testing.T) {
	conn, err := newFakeServer(t, SideSource, "", func(conn net.Conn, in *bufio.Reader) {
		in.ReadString('\n')
		for lines := []byte(strings.Repeat("* X\r\n", 10_000)); ; {
			if _, err := conn.Write(lines); err != nil {
				return
			}
		}
	}).dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	seen := 0
	_, err = (&watcher{conn: conn}).ask(t.Context(), "LIST", func([]byte) bool { seen++; return true }, func(Response) {})
	if !errors.Is(err, errProtocol) && !strings.Contains(fmt.Sprint(err), "no end") || seen != untaggedMost {
		t.Errorf("after %d lines: %v", seen, err)
	}
}
