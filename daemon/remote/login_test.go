package remote

import (
	"bufio"
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xdg-go/scram"
)

// talk is one connection of a scripted server.
type talk struct {
	net.Conn
	in  *bufio.Reader
	tag string
}

// read reads a line, without a tag; "" at the end.
func (k *talk) read() string {
	line, err := k.in.ReadString('\n')
	if err != nil {
		return ""
	}
	return strings.TrimRight(line, "\r\n")
}

// say sends lines, "TAG" in them being the tag of the command.
func (k *talk) say(lines ...string) {
	for _, line := range lines {
		io.WriteString(k, strings.ReplaceAll(line, "TAG", k.tag)+"\r\n")
	}
}

// ask sends a challenge and reads the answer.
func (k *talk) ask(challenge string) string {
	k.say("+ " + challenge)
	return k.read()
}

// askEncoded is ask in base64.
func (k *talk) askEncoded(challenge string) string {
	data, _ := base64Decode(k.ask(encoded(challenge)))
	return data
}

func base64Decode(text string) (string, error) { return challenge(text) }

// scripted starts a server that greets, says its capabilities and leaves every
// other command to script, which sees it without its tag. What it was sent is
// in the transcript.
func scripted(t *testing.T, caps string, script func(k *talk, command string)) (Server, *transcript) {
	t.Helper()
	log := new(transcript)
	fake := newFakeServer(t, SideSource, "", func(conn net.Conn, in *bufio.Reader) {
		k := &talk{Conn: conn, in: bufio.NewReader(io.TeeReader(in, writer(log.add)))}
		k.say("* OK ready")
		for line := k.read(); line != ""; line = k.read() {
			tag, command, _ := strings.Cut(line, " ")
			k.tag = tag
			switch {
			case command == "CAPABILITY":
				k.say("* CAPABILITY IMAP4rev1 "+caps, "TAG OK done")
			case command == "LOGOUT":
				k.say("* BYE", "TAG OK")
			default:
				script(k, command)
			}
		}
	})
	host, port, _ := net.SplitHostPort(fake.address)
	s := Server{Side: SideSource, Account: "a", Host: host, TLS: TLSNone, User: "jo", Password: secret("s3cret-w0rd")}
	fmt.Sscan(port, &s.Port)
	return s, log
}

type writer func(string)

func (w writer) Write(p []byte) (int, error) {
	w(string(p))
	return len(p), nil
}

// dialed dials and closes, and returns the error with everything that was
// logged and traced.
func dialed(t *testing.T, s Server) (said string, err error) {
	t.Helper()
	var log bytes.Buffer
	var trace transcript
	conn, err := Dial(t.Context(), s, Options{
		Timeout: time.Minute, Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Trace: func(d byte, line string) { trace.add(string(d) + line) },
	})
	if err == nil {
		conn.Close()
	} else {
		trace.add(err.Error())
	}
	return trace.String() + log.String(), err
}

