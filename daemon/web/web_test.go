package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/web"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sample is a status with something of everything.
func sample() web.Status {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	return web.Status{
		Version: "v1.2.3", Started: now.Add(-26 * time.Hour), Now: now,
		YouMustCheck: []string{"The queue of the old mail server is flushed."},
		Domains: []web.DomainStatus{
			{
				Name: "example.org", Accounts: 2, Phase: mail.PhaseDraining, Since: now.Add(-20 * time.Hour), Why: "the delivery moves: ns1 says mx.new.example",
				Switch: "mx", Handover: "mx", Delivery: "new", DeliverySince: now.Add(-19 * time.Hour), DeliveryWhy: "ns1 says mx.new.example",
				TTLSeconds: 300, CachesUntil: now.Add(-10 * time.Hour),
				SafeToSwitch: web.Verdict{Reasons: []web.Reason{{Reason: "already_switched", Blocking: true, Text: "the delivery has moved already: ask for safe-to-stop"}}},
				SafeToStop: web.Verdict{Reasons: []web.Reason{
					{Reason: "late_mail", Blocking: true, Text: "mail was delivered to the old server on 2026-11-24 11:00 UTC, by mx.slow.example: it has to be silent until 2026-11-27 11:00 UTC"},
					{Reason: "servers_silent", Text: "no answer that can be used: 192.0.2.53 (SERVFAIL). What they say is not known"},
				}},
				LateMail: web.LateMail{
					Messages: 3,
					Hosts:    []web.LateHost{{Host: "mx.slow.example", Messages: 2, Last: now.Add(-time.Hour)}, {Host: "news.example", Messages: 1, Last: now.Add(-2 * time.Hour), Acknowledged: "a newsletter"}},
					Hours:    []web.LateHour{{Hour: now.Add(-2 * time.Hour), Messages: 1}, {Hour: now.Add(-time.Hour), Messages: 2}},
				},
				StillWorking: []string{"bar@example.org"}, LastVerify: now.Add(-3 * time.Hour),
				DNS: []web.DNSServer{
					{Role: "authority", Name: "ns1.example", Address: "192.0.2.1:53", Answer: "new", Hosts: []string{"mx.new.example"}, Answered: now.Add(-time.Minute)},
					{Role: "resolver", Address: "192.0.2.53:53", Answer: "unknown", Problem: "SERVFAIL"},
				},
				Changes: []web.Change{{At: now.Add(-20 * time.Hour), What: "handed over", Why: "the delivery moves"}, {At: now.Add(-time.Hour), Account: "foo", What: "skipped", Why: "left the company"}},
			},
			{
				Name: "alias.example", AliasesOf: "example.org", Phase: mail.PhaseFollowing, Switch: "manual", Handover: "manual", Delivery: "unknown",
				SafeToSwitch: web.Verdict{OK: true}, SafeToStop: web.Verdict{Reasons: []web.Reason{{Reason: "not_switched", Blocking: true, Text: "the delivery has not moved: say 'imapsyncd cutover switched alias.example'"}}},
			},
		},
		Limits: []web.Limit{
			{Side: "source", Server: "192.0.2.10:993", LoginsPerSecond: 10, DailyBytes: 2500e6, UsedBytes: 2400e6, Resumes: now.Add(5 * time.Hour),
				MaxConnections: 50, Connections: 4, AccountsBounded: 12, AwaySince: now.Add(-time.Minute), AwayBecause: "nothing listens at 192.0.2.10:993"},
			{Side: "source", Server: "192.0.2.10:993", Account: "foo", BytesPerSecond: 1e6, MessagesPerSecond: 2.5},
		},
		Outlooks: []web.Outlook{{
			Server: "192.0.2.10:993", Accounts: 1000, Listened: 38, DelaySeconds: 96.2, PollSeconds: 60,
			Raise: []string{"logins_per_second in [source.limits] to 17"}, Listen: []string{"max_connections in [source] to 1333"},
		}},
		Accounts: []web.AccountStatus{
			{
				Name: "foo", Domains: []string{"example.org"}, Skipped: "left the company", Phase: mail.PhaseFollowing, Health: mail.HealthOK,
				Messages:    web.Messages{Source: 1234567, Copied: 1200000, CopiedBytes: 34 << 30},
				Connections: web.Connections{Source: 2, Destination: 1}, LastSuccess: now.Add(-4 * time.Second),
			},
			{
				Name: "bar@example.org", Phase: mail.PhaseSeeding, Health: mail.HealthAuth,
				Messages:   web.Messages{Source: 1000, Copied: 900, CopiedBytes: 5000, Pending: 99, PendingBytes: 12345, Held: 1},
				LagSeconds: 3725, Error: "log in to the new server: NO [AUTHENTICATIONFAILED] wrong password",
			},
		},
	}
}

