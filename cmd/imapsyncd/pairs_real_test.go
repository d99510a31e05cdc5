package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/foreign"
	"github.com/imapsyncd/imapsyncd/daemon/verify"
)

// TestPairs carries odd mail in mailboxes with odd names between Dovecot, Cyrus
// and Courier, each to each, and hostile mail to each. Every message that the old
// server serves is on the new one once, octet for octet or in a form that is known
// for that server, or it is held with the words with which it was refused. Nothing
// of it is executed. Cyrus is logged in to by another mechanism for each account.
func TestPairs(t *testing.T) {
	kinds := []string{"dovecot", "cyrus", "courier"}
	users := []string{"s", "dovecot", "cyrus", "courier", "hostile", foreign.CyrusAdmin}
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	cyrus, courier := foreign.Cyrus(t, dovecot.Password, users...), foreign.Courier(t, dovecot.Password, users...)
	ports := map[string]int{"dovecot": s.old.Port, "cyrus": cyrus.Port, "courier": courier.Port}
	dial := func(kind, user string) *corpus.Client {
		return corpus.Dial(t, fmt.Sprintf("127.0.0.1:%d", ports[kind]), user, dovecot.Password)
	}
	odd := corpus.Odd()
	if len(odd) < 150 {
		t.Fatalf("%d odd messages", len(odd))
	}
	config := "state_dir = \"state\"\n[source]\n" + near(1) + "password_file = \"password\"\n[destination]\n" + near(1) + "password_file = \"password\"\n"
	logIns := map[string]string{ // to Cyrus, by account
		"cyrus-dovecot": `auth = "scram-sha-256"`, "cyrus-cyrus": `auth = "scram-sha-1"`, "cyrus-courier": `auth = "cram-md5"`, "dovecot-cyrus": `auth = "login"`, "courier-cyrus": "auth = \"plain\"\ncompress = \"on\"",
		"hostile-cyrus": fmt.Sprintf("admin_user = %q\nadmin_password_file = \"password\"", foreign.CyrusAdmin),
	}
	account := func(old, new, source string) {
		name := old + "-" + new
		destination := fmt.Sprintf("user = %q\nport = %d\n", old, ports[new])
		if old == "cyrus" {
			source += logIns[name] + "\n"
		} else if new == "cyrus" {
			destination += logIns[name] + "\n"
		}
		config += fmt.Sprintf("[[account]]\nname = %q\n[account.source]\n%s[account.destination]\n%s", name, source, destination)
	}
	served := make(map[string]map[string][]string)
	for _, old := range kinds {
		c := dial(old, "s")
		words := make(map[string]int) // of refusals
		for _, m := range odd {
			if answer := c.Offer("INBOX", m); !strings.HasPrefix(answer, "OK") {
				words[answer]++ // it does not have it, then
			}
		}
		names := 0
		for i, name := range corpus.OddNames {
			raw := corpus.Encode(name)
			if old == "courier" {
				raw = "INBOX." + strings.ReplaceAll(strings.ReplaceAll(raw, ".", "_"), "/", ".")
			}
			spelled := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(raw) + `"`
			if _, answer := c.Try("CREATE " + spelled); !strings.HasPrefix(answer, "OK") {
				continue
			}
			if answer := c.Offer(raw, corpus.Message{Data: fmt.Appendf(nil, "Subject: in %d\r\n\r\nx\r\n", i), Date: boxDate}); strings.HasPrefix(answer, "OK") {
				names++
			}
		}
		served[old] = c.Bodies()
		t.Logf("%s has %d of %d odd messages in INBOX, and %d of %d mailboxes with odd names; it refuses: %v", old, len(served[old]["INBOX"]), len(odd), names, len(corpus.OddNames), words)
		for _, new := range kinds {
			account(old, new, fmt.Sprintf("user = \"s\"\nport = %d\n", ports[old]))
		}
	}
	port, boxes := hostile(t)
	served["hostile"] = boxes
	for _, new := range kinds {
		account("hostile", new, fmt.Sprintf("user = \"user0@example.org\"\npassword = 'p;\"w'\nport = %d\n", port))
	}
	s.write(config)
	if code, out := s.run("sync"); code != exitDone && code != exitHeld {
		t.Fatalf("exit %d: %s", code, out)
	}
	_, held := s.run("hold", "list")
	_, compared := s.run("verify", "--deep", "--json")
	var reports []daemon.AccountReport
	if err := json.Unmarshal([]byte(compared), &reports); err != nil || len(reports) != len(served)*len(kinds) {
		t.Fatalf("%d reports: %v: %s", len(reports), err, compared[max(0, len(compared)-1000):])
	}
	alterations := make(map[verify.Alteration]bool)
	for _, r := range reports {
		old, new, _ := strings.Cut(r.Account, "-")
		copies := dial(new, old).Bodies()
		if names := executed(copies); len(names) > 0 {
			t.Errorf("%s: mail was executed: there is %q", r.Account, names)
		}
		from, to := all(served[old]), all(copies)
		missing, altered := unmatched(from, to)
		t.Logf("%s: %d messages: %d octet for octet, %d in another form, %d held", r.Account, len(from), len(from)-altered-len(missing), altered, r.Counts[verify.Held])
		if n := int(r.Counts[verify.Held]); len(missing) != n || len(to) != len(from)-n || n != strings.Count(held, r.Account+"/") {
			t.Errorf("%s: %d of %d messages have arrived, %d are missing, %d held:\n%.1000q", r.Account, len(to), len(from), len(missing), n, missing)
		}
		for class, n := range r.Counts {
			if n > 0 && class != verify.Equal && class != verify.Altered && class != verify.Held {
				t.Errorf("%s: %d %s", r.Account, n, class)
			}
		}
		for a := range r.Alterations {
			alterations[a] = true
		}
	}
	for _, a := range []verify.Alteration{verify.FinalLineEnd, verify.LineEnds, verify.NUL, verify.EightBit, verify.DateReplaced, verify.Keywords} {
		if !alterations[a] {
			t.Errorf("nobody has altered %s", a)
		}
	}
	for _, words := range []string{"NO Message contains NUL characters", "NO Message contains invalid header"} {
		if !strings.Contains(held, words) {
			t.Errorf("nothing is held with %q:\n%s", words, held)
		}
	}
	if code, out := s.run("sync"); code != exitHeld || !strings.Contains(out, " 0 messages copied") {
		t.Errorf("again: exit %d: %s", code, out)
	}

	// What can be mended is taken by all of them once it is allowed to be.
	s.write(strings.Replace(config, "[source]", "[policy]\nfixups = [\"final-crlf\", \"bare-lf\", \"nul\", \"header-line\"]\n[source]", 1))
	again := []string{"hold", "retry"}
	for line := range strings.Lines(held) {
		if fields := strings.Fields(line); strings.Contains(line, "  refused ") {
			again = append(again, fields[0])
		}
	}
	if code, out := s.run(again...); code != exitDone {
		t.Fatalf("exit %d: %s", code, out)
	}
	if code, out := s.run("sync"); code != exitDone || !strings.Contains(out, " of them in another form") {
		_, left := s.run("hold", "list")
		t.Errorf("mended: exit %d: %s%s", code, out, left)
	}
	if code, out := s.run("verify", "--deep"); code != exitDone || !strings.Contains(out, "fields were made fields") {
		t.Errorf("mended: exit %d: %s", code, out)
	}
	if code, out := s.run("sync"); code != exitDone || !strings.Contains(out, " 0 messages copied") {
		t.Errorf("again: exit %d: %s", code, out)
	}
}

