// Package token gets OAuth2 access tokens (RFC 6749), keeps them while they are
// good, and gets new ones before they expire.
//
// Invariants:
//   - However many accounts share a Source, one request is under way at a time,
//     and a failure is asked about again after a while only.
//   - No error holds a secret.
package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/oauth2/jwt"
)

// Secret reads a secret when it is needed.
type Secret func(context.Context) (string, error)

// Options say where tokens come from: Command, else ServiceAccount, else the
// token server at URL.
type Options struct {
	// Command prints a token, or a token server's answer as JSON (RFC 6749
	// §5.1).
	Command Secret
	// ServiceAccount is Google's key file as JSON. Its tokens are for Subject,
	// in whose place the service account may act.
	ServiceAccount Secret
	Subject        string

	URL          string
	ClientID     string
	ClientSecret Secret // nil: a public client
	// RefreshToken, when there is one, is what tokens are asked for by (§6);
	// else it is the client's own right (client credentials, §4.4).
	RefreshToken Secret
	Scopes       []string

	// Forget is how long a failure is remembered; 0: ten seconds.
	Forget time.Duration
}

// Source hands out access tokens, to several goroutines.
type Source struct {
	o    Options
	turn chan struct{} // held by the one that looks or asks

	token     string
	asked     time.Time // when it was got
	expires   time.Time // zero: nobody knows
	handedOut int
	refresh   string // the last refresh token that the server has given in place of ours
	failure   error
	failed    time.Time
	transport transport
	// They remember how the server wants to be told the client's secret.
	own        clientcredentials.Config
	refreshing oauth2.Config
}

// transport notes whether there was an answer: not every library passes on the
// error that tells.
type transport struct{ failed bool }

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(r)
	t.failed = t.failed || err != nil
	return response, err
}

// New makes a Source. Nothing is asked before the first token is needed.
func New(o Options) *Source {
	if o.Forget == 0 {
		o.Forget = 10 * time.Second
	}
	return &Source{
		o: o, turn: make(chan struct{}, 1),
		own:        clientcredentials.Config{ClientID: o.ClientID, TokenURL: o.URL, Scopes: o.Scopes},
		refreshing: oauth2.Config{ClientID: o.ClientID, Endpoint: oauth2.Endpoint{TokenURL: o.URL}, Scopes: o.Scopes},
	}
}

// Error is why there is no token.
type Error struct {
	From      string // what was asked
	Text      string // why, in its words
	temporary bool
	err       error
}

func (e *Error) Error() string { return e.From + ": " + e.Text }
func (e *Error) Unwrap() error { return e.err }

// Temporary tells whether it may go away by itself.
func (e *Error) Temporary() bool { return e.temporary }

const (
	// requestTime is how long a token server may take.
	requestTime = 30 * time.Second
	// early is how long before its end a token is not handed out any more: a
	// log-in has to come to its end with it. Of one that lives shorter it is a
	// quarter of its life.
	early = time.Minute
)

// Token returns a token that is good for a while. Its errors are of type
// *Error, or that of ctx.
func (s *Source) Token(ctx context.Context) (string, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	now := time.Now()
	if s.token != "" && s.isGood(now) {
		s.handedOut++
		return s.token, nil
	}
	if s.failure != nil && now.Sub(s.failed) < s.o.Forget {
		return "", s.failure
	}
	token, expires, err := s.ask(ctx)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		s.failure, s.failed = err, time.Now()
		return "", err
	}
	s.failure = nil
	s.token, s.asked, s.expires, s.handedOut = token, now, expires, 1
	return token, nil
}

func (s *Source) isGood(now time.Time) bool {
	return s.expires.IsZero() || now.Before(s.expires.Add(-min(early, s.expires.Sub(s.asked)/4)))
}

// Refused says that a mail server does not take a token, which is not handed
// out any more. It tells whether another may do: whether this one was not new.
func (s *Source) Refused(token string) bool {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.token != token {
		return true
	}
	old := s.handedOut > 1
	s.token = ""
	return old
}

// ask gets a new token.
func (s *Source) ask(ctx context.Context) (token string, expires time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	s.transport.failed = false
	// The library for service accounts takes no deadline from the context.
	ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: &s.transport, Timeout: requestTime})
	var got *oauth2.Token
	switch {
	case s.o.Command != nil:
		return s.fromCommand(ctx)
	case s.o.ServiceAccount != nil:
		got, err = s.forSubject(ctx)
	default:
		got, err = s.fromServer(ctx)
	}
	if err != nil {
		return "", expires, err
	}
	return got.AccessToken, got.Expiry, usable(s.from(), got.AccessToken)
}

// usable refuses what cannot be a token (RFC 6750 §2.1): it goes into a command
// line.
func usable(from, token string) error {
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return &Error{From: from, Text: "what it gives is no access token"}
	}
	return nil
}

// from names what is asked.
func (s *Source) from() string {
	switch {
	case s.o.Command != nil:
		return "token_command"
	case s.o.ServiceAccount != nil:
		return "service account"
	}
	return "token server " + hostOf(s.o.URL)
}

