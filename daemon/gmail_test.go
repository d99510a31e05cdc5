package daemon

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
	"github.com/imapsyncd/imapsyncd/daemon/verify"
)

// gmailLike are what Gmail offers.
var gmailLike = []string{
	"AUTH=PLAIN", "SASL-IR", "ID", "ENABLE", "NAMESPACE", "IDLE", "UNSELECT", "CHILDREN", "LIST-EXTENDED", "LIST-STATUS", "SPECIAL-USE",
	"CONDSTORE", "UIDPLUS", "MOVE", "ESEARCH", "LITERAL-", imapsim.Labels,
}

// labelled is an account with labels in the place of mailboxes.
type labelled struct{ *simtest.Server }

const allMail = "[Gmail]/Alle Nachrichten"

func newLabelled(s *simtest.Server) labelled {
	for name, role := range map[string]string{
		allMail: `\All`, "[Gmail]/Gesendet": `\Sent`, "[Gmail]/Entw&APw-rfe": `\Drafts`, "[Gmail]/Papierkorb": `\Trash`, "[Gmail]/Spam": `\Junk`,
		"[Gmail]/Markiert": `\Flagged`, "[Gmail]/Wichtig": `\Important`,
	} {
		s.Make(name)
		s.Do(func() { s.Box(name).Role = role })
	}
	return labelled{s}
}

func gmailText(n int) string {
	return fmt.Sprintf("Message-ID: <%d@gmail.example>\r\nSubject: %[1]d\r\n\r\nbody\r\n", n)
}

// label has a message in these mailboxes, and in no others but All Mail.
func (l labelled) label(n int, flags mail.Flags, names ...string) {
	l.Do(func() {
		for _, name := range append(names, allMail) {
			l.Box(name)
		}
		for name, b := range l.Boxes {
			i := slices.IndexFunc(b.Messages, func(m simtest.Message) bool { return m.Data == gmailText(n) })
			switch wanted := name == allMail || slices.Contains(names, name); {
			case i >= 0 && !wanted:
				b.Take(i)
			case i < 0 && wanted:
				b.Add(gmailText(n), time.Date(2020, 1, 2, 3, 4, n, 0, time.UTC), flags)
			case i >= 0:
				b.Flag(i, flags) // what labels a message has is of its MODSEQ
			}
		}
	})
}

// forget takes a message out of a mailbox, for who is in Do.
func (l labelled) forget(n int, name string) {
	b := l.Box(name)
	b.Take(slices.IndexFunc(b.Messages, func(m simtest.Message) bool { return m.Data == gmailText(n) }))
}

// contents are the numbers of the messages in each mailbox that has any.
func contents(s *simtest.Server) map[string]string {
	found := make(map[string]string)
	s.Look(func() {
		for name, b := range s.Boxes {
			var numbers []int
			for _, m := range b.Messages {
				var n int
				fmt.Sscanf(m.Data, "Message-ID: <%d@", &n)
				numbers = append(numbers, n)
			}
			if slices.Sort(numbers); len(numbers) > 0 {
				found[name] = strings.Trim(fmt.Sprint(numbers), "[]")
			}
		}
	})
	return found
}

