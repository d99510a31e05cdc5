package remote

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	server "github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proxy"
)

// everyMechanism is a Dovecot that offers all that it has. The introspection
// server tells it whose a token is.
func everyMechanism(t *testing.T, introspection string) *server.Server {
	t.Helper()
	return server.Start(t, server.Options{
		Files: map[string]string{
			"masters": "admin:{PLAIN}m4ster\n",
			"oauth2.conf": "introspection_url = " + introspection + "/\nintrospection_mode = auth\nusername_attribute = email\n" +
				"active_attribute = active\nactive_value = true\n",
		},
		Extra: `
auth_mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256 external xoauth2 oauthbearer
auth_ssl_username_from_cert = yes
auth_master_user_separator = *
ssl_ca = <$DIR/ca.pem
ssl_verify_client_cert = yes
ssl_require_crl = no
ssl_cert_username_field = commonName
passdb {
  driver = passwd-file
  master = yes
  args = $DIR/masters
}
passdb {
  driver = static
  args = nopassword=y
  mechanisms = external
}
passdb {
  driver = oauth2
  args = $DIR/oauth2.conf
  mechanisms = xoauth2 oauthbearer
}
`})
}

// introspector is what a Dovecot asks about access tokens (RFC 7662): those of
// good are active, each for its user.
type introspector struct {
	*httptest.Server
	mu   sync.Mutex
	good map[string]string
}

