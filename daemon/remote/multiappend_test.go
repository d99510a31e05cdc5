package remote

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

const multiCaps = appendCaps + " MULTIAPPEND"

// TestTogether: what needs no word of the server goes into commands of many.
func TestTogether(t *testing.T) {
	d := &dovecotLike{}
	_, a := newAppender(t, newFakeServer(t, SideDestination, multiCaps, d.serve))
	var messages []mail.Upload
	for i := range 2*togetherMessages + 20 {
		messages = append(messages, text(fmt.Sprint("m", i), `\Seen`, "Listed"))
	}
	messages[togetherMessages+10] = text("with a new keyword", "Unheard")
	messages = append(messages, text(strings.Repeat("x", togetherBytes+1)))
	outcomes, err := outcomesOf(a.Append(t.Context(), messages))
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outcomes {
		if o.Err != nil || o.UID != mail.UID(i+1) || o.UIDValidity != 7 || !strings.HasSuffix(d.stored[i], bodyOf(messages[i])) {
			t.Errorf("message %d: %+v", i, o)
		}
	}
	// As many as go together, 10, then one by one, as many again, 9, and the large one.
	if d.multi != 4 || d.waited != 1 {
		t.Errorf("%d commands of several messages, %d literals waited", d.multi, d.waited)
	}
}

func bodyOf(m mail.Upload) string {
	data := make([]byte, m.Size)
	m.Content.ReadAt(data, 0)
	return string(data)
}

// TestRefusedInFlight: what is refused together while more is under way is sent
// again once all of that is answered; nothing of it is stored twice.
func TestRefusedInFlight(t *testing.T) {
	d := &dovecotLike{refuse: map[string]string{"m3": "NO [CANNOT] not this one", "m75": "NO [CANNOT] nor this one"}}
	_, a := newAppender(t, newFakeServer(t, SideDestination, multiCaps, d.serve))
	var messages []mail.Upload
	for i := range 100 {
		messages = append(messages, text(fmt.Sprint("m", i)))
	}
	var calls []<-chan mail.Answer
	for part := range slices.Chunk(messages, 20) {
		calls = append(calls, a.Append(t.Context(), part))
	}
	var outcomes []mail.Appended
	for _, call := range calls {
		some, err := outcomesOf(call)
		if err != nil {
			t.Fatal(err)
		}
		outcomes = append(outcomes, some...)
	}
	stored := make(map[mail.UID]bool)
	for i, o := range outcomes {
		switch {
		case i == 3 || i == 75:
			if outcomeOf(o.Err) != "NO CANNOT" {
				t.Errorf("message %d: %+v", i, o)
			}
		case o.Err != nil || stored[o.UID] || !strings.HasSuffix(d.stored[o.UID-1], bodyOf(messages[i])):
			t.Errorf("message %d: %+v", i, o)
		}
		stored[o.UID] = true
	}
	if len(d.stored) != 98 {
		t.Errorf("%d stored", len(d.stored))
	}
}

// TestRefusedTogether: one message that is refused keeps no other back, once
// it is known that nothing was stored.
func TestRefusedTogether(t *testing.T) {
	d := &dovecotLike{refuse: map[string]string{"m3": "NO [CANNOT] not this one"}}
	_, a := newAppender(t, newFakeServer(t, SideDestination, multiCaps, d.serve))
	var messages []mail.Upload
	for i := range 60 {
		messages = append(messages, text(fmt.Sprint("m", i)))
	}
	outcomes, err := outcomesOf(a.Append(t.Context(), messages))
	if err != nil {
		t.Fatal(err)
	}
	uids := make(map[mail.UID]bool)
	for i, o := range outcomes {
		var refused *mail.Refused
		if i == 3 {
			if !errors.As(o.Err, &refused) || refused.Code != "CANNOT" {
				t.Errorf("%+v", o)
			}
			continue
		}
		if o.Err != nil || uids[o.UID] || d.stored[o.UID-1] != ": "+fmt.Sprint("m", i) {
			t.Errorf("message %d: %+v", i, o)
		}
		uids[o.UID] = true
	}
	if len(d.stored) != 59 {
		t.Errorf("%d stored", len(d.stored))
	}
}