// hostile is a status whose texts try to be more than text.
func hostile() web.Status {
	s := sample()
	s.Domains[0].Name = "evil\u202e\x1b[2J.example"
	s.Domains[0].SafeToStop.Reasons[0].Text = "\x1b[31mred\r\n<script>alert(2)</script> " + strings.Repeat("w", 200)
	s.Domains[0].DNS[0].Hosts = []string{"<img src=x onerror=alert(1)>"}
	s.Accounts[0].Name = `<script>alert(1)</script>`
	s.Accounts[0].Error = strings.Repeat("会議", 30) // each is two columns wide
	s.Accounts[1].Error = "\"><img src=x onerror=alert(1)>\x1b[2J\r\n\u202eevil\x00"
	return s
}

func handler(status func() web.Status, ready bool) http.Handler {
	return handlerOf(web.Options{Status: status, Account: details(status), Ready: func() bool { return ready }})
}

func handlerOf(o web.Options) http.Handler {
	reg := prometheus.NewRegistry()
	promauto.With(reg).NewGauge(prometheus.GaugeOpts{Name: "imapsyncd_test", Help: "A number."}).Set(42)
	o.Gatherer, o.Logger = reg, slog.New(slog.DiscardHandler)
	return web.New(o)
}

func ask(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

func TestAnswers(t *testing.T) {
	for _, test := range []struct {
		target, contentType string
		ready               bool
		code                int
		contains            []string
	}{
		{"/", "text/html; charset=utf-8", true, 200, []string{"1,234,567", "following 1", `href="/?health=auth#accounts"`, "AUTHENTICATIONFAILED", `rel="stylesheet"`}},
		{"/account/bar@example.org", "text/html; charset=utf-8", true, 200, []string{"AUTHENTICATIONFAILED", "from bar@old.example at 192.0.2.10:993", "Entwürfe &amp; mehr", "<code>too_big</code>: NO [LIMIT] too big", "skipped: not needed", "nothing was new, 37 times in a row", "copied 12 (1.2 MiB)", "deletions list"}},
		{"/account/nobody", "text/plain; charset=utf-8", true, 404, []string{"no such account"}},
		{"/account/nobody/events", "text/plain; charset=utf-8", true, 404, []string{"no such account"}},
		{"/page.js", "text/javascript; charset=utf-8", true, 200, []string{"EventSource"}},
		{"/icon.svg", "image/svg+xml; charset=utf-8", true, 200, []string{"<svg"}},
		{"/style.css", "text/css; charset=utf-8", true, 200, []string{"light-dark("}},
		{"/api/status", "application/json", true, 200, []string{`"totals"`}},
		{"/metrics", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", true, 200, []string{"imapsyncd_test 42"}},
		{"/-/healthy", "text/plain; charset=utf-8", false, 200, []string{"healthy"}},
		{"/-/ready", "text/plain; charset=utf-8", true, 200, []string{"ready"}},
		{"/-/ready", "text/plain; charset=utf-8", false, 503, []string{"not ready"}},
		{"/pause", "text/plain; charset=utf-8", true, 404, nil},
	} {
		t.Run(test.target, func(t *testing.T) {
			h := handler(sample, test.ready)
			got := ask(h, "GET", test.target)
			if got.Code != test.code || got.Header().Get("Content-Type") != test.contentType {
				t.Errorf("%d %q, want %d %q", got.Code, got.Header().Get("Content-Type"), test.code, test.contentType)
			}
			for _, want := range test.contains {
				if !strings.Contains(got.Body.String(), want) {
					t.Errorf("no %q in\n%s", want, got.Body)
				}
			}
			for name, want := range map[string]string{
				"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			} {
				if v := got.Header().Get(name); v != want {
					t.Errorf("%s: %q, want %q", name, v, want)
				}
			}
			if csp := got.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'self';") || strings.Contains(csp, "unsafe") {
				t.Errorf("Content-Security-Policy: %q", csp)
			}
			if head := ask(h, "HEAD", test.target); head.Code != test.code {
				t.Errorf("HEAD: %d, want %d", head.Code, test.code)
			}
		})
	}
}

func TestNothingCanBeChangedOverTCP(t *testing.T) {
	h := handler(sample, true)
	for _, target := range []string{"/", "/events", "/account/foo", "/account/foo/events", "/api/status", "/metrics", "/-/ready", "/pause", "/resume", "/reload", "/find", "/sync", "/-/reload", "/-/quit"} {
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PROPFIND"} {
			got := ask(h, method, target)
			if got.Code != http.StatusMethodNotAllowed || got.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d, Allow %q", method, target, got.Code, got.Header().Get("Allow"))
			}
		}
	}
}

// golden compares with a file under testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

func TestStatusJSON(t *testing.T) {
	body := ask(handler(sample, true), "GET", "/api/status").Body.Bytes()
	golden(t, "status.json", body)
	var back web.Status
	if err := json.Unmarshal(body, &back); err != nil {
		t.Fatal(err)
	}
	if back.Totals.Messages.Source != 1235567 || back.Totals.Healths[mail.HealthAuth] != 1 || back.Totals.LagSeconds != 3725 {
		t.Errorf("totals %+v", back.Totals)
	}
	golden(t, "empty.json", ask(handler(func() web.Status { return web.Status{} }, true), "GET", "/api/status").Body.Bytes())
}