func newIntrospector(t *testing.T) *introspector {
	i := &introspector{good: make(map[string]string)}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		user, active := i.good[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"active": "%v", "email": %q}`, active, user)
	}))
	t.Cleanup(i.Close)
	return i
}

// fixed hands out one token, and another after it has been refused.
type fixed struct {
	tokens  []string
	refused []string
}

func (f *fixed) Token(context.Context) (string, error) { return f.tokens[0], nil }

func (f *fixed) Refused(token string) bool {
	f.refused = append(f.refused, token)
	if len(f.tokens) == 1 {
		return false
	}
	f.tokens = f.tokens[1:]
	return true
}

func secret(text string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return text, nil }
}

// TestEveryMechanism logs in to a real Dovecot by everything that it offers,
// with the right secret and with a wrong one, which is shown once only.
func TestEveryMechanism(t *testing.T) {
	tokens := newIntrospector(t)
	tokens.good["t0ken-of-u"] = "u"
	real := everyMechanism(t, tokens.URL)
	cert, key := real.ClientCertificate("u")
	withTLS := func(s *Server) {
		s.TLS, s.Port, s.TLSCAFile, s.TLSCertFile, s.TLSKeyFile, s.Password = TLSImplicit, real.TLSPort, real.CAFile, cert, key, nil
	}
	tokenOf := func(text string) func(*Server) {
		return func(s *Server) { s.Password, s.Tokens = nil, &fixed{tokens: []string{text}} }
	}
	admin := func(style AdminStyle, password string) func(*Server) {
		return func(s *Server) {
			s.Admin, s.Password = Admin{Style: style, User: "admin", Separator: "*"}, secret(password)
		}
	}
	authLogin := func(s *Server) { // where the command LOGIN has failed before
		s.LogIns = new(LogIns)
		s.LogIns.remember(*s, "AUTH=LOGIN")
	}
	for _, c := range []struct {
		name, auth string
		right      func(*Server)
		wrong      func(*Server)
		sent       string // what the server must have been sent; "" over TLS
		hides      bool
		refusal    string
	}{
		{name: "auto", auth: "auto", sent: "AUTHENTICATE PLAIN "},
		{name: "plain", auth: "plain", sent: "AUTHENTICATE PLAIN "},
		{name: "login", auth: "login", sent: "LOGIN \"u\" "},
		{name: "auth-login", auth: "login", right: authLogin, wrong: authLogin, sent: "AUTHENTICATE LOGIN\r\n"},
		{name: "cram", auth: "cram-md5", sent: "AUTHENTICATE CRAM-MD5\r\n", hides: true, refusal: "CRAM-MD5 cannot be used with"},
		{name: "scram1", auth: "scram-sha-1", sent: "AUTHENTICATE SCRAM-SHA-1 ", hides: true},
		{name: "scram256", auth: "scram-sha-256", sent: "AUTHENTICATE SCRAM-SHA-256 ", hides: true},
		{name: "xoauth2", auth: "xoauth2", right: tokenOf("t0ken-of-u"), wrong: tokenOf("n0-token"), sent: "AUTHENTICATE XOAUTH2 ", refusal: "status 401"},
		{name: "oauthbearer", auth: "oauthbearer", right: tokenOf("t0ken-of-u"), wrong: tokenOf("n0-token"), sent: "AUTHENTICATE OAUTHBEARER ", refusal: "invalid_token"},
		{name: "token", auth: "auto", right: tokenOf("t0ken-of-u"), wrong: tokenOf("n0-token"), sent: "AUTHENTICATE XOAUTH2 "},
		{name: "external", auth: "external", right: withTLS, wrong: func(s *Server) { withTLS(s); s.User = "v" }, refusal: "takes tls_cert_file for this user"},
		{name: "certificate", auth: "auto", right: withTLS, wrong: func(s *Server) { withTLS(s); s.User = "v" }},
		{name: "authzid", auth: "auto", right: admin(AdminAuthzid, "m4ster"), wrong: admin(AdminAuthzid, "wrong"), sent: "AUTHENTICATE PLAIN ", refusal: "log-in as admin for u refused: AUTHENTICATIONFAILED"},
		{name: "authzid-scram", auth: "scram-sha-256", right: admin(AdminAuthzid, "m4ster"), wrong: admin(AdminAuthzid, "wrong"), sent: "AUTHENTICATE SCRAM-SHA-256 "},
		{name: "master", auth: "auto", right: admin(AdminMaster, "m4ster"), wrong: admin(AdminMaster, "wrong"), sent: "AUTHENTICATE PLAIN "},
		{name: "master-login", auth: "login", right: admin(AdminMaster, "m4ster"), wrong: admin(AdminMaster, "wrong"), sent: `LOGIN "u*admin" `},
		{name: "master-cram", auth: "cram-md5", right: admin(AdminMaster, "m4ster"), wrong: admin(AdminMaster, "wrong"), sent: "AUTHENTICATE CRAM-MD5\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dial := func(change func(*Server), wrong bool) (*Conn, string, []string, error) {
				var sent transcript
				tap := proxy.Start(t, real.Address())
				tap.Sent = func(next []byte) { sent.add(string(next)) }
				s := Server{Side: SideDestination, Host: "127.0.0.1", Port: tap.Port(), TLS: TLSNone, Auth: c.auth, User: "u", Password: secret(server.Password)}
				if wrong {
					s.Password = secret("wr0ng-password")
				}
				if change != nil {
					change(&s)
				}
				var trace transcript
				conn, err := Dial(t.Context(), s, Options{Timeout: 10 * time.Second, Trace: func(d byte, line string) { trace.add(string(d) + line) }})
				return conn, shown(sent.String()), trace.all(), err
			}
			conn, sent, trace, err := dial(c.right, false)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Raw(t.Context(), "CREATE "+c.name); err != nil {
				t.Fatal(err)
			}
			conn.Close()
			if _, err := os.Stat(filepath.Join(real.Maildir("u"), "."+c.name)); err != nil {
				t.Errorf("not logged in as u: %v", err)
			}
			if !strings.Contains(sent, c.sent) {
				t.Errorf("sent %q", sent)
			}
			if c.hides && strings.Contains(sent, server.Password) {
				t.Errorf("sent %q", sent)
			}
			noSecrets(t, strings.Join(trace, "\n"))

			_, sent, trace, err = dial(c.wrong, true)
			var far *Error
			if !errors.As(err, &far) || far.Class != ClassAuth {
				t.Fatalf("with what is wrong: %v", err)
			}
			if !strings.Contains(far.Error(), c.refusal) {
				t.Errorf("%v", far)
			}
			if n := strings.Count(sent, "AUTHENTICATE") + strings.Count(sent, "LOGIN \""); c.sent != "" && n != 1 {
				t.Errorf("tried %d times: %q", n, sent)
			}
			noSecrets(t, far.Error()+strings.Join(trace, "\n"))
		})
	}
}

// shown is a text with all in it that is base64, decoded, behind it.
func shown(text string) string {
	for _, word := range strings.Fields(text) {
		if data, err := base64.StdEncoding.DecodeString(word); err == nil {
			text += "\n" + string(data)
		}
	}
	return text
}

func encoded(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

// noSecrets fails when a text holds any secret of these tests, plain or as it
// is sent.
func noSecrets(t *testing.T, text string) {
	t.Helper()
	for _, word := range []string{server.Password, "wr0ng-password", "m4ster", "t0ken-of-u", "n0-token"} {
		for _, form := range []string{word, encoded(word), encoded("\x00u\x00" + word), encoded("user=u\x01auth=Bearer " + word + "\x01\x01")} {
			if strings.Contains(text, form) {
				t.Errorf("%q shows in %q", word, text)
			}
		}
	}
}

// crypted is a users file with a password that PLAIN and LOGIN can be checked
// against, but no challenge and response: SHA512-CRYPT of "secret".
const crypted = "all:{SHA512-CRYPT}$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1\n"

// TestHashedPasswords: a server that offers SCRAM for a password that it cannot
// check by SCRAM. With TLS that is no matter, since PLAIN comes first. In clear
// text, which is allowed here, SCRAM comes first, fails before anything was
// shown, and one other mechanism is tried; from then on it is the first.
func TestHashedPasswords(t *testing.T) {
	real := server.Start(t, server.Options{Files: map[string]string{"users": crypted}, Extra: "auth_mechanisms = plain login cram-md5 scram-sha-256\n"})
	var logIns LogIns
	dial := func(change func(*Server)) (string, error) {
		var sent transcript
		tap := proxy.Start(t, real.Address())
		tap.Sent = func(next []byte) { sent.add(string(next)) }
		s := Server{Side: SideSource, Host: "127.0.0.1", Port: tap.Port(), TLS: TLSNone, AllowCleartext: true, User: "u", Password: secret("secret"), LogIns: &logIns}
		change(&s)
		conn, err := Dial(t.Context(), s, Options{Timeout: 10 * time.Second, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, tap.Address)
		}})
		if err == nil {
			conn.Close()
		}
		return sent.String(), err
	}
	far := func(s *Server) { s.Host, s.Port = "old.example.org", 143 }
	if sent, err := dial(func(*Server) {}); err != nil || strings.Contains(sent, "SCRAM") {
		t.Errorf("near: %v, sent %q", err, sent)
	}
	if sent, err := dial(far); err != nil || strings.Count(sent, "AUTHENTICATE") != 2 || strings.Index(sent, "AUTHENTICATE SCRAM-SHA-256") > strings.Index(sent, "AUTHENTICATE PLAIN") {
		t.Errorf("far: %v, sent %q", err, sent)
	}
	if sent, err := dial(far); err != nil || strings.Contains(sent, "SCRAM") {
		t.Errorf("again: %v, sent %q", err, sent)
	}
	without := func(s *Server) { far(s); s.Auth = "scram-sha-256" }
	if sent, err := dial(without); err == nil || strings.Count(sent, "AUTHENTICATE") != 1 {
		t.Errorf("SCRAM because it is configured: %v, sent %q", err, sent)
	}
}
