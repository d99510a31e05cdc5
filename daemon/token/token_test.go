package token

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tokenServer answers by what it is asked, and counts.
func tokenServer(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) (address string, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, asked
}

func is(text string) Secret { return func(context.Context) (string, error) { return text, nil } }

// client is who asked, whichever way he said it.
func client(r *http.Request) string {
	if id, secret, ok := r.BasicAuth(); ok {
		return id + ":" + secret
	}
	return r.Form.Get("client_id") + ":" + r.Form.Get("client_secret")
}

func get(t *testing.T, s *Source) string {
	t.Helper()
	token, err := s.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestClientCredentials(t *testing.T) {
	var n atomic.Int32
	url, asked := tokenServer(t, func(w http.ResponseWriter, r *http.Request) {
		if _, _, basic := r.BasicAuth(); basic { // as Google does: in the form only
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Form.Get("grant_type") != "client_credentials" || r.Form.Get("scope") != "a b" || client(r) != "me:s3cret" {
			t.Errorf("%v %s", r.Form, client(r))
		}
		fmt.Fprintf(w, `{"access_token": "t%d", "token_type": "Bearer", "expires_in": 3600}`, n.Add(1))
	})
	s := New(Options{URL: url, ClientID: "me", ClientSecret: is("s3cret"), Scopes: []string{"a", "b"}})
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if token := get(t, s); token != "t1" {
				t.Error(token)
			}
		})
	}
	all.Wait()
	if asked.Load() != 2 { // the first time in the form that this server does not take
		t.Errorf("asked %d times for one token", asked.Load())
	}
	// One that a server does not take is not handed out again. Whoever finds
	// out later gets the one that is good.
	if !s.Refused("t1") || get(t, s) != "t2" || !s.Refused("t1") || get(t, s) != "t2" {
		t.Error("a token that was refused")
	}
	// A new one that is refused is no reason to get another.
	if s.Refused("t2"); get(t, s) != "t3" || s.Refused("t3") {
		t.Error("a new token that was refused")
	}
	if asked.Load() != 4 {
		t.Errorf("asked %d times for three tokens", asked.Load())
	}
}

// TestBeforeItExpires: another token is got a minute before the end, or in the
// last quarter of a short life.
func TestBeforeItExpires(t *testing.T) {
	for _, c := range []struct {
		life, good, old time.Duration
	}{{time.Hour, 58 * time.Minute, 59*time.Minute + time.Second}, {20 * time.Second, 14 * time.Second, 16 * time.Second}, {2 * time.Minute, 89 * time.Second, 91 * time.Second}} {
		url, asked := tokenServer(t, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"access_token": "t", "expires_in": %d}`, int(c.life/time.Second))
		})
		s := New(Options{URL: url, ClientID: "me", ClientSecret: is("x")})
		later := func(d time.Duration) { // as if it had been got so long ago
			s.asked, s.expires = s.asked.Add(-d), s.expires.Add(-d)
		}
		get(t, s)
		if left := time.Until(s.expires); left < c.life-2*time.Second || left > c.life {
			t.Errorf("a life of %s ends in %s", c.life, left)
		}
		later(c.good)
		get(t, s)
		if asked.Load() != 1 {
			t.Errorf("a life of %s: another after %s", c.life, c.good)
		}
		later(c.old - c.good)
		get(t, s)
		if asked.Load() != 2 {
			t.Errorf("a life of %s: the same after %s", c.life, c.old)
		}
	}
}

// TestRefreshToken: the refresh token that comes with an access token is used
// from then on; when it is refused, the one that is configured.
func TestRefreshToken(t *testing.T) {
	var asked []string
	void := false
	url, _ := tokenServer(t, func(w http.ResponseWriter, r *http.Request) {
		token := r.Form.Get("refresh_token")
		asked = append(asked, token)
		if r.Form.Get("grant_type") != "refresh_token" || client(r) != "me:" {
			t.Errorf("%v %s", r.Form, client(r))
		}
		if void && token == "second" {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"error": "invalid_grant", "error_description": "the token second is void"}`)
			return
		}
		io.WriteString(w, `{"access_token": "t", "refresh_token": "second", "expires_in": 0}`)
	})
	s := New(Options{URL: url, ClientID: "me", RefreshToken: is("first"), Forget: time.Nanosecond})
	again := func() error {
		s.token = ""
		_, err := s.Token(t.Context())
		return err
	}
	if err := errors.Join(again(), again()); err != nil {
		t.Fatal(err)
	}
	void = true
	if err := again(); err == nil || !strings.Contains(err.Error(), "invalid_grant: the token *** is void") {
		t.Error(err)
	}
	if err := again(); err != nil {
		t.Error(err)
	}
	if want := "first second second first"; strings.Join(asked, " ") != want {
		t.Errorf("asked by %q", asked)
	}
}