// TestScriptedLogIns: log-ins that no server here offers, or not in this form.
func TestScriptedLogIns(t *testing.T) {
	long := strings.Repeat("t", 8000)
	for _, c := range []struct {
		name, caps string
		change     func(*Server)
		script     func(k *talk, command string)
		want       string // of the error; "": none
		sent       int    // log-ins that were begun
	}{
		{name: "PLAIN without an initial response", caps: "AUTH=PLAIN", sent: 1, script: func(k *talk, command string) {
			if got := k.askEncoded("entrust me"); command == "AUTHENTICATE PLAIN" && got == "\x00jo\x00s3cret-w0rd" {
				k.say("TAG OK")
			}
		}},
		{name: "a long token", caps: "AUTH=XOAUTH2 SASL-IR", sent: 1, change: func(s *Server) { s.Password, s.Tokens = nil, &fixed{tokens: []string{long}} },
			script: func(k *talk, command string) {
				if got := k.askEncoded(""); command == "AUTHENTICATE XOAUTH2" && got == "user=jo\x01auth=Bearer "+long+"\x01\x01" {
					k.say("TAG OK")
				}
			}},
		{name: "OAUTHBEARER where it is the only one", caps: "AUTH=PLAIN AUTH=OAUTHBEARER SASL-IR", sent: 1,
			change: func(s *Server) { s.Password, s.Tokens, s.User = nil, &fixed{tokens: []string{"tok"}}, "j=o," },
			script: func(k *talk, command string) {
				got, _ := challenge(strings.TrimPrefix(command, "AUTHENTICATE OAUTHBEARER "))
				if strings.HasPrefix(got, "n,a=j=3Do=2C,\x01host=127.0.0.1\x01port=") && strings.HasSuffix(got, "\x01auth=Bearer tok\x01\x01") {
					k.say("TAG OK")
				}
			}},
		{name: "a token that is not taken any more", caps: "AUTH=OAUTHBEARER SASL-IR", sent: 2,
			change: func(s *Server) { s.Password, s.Tokens = nil, &fixed{tokens: []string{"old-token", "new-token"}} },
			script: func(k *talk, command string) {
				got, _ := challenge(strings.TrimPrefix(command, "AUTHENTICATE OAUTHBEARER "))
				switch {
				case strings.Contains(got, "new-token"):
					k.say("TAG OK")
				case k.askEncoded(`{"status":"invalid_token","scope":"mail"}`) == "\x01":
					k.say("TAG NO [AUTHENTICATIONFAILED] no")
				}
			}},
		{name: "no token is taken", caps: "AUTH=XOAUTH2 SASL-IR", sent: 1, want: "log-in as jo refused: no (status 400, scope https://mail.google.com/); the token server gave a token",
			change: func(s *Server) { s.Password, s.Tokens = nil, &fixed{tokens: []string{"token"}} },
			script: func(k *talk, _ string) {
				if k.ask(encoded(`{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`)) == "" {
					k.say("TAG NO no")
				}
			}},
		{name: "AUTH=LOGIN", caps: "LOGINDISABLED AUTH=LOGIN", sent: 1, script: func(k *talk, command string) {
			if user, password := k.askEncoded("User Name\x00"), k.askEncoded("Password\x00"); command == "AUTHENTICATE LOGIN" && user == "jo" && password == "s3cret-w0rd" {
				k.say("TAG OK")
			}
		}},
		{name: "LOGIN by literals", caps: "", sent: 1, change: func(s *Server) { s.User, s.Password = `j"ö`, secret("pä ss") }, script: func(k *talk, command string) {
			if user := k.ask("go on"); command == "LOGIN {4}" && user == `j"ö {6}` && k.ask("go on") == "pä ss" {
				k.say("TAG OK")
			}
		}},
		{name: "nothing that fits", caps: "LOGINDISABLED AUTH=GSSAPI AUTH=NTLM", want: "offers no log-in that fits; it offers GSSAPI, NTLM; it may offer one with tls"},
		{name: "LOGIN is disabled", caps: "LOGINDISABLED", change: func(s *Server) { s.Auth = "login" }, want: `does not offer auth = "login"; it offers nothing`},
		{name: "an administrator without PLAIN", caps: "AUTH=CRAM-MD5", change: admin("cyrus", AdminAuthzid), want: `set another admin_style`},
		{name: "a token for a server without", caps: "AUTH=PLAIN", change: func(s *Server) { s.Password, s.Tokens, s.TLS = nil, &fixed{tokens: []string{"token"}}, TLSNone }, want: "it offers PLAIN, the command LOGIN"},
		{name: "Exchange", caps: "AUTH=PLAIN SASL-IR", sent: 1, change: admin(`DOMAIN\admin`, AdminExchange), script: func(k *talk, command string) {
			if got, _ := challenge(strings.TrimPrefix(command, "AUTHENTICATE PLAIN ")); got == "\x00DOMAIN\\admin\\jo\x00s3cret-w0rd" {
				k.say("TAG OK")
			}
		}},
		{name: "Cyrus", caps: "AUTH=PLAIN SASL-IR LOGINDISABLED", sent: 1, change: admin("cyrus", AdminAuthzid), script: func(k *talk, command string) {
			if got, _ := challenge(strings.TrimPrefix(command, "AUTHENTICATE PLAIN ")); got == "jo\x00cyrus\x00s3cret-w0rd" {
				k.say("TAG OK")
			}
		}},
		{name: "Kerio", sent: 1, change: admin("", AdminKerio), script: kerioServer("jo", "TAG OK")},
		{name: "Kerio, no such user", sent: 1, change: admin("", AdminKerio), script: kerioServer("jo", "TAG NO no such user"), want: "log-in as for jo refused: no such user"},
		{name: "a mechanism that is offered only", caps: "AUTH=PLAIN SASL-IR", sent: 2, script: func(k *talk, command string) {
			if strings.HasPrefix(command, "LOGIN ") {
				k.say("TAG OK")
			} else {
				k.say("TAG BAD unknown mechanism")
			}
		}},
		{name: "a wrong password is shown once", caps: "AUTH=PLAIN AUTH=SCRAM-SHA-1 AUTH=CRAM-MD5 SASL-IR", sent: 1, want: "check user and password of the account", script: func(k *talk, _ string) {
			k.say("TAG NO wrong")
		}},
		{name: "no more connections", caps: "AUTH=SCRAM-SHA-1 LOGINDISABLED AUTH=PLAIN", sent: 1, want: "lower max_connections_per_account", script: func(k *talk, _ string) {
			k.say("TAG NO [LIMIT] too many")
		}},
		{name: "OAuth2 only", caps: "AUTH=PLAIN AUTH=XOAUTH2 SASL-IR", sent: 1, want: "the server offers OAuth2 and may take nothing else", script: func(k *talk, _ string) {
			k.say("TAG NO AUTHENTICATE failed.")
		}},
		{name: "expired", caps: "AUTH=PLAIN SASL-IR", sent: 1, want: "set a new one", script: func(k *talk, _ string) { k.say("TAG NO [EXPIRED] old") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			begun := atomic.Int32{}
			s, log := scripted(t, c.caps, func(k *talk, command string) {
				if !strings.HasPrefix(command, "X-SETUSER") {
					begun.Add(1)
				}
				c.script(k, command)
			})
			if c.change != nil {
				c.change(&s)
			}
			_, err := dialed(t, s)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v\nsent %q", err, log)
			}
			if int(begun.Load()) != c.sent {
				t.Errorf("%d log-ins were begun, sent %q", begun.Load(), log)
			}
		})
	}
}

