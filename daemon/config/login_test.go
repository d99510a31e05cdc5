package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// source puts keys into [source], and others in the place of the account's
// password there.
func source(shared, own string) string {
	return strings.NewReplacer("host = \"192.0.2.10\"\n", "host = \"192.0.2.10\"\n"+shared, "password_file = \"pw\"\n", own).Replace(good)
}

// put writes a file beside a configuration.
func put(t *testing.T, path, name, text string) string {
	t.Helper()
	file := filepath.Join(filepath.Dir(path), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const (
	microsoft      = "token_url = \"https://login.microsoftonline.com/x/oauth2/v2.0/token\"\nclient_id = \"me\"\nclient_secret = \"s3cret-of-client\"\n"
	serviceAccount = `{"client_email": "robot@example.org", "private_key": "s3cret-key"}`
)

// load loads a configuration with a service account's key beside it.
func load(t *testing.T, text string) (*Config, error) {
	t.Helper()
	path := write(t, text)
	put(t, path, "robot.json", serviceAccount)
	put(t, path, "admin.pw", "m4ster\n")
	return Load(path)
}

func TestWaysToLogIn(t *testing.T) {
	for name, c := range map[string]struct {
		shared, own string
		is          func(Server) bool
	}{
		"password": {"", "password_file = \"pw\"\n", func(s Server) bool { return read(t, s.Password) == "hunter2" && s.Admin == Admin{} && s.OAuth2 == nil }},
		"administrator": {"admin_user = \"cyrus\"\nadmin_password_file = \"admin.pw\"\n", "", func(s Server) bool {
			return read(t, s.Password) == "m4ster" && s.Admin == Admin{"authzid", "cyrus", "*"}
		}},
		"Dovecot's":         {"admin_user = \"a\"\nadmin_password = \"x\"\nadmin_style = \"master\"\nadmin_separator = \"%\"\n", "", func(s Server) bool { return s.Admin == Admin{"master", "a", "%"} }},
		"Kerio's":           {"admin_password = \"x\"\nadmin_style = \"kerio\"\n", "", func(s Server) bool { return read(t, s.Password) == "x" && s.Admin.Style == "kerio" }},
		"own password":      {"admin_user = \"cyrus\"\nadmin_password_file = \"admin.pw\"\n", "password_file = \"pw\"\n", func(s Server) bool { return read(t, s.Password) == "hunter2" && s.Admin == Admin{} }},
		"own administrator": {"password = \"x\"\nadmin_style = \"master\"\n", "admin_user = \"a\"\nadmin_password_file = \"admin.pw\"\n", func(s Server) bool { return read(t, s.Password) == "m4ster" && s.Admin.Style == "master" }},
		"own file":          {"admin_user = \"cyrus\"\nadmin_password = \"x\"\n", "admin_password_file = \"admin.pw\"\n", func(s Server) bool { return read(t, s.Password) == "m4ster" && s.Admin.User == "cyrus" }},
		"client credentials": {microsoft, "", func(s Server) bool {
			return !s.Password.Is() && !s.OAuth2.RefreshToken.Is() && slices.Equal(s.OAuth2.Scopes, []string{"https://outlook.office365.com/.default"})
		}},
		"scopes": {microsoft + "token_scopes = [\"a\"]\n", "", func(s Server) bool { return slices.Equal(s.OAuth2.Scopes, []string{"a"}) }},
		"own refresh token": {microsoft, "refresh_token_file = \"pw\"\n", func(s Server) bool {
			return read(t, s.OAuth2.RefreshToken) == "hunter2" && read(t, s.OAuth2.ClientSecret) == "s3cret-of-client" && len(s.OAuth2.Scopes) == 0
		}},
		"public client": {"token_url = \"http://127.0.0.1/\"\nclient_id = \"me\"\nrefresh_token = \"x\"\n", "", func(s Server) bool { return !s.OAuth2.ClientSecret.Is() }},
		"service account": {"service_account_file = \"robot.json\"\n", "", func(s Server) bool {
			return read(t, s.OAuth2.ServiceAccount) == serviceAccount && slices.Equal(s.OAuth2.Scopes, []string{"https://mail.google.com/"})
		}},
		"token command": {microsoft, "token_command = [\"printenv\", \"IMAPSYNCD_ACCOUNT\", \"IMAPSYNCD_USER\", \"IMAPSYNCD_SIDE\"]\n", func(s Server) bool {
			return s.OAuth2.URL == "" && read(t, s.OAuth2.Command) == "foo\nfoo@Example.org\nsource\n"
		}},
		"own password command": {"token_command = [\"false\"]\n", "password_command = [\"printenv\", \"IMAPSYNCD_USER\"]\n", func(s Server) bool { return s.OAuth2 == nil && read(t, s.Password) == "foo@Example.org" }},
	} {
		cfg, err := load(t, source(c.shared, c.own))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if s := cfg.Accounts[0].Source; !c.is(s) {
			t.Errorf("%s: %+v %+v", name, s, s.OAuth2)
		}
	}
}

func read(t *testing.T, s Secret) string {
	t.Helper()
	text, err := s.Read(t.Context())
	if err != nil {
		t.Error(err)
	}
	return text
}

func TestLogInProblems(t *testing.T) {
	const pw = "password_file = \"pw\"\n"
	for name, c := range map[string]struct{ shared, own, want string }{
		"two ways":            {"", pw + "token_command = [\"x\"]\n", "c.toml:10:1: account foo: [source] password_file and token_command are ways to log in that exclude one another"},
		"two files":           {"admin_user = \"a\"\nadmin_password = \"x\"\nadmin_password_file = \"admin.pw\"\n", "", "admin_password and admin_password_file exclude one another; keep one"},
		"nothing":             {"", "", "c.toml:8:2: account foo: [source] there is no password; write password_file"},
		"no admin password":   {"admin_user = \"a\"\n", "", "c.toml:4:1: account foo: [source] admin_user has no password; write admin_password_file"},
		"no admin":            {"admin_password = \"x\"\n", "", "admin_user is missing"},
		"admin style":         {"admin_style = \"root\"\n", pw, "c.toml:4:1: account foo: [source] admin_style: \"root\"; write one of authzid, master, exchange, kerio"},
		"separator":           {"admin_separator = \"\"\n", pw, "admin_separator is empty"},
		"cannot name":         {"admin_user = \"a\"\nadmin_password = \"x\"\nauth = \"login\"\n", "", "auth = \"login\" cannot name a user beside the administrator"},
		"Kerio's own":         {"admin_style = \"kerio\"\nadmin_password = \"x\"\nauth = \"plain\"\n", "", "is a log-in of its own; write \"auto\""},
		"token for password":  {"auth = \"plain\"\n" + microsoft, "", "auth = \"plain\" does not take access tokens"},
		"password for token":  {"auth = \"xoauth2\"\n", pw, "c.toml:4:1: account foo: [source] auth = \"xoauth2\" takes access tokens; write token_command, token_url or service_account_file instead of a password"},
		"no token":            {"auth = \"oauthbearer\"\n", "", "auth = \"oauthbearer\" takes access tokens; write token_command"},
		"no certificate":      {"auth = \"external\"\n", "", "auth = \"external\" needs tls_cert_file and tls_key_file"},
		"external + password": {"auth = \"external\"\n", pw, "remove the password"},
		"no URL":              {"client_id = \"me\"\nclient_secret = \"x\"\n", "", "token_url is missing"},
		"odd URL":             {strings.Replace(microsoft, "https://", "", 1), "", "token_url: this is no address"},
		"URL with password":   {strings.Replace(microsoft, "https://", "https://me:s3cret@", 1), "", "token_url: this is no address"},
		"clear URL":           {strings.Replace(microsoft, "https://", "http://", 1), "", "in clear text; write https://"},
		"no client":           {strings.Replace(microsoft, "client_id = \"me\"\n", "", 1), "", "client_id is missing"},
		"no client secret":    {strings.Replace(microsoft, "client_secret = \"s3cret-of-client\"\n", "", 1), "", "neither a client secret nor a refresh token"},
		"empty command":       {"", "token_command = []\n", "token_command is empty"},
		"empty secret":        {strings.Replace(microsoft, "s3cret-of-client", "", 1), "", "client_secret is empty"},
		"no service account":  {"service_account_file = \"pw\"\n", "", "this is no key of a service account"},
		"missing file":        {"service_account_file = \"none.json\"\n", "", "service_account_file: stat"},
		"credential's name":   {"", "credential = \"../foo\"\n", "\"../foo\" is no name of a credential"},
		"certificate alone":   {"tls_cert_file = \"pw\"\n", pw, "tls_cert_file has no key; write tls_key_file"},
		"key alone":           {"tls_key_file = \"pw\"\n", pw, "tls_key_file has no certificate"},
		"no certificates":     {"tls_cert_file = \"pw\"\ntls_key_file = \"pw\"\n", pw, "tls_cert_file: tls: failed to find any PEM data"},
		"old TLS":             {"tls_min_version = \"1.0\"\n", pw, "c.toml:4:1: account foo: [source] tls_min_version: \"1.0\" is not safe any more; if the server speaks nothing newer, write tls_legacy_ciphers = true too"},
		"SSL":                 {"tls_min_version = \"SSLv3\"\n", pw, "write one of 1.0, 1.1, 1.2, 1.3"},
	} {
		_, err := load(t, source(c.shared, c.own))
		var problems Problems
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), c.want) || len(problems) > 1 {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s shows a secret: %v", name, err)
		}
	}
	if _, err := load(t, source("tls_min_version = \"1.0\"\ntls_legacy_ciphers = true\n", pw)); err != nil {
		t.Error(err)
	}
}

