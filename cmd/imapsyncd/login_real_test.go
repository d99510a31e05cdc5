package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/corpus"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/dovecot"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/proxy"
	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// tokenServer gives access tokens to one client (RFC 6749 §4.4) and tells a
// Dovecot whether they are good (RFC 7662).
type tokenServer struct {
	*httptest.Server
	secret string
	life   time.Duration

	mu      sync.Mutex
	issued  map[string]time.Time // when each token expires
	logIns  int                  // with a good one
	expired int                  // with one that was good once
}

func newTokenServer(t *testing.T, secret string, life time.Duration) *tokenServer {
	s := &tokenServer{secret: secret, life: life, issued: make(map[string]time.Time)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/introspect" {
			until, known := s.issued[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
			good := time.Now().Before(until)
			if good {
				s.logIns++
			} else if known {
				s.expired++
			}
			fmt.Fprintf(w, `{"active": "%v", "email": "u"}`, good)
			return
		}
		if id, secret, _ := r.BasicAuth(); id != "client" || secret != s.secret {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, `{"error": "invalid_client", "error_description": "the secret is wrong or has expired"}`)
			return
		}
		token := fmt.Sprintf("t0ken-%d", len(s.issued))
		s.issued[token] = time.Now().Add(s.life)
		json.NewEncoder(w).Encode(map[string]any{"access_token": token, "expires_in": int(s.life / time.Second)})
	}))
	t.Cleanup(s.Close)
	return s
}

// until is when the last token expires.
func (s *tokenServer) until() (last time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, until := range s.issued {
		if until.After(last) {
			last = until
		}
	}
	return last
}

// takesTokens has a Dovecot take access tokens.
func (s *tokenServer) takesTokens() dovecot.Options {
	return dovecot.Options{
		Files: map[string]string{"oauth2.conf": "introspection_url = " + s.URL + "/introspect\nintrospection_mode = auth\nusername_attribute = email\nactive_attribute = active\nactive_value = true\n"},
		Extra: `
auth_mechanisms = plain xoauth2 oauthbearer
passdb {
  driver = oauth2
  args = $DIR/oauth2.conf
  mechanisms = xoauth2 oauthbearer
}
`}
}

// keys are those of [source].
func (s *tokenServer) keys() string {
	return fmt.Sprintf("token_url = %q\nclient_id = \"client\"\nclient_secret_file = \"secret\"\n", s.URL+"/token")
}

// TestTokensExpireWhileCopying: access tokens that are good for a second, for
// twenty with -storm, and a server that ends the connection when they have expired.
// Every log-in has a token that is good, and all is copied once.
func TestTokensExpireWhileCopying(t *testing.T) {
	life := time.Second
	if *storm {
		life = 20 * time.Second
	}
	tokens := newTokenServer(t, "s3cret-of-client", life)
	s := newSite(t, tokens.takesTokens(), dovecot.Options{})
	s.client(s.old, "u").Fill(corpus.Make(21, 150, 20_000))
	tap, far := proxy.Start(t, s.old.Address()), proxy.Start(t, s.new.Address())
	var mu sync.Mutex
	cuts, stored := 3, 0
	far.Delay(5 * time.Millisecond)
	far.Drop = func(answer []byte) bool {
		mu.Lock()
		defer mu.Unlock()
		if stored += strings.Count(string(answer), "[APPENDUID "); cuts > 0 && stored >= 3 {
			time.Sleep(time.Until(tokens.until())) // the copy must not be done before the token has expired
		}
		return false
	}
	tap.Cut = func([]byte, []byte) bool {
		mu.Lock()
		defer mu.Unlock()
		if cuts == 0 || stored < 3 || time.Now().Before(tokens.until()) {
			return false
		}
		stored = 0
		cuts--
		return true
	}
	os.WriteFile(filepath.Join(s.dir, "secret"), []byte(tokens.secret+"\n"), 0o600)
	s.write(fmt.Sprintf("state_dir = \"state\"\n[source]\n%s%s[destination]\n%spassword_file = \"password\"\n[[account]]\nname = \"u\"\n[account.source]\nuser = \"u\"\n[account.destination]\nuser = \"u\"\n",
		near(tap.Port()), tokens.keys(), near(far.Port())))
	out := s.must("sync")
	s.same("u")
	tokens.mu.Lock()
	defer tokens.mu.Unlock()
	t.Logf("%d tokens, %d log-ins, %d with a token that had just expired", len(tokens.issued), tokens.logIns, tokens.expired)
	if cuts > 0 || len(tokens.issued) < 3 || tokens.logIns < 3 || strings.Contains(out, "refused") {
		t.Errorf("%d tokens, %d log-ins, %d more ends to come\n%s", len(tokens.issued), tokens.logIns, cuts, out)
	}
}