func all(boxes map[string][]string) (messages []string) {
	for _, box := range boxes {
		messages = append(messages, box...)
	}
	return messages
}

// unmatched pairs messages with their copies, equal ones first, then those that
// a server is known to store in another form. It returns what has no copy.
func unmatched(from, to []string) (missing []string, altered int) {
	pair := func(from []string, form func(string) string) (rest []string) {
		copies := make(map[string][]int)
		for i, m := range to {
			copies[form(m)] = append(copies[form(m)], i)
		}
		var gone []int
		for _, m := range from {
			if found := copies[form(m)]; len(found) > 0 {
				copies[form(m)] = found[1:]
				gone = append(gone, found[0])
			} else {
				rest = append(rest, m)
			}
		}
		slices.Sort(gone)
		for _, i := range slices.Backward(gone) {
			to = slices.Delete(to, i, i+1)
		}
		return rest
	}
	to = slices.Clone(to)
	different := pair(from, func(m string) string { return m })
	missing = pair(different, stored)
	return missing, len(different) - len(missing)
}

// stored is a message without what the servers alter: line ends, NUL, which
// Dovecot gives back as 0x80, and 8-bit octets in headers, which Cyrus makes X.
func stored(m string) string {
	m = strings.NewReplacer("\r", "", "\x00", "\x80").Replace(m)
	header, body, _ := strings.Cut(m, "\n\n")
	eight := []byte(header)
	for i, b := range eight {
		if b >= 0x80 {
			eight[i] = 'X'
		}
	}
	return strings.TrimRight(string(eight)+"\n\n"+body, "\n")
}
