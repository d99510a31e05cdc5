package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/verify"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// TestVerify plants differences of every class between real servers, and
// expects each to be named, by the program itself and by the daemon.
func TestVerify(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	old := s.client(s.old, "u")
	old.Fill(corpus.Make(21, 60, 5000))
	letter := func(i int) corpus.Message {
		text := fmt.Sprintf("Message-ID: <letter%d@test.example>\r\nSubject: secret %d\r\n\r\nmark%d gr\xc3\xbc\xc3\x9fe\r\n", i, i, i)
		return corpus.Message{Data: []byte(text), Date: boxDate.Add(time.Duration(i) * time.Minute)}
	}
	var letters, lost []corpus.Message
	for i := range 12 {
		letters = append(letters, letter(i))
	}
	for i := range 25 {
		lost = append(lost, letter(100+i))
	}
	old.Do("CREATE plant")
	old.Append("plant", letters...)
	old.Do("CREATE lost")
	old.Append("lost", lost...)
	old.Do("CREATE closed")
	old.Append("closed", letter(200), letter(201), letter(202))
	s.old.Drop("u", "", nil) // empty messages, which Dovecot serves and refuses
	s.old.Drop("u", "", nil)
	future := time.Date(2090, 1, 2, 3, 4, 5, 0, time.UTC)
	old.Append("plant", corpus.Message{Data: []byte("Message-ID: <future@test.example>\r\n\r\nmark300\r\n"), Date: boxDate})
	s.inMaildir(s.old, ".plant", "mark300", func(file string, _ []byte) { os.Chtimes(file, future, future) })

	s.configure(near(s.old.Port), near(s.new.Port), "u")
	s.write("poll_interval = \"1s\"\n" + readFile(t, filepath.Join(s.dir, "c.toml")) + "[web]\nlisten = \"127.0.0.1:0\"\n")
	if code, out := s.run("sync"); code != exitHeld {
		t.Fatalf("sync: exit %d\n%s", code, out)
	}
	code, out := s.run("verify", "--deep")
	if code != exitHeld || !strings.Contains(out, " 100 equal 1 altered 2 held\n") {
		t.Fatalf("before anything is planted: exit %d\n%s", code, out)
	}
	_, list := s.run("hold", "list")
	s.must("hold", "skip", strings.Fields(list)[slices.IndexFunc(strings.Fields(list), func(w string) bool { return strings.HasPrefix(w, "u/") })], "--because", "empty")
	p := s.daemon()
	p.until("it follows", func(a web.AccountStatus) bool { return a.Messages.Pending == 0 })
	s.must("pause", "--all")
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}

	// The letters: 0 altered, 1 changed, 2 moved, 3 removed, 4 kept, 5 flags,
	// 6 doubled, 7 of another date, 8 damaged.
	new := s.client(s.new, "u")
	s.inMaildir(s.new, ".plant", "mark0 ", func(file string, data []byte) {
		overwrite(t, file, bytes.Replace(data, []byte("\xc3\xbc"), []byte("XX"), 1))
	})
	s.inMaildir(s.new, ".plant", "mark7 ", func(file string, _ []byte) { os.Chtimes(file, boxDate, boxDate.Add(-time.Hour)) })
	s.inMaildir(s.new, ".plant", "mark8 ", func(file string, data []byte) {
		overwrite(t, file, bytes.Replace(data, []byte("mark8"), []byte("mark9"), 1))
	})
	os.Remove(filepath.Join(s.new.Maildir("u"), ".plant", "dovecot.index.cache"))
	new.Do("CREATE aside")
	new.Do("SELECT plant")
	new.Do(`UID STORE 2 +FLAGS.SILENT (\Flagged)`)
	new.Do("UID MOVE 3 aside")
	new.Do(`UID STORE 4 +FLAGS.SILENT (\Deleted)`)
	new.Do("UID EXPUNGE 4")
	new.Append("plant", letters[6], letter(301))
	new.Do("DELETE lost")
	old.Do("SELECT plant")
	old.Do(`UID STORE 5 +FLAGS.SILENT (\Deleted)`)
	old.Do("UID EXPUNGE 5")
	old.Do(`UID STORE 6 +FLAGS.SILENT (\Answered)`)
	old.Append("plant", letter(400))
	closed := filepath.Join(s.new.Maildir("u"), ".closed")
	if err := os.Chmod(closed, 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(closed, 0o700)

	quick := map[verify.Class]int64{
		verify.Equal: 61 + 13 - 8, verify.Altered: 1, verify.Changed: 1, verify.Moved: 1, verify.Removed: 1, verify.Kept: 1, verify.Extra: 1, verify.Skipped: 1,
		verify.Flags: 1, verify.Pending: 1, verify.Held: 1, verify.Doubled: 1, verify.Missing: 25, verify.Date: 1, verify.Unread: 3,
	}
	deep := maps.Clone(quick)
	deep[verify.Equal] -= 2
	deep[verify.Altered], deep[verify.Damaged] = 2, 1
	check := func(who string, want map[verify.Class]int64, args ...string) {
		t.Helper()
		code, out := s.run(append([]string{"verify", "--json"}, args...)...)
		var reports []verify.Report
		if err := json.Unmarshal([]byte(out), &reports); err != nil || len(reports) != 1 || code != exitHeld {
			t.Fatalf("%s %v: exit %d, %v\n%s", who, args, code, err, out)
		}
		for _, class := range verify.Classes() {
			if n := reports[0].Counts[class]; n != want[class] {
				t.Errorf("%s %v: %d %s, want %d", who, args, n, class, want[class])
			}
		}
		if t.Failed() {
			t.Fatalf("%s", out)
		}
	}
	table, page := filepath.Join(s.dir, "v.csv"), filepath.Join(s.dir, "v.html")
	check("alone", quick)
	check("alone", quick, "--quick")
	check("alone", deep, "--deep", "--csv", table, "--html", page)
	rows, err := csv.NewReader(bytes.NewReader([]byte(readFile(t, table)))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for letter, want := range map[string]string{
		"0": "altered", "1": "changed", "2": "moved", "3": "removed", "4": "kept", "5": "flags", "6": "doubled", "7": "date", "8": "damaged", "400": "pending", "124": "missing",
	} {
		row := slices.IndexFunc(rows, func(row []string) bool { return row[7] == "<letter"+letter+"@test.example>" })
		if row < 0 || rows[row][1] != want {
			t.Errorf("letter %s, %s: %v", letter, want, rows)
		}
	}
	text := readFile(t, page)
	for _, want := range []string{"&lt;letter8@test.example&gt;", "the mailbox: ", "its mailbox is gone from the new server", "octets above 0x7F", version()} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	if strings.Contains(text, "secret") || strings.Contains(text, "mark") {
		t.Error("subjects or bodies are in the page")
	}
	if keep := os.Getenv("IMAPSYNCD_KEEP_REPORT"); keep != "" { // to look at it
		if err := os.WriteFile(keep, []byte(text), 0o600); err != nil {
			t.Error(err)
		}
	}

	p = s.daemon()
	p.until("it is paused", func(a web.AccountStatus) bool { return a.Health == "paused" })
	check("asked the daemon", quick)
	check("asked the daemon", deep, "--sample", "100%")
	if code, out := s.run("verify", "--deep", "--sample", "1%"); code != exitUsage || !strings.Contains(out, "use one of") {
		t.Errorf("exit %d: %s", code, out)
	}
	s.new.Stop()
	if code, out := s.run("verify", "--html", page); code != exitFailed || !strings.Contains(readFile(t, page), "1 of 1 accounts could not be compared") {
		t.Errorf("without the new server: exit %d\n%s", code, out)
	}
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// inMaildir changes the file with a message that has this text.
func (s *site) inMaildir(server *dovecot.Server, folder, text string, change func(file string, data []byte)) {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(server.Maildir("u"), folder, "*", "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			s.t.Fatal(err)
		}
		if bytes.Contains(data, []byte(text)) {
			change(file, data)
			return
		}
	}
	s.t.Fatalf("no message in %s has %q", folder, text)
}

// overwrite changes contents and nothing else.
func overwrite(t *testing.T, file string, data []byte) {
	t.Helper()
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
}