func admin(user string, style AdminStyle) func(*Server) {
	return func(s *Server) { s.Admin = Admin{Style: style, User: user, Separator: "*"} }
}

// kerioServer is a Kerio whose master password is that of scripted.
func kerioServer(user, setUser string) func(*talk, string) {
	return func(k *talk, command string) {
		switch command {
		case "X-MASTERAUTH":
			sum := md5.Sum([]byte("<123.456@kerio>s3cret-w0rd"))
			if k.ask("<123.456@kerio>") == hex.EncodeToString(sum[:]) {
				k.say("TAG OK")
			} else {
				k.say("TAG NO")
			}
		case `X-SETUSER "` + user + `"`:
			k.say(setUser)
		default:
			k.say("TAG BAD")
		}
	}
}

// TestClearText: without TLS nothing goes to another machine unless it is
// allowed, and then the password is hidden where it can be.
func TestClearText(t *testing.T) {
	s, log := scripted(t, "AUTH=PLAIN AUTH=CRAM-MD5", func(k *talk, command string) {
		if command == "AUTHENTICATE CRAM-MD5" && strings.HasPrefix(k.askEncoded("<1@x>"), "jo ") {
			k.say("TAG OK")
		}
	})
	dial := func(s Server) error {
		conn, err := Dial(t.Context(), s, Options{Timeout: 5 * time.Second, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", fmt.Sprint(s.Port)))
		}})
		if err == nil {
			conn.Close()
		}
		return err
	}
	s.Host = "192.0.2.1"
	if err := dial(s); err == nil || !strings.Contains(err.Error(), "in clear text") || len(log.all()) > 0 {
		t.Errorf("%v, sent %q", err, log)
	}
	s.AllowCleartext = true
	if err := dial(s); err != nil {
		t.Errorf("%v, sent %q", err, log)
	}
}