// fromCommand runs the command.
func (s *Source) fromCommand(ctx context.Context) (token string, expires time.Time, err error) {
	text, err := s.o.Command(ctx)
	if err != nil {
		return "", expires, &Error{From: s.from(), Text: err.Error(), err: err}
	}
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "{") {
		// It may be the last moment of it: not kept.
		return text, time.Now(), usable(s.from(), text)
	}
	var answer struct {
		Token     string      `json:"access_token"`
		ExpiresIn json.Number `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return "", expires, &Error{From: s.from(), Text: "it prints JSON without a readable access_token and expires_in"}
	}
	expires = time.Now()
	if seconds, err := strconv.ParseFloat(answer.ExpiresIn.String(), 64); err == nil && seconds > 0 {
		expires = expires.Add(time.Duration(min(seconds, 1e9) * float64(time.Second)))
	}
	return answer.Token, expires, usable(s.from(), answer.Token)
}

// fromServer asks the token server, by a refresh token or in the client's own
// right.
func (s *Source) fromServer(ctx context.Context) (*oauth2.Token, error) {
	secret, err := s.read(ctx, "the client's secret", s.o.ClientSecret)
	if err != nil {
		return nil, err
	}
	if s.o.RefreshToken == nil {
		s.own.ClientSecret = secret
		got, err := s.own.Token(ctx)
		if err != nil {
			return nil, s.failedBy(s.from(), err, secret)
		}
		return got, nil
	}
	refresh := s.refresh
	if refresh == "" {
		if refresh, err = s.read(ctx, "the refresh token", s.o.RefreshToken); err != nil {
			return nil, err
		}
	}
	s.refreshing.ClientSecret = secret
	got, err := s.refreshing.TokenSource(ctx, &oauth2.Token{RefreshToken: refresh}).Token()
	if err != nil {
		s.refresh = "" // the next time by the one that is configured
		return nil, s.failedBy(s.from(), err, secret, refresh)
	}
	s.refresh = got.RefreshToken
	return got, nil
}

// forSubject has the service account's key sign who it wants to act for (RFC
// 7523).
func (s *Source) forSubject(ctx context.Context) (*oauth2.Token, error) {
	text, err := s.read(ctx, "the key", s.o.ServiceAccount)
	if err != nil {
		return nil, err
	}
	var key struct {
		Email string `json:"client_email"`
		ID    string `json:"private_key_id"`
		Key   string `json:"private_key"`
		URL   string `json:"token_uri"`
	}
	if err := json.Unmarshal([]byte(text), &key); err != nil {
		return nil, &Error{From: s.from(), Text: "its key is no JSON"}
	}
	if key.URL == "" {
		key.URL = "https://oauth2.googleapis.com/token"
	}
	config := jwt.Config{
		Email: key.Email, PrivateKey: []byte(key.Key), PrivateKeyID: key.ID, Subject: s.o.Subject, Scopes: s.o.Scopes, TokenURL: key.URL,
	}
	got, err := config.TokenSource(ctx).Token()
	if err != nil {
		return nil, s.failedBy("service account "+key.Email+" for "+s.o.Subject+" at token server "+hostOf(key.URL), err)
	}
	return got, nil
}

// read reads a secret; one that is not configured is empty.
func (s *Source) read(ctx context.Context, what string, secret Secret) (string, error) {
	if secret == nil {
		return "", nil
	}
	text, err := secret(ctx)
	if err != nil {
		return "", &Error{From: s.from(), Text: what + " cannot be read: " + err.Error(), err: err}
	}
	return text, nil
}

// failedBy says what a token server answered, without the secrets that it may
// have said back.
func (s *Source) failedBy(from string, err error, secrets ...string) *Error {
	failure := &Error{From: from, Text: strings.TrimPrefix(err.Error(), "oauth2: "), temporary: s.transport.failed}
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		failure.Text = wordsOf(refused)
		code := refused.Response.StatusCode
		failure.temporary = code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout
	}
	for _, secret := range secrets {
		if secret != "" {
			failure.Text = strings.ReplaceAll(failure.Text, secret, "***")
		}
	}
	return failure
}

// hostOf is the server's name, or what else there is of it.
func hostOf(address string) string {
	if at, err := url.Parse(address); err == nil && at.Host != "" {
		return at.Host
	}
	return address
}

// wordsOf are the error and its description (RFC 6749 §5.2), else the status.
func wordsOf(refused *oauth2.RetrieveError) string {
	var told struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	told.Error, told.Description = refused.ErrorCode, refused.ErrorDescription
	if told.Error == "" {
		_ = json.Unmarshal(refused.Body, &told) // what is no JSON tells nothing
	}
	if told.Error == "" {
		return "it answers " + refused.Response.Status
	}
	words := fmt.Sprintf("%s: %s", told.Error, told.Description)
	return strings.TrimSuffix(words, ": ")
}
