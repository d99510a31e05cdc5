package daemon

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
	"github.com/imapsyncd/imapsyncd/metrics"
)

func TestStanding(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }
	var s standing
	cause := errors.New("nothing listens")
	if s.admit(at(0), "a") != nil || s.answered(at(0)) != 0 {
		t.Fatal("a server that is there")
	}
	if !s.failed(at(0), "a", cause) || s.failed(at(0), "a", cause) {
		t.Error("it goes once")
	}
	var away *awayError
	if err := s.admit(at(29), "b"); !errors.As(err, &away) || !errors.Is(err, cause) {
		t.Fatalf("another account may try: %v", err)
	}
	select {
	case <-away.back:
		t.Error("it is back already")
	default:
	}
	if s.admit(at(20), "a") != nil {
		t.Error("who tries it may not")
	}
	if s.admit(at(49), "b") == nil {
		t.Error("another may try too soon after that")
	}
	if s.admit(at(50), "b") != nil || s.admit(at(50), "a") == nil {
		t.Error("the one that tries has ended, and no other takes its place")
	}
	if got := s.answered(at(60)); got != time.Minute {
		t.Errorf("away for %s", got)
	}
	select {
	case <-away.back:
	default:
		t.Error("nobody is told that it is back")
	}
	if s.admit(at(60), "c") != nil {
		t.Error("it is back, and c may not try")
	}
}

// TestStandingRefused: log-ins that are refused are the account's matter until it
// happens to several in a row; then another tries each time.
func TestStandingRefused(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var s standing
	cause := errors.New("too many")
	for range 9 {
		if s.refuses(now, "a", cause) || s.refuses(now, "b", cause) {
			t.Fatal("two accounts are taken to be all")
		}
	}
	s.answered(now)
	if s.refuses(now, "c", cause) || s.refuses(now, "a", cause) || !s.refuses(now, "b", cause) {
		t.Error("it takes three in a row")
	}
	if s.admit(now.Add(9*time.Second), "d") == nil || s.admit(now.Add(10*time.Second), "d") != nil || s.admit(now.Add(10*time.Second), "e") == nil {
		t.Error("the next one is to try it after 10 seconds")
	}
	if s.refuses(now.Add(11*time.Second), "d", cause) {
		t.Error("it goes once")
	}
	if s.admit(now.Add(20*time.Second), "e") == nil || s.admit(now.Add(21*time.Second), "e") != nil {
		t.Error("and then another")
	}
}

// TestLearnt: what one attempt to connect tells of a server.
func TestLearnt(t *testing.T) {
	fail := func(class remote.Class, text string) error { return &remote.Error{Class: class, Text: text} }
	refuse := func(class remote.Class, text string) error {
		return &remote.Error{Class: class, Text: text, LogIn: &mail.Refused{Command: "log-in", Type: "NO", Code: "LIMIT"}}
	}
	const backoff = "Suggested Backoff Time: 1000 milliseconds"
	for name, c := range map[string]struct {
		err         error
		open, of    int // connections, in all and of the account
		coming      int // connections that are not logged in yet
		want, again lesson
	}{
		"refused":               {fail(remote.ClassUnreachable, ""), 9, 0, 0, lesson{went: true}, lesson{away: time.Second}},
		"no name":               {fail(remote.ClassDNS, ""), 0, 0, 0, lesson{went: true}, lesson{away: time.Second}},
		"no name now":           {fail(remote.ClassDNS, ""), 1, 0, 0, lesson{}, lesson{}},
		"no answer":             {fail(remote.ClassTimeout, ""), 0, 0, 9, lesson{went: true}, lesson{away: time.Second}},
		"no answer now":         {fail(remote.ClassTimeout, ""), 1, 0, 0, lesson{}, lesson{}},
		"BYE":                   {fail(remote.ClassUnavailable, ""), 0, 0, 0, lesson{went: true}, lesson{away: time.Second}},
		"without a word":        {fail(remote.ClassLimit, ""), 0, 0, 0, lesson{went: true}, lesson{away: time.Second}},
		"it may be too many":    {fail(remote.ClassLimit, ""), 0, 0, 1, lesson{}, lesson{}},
		"too many":              {fail(remote.ClassLimit, ""), 4, 2, 1, lesson{bears: 5, configured: 50}, lesson{}},
		"others have as many":   {fail(remote.ClassLimit, ""), 60, 2, 0, lesson{}, lesson{}},
		"too many of its own":   {refuse(remote.ClassLimit, ""), 4, 2, 1, lesson{bears: 2, configured: 4, own: true}, lesson{}},
		"none of its own":       {refuse(remote.ClassLimit, ""), 4, 0, 0, lesson{}, lesson{}},
		"a user at his limit":   {refuse(remote.ClassLimit, ""), 0, 0, 0, lesson{}, lesson{}},
		"too much":              {fail(remote.ClassLimit, "bandwidth exceeded"), 4, 2, 0, lesson{}, lesson{}},
		"too fast":              {refuse(remote.ClassLimit, backoff), 4, 2, 0, lesson{}, lesson{}},
		"not now":               {refuse(remote.ClassUnavailable, ""), 4, 2, 0, lesson{}, lesson{}},
		"who are you":           {refuse(remote.ClassAuth, ""), 0, 0, 0, lesson{}, lesson{}},
		"another certificate":   {fail(remote.ClassCertificate, ""), 0, 0, 0, lesson{}, lesson{}},
		"cut":                   {fail(remote.ClassCut, ""), 0, 0, 0, lesson{}, lesson{}},
		"nothing of a server's": {errors.New("disk full"), 0, 0, 0, lesson{}, lesson{}},
		"welcome":               {nil, 4, 2, 0, lesson{}, lesson{}},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLearnt()
			enter := func(account string, state metrics.ConnectionState) {
				l.moved(time.Now(), account, metrics.Absent, metrics.Connecting)
				if state != metrics.Connecting {
					l.moved(time.Now(), account, metrics.Connecting, state)
				}
			}
			for i := range c.open {
				if i < c.of {
					enter("a", metrics.Busy)
				} else {
					enter("b", metrics.Watching)
				}
			}
			for range c.coming {
				enter("c", metrics.Connecting)
			}
			if got := l.attempt(time.Now(), "a", 50, 4, c.err); got != c.want {
				t.Errorf("%s: %+v, want %+v", name, got, c.want)
			}
			time.Sleep(time.Second)
			if got := l.attempt(time.Now(), "a", 50, 4, c.err); got != (lesson{}) {
				t.Errorf("%s: learnt again: %+v", name, got)
			}
			if got := l.attempt(time.Now(), "a", 50, 4, nil); got != c.again {
				t.Errorf("%s: then %+v, want %+v", name, got, c.again)
			}
		})
	}
}

// TestVoice: of thousands of accounts a few say that the server fails them.
func TestVoice(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var v voice
	said, unsaid := 0, 0
	for range 600 {
		if ok, n := v.may(now); ok {
			said++
			unsaid += n
		}
		now = now.Add(time.Second)
	}
	if said != voiceMost+9 || said+unsaid+v.unsaid != 600 {
		t.Errorf("%d said it, and of %d others it was said", said, unsaid)
	}
}
