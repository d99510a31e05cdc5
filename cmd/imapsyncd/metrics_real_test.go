package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/imapsyncd/imapsyncd/daemon"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
)

// page is where the daemon says that it can be read, in either format of the log.
var page = regexp.MustCompile(`page"?[=:]"?(http://[^\s"]+/)`)

// scrape reads /metrics: values by series, as they are written.
func (p *program) scrape() (map[string]float64, []byte) {
	p.t.Helper()
	m := page.FindStringSubmatch(p.log.String())
	if m == nil {
		p.t.Fatalf("the daemon has not told its address\n%s", p.log.String())
	}
	answer, err := http.Get(m[1] + "metrics")
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	values := make(map[string]float64)
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || name == "#" {
			continue
		}
		if values[name], err = strconv.ParseFloat(value, 64); err != nil {
			p.t.Fatal(err)
		}
	}
	return values, text
}

// shows waits until /metrics says all of that.
func (p *program) shows(when string, want map[string]float64) {
	p.t.Helper()
	p.showsWithin(when, want, patience)
}

// showsWithin is shows with another limit of patience.
func (p *program) showsWithin(when string, want map[string]float64, limit time.Duration) {
	p.t.Helper()
	var wrong string
	pause := max(50*time.Millisecond, limit/10_000)
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(pause) {
		values, _ := p.scrape()
		wrong = ""
		for name, value := range want {
			if got, there := values["imapsyncd_"+name]; !there || got != value {
				wrong += fmt.Sprintf("\n%s is %v, in truth %v", name, got, value)
			}
		}
		if wrong == "" {
			return
		}
	}
	p.t.Errorf("%s:%s", when, wrong)
}