// TestRefusedAndGrown: the server refuses, but its UIDNEXT says that something
// was stored. What it was has to be looked at before anything is sent again.
func TestRefusedAndGrown(t *testing.T) {
	d := &dovecotLike{refuse: map[string]string{"m1": "NO no"}}
	_, a := newAppender(t, newFakeServer(t, SideDestination, multiCaps, d.serve))
	if _, err := outcomesOf(a.Append(t.Context(), []mail.Upload{text("before")})); err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	d.hidden = 1
	d.mu.Unlock()
	outcomes, err := outcomesOf(a.Append(t.Context(), []mail.Upload{text("m0"), text("m1"), text("m2")}))
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outcomes {
		if !errors.Is(o.Err, mail.ErrInDoubt) {
			t.Errorf("message %d: %+v", i, o)
		}
	}
	if len(d.stored) != 1 {
		t.Errorf("sent again: %q", d.stored)
	}
}

// TestRefusedTogetherAndBroken: where the connection ends before what was refused
// together could be sent one by one, nothing of it counts as refused.
func TestRefusedTogetherAndBroken(t *testing.T) {
	d := &dovecotLike{refuse: map[string]string{"m3": "NO not this one", "last": "BAD what"}}
	_, a := newAppender(t, newFakeServer(t, SideDestination, multiCaps, d.serve))
	var messages []mail.Upload
	for i := range togetherMessages {
		messages = append(messages, text(fmt.Sprint("m", i)))
	}
	outcomes, err := outcomesOf(a.Append(t.Context(), append(messages, text("last"))))
	if err == nil || outcomeOf(outcomes[togetherMessages].Err) != "BAD" {
		t.Fatalf("%v: %+v", err, outcomes[togetherMessages])
	}
	for i, o := range outcomes[:togetherMessages] {
		if !errors.Is(o.Err, mail.ErrInDoubt) {
			t.Errorf("message %d: %+v", i, o)
		}
	}
}

// TestOddAnswersTogether: an answer that does not account for every message is
// no proof of any (I2); BAD ends the connection, and literals wait from then on.
func TestOddAnswersTogether(t *testing.T) {
	for answer, want := range map[string]string{
		"OK [APPENDUID 7 1:3] done":          "1 2 3",
		"OK [APPENDUID 7 5,7:8] done":        "5 7 8",
		"OK done":                            "0 0 0",
		"OK [APPENDUID 7 1:2] done":          "0 0 0",
		"OK [APPENDUID 7 1:4] done":          "0 0 0",
		"OK [APPENDUID 7 1:4294967295] done": "0 0 0",
		"OK [APPENDUID 0 1:3] done":          "0 0 0",
		"OK [APPENDUID 7 x] done":            "0 0 0",
		"BAD what":                           "doubt doubt doubt",
	} {
		_, a := newAppender(t, newFakeServer(t, SideDestination, multiCaps, func(conn net.Conn, in *bufio.Reader) {
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				tag, rest, _ := strings.Cut(line, " ")
				switch {
				case strings.HasPrefix(rest, "SELECT"):
					fmt.Fprint(conn, strings.ReplaceAll(selectShown, "TAG", tag))
				case strings.HasPrefix(rest, "APPEND"):
					for range 3 { // "mN" and what follows it
						if _, err = in.ReadString('\n'); err != nil {
							return
						}
					}
					fmt.Fprintf(conn, "%s %s\r\n", tag, answer)
				default:
					return // LOGOUT
				}
			}
		}))
		outcomes, err := outcomesOf(a.Append(t.Context(), []mail.Upload{text("m0"), text("m1"), text("m2")}))
		var got []string
		for _, o := range outcomes {
			switch {
			case errors.Is(o.Err, mail.ErrInDoubt):
				got = append(got, "doubt")
			case o.Err != nil:
				got = append(got, o.Err.Error())
			default:
				got = append(got, fmt.Sprint(o.UID))
			}
		}
		if strings.Join(got, " ") != want || (err != nil) != strings.HasPrefix(answer, "BAD") {
			t.Errorf("%s: %v, %v", answer, got, err)
		}
		if bad := a.(*Appender); bad.trust().cautious.Load() != strings.HasPrefix(answer, "BAD") {
			t.Errorf("%s: cautious %v", answer, bad.trust().cautious.Load())
		}
	}
}