// liar is a SCRAM server that does not know the password.
func liar(k *talk, command string, first func(nonce string) string, rest ...string) {
	var hello string
	if _, initial, ok := strings.Cut(strings.TrimPrefix(command, "AUTHENTICATE "), " "); ok {
		hello, _ = challenge(initial)
	} else {
		hello = k.askEncoded("")
	}
	_, nonce, _ := strings.Cut(hello, ",r=")
	if k.askEncoded(first(nonce)) == "" {
		k.say("TAG BAD cancelled")
		return
	}
	for _, line := range rest {
		k.say(line)
		if strings.HasPrefix(line, "+") {
			k.read()
		}
	}
}

// TestHostileLogIns: whatever a server does in a log-in, it ends soon, with a
// clear line, without a log-in that is none, and without another secret shown.
func TestHostileLogIns(t *testing.T) {
	fair := func(nonce string) string { return "r=" + nonce + "x,s=c2FsdHNhbHQ=,i=4096" }
	scramOnly := func(s *Server) { s.Auth = "scram-sha-256" }
	echo := "you said s3cret-w0rd " + encoded("\x00jo\x00s3cret-w0rd")
	for _, c := range []struct {
		name, caps string
		change     func(*Server)
		script     func(k *talk, command string)
		want       string
	}{
		{name: "no base64", caps: "AUTH=CRAM-MD5", script: func(k *talk, _ string) {
			if k.ask("!!! not base64") == "*" {
				k.say("TAG BAD cancelled")
			}
		}, change: func(s *Server) { s.Auth = "cram-md5" }, want: "a challenge that is not base64"},
		{name: "no base64 for SCRAM", caps: "AUTH=SCRAM-SHA-256", script: func(k *talk, _ string) {
			if k.ask(""); k.ask("r=nonsense") == "*" {
				k.say("TAG BAD cancelled")
			}
		}, change: scramOnly, want: "a challenge that is not base64"},
		{name: "asks without end", caps: "AUTH=PLAIN", script: func(k *talk, _ string) {
			for k.ask("") != "" {
			}
		}, want: "PLAIN asks for more than there is to say"},
		{name: "asks without waiting", caps: "AUTH=PLAIN", script: func(k *talk, _ string) {
			for {
				if _, err := io.WriteString(k, strings.Repeat("+ \r\n", 1000)); err != nil {
					return
				}
			}
		}, want: "PLAIN asks for more than there is to say"},
		{name: "LOGIN asks without end", script: func(k *talk, _ string) {
			for k.ask("") != "" {
			}
		}, want: "LOGIN asks for more than there is to say"},
		{name: "Kerio asks without end", change: admin("", AdminKerio), script: func(k *talk, _ string) {
			for k.ask("x") != "" {
			}
		}, want: "X-MASTERAUTH asks twice"},
		{name: "OK before PLAIN", caps: "AUTH=PLAIN", script: func(k *talk, _ string) { k.say("TAG OK welcome") }, want: "says OK in the middle of the log-in"},
		{name: "OK before LOGIN", change: func(s *Server) { s.User = "jö" }, script: func(k *talk, _ string) { k.say("TAG OK welcome") }, want: "says OK in the middle of the log-in"},
		{name: "OK before X-MASTERAUTH", change: admin("", AdminKerio), script: func(k *talk, _ string) { k.say("TAG OK welcome") }, want: "says OK in the middle of the log-in"},
		{name: "OK before AUTH=LOGIN has asked for the password", caps: "LOGINDISABLED AUTH=LOGIN", script: func(k *talk, _ string) {
			k.ask("")
			k.say("TAG OK welcome")
		}, want: "says OK in the middle of the log-in"},
		{name: "OK after an error", caps: "AUTH=XOAUTH2 SASL-IR", change: func(s *Server) { s.Password, s.Tokens = nil, &fixed{tokens: []string{"token"}} }, script: func(k *talk, _ string) {
			k.ask(encoded(`{"status":"401"}`))
			k.say("TAG OK welcome")
		}, want: "says OK to a log-in that it has refused: status 401"},
		{name: "SCRAM: OK at once", caps: "AUTH=SCRAM-SHA-256 SASL-IR", change: scramOnly, script: func(k *talk, _ string) { k.say("TAG OK welcome") }, want: "says OK in the middle of SCRAM-SHA-256: it has not proved"},
		{name: "SCRAM: no signature", caps: "AUTH=SCRAM-SHA-256 SASL-IR", change: scramOnly, script: func(k *talk, command string) { liar(k, command, fair, "TAG OK welcome") }, want: "it has not proved that it knows the password"},
		{name: "SCRAM: wrong signature", caps: "AUTH=SCRAM-SHA-256", change: scramOnly, script: func(k *talk, command string) {
			liar(k, command, fair, "+ "+encoded("v="+encoded(strings.Repeat("x", 32))), "TAG OK welcome")
		}, want: "it has not proved that it knows the password"},
		{name: "SCRAM: no signature but something", caps: "AUTH=SCRAM-SHA-1", change: func(s *Server) { s.Auth = "scram-sha-1" }, script: func(k *talk, command string) {
			liar(k, command, fair, "+ ", "TAG OK welcome")
		}, want: "it has not proved that it knows the password"},
		{name: "SCRAM: an error, then OK", caps: "AUTH=SCRAM-SHA-256 SASL-IR", change: scramOnly, script: func(k *talk, command string) {
			liar(k, command, fair, "+ "+encoded("e=invalid-proof"), "TAG OK welcome")
		}, want: "log-in as jo refused: invalid-proof"},
		{name: "SCRAM: few rounds", caps: "AUTH=SCRAM-SHA-256 SASL-IR", change: scramOnly, script: func(k *talk, command string) {
			liar(k, command, func(nonce string) string { return "r=" + nonce + "x,s=c2FsdHNhbHQ=,i=1" })
		}, want: "too few iterations (1)"},
		{name: "SCRAM: too many rounds", caps: "AUTH=SCRAM-SHA-256 SASL-IR", change: scramOnly, script: func(k *talk, command string) {
			liar(k, command, func(nonce string) string { return "r=" + nonce + "x,s=c2FsdHNhbHQ=,i=99999999999999999999" })
		}, want: "SCRAM-SHA-256 asks for 9223372036854775807 rounds"},
		{name: "SCRAM: another nonce", caps: "AUTH=SCRAM-SHA-256 SASL-IR", change: scramOnly, script: func(k *talk, command string) {
			liar(k, command, func(string) string { return "r=other,s=c2FsdHNhbHQ=,i=4096" })
		}, want: "server nonce did not extend client nonce"},
		{name: "the secret said back", caps: "AUTH=PLAIN SASL-IR", script: func(k *talk, _ string) {
			k.say("* NO [ALERT] "+echo, "TAG NO [S3CRET-W0RD] "+echo)
		}, want: "log-in as jo refused: *** you said ***"},
		{name: "the secret in the farewell", caps: "AUTH=PLAIN SASL-IR", script: func(k *talk, _ string) {
			k.say("* BYE " + echo)
			k.Close()
		}, want: "closed the connection: you said ***"},
		{name: "the secret in an error of a token", caps: "AUTH=XOAUTH2 SASL-IR", change: func(s *Server) { s.Password, s.Tokens = nil, &fixed{tokens: []string{"s3cret-w0rd"}} }, script: func(k *talk, _ string) {
			k.ask(encoded("no s3cret-w0rd"))
			k.say("TAG NO no")
		}, want: "(no ***)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			begun := atomic.Int32{}
			s, log := scripted(t, c.caps, func(k *talk, command string) {
				if command == "" {
					return // the answer to a challenge that nobody waits for
				}
				begun.Add(1)
				c.script(k, command)
			})
			if c.change != nil {
				c.change(&s)
			}
			start := time.Now()
			said, err := dialed(t, s)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v\nsent %q", err, log)
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("it took %s", took)
			}
			if begun.Load() != 1 {
				t.Errorf("%d log-ins were begun, sent %q", begun.Load(), log)
			}
			for _, word := range []string{"s3cret-w0rd", "S3CRET-W0RD", encoded("\x00jo\x00s3cret-w0rd")} {
				if strings.Contains(said, word) {
					t.Errorf("%q shows:\n%s", word, said)
				}
			}
		})
	}
}