// TestLabels migrates an account that has labels in the place of mailboxes: each
// message is in the mailboxes of its labels, what has none is archived, and views
// are none. What becomes of labels follows. A message is sent once where the new server
// can copy it into its other mailboxes.
func TestLabels(t *testing.T) {
	for _, condstore := range []bool{true, false} {
		copies := 0
		if condstore {
			copies = 2
		}
		synctest.Test(t, func(t *testing.T) {
			w := newWire(t, shm(t), rand.New(rand.NewPCG(1, 1)), func(old, new *imapsim.Options) {
				old.Capabilities = slices.DeleteFunc(slices.Clone(gmailLike), func(c string) bool { return !condstore && c == "CONDSTORE" })
				if copies > 0 {
					new.Name = "Dovecot"
				}
			})
			defer w.close()
			w.lookAgain, w.config.FullSweep = time.Minute, 10*time.Minute
			w.people.Old.NoCondstore = !condstore
			old := newLabelled(w.people.Old)
			old.label(1, mail.Flags{}, "INBOX")
			old.label(2, mail.Flags{System: mail.Seen}, "INBOX", "Work", "Kunden/A")
			old.label(3, mail.Flags{System: mail.Seen})
			old.label(4, mail.Flags{System: mail.Flagged}, "[Gmail]/Markiert", "[Gmail]/Wichtig")
			old.label(5, mail.Flags{System: mail.Seen}, "[Gmail]/Gesendet")
			old.label(6, mail.Flags{}, "Work", "[Gmail]/Wichtig")
			for name, role := range map[string]string{"Sent": `\Sent`, "Trash": `\Trash`} {
				w.people.New.Make(name)
				w.people.New.Do(func() { w.people.New.Box(name).Role = role })
			}
			want := map[string]string{"INBOX": "1 2", "Work": "2 6", "Kunden/A": "2", "Archive": "3 4", "Sent": "5"}
			check := func(when string) {
				t.Helper()
				time.Sleep(6 * time.Minute)
				if got := contents(w.people.New); !maps.Equal(got, want) {
					t.Errorf("condstore %v, %s: %v, not %v", condstore, when, got, want)
				}
			}

			w.run()
			check("copied")
			if role := w.people.New.Boxes["Archive"].Role; role != `\Archive` {
				t.Errorf("Archive has the role %q", role)
			}

			old.label(1, mail.Flags{System: mail.Seen}) // archived
			want["INBOX"], want["Archive"] = "2", "1 3 4"
			check("archived")

			old.label(3, mail.Flags{System: mail.Seen}, "Work")
			want["Work"], want["Archive"] = "2 3 6", "1 4"
			check("labelled")

			old.label(7, mail.Flags{}, "INBOX")
			old.label(8, mail.Flags{})
			want["INBOX"], want["Archive"] = "2 7", "1 4 8"
			check("arrived")

			old.label(2, mail.Flags{System: mail.Seen}, "INBOX", "Work") // and not Kunden/A any more
			delete(want, "Kunden/A")
			check("one label less")

			old.label(7, mail.Flags{System: mail.Flagged}, "[Gmail]/Markiert") // archived, with a star
			want["INBOX"], want["Archive"] = "2", "1 4 7 8"
			check("starred and archived")

			old.label(8, mail.Flags{}, "[Gmail]/Papierkorb")
			old.Do(func() { old.forget(8, allMail) }) // what is in Trash is not in All Mail
			want["Archive"], want["Trash"] = "1 4 7", "8"
			check("deleted")
			if moved := w.new.Count("UID MOVE"); moved != 4 {
				t.Errorf("%d moves, not 4", moved)
			}
			there := len(strings.Fields(strings.Join(slices.Collect(maps.Values(want)), " ")))
			if n := w.new.Count("UID COPY"); n != copies || w.people.New.Appends != there+1-copies { // one of them is gone again
				t.Errorf("%d messages were sent and %d copied, %d are there", w.people.New.Appends, n, there)
			}

			reports, err := w.running.operator().Verify(context.Background(), nil, verify.Deep, 0)
			if err != nil || len(reports) != 1 || reports[0].Counts[verify.Equal] != int64(there) || reports[0].Counts[verify.Skipped] != 0 {
				t.Errorf("compared: %+v, %v", reports, err)
			}
			if err := w.stop(); err != nil {
				t.Error(err)
			}
			for _, v := range slices.Concat(w.old.Violations(), w.new.Violations()) {
				t.Error(v)
			}
		})
	}
}

// TestLabelsHidden: where All Mail is not shown, what has left its mailbox may have
// been archived, and its copy stays.
func TestLabelsHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, shm(t), rand.New(rand.NewPCG(1, 1)), func(old, new *imapsim.Options) { old.Capabilities = gmailLike })
		defer w.close()
		w.lookAgain = time.Minute
		old := newLabelled(w.people.Old)
		old.label(1, mail.Flags{}, "INBOX")
		old.label(2, mail.Flags{}, "INBOX")
		old.Delete(allMail)
		w.run()
		time.Sleep(6 * time.Minute)
		old.Expunge("INBOX", 0)
		time.Sleep(6 * time.Minute)
		if got := contents(w.people.New); !maps.Equal(got, map[string]string{"INBOX": "1 2"}) {
			t.Errorf("%v", got)
		}
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		for _, v := range slices.Concat(w.old.Violations(), w.new.Violations()) {
			t.Error(v)
		}
	})
}

// TestCheckLabels: check compares All Mail with the mailboxes that show labels.
func TestCheckLabels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(t, shm(t), rand.New(rand.NewPCG(1, 1)), func(old, new *imapsim.Options) { old.Capabilities = gmailLike })
		defer w.close()
		old := newLabelled(w.people.Old)
		old.label(1, mail.Flags{}, "INBOX")
		old.label(2, mail.Flags{}, "INBOX", "Work")
		old.label(3, mail.Flags{})
		look := func() CheckResult {
			w.run()
			defer w.stop()
			time.Sleep(time.Minute)
			found, err := w.running.operator().Check(context.Background(), nil)
			if err != nil || len(found.Accounts) != 1 || found.Accounts[0].Labels == nil {
				t.Fatalf("%+v, %v", found, err)
			}
			return found.Accounts[0]
		}
		r := look()
		if r.Labels == nil || r.Labels.All != 3 || r.Labels.Rest != 1 || r.Labels.Beyond+r.Labels.Unshown != 0 || len(r.Warnings) != 0 {
			t.Errorf("%+v %v", r.Labels, r.Warnings)
		}
		old.Deliver("Work", gmailText(9), time.Date(2020, 1, 2, 3, 4, 9, 0, time.UTC), mail.Flags{})
		if r = look(); r.Labels.Beyond != 1 || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "1 message") {
			t.Errorf("%+v %v", r.Labels, r.Warnings)
		}
		old.Delete(allMail)
		if r = look(); !r.Labels.Hidden || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "All Mail") {
			t.Errorf("%+v %v", r.Labels, r.Warnings)
		}
	})
}