func TestDone(t *testing.T) {
	for _, test := range []struct {
		phase                 mail.Phase
		source, pending, held int
		want                  string
	}{
		{mail.PhaseSeeding, 0, 0, 0, "-"},
		{mail.PhaseSeeding, 200, 200, 0, "0%"},
		{mail.PhaseSeeding, 200, 0, 0, "99%"}, // more may be found
		{mail.PhaseFollowing, 0, 0, 0, "100%"},
		{mail.PhaseFollowing, 1000000, 1, 0, "99%"},
		{mail.PhaseFollowing, 1000000, 0, 1, "99%"},
		{mail.PhaseFollowing, 1000000, 0, 0, "100%"},
		{mail.PhaseFollowing, 5, 9, 0, "0%"}, // counted at two moments
	} {
		a := web.AccountStatus{Phase: test.phase, LastSuccess: time.Unix(1, 0), Messages: web.Messages{Source: test.source, Pending: test.pending, Held: test.held}}
		if got := a.Done(); got != test.want {
			t.Errorf("%+v: %s, want %s", test, got, test.want)
		}
		if a.LastSuccess = (time.Time{}); a.Done() == "100%" {
			t.Errorf("%+v: all is said to be there before anything has been looked at", test)
		}
	}
}

func TestWriteStatus(t *testing.T) {
	for _, test := range []struct {
		file   string
		status web.Status
		width  int
	}{
		{"status.80.txt", sample(), 80}, {"status.120.txt", sample(), 120}, {"status.70.txt", sample(), 20},
		{"hostile.80.txt", hostile(), 80}, {"empty.80.txt", web.Status{}, 80},
	} {
		var b bytes.Buffer
		if err := web.WriteStatus(&b, test.status, web.Screen{Columns: test.width}); err != nil {
			t.Fatal(err)
		}
		golden(t, test.file, b.Bytes())
		for line := range strings.Lines(b.String()) {
			if n := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); n > max(70, test.width) {
				t.Errorf("%s: a line of %d columns: %q", test.file, n, line)
			}
		}
		if strings.ContainsAny(b.String(), "\x1b\r\x00\u202e") {
			t.Errorf("%s: control characters reach the terminal", test.file)
		}
	}
	if err := web.WriteStatus(brokenPipe{}, sample(), web.Screen{}); err == nil {
		t.Error("a failed write is no error")
	}
}

// TestStatusFitsAScreen: however small the screen, it has the totals, each domain in
// a line as far as they go, and first the accounts that need the operator; what has
// no room is counted.
func TestStatusFitsAScreen(t *testing.T) {
	s := crowd(1000)
	s.Domains[0].Phase = mail.PhaseFinished
	left := regexp.MustCompile(`(?m)^and ([0-9,]+) more(?:: | (domains)$)`)
	for _, screen := range []web.Screen{{Columns: 80, Lines: 24}, {Columns: 80, Lines: 60}, {Columns: 132, Lines: 43}} {
		var b bytes.Buffer
		if err := web.WriteStatus(&b, s, screen); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		if n := strings.Count(text, "\n"); n >= screen.Lines || n < screen.Lines-4 {
			t.Errorf("%+v: %d lines\n%s", screen, n, text)
		}
		for line := range strings.Lines(text) {
			if n := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); n > screen.Columns {
				t.Errorf("%+v: a line of %d columns: %q", screen, n, line)
			}
		}
		accounts, domains := strings.Count(text, "\nuser"), strings.Count(text, "safe to stop: ")+strings.Count(text, ": finished")
		for _, found := range left.FindAllStringSubmatch(text, -1) {
			n, err := strconv.Atoi(strings.ReplaceAll(found[1], ",", ""))
			if err != nil {
				t.Fatal(err)
			}
			if found[2] == "" {
				accounts += n
			} else {
				domains += n
			}
		}
		if accounts != 1000 || domains != 10 {
			t.Errorf("%+v: %d accounts and %d domains are shown or counted\n%s", screen, accounts, domains, text)
		}
		if _, table, _ := strings.Cut(text, "LAG\n"); !strings.Contains(strings.SplitN(table, "\n", 2)[0], " auth ") {
			t.Errorf("%+v: who needs the operator is not first\n%s", screen, text)
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestServeEndsWhenAnswersAreDone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	asked, answer, served := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-answer
		io.WriteString(w, "done")
	})
	go func() { served <- web.Serve(ctx, l, "", h, slog.New(slog.DiscardHandler)) }()
	go func() {
		<-asked
		cancel() // in the middle of an answer
		for {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				break // nobody new is let in
			}
			c.Close()
		}
		close(answer)
	}()
	got, err := http.Get("http://" + l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	if body, err := io.ReadAll(got.Body); err != nil || string(body) != "done" {
		t.Errorf("got %q, %v", body, err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestServeSaysWhyItFailed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := web.Serve(t.Context(), l, "", http.NotFoundHandler(), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no error from a closed listener")
	}
}