// TestSCRAMWithServer: both sides of SCRAM, through the server of the library,
// with passwords that have to be prepared (RFC 4013) and with an administrator.
func TestSCRAMWithServer(t *testing.T) {
	for name, hash := range map[string]scram.HashGeneratorFcn{"SCRAM-SHA-1": scram.SHA1, "SCRAM-SHA-256": scram.SHA256} {
		for _, password := range []string{"s3cret", "pa,ss=wörd", "I\u00adX", "\u0221 is unassigned"} {
			client, err := hash.NewClient("admin", password, "")
			if err != nil {
				client, _ = hash.NewClientUnprepped("admin", password, "")
			}
			stored, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: "saltsalt", Iters: 4096})
			if err != nil {
				t.Fatal(err)
			}
			server, err := hash.NewServer(func(string) (scram.StoredCredentials, error) { return stored, nil })
			if err != nil {
				t.Fatal(err)
			}
			for _, ir := range []string{"", " SASL-IR"} {
				var asWhom string
				s, _ := scripted(t, "AUTH="+name+ir, func(k *talk, command string) {
					steps := server.NewConversation()
					text := ""
					if _, initial, ok := strings.Cut(strings.TrimPrefix(command, "AUTHENTICATE "), " "); ok {
						text, _ = challenge(initial)
					} else {
						text = k.askEncoded("")
					}
					for !steps.Done() {
						answer, err := steps.Step(text)
						if err != nil {
							k.say("TAG NO " + err.Error())
							return
						}
						text = k.askEncoded(answer)
					}
					asWhom = steps.AuthzID()
					k.say("TAG OK")
				})
				s.Auth, s.Password = strings.ToLower(name), secret(password)
				admin("admin", AdminAuthzid)(&s)
				if _, err := dialed(t, s); err != nil || asWhom != "jo" {
					t.Errorf("%s%s with %q: %v, as %q", name, ir, password, err, asWhom)
				}
			}
		}
	}
}