// TestCredential: what systemd has put where only the service finds it, though
// it belongs to root. A command outside of the service can be used without.
func TestCredential(t *testing.T) {
	outside, err := load(t, source("", "credential = \"foo\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	const absent = "there are no credentials here: they are there for the systemd unit only, with LoadCredential=foo:/path"
	if got := outside.Absent.Error(); !strings.Contains(got, "c.toml:10:1: account foo: [source] credential: "+absent) || len(outside.Absent) != 1 {
		t.Error(got)
	}
	if _, err := outside.Accounts[0].Source.Password.Read(t.Context()); err == nil || err.Error() != absent {
		t.Error(err)
	}

	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if err := os.WriteFile(filepath.Join(dir, "foo"), []byte("from systemd\n"), 0o444); err != nil {
		t.Fatal(err)
	}
	c, err := load(t, source("", "credential = \"foo\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, c.Accounts[0].Source.Password); got != "from systemd" || len(c.Absent) > 0 {
		t.Error(got, c.Absent)
	}
	if _, err := load(t, source("", "credential = \"bar\"\n")); err == nil || !strings.Contains(err.Error(), "credential: open "+dir+"/bar") {
		t.Error(err)
	}
}

// TestClientCertificate: the key must be private, and another key is a change
// of the account.
func TestClientCertificate(t *testing.T) {
	path := write(t, source("tls_cert_file = \"cert.pem\"\ntls_key_file = \"key.pem\"\n", ""))
	renew := func() {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(1)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		put(t, path, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
		put(t, path, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})))
	}
	renew()
	before, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if s := before.Accounts[0].Source; s.Password.Is() || s.OAuth2 != nil || !filepath.IsAbs(s.TLSKeyFile) {
		t.Errorf("%+v", s)
	}
	renew()
	after, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := Diff(before, after); len(d.Changed) != 1 {
		t.Errorf("%+v", d)
	}
	if err := os.Chmod(filepath.Join(filepath.Dir(path), "key.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "tls_key_file: ") || !strings.Contains(err.Error(), "chmod 600") {
		t.Error(err)
	}
}

// TestSharedTokens: accounts share the tokens of one client until something
// about it is another.
func TestSharedTokens(t *testing.T) {
	path := write(t, source(strings.Replace(microsoft, "client_secret = \"s3cret-of-client\"", "client_secret_file = \"secret\"", 1), "")+
		"[[account]]\nname = \"bar\"\n[account.source]\nuser = \"bar\"\n[account.destination]\nuser = \"bar\"\npassword = \"x\"\n")
	keys := func(secret string) (string, string) {
		file := put(t, path, "secret", secret)
		c, err := Load(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, watched := c.SecretFiles()[file]; !watched {
			t.Errorf("%s is not watched", file)
		}
		return c.Accounts[0].Source.OAuth2.Key(), c.Accounts[1].Source.OAuth2.Key()
	}
	a, b := keys("one")
	if a != b {
		t.Error("one client, two keys")
	}
	if next, _ := keys("two"); next == a {
		t.Error("another secret, one key")
	}
}

// TestNoSecretShows: whatever is printed of a configuration.
func TestNoSecretShows(t *testing.T) {
	for _, ways := range []string{microsoft + "refresh_token = \"s3cret-refresh\"\n", "service_account_file = \"robot.json\"\n", "admin_user = \"a\"\nadmin_password = \"s3cret-admin\"\n"} {
		c, err := load(t, source(ways, ""))
		if err != nil {
			t.Fatal(err)
		}
		for _, verb := range []string{"%v", "%+v", "%#v"} {
			s := c.Accounts[0].Source
			if text := fmt.Sprintf(verb, c) + fmt.Sprintf(verb, s) + fmt.Sprintf(verb, s.OAuth2); strings.Contains(text, "s3cret") {
				t.Errorf("%s: %s", verb, text)
			}
		}
	}
}

// TestCommandComplains: what a command says on its standard error is part of
// the message.
func TestCommandComplains(t *testing.T) {
	_, err := Secret{command: []string{"sh", "-c", "echo first >&2; echo not logged in >&2; exit 3"}}.Read(t.Context())
	if err == nil || err.Error() != "sh: exit status 3: not logged in" {
		t.Error(err)
	}
}