// TestServiceAccount: the key signs whom it wants to act for.
func TestServiceAccount(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	refuse := false
	url, _ := tokenServer(t, func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.Form.Get("assertion"), ".")
		if len(parts) != 3 || r.Form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
			t.Errorf("%v", r.Form)
			return
		}
		signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
		sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signature); err != nil {
			t.Error(err)
		}
		var claims struct{ Iss, Sub, Scope, Aud string }
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
		if err := json.Unmarshal(payload, &claims); err != nil {
			t.Error(err)
		}
		if claims.Iss != "robot@project.example" || claims.Scope != "https://mail.google.com/" {
			t.Errorf("%+v", claims)
		}
		if refuse {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, `{"error": "unauthorized_client", "error_description": "Client is unauthorized to retrieve access tokens."}`)
			return
		}
		fmt.Fprintf(w, `{"access_token": "for-%s", "expires_in": 3600}`, claims.Sub)
	})
	file, err := json.Marshal(map[string]string{"type": "service_account", "client_email": "robot@project.example", "private_key_id": "1", "private_key": string(text), "token_uri": url})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{ServiceAccount: is(string(file)), Subject: "foo@example.org", Scopes: []string{"https://mail.google.com/"}}
	if token := get(t, New(o)); token != "for-foo@example.org" {
		t.Error(token)
	}
	refuse = true
	_, err = New(o).Token(t.Context())
	if want := "service account robot@project.example for foo@example.org at token server 127.0.0.1:"; err == nil || !strings.HasPrefix(err.Error(), want) ||
		!strings.HasSuffix(err.Error(), "unauthorized_client: Client is unauthorized to retrieve access tokens.") {
		t.Error(err)
	}
	o.ServiceAccount = is(`{"client_email": "x", "private_key": "no key"}`)
	var failure *Error
	if _, err := New(o).Token(t.Context()); !errors.As(err, &failure) || failure.Temporary() || strings.Contains(err.Error(), "no key") {
		t.Error(err)
	}
}

func TestCommand(t *testing.T) {
	for text, want := range map[string]string{
		"tok\n": "tok", `{"access_token": "tok", "expires_in": 3600}`: "tok", `{"access_token": "tok", "expires_in": "3600"}`: "tok", `{"access_token": "tok"}`: "tok",
		`{"access_token": ""}`: "!", `{"error": "x"}`: "!", `{`: "!", "two words": "!", "two\nlines": "!", "tök": "!", "": "!",
	} {
		runs := 0
		s := New(Options{Forget: time.Nanosecond, Command: func(context.Context) (string, error) {
			runs++
			return text, nil
		}})
		for range 2 {
			token, err := s.Token(t.Context())
			if want == "!" && err == nil || want != "!" && (err != nil || token != want) {
				t.Errorf("%q: %q, %v", text, token, err)
			}
			if err != nil && strings.Contains(err.Error(), text) && text != "" && text != "{" {
				t.Errorf("%q shows: %v", text, err)
			}
		}
		if kept := strings.Contains(text, "3600"); (runs == 1) != kept {
			t.Errorf("%q: run %d times", text, runs)
		}
	}
	s := New(Options{Command: func(context.Context) (string, error) { return "", errors.New("exit status 3: not logged in") }})
	if _, err := s.Token(t.Context()); err == nil || err.Error() != "token_command: exit status 3: not logged in" {
		t.Error(err)
	}
}

// TestFailures: a failure says who said what, whether it may pass, and nothing
// secret, and does not bring down the token server.
func TestFailures(t *testing.T) {
	for _, c := range []struct {
		name      string
		answer    func(w http.ResponseWriter, r *http.Request)
		want      string
		temporary bool
	}{
		{"refused", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, `{"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret s3cret provided."}`)
		}, "invalid_client: AADSTS7000215: Invalid client secret *** provided.", false},
		{"refused with 200", func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, `{"error": "invalid_scope"}`)
		}, "invalid_scope", false},
		{"no JSON", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `<html>go away s3cret`)
		}, "it answers 403 Forbidden", false},
		{"no token", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{}`) }, "server response missing access_token", false},
		{"a token that is none", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"access_token": "a\r\nb"}`) }, "what it gives is no access token", false},
		{"overloaded", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, "it answers 503 Service Unavailable", true},
		{"too often", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) }, "it answers 429 Too Many Requests", true},
		{"gone", func(w http.ResponseWriter, _ *http.Request) {
			conn, _, _ := http.NewResponseController(w).Hijack()
			conn.Close()
		}, "EOF", true},
	} {
		url, asked := tokenServer(t, c.answer)
		s := New(Options{URL: url, ClientID: "me", ClientSecret: is("s3cret")})
		var failure *Error
		for range 50 {
			_, err := s.Token(t.Context())
			if !errors.As(err, &failure) || !strings.Contains(err.Error(), c.want) || failure.Temporary() != c.temporary || strings.Contains(err.Error(), "s3cret") {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
		if !strings.HasPrefix(failure.Error(), "token server 127.0.0.1:") {
			t.Errorf("%s: %v", c.name, failure)
		}
		if asked.Load() > 4 { // both ways to name the client, each sent again when the connection breaks
			t.Errorf("%s: asked %d times", c.name, asked.Load())
		}
	}
	s := New(Options{URL: "https://127.0.0.1:1/", ClientID: "me", ClientSecret: func(context.Context) (string, error) { return "", errors.New("it is empty") }})
	if _, err := s.Token(t.Context()); err == nil || !strings.Contains(err.Error(), "the client's secret cannot be read: it is empty") {
		t.Error(err)
	}
}

// TestCancelled: who does not wait any more does not fail the others.
func TestCancelled(t *testing.T) {
	asked, goOn := make(chan struct{}), make(chan struct{})
	var n atomic.Int32
	url, _ := tokenServer(t, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) == 1 {
			close(asked)
			<-goOn
		}
		io.WriteString(w, `{"access_token": "t", "expires_in": 3600}`)
	})
	defer close(goOn)
	s := New(Options{URL: url, ClientID: "me", ClientSecret: is("x")})
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := s.Token(ctx)
		first <- err
	}()
	<-asked
	waiting, giveUp := context.WithCancel(t.Context())
	giveUp()
	if _, err := s.Token(waiting); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if token := get(t, s); token != "t" {
		t.Error(token)
	}
}