// TestCapabilities: what a server says of itself in its greeting and with the OK to the
// log-in need not be asked for. In the middle of a log-in it counts for nothing, and
// what was offered before it for nothing after it.
func TestCapabilities(t *testing.T) {
	asked := "* CAPABILITY IMAP4rev1 AUTH=PLAIN ASKED"
	for _, c := range []struct {
		greeting, between, ok string
		has                   string
		asked                 int
	}{
		{"* OK hello", "* CAPABILITY IMAP4rev1 MIDDLE", "TAG OK in", "ASKED", 2},
		{"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN GREETED] hello", "+ ", "TAG OK in", "ASKED", 1},
		{"* OK hello", "* OK [CAPABILITY IMAP4rev1 MIDDLE] still there", "TAG OK [CAPABILITY IMAP4rev1 AFTER] in", "AFTER", 1},
		{"* OK [CAPABILITY IMAP4rev1 auth=plain GREETED] hello", "* CAPABILITY IMAP4rev1 MIDDLE", "TAG OK [CAPABILITY imap4rev1 after] in", "AFTER", 0},
	} {
		log := new(transcript)
		s := serverAt(t, newFakeServer(t, SideSource, "", func(conn net.Conn, in *bufio.Reader) {
			k := &talk{Conn: conn, in: in}
			k.say(c.greeting)
			for line := k.read(); line != ""; line = k.read() {
				var command string
				k.tag, command, _ = strings.Cut(line, " ")
				log.add(command)
				switch {
				case command == "CAPABILITY":
					k.say(asked, "TAG OK done")
				case strings.HasPrefix(command, "AUTHENTICATE"):
					if k.say(c.between); c.between != "+ " {
						k.say("+ ")
					}
					k.read()
					k.say(c.ok)
				default:
					k.say("TAG OK")
				}
			}
		}), TLSNone)
		s.User, s.Password = "jo", secret("x")
		conn, err := Dial(t.Context(), s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, name := range []string{"GREETED", "MIDDLE", "ASKED", "AFTER"} {
			if conn.Has(name) != (name == c.has) {
				t.Errorf("after %q and %q: %v", c.greeting, c.ok, conn.caps)
			}
		}
		if n := strings.Count(log.String(), "CAPABILITY"); n != c.asked {
			t.Errorf("after %q and %q it was asked %d times, want %d: %v", c.greeting, c.ok, n, c.asked, log)
		}
	}
}

// TestFlood: untagged responses without end do not draw out a log-in.
func TestFlood(t *testing.T) {
	s, _ := scripted(t, "AUTH=PLAIN", func(k *talk, _ string) {
		for {
			if _, err := io.WriteString(k, strings.Repeat("* OK still there\r\n", 1000)); err != nil {
				return
			}
		}
	})
	start := time.Now()
	_, err := Dial(t.Context(), s, Options{Timeout: 300 * time.Millisecond})
	var far *Error
	if !errors.As(err, &far) || far.Class != ClassTimeout || time.Since(start) > time.Minute {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}

// TestAdministratorIsNotLockedOut: a hundred accounts share an administrator
// with a wrong password. Five log-ins are refused, one after the other, and no
// more are sent. Another password is tried at once; when it works, all go.
func TestAdministratorIsNotLockedOut(t *testing.T) {
	const accounts = 100
	var tries, open, most atomic.Int32
	s, _ := scripted(t, "AUTH=PLAIN SASL-IR", func(k *talk, command string) {
		most.Store(max(most.Load(), open.Add(1)))
		tries.Add(1)
		who, _ := challenge(strings.TrimPrefix(command, "AUTHENTICATE PLAIN "))
		open.Add(-1) // with the answer the next may come
		switch user, rest, _ := strings.Cut(who, "\x00"); {
		case rest != "cyrus\x00right":
			k.say("TAG NO [AUTHENTICATIONFAILED] wrong")
		case user == "nobody":
			k.say("TAG NO [AUTHORIZATIONFAILED] no such user")
		default:
			k.say("TAG OK")
		}
	})
	admin("cyrus", AdminAuthzid)(&s)
	s.LogIns = &LogIns{Pause: time.Hour}
	all := func(password string) (failed, held int32) {
		var bad, paused atomic.Int32
		var together sync.WaitGroup
		for i := range accounts {
			s := s
			s.User, s.Password = fmt.Sprintf("u%d", i), secret(password)
			if i%10 == 9 {
				s.User = "nobody"
			}
			together.Go(func() {
				conn, err := Dial(t.Context(), s, Options{Timeout: 20 * time.Second})
				switch {
				case err == nil:
					conn.Close()
				case strings.Contains(err.Error(), "lest he is locked out"):
					paused.Add(1)
				default:
					bad.Add(1)
				}
			})
		}
		together.Wait()
		return bad.Load(), paused.Load()
	}
	if failed, held := all("wrong"); failed != sharedRefusals || held != accounts-sharedRefusals || tries.Load() != sharedRefusals || most.Load() != 1 {
		t.Errorf("%d refused, %d held back, %d sent, %d at a time", failed, held, tries.Load(), most.Load())
	}
	// Some users are not there: that is no reason to hold back the others.
	if failed, held := all("right"); failed != accounts/10 || held != 0 {
		t.Errorf("with another password %d refused, %d held back", failed, held)
	}
	// After the pause one log-in is tried, and refused.
	for _, at := range s.LogIns.shared {
		at.until = time.Now()
	}
	tries.Store(0)
	if failed, held := all("wrong"); failed != 1 || held != accounts-1 || tries.Load() != 1 {
		t.Errorf("after the pause %d refused, %d held back, %d sent", failed, held, tries.Load())
	}
}

// FuzzChallenges: whatever a server asks in the middle of a log-in, nothing
// breaks, and no more is said than there is to say.
func FuzzChallenges(f *testing.F) {
	f.Add("", "")
	f.Add("PDFAeD4=", "=")
	f.Add(encoded("r=x,s=c2FsdA==,i=4096"), encoded("v=eA=="))
	f.Add(encoded("m=x,r=,s=,i="), encoded("e=no"))
	f.Add(encoded(`{"status":"401"}`), encoded("{"))
	f.Fuzz(func(t *testing.T, first, second string) {
		c := newConn(Server{Host: "127.0.0.1", Port: 143}, Options{}, nil)
		for _, m := range mechanisms {
			if m.sasl == nil {
				continue
			}
			d := m.sasl(c, credentials{authcid: "jo", authzid: "x", secret: "s3cret-w0rd"})
			asked := []string{"", first, second}
			if !d.firstIsOurs {
				asked = asked[1:]
			}
			for i, step := range d.steps {
				response, err := step(asked[min(i, len(asked)-1)])
				if err != nil {
					break
				}
				if m.hides && strings.Contains(response, "s3cret-w0rd") {
					t.Errorf("%s says %q", m.name, response)
				}
			}
		}
	})
}