// TestSecretsOfADaemon: a daemon whose token server refuses it, and whose
// administrator has a wrong password, says so, and is well as soon as the files
// are put right. No secret is in its log at its most talkative, its answers,
// its state or the list of processes.
func TestSecretsOfADaemon(t *testing.T) {
	t.Parallel()
	tokens := newTokenServer(t, "s3cret-of-client", time.Hour)
	s := newSite(t, tokens.takesTokens(), dovecot.Options{
		Files: map[string]string{"masters": "admin:{PLAIN}m4ster-password\n"},
		Extra: "auth_master_user_separator = *\npassdb {\n  driver = passwd-file\n  master = yes\n  args = $DIR/masters\n}\n",
	})
	s.client(s.old, "u").Fill(corpus.Make(22, 25, 2000))
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("secret", "0utdated-secret")
	put("admin", "wr0ng-password")
	s.write(fmt.Sprintf("state_dir = \"state\"\n[web]\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"debug\"\n[source]\n%s%s[destination]\n%sadmin_user = \"admin\"\nadmin_password_file = \"admin\"\n"+
		"[[account]]\nname = \"u\"\n[account.source]\nuser = \"u\"\n[account.destination]\nuser = \"u\"\n", near(s.old.Port), tokens.keys(), near(s.new.Port)))
	code, checked := s.run("check")
	for _, want := range []string{"old server 127.0.0.1: no access token: token server " + strings.TrimPrefix(tokens.URL, "http://") + ": invalid_client: the secret is wrong or has expired; check the OAuth2 keys in [source]",
		"new server 127.0.0.1: log-in as admin for u refused: AUTHENTICATIONFAILED"} {
		if code != exitFailed || !strings.Contains(checked, want) {
			t.Errorf("check: exit %d, lacks %q:\n%s", code, want, checked)
		}
	}
	p := s.daemon()
	p.until("the token server refuses", func(a web.AccountStatus) bool {
		return a.Health == mail.HealthAuth && strings.Contains(a.Error, "invalid_client")
	})
	put("secret", tokens.secret)
	p.until("the administrator is refused", func(a web.AccountStatus) bool {
		return a.Health == mail.HealthAuth && strings.Contains(a.Error, "log-in as admin for u refused")
	})
	put("admin", "m4ster-password")
	p.until("all is well", func(a web.AccountStatus) bool { return a.Phase == mail.PhaseFollowing && a.Health == mail.HealthOK })
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, status := s.run("status", "--json")
	if err := p.end(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	s.same("u")
	all := checked + p.log.String() + string(cmdline) + string(environ) + status
	if err := filepath.Walk(filepath.Join(s.dir, "state"), func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			all += readFile(t, path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{tokens.secret, "0utdated-secret", "wr0ng-password", "m4ster-password", "t0ken-"} {
		if i := strings.Index(all, secret); i >= 0 {
			t.Errorf("%q shows: %q", secret, all[max(0, i-200):i+len(secret)])
		}
	}
}

// TestCheckShowsTLS: how each server is talked to, until when its certificate
// is good, and a warning of what is not as it should be.
func TestCheckShowsTLS(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{Expires: 10*24*time.Hour + time.Hour}, dovecot.Options{})
	s.client(s.old, "u").Fill(corpus.Make(23, 25, 2000))
	secured := func(server *dovecot.Server) string {
		return fmt.Sprintf("host = \"127.0.0.1\"\nport = %d\ntls_ca_file = %q\n", server.TLSPort, server.CAFile)
	}
	s.configure(secured(s.old), secured(s.new)+"tls_min_version = \"1.1\"\ntls_legacy_ciphers = true\n", "u")
	until := func(d time.Duration) string { return time.Now().UTC().Add(d).Format(time.DateOnly) }
	out := s.must("check")
	for _, want := range []string{
		"old server has TLS 1.3, certificate for localhost, 127.0.0.1 until " + until(10*24*time.Hour+time.Hour),
		"new server has TLS 1.3, certificate for localhost, 127.0.0.1 until " + until(60*24*time.Hour),
		"warning: the certificate of the old server expires on " + until(10*24*time.Hour+time.Hour) + ", in 10 days: renew it",
		"warning: old TLS is allowed to the new server, but it speaks TLS 1.3: remove tls_legacy_ciphers",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("lacks %q:\n%s", want, out)
		}
	}
	if out := s.must("sync"); strings.Count(out, "old TLS is allowed, which others can break") != 1 {
		t.Errorf("%s", out)
	}
	s.configure(near(s.old.Port)+"allow_cleartext = true\n", near(s.new.Port), "u")
	if out := s.must("check"); strings.Count(out, "server has no TLS\n") != 2 || strings.Count(out, "in clear text") != 1 {
		t.Errorf("%s", out)
	}
}

// TestNoPlaintext: a server that takes no password in clear text says so before
// one is sent, and takes it over TLS. Its address is another than ours, since
// Dovecot takes itself for secured.
func TestNoPlaintext(t *testing.T) {
	t.Parallel()
	s := newSite(t, dovecot.Options{Listen: "127.0.0.2", Extra: "disable_plaintext_auth = yes\n"}, dovecot.Options{})
	tap := proxy.Start(t, s.old.Address())
	tapped := func(keys string) string {
		return fmt.Sprintf("host = \"127.0.0.1\"\nport = %d\n", tap.Port()) + keys
	}
	s.configure(tapped("tls = \"none\"\n"), near(s.new.Port), "u")
	code, out := s.run("check")
	if code != exitFailed || !strings.Contains(out, `offers no log-in that fits; it offers nothing; it may offer one with tls = "implicit" or "starttls" only`) {
		t.Errorf("exit %d: %s", code, out)
	}
	if sent := tap.Commands(); len(sent) > 0 {
		t.Errorf("sent %q", sent)
	}
	s.configure(tapped(fmt.Sprintf("tls = \"starttls\"\ntls_server_name = \"localhost\"\ntls_ca_file = %q\n", s.old.CAFile)), near(s.new.Port), "u")
	s.must("check")
}