// TestMetricsOnDovecot holds the numbers against what the servers and the
// proxies before them know: in the middle of a copy that stands still, after
// it, and for one message that arrives.
func TestMetricsOnDovecot(t *testing.T) {
	t.Parallel()
	const perBox, size = 10, 2000
	s := newSite(t, dovecot.Options{}, dovecot.Options{})
	old := s.client(s.old, "u")
	var boxes []corpus.Mailbox
	for _, name := range []string{"INBOX", "a", "b", "c", "d", "e"} {
		box := corpus.Mailbox{Name: name}
		for i := range perBox {
			text := fmt.Sprintf("Message-ID: <%s%d@test.example>\r\nSubject: m\r\n\r\n", name, i)
			text += strings.Repeat("x", size-2-len(text)) + "\r\n"
			box.Messages = append(box.Messages, corpus.Message{Data: []byte(text), Date: time.Now().Add(-time.Hour).Truncate(time.Second)})
		}
		boxes = append(boxes, box)
	}
	old.Fill(boxes)
	s.old.Drop("u", "", nil) // Dovecot serves empty messages, and refuses them
	s.old.Drop("u", "", nil)
	const total, empty, before = 6*perBox + 2, 2, 3 * perBox

	w := newWire(t, s, false)
	frozen, thaw := make(chan struct{}), make(chan struct{})
	note, stored := w.destination.Cut, 0
	w.destination.Cut = func(seen, next []byte) bool {
		if stored == before && bytes.Contains(next, []byte("APPENDUID")) {
			close(frozen)
			<-thaw
		}
		for _, m := range appended.FindAllSubmatch(next, -1) {
			stored += len(uidsOf(t, string(m[1])))
		}
		return note(seen, next)
	}
	s.configure(near(w.source.Port()), near(w.destination.Port()), "u")
	s.write(readFile(t, filepath.Join(s.dir, "c.toml")) + "[web]\nlisten = \"127.0.0.1:0\"\n")
	begin := time.Now()
	p := s.daemon()
	select {
	case <-frozen:
	case <-time.After(patience):
		t.Fatalf("%d messages only were copied\n%s", stored, p.log.String())
	}
	p.shows("in the middle of the copy", map[string]float64{
		`source_messages{account="u"}`:                       total,
		`messages_copied_total{account="u"}`:                 before,
		`copied_bytes_total{account="u"}`:                    before * size,
		`pending_messages{account="u"}`:                      total - empty - before,
		`pending_bytes{account="u"}`:                         (total - empty - before) * size,
		`accounts{health="ok",phase="seeding"}`:              1,
		`connections{side="source",state="watching"}`:        1,
		`connections{side="source",state="busy"}`:            float64(w.source.Open() - 1),
		`connections{side="destination",state="busy"}`:       float64(w.destination.Open()),
		`connections{side="destination",state="connecting"}`: 0,
		`last_success_timestamp_seconds{account="u"}`:        0,
		`replication_delay_seconds_count`:                    0,
	})
	values, _ := p.scrape()
	if at := values[`imapsyncd_oldest_pending_timestamp_seconds{account="u"}`]; at < float64(begin.Unix()) || at > float64(time.Now().Unix()+1) {
		t.Errorf("the oldest pending message was seen at %v, the daemon began at %v", at, begin.Unix())
	}
	if w.source.Open() != 2 || w.destination.Open() != 1 {
		t.Errorf("%d and %d connections are open", w.source.Open(), w.destination.Open())
	}

	close(thaw)
	file := daemon.StatePath(filepath.Join(s.dir, "state"), "u")
	done := map[string]float64{
		`source_messages{account="u"}`:                  total,
		`messages_copied_total{account="u"}`:            total - empty,
		`copied_bytes_total{account="u"}`:               (total - empty) * size,
		`pending_messages{account="u"}`:                 0,
		`pending_bytes{account="u"}`:                    0,
		`oldest_pending_timestamp_seconds{account="u"}`: 0,
		`messages_held{account="u",reason="refused"}`:   empty,
		`messages_held{account="u",reason="too_big"}`:   0,
		`account_health{account="u",health="held"}`:     1,
		`accounts{health="held",phase="following"}`:     1,
		`connections{side="source",state="watching"}`:   1,
		`connections{side="source",state="busy"}`:       0,
		`connections{side="source",state="idle"}`:       0, // a first copy's are kept for a second
		`connections{side="destination",state="idle"}`:  0,
		`already_there_total{account="u"}`:              0,
		`in_doubt_total{outcome="resent"}`:              0,
		`state_quarantined_total`:                       0,
		`replication_delay_seconds_count`:               0,
		`config_last_reload_successful`:                 1,
	}
	p.shows("after the copy", done)
	copies, _ := corpus.Read(t, s.new.Address(), "u", dovecot.Password)
	there := 0
	for _, list := range copies {
		there += len(list)
	}
	if there != total-empty {
		t.Errorf("the new server has %d messages", there)
	}

	// One message arrives: by its INTERNALDATE a little ago.
	for len(w.stored) > 0 {
		<-w.stored
	}
	arrived := time.Now().Truncate(time.Second)
	data := []byte("Message-ID: <late@test.example>\r\n\r\nlate\r\n")
	old.Append("INBOX", corpus.Message{Data: data, Date: arrived})
	at, pushed := w.next(t), w.lastPush()
	for name, change := range map[string]float64{
		`source_messages{account="u"}`: 1, `messages_copied_total{account="u"}`: 1, `copied_bytes_total{account="u"}`: float64(len(data)), `replication_delay_seconds_count`: 1,
		`connections{side="destination",state="idle"}`: 1, // kept warm; at the source the one that listens has carried it
	} {
		done[name] += change
	}
	done["carry_duration_seconds_count"] = 1
	p.shows("after one more message", done)
	if w.source.Open() != 1 || w.destination.Open() != 1 {
		t.Errorf("%d and %d connections are open after one more message", w.source.Open(), w.destination.Open())
	}
	values, text := p.scrape()
	for name, truth := range map[string]time.Duration{"replication_delay_seconds_sum": at.Sub(arrived), "carry_duration_seconds_sum": at.Sub(pushed)} {
		if got := values["imapsyncd_"+name]; math.Abs(got-truth.Seconds()) > 1 {
			t.Errorf("%s is %v, in truth %v", name, got, truth.Seconds())
		}
	}
	if info, err := os.Stat(file); err != nil || values["imapsyncd_state_bytes"] != float64(info.Size()) {
		t.Errorf("the state has %v octets, the metric says %v", info.Size(), values["imapsyncd_state_bytes"])
	}
	if at := values[`imapsyncd_last_success_timestamp_seconds{account="u"}`]; math.Abs(at-float64(time.Now().Unix())) > 5 {
		t.Errorf("the last success was at %v", at)
	}
	problems, err := promlint.New(bytes.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		if strings.HasPrefix(problem.Metric, "imapsyncd_") {
			t.Errorf("%s: %s", problem.Metric, problem.Text)
		}
	}
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}
