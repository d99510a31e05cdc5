package config

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// Admin is an administrator who logs in in the place of users, by Password.
// Style is empty where users log in themselves.
type Admin struct {
	Style     string // authzid, master, exchange or kerio
	User      string
	Separator string // between user and administrator, for master
}

// OAuth2 is where access tokens come from: a command, a service account, or a
// token server (RFC 6749).
type OAuth2 struct {
	Command        Secret // zero: none; prints a token, or the answer of a token server
	ServiceAccount Secret // zero: none; Google's key file for one, as JSON
	URL            string // of the token server
	ClientID       string
	ClientSecret   Secret // zero: a public client
	RefreshToken   Secret // zero: client credentials (§4.4)
	Scopes         []string
}

// Is tells whether there is anything.
func (s Secret) Is() bool { return s.value != "" || s.file != "" || len(s.command) > 0 }

// secrets are all that a server's log-in is made of.
func (s Server) secrets() []Secret {
	list := []Secret{s.Password, s.tlsKey}
	if o := s.OAuth2; o != nil {
		list = append(list, o.Command, o.ServiceAccount, o.ClientSecret, o.RefreshToken)
	}
	return list
}

// serverTag is what the tags of one of serverKeys say.
type serverTag struct{ key, way, one string }

// serverTags are those of all of them, in order.
var serverTags = sync.OnceValue(func() []serverTag {
	keys := reflect.TypeFor[serverKeys]()
	tags := make([]serverTag, keys.NumField())
	for i := range tags {
		tag := keys.Field(i).Tag
		tags[i] = serverTag{tag.Get("toml"), tag.Get("way"), tag.Get("one")}
	}
	return tags
})

// inherit returns base with every key that own has. A way to log in of its own
// replaces the inherited one, and so does another place for the same secret.
func inherit(base, own *serverKeys) *serverKeys {
	ways, ones := chosen(own)
	all := *base
	from, to := reflect.ValueOf(own).Elem(), reflect.ValueOf(&all).Elem()
	for i, tag := range serverTags() {
		switch {
		case !from.Field(i).IsNil():
			to.Field(i).Set(from.Field(i))
		case tag.way != "" && len(ways) > 0 && ways[tag.way] == nil, tag.one != "" && ones[tag.one] != nil:
			to.Field(i).SetZero()
		}
	}
	return &all
}

// chosen returns the keys that are there for each way to log in, and for each
// secret.
func chosen(k *serverKeys) (ways, ones map[string][]string) {
	ways, ones = make(map[string][]string), make(map[string][]string)
	v := reflect.ValueOf(k).Elem()
	for i, tag := range serverTags() {
		if tag.way == "" || v.Field(i).IsNil() {
			continue
		}
		ways[tag.way] = append(ways[tag.way], tag.key)
		if tag.one != "" {
			ones[tag.one] = append(ones[tag.one], tag.key)
		}
	}
	return ways, ones
}

// complaint is complain for a key of one side of an account.
type complaint func(name, format string, args ...any)

// logIn checks that there is exactly one way to log in, and that it is whole.
func (l *loader) logIn(s *Server, k *serverKeys, env []string, complain complaint) {
	ways, ones := chosen(k)
	for _, keys := range ones {
		if len(keys) > 1 {
			complain(keys[1], "%s exclude one another; keep one", strings.Join(keys, " and "))
		}
	}
	l.certificate(s, complain)
	style := adminStyle(k, complain)
	_, admin := ways["admin"]
	switch {
	case len(ways) > 1:
		var keys []string
		for _, names := range ways {
			keys = append(keys, names[0])
		}
		slices.Sort(keys)
		complain(keys[0], "%s are ways to log in that exclude one another; keep one", strings.Join(keys, " and "))
	case ways["password"] != nil:
		s.Password = l.secret(k, "password", complain)
		s.Password.env = env
	case admin:
		s.Admin = style
		if s.Password = l.secret(k, "admin", complain); ones["admin"] == nil {
			complain("admin_user", "admin_user has no password; write admin_password_file = \"…\"")
		}
		if s.Admin.User = or(k.AdminUser, ""); s.Admin.User == "" && s.Admin.Style != "kerio" {
			complain("admin_user", "admin_user is missing; write the administrator's log-in name")
		}
	case len(ways) == 1:
		s.OAuth2 = l.oauth2(k, env, complain)
	case s.isToken():
		complain("auth", "auth = %q takes access tokens; write token_command, token_url or service_account_file", s.Auth)
	case s.Auth == "external" && s.TLSCertFile == "":
		complain("auth", `auth = "external" needs tls_cert_file and tls_key_file`)
	case s.Auth != "external" && (s.Auth != "auto" || s.TLSCertFile == ""):
		complain("password_file", "there is no password; write password_file = \"…\"")
	}
	s.agrees(complain)
}

// isToken tells whether the mechanism takes access tokens.
func (s *Server) isToken() bool { return s.Auth == "xoauth2" || s.Auth == "oauthbearer" }

// adminStyle reads how an administrator names the user.
func adminStyle(k *serverKeys, complain complaint) Admin {
	admin := Admin{Style: or(k.AdminStyle, "authzid"), Separator: or(k.AdminSeparator, "*")}
	if styles := []string{"authzid", "master", "exchange", "kerio"}; !slices.Contains(styles, admin.Style) {
		complain("admin_style", "admin_style: %q; write one of %s", admin.Style, strings.Join(styles, ", "))
	}
	if admin.Separator == "" {
		complain("admin_separator", "admin_separator is empty; write what stands between user and administrator, such as \"*\"")
	}
	return admin
}

// agrees checks auth against what there is to log in by.
func (s *Server) agrees(complain complaint) {
	switch {
	case s.Auth == "auto":
	case s.OAuth2 != nil && !s.isToken():
		complain("auth", `auth = %q does not take access tokens; write "auto", "xoauth2" or "oauthbearer"`, s.Auth)
	case s.Password.Is() && s.isToken():
		complain("auth", "auth = %q takes access tokens; write token_command, token_url or service_account_file instead of a password", s.Auth)
	case s.Password.Is() && s.Auth == "external":
		complain("auth", `auth = "external" takes the certificate in tls_cert_file; remove the password`)
	case s.Admin.Style == "authzid" && (s.Auth == "login" || s.Auth == "cram-md5"):
		complain("auth", `auth = %q cannot name a user beside the administrator; write "auto", "plain" or a SCRAM, or another admin_style`, s.Auth)
	case s.Admin.Style == "kerio":
		complain("auth", `auth = %q: admin_style = "kerio" is a log-in of its own; write "auto"`, s.Auth)
	}
}

// certificate checks the certificate of our own.
func (l *loader) certificate(s *Server, complain complaint) {
	switch {
	case s.TLSCertFile == "" && s.TLSKeyFile == "":
		return
	case s.TLSKeyFile == "":
		complain("tls_cert_file", "tls_cert_file has no key; write tls_key_file = \"…\"")
		return
	case s.TLSCertFile == "":
		complain("tls_key_file", "tls_key_file has no certificate; write tls_cert_file = \"…\"")
		return
	case s.TLS == "none":
		complain("tls_cert_file", `tls_cert_file is of no use with tls = "none"`)
	}
	s.tlsKey = Secret{file: s.TLSKeyFile, whole: true}
	if !l.remember(&s.tlsKey, "tls_key_file", complain) {
		return
	}
	if err := l.once(s.TLSCertFile+"\x00"+s.TLSKeyFile, func() error {
		_, err := tls.LoadX509KeyPair(s.TLSCertFile, s.TLSKeyFile)
		return err
	}); err != nil {
		complain("tls_cert_file", "tls_cert_file: %v", err)
	}
}

// oauth2 checks one way to access tokens.
func (l *loader) oauth2(k *serverKeys, env []string, complain complaint) *OAuth2 {
	o := &OAuth2{Scopes: k.TokenScopes}
	switch {
	case k.TokenCommand != nil:
		if o.Command = (Secret{command: k.TokenCommand, env: env, whole: true}); len(k.TokenCommand) == 0 || k.TokenCommand[0] == "" {
			complain("token_command", "token_command is empty; write a program, with its arguments, that prints an access token")
		}
		return o
	case k.ServiceAccountFile != nil || k.ServiceAccountCredential != nil:
		o.ServiceAccount = l.secret(k, "service", complain)
		if len(o.Scopes) == 0 {
			o.Scopes = []string{"https://mail.google.com/"}
		}
		return o
	}
	o.URL, o.ClientID = or(k.TokenURL, ""), or(k.ClientID, "")
	o.ClientSecret, o.RefreshToken = l.secret(k, "client", complain), l.secret(k, "refresh", complain)
	at, err := url.Parse(o.URL)
	switch {
	case o.URL == "":
		complain("token_url", "token_url is missing; write the address of the token server, such as \"https://login.example.org/token\"")
	case err != nil || at.Hostname() == "" || at.User != nil:
		complain("token_url", "token_url: this is no address; write one such as \"https://login.example.org/token\"")
	case at.Scheme != "https" && !(at.Scheme == "http" && isLoopback(at.Hostname())):
		complain("token_url", "token_url: %q would send the client's secret in clear text; write https://", o.URL)
	case at.Hostname() == "login.microsoftonline.com" && len(o.Scopes) == 0 && !o.RefreshToken.Is():
		o.Scopes = []string{"https://outlook.office365.com/.default"}
	}
	if o.ClientID == "" {
		complain("client_id", "client_id is missing; write the name under which the token server knows imapsyncd")
	}
	if _, ones := chosen(k); ones["client"] == nil && ones["refresh"] == nil {
		complain("client_secret_file", "there is neither a client secret nor a refresh token; write client_secret_file = \"…\", refresh_token_file = \"…\", or both")
	}
	return o
}

// secret reads where one of the secrets is, by the keys that are alternatives
// for it. There may be none.
func (l *loader) secret(k *serverKeys, one string, complain complaint) Secret {
	var s Secret
	v := reflect.ValueOf(k).Elem()
	for i, tag := range serverTags() {
		if tag.one != one || v.Field(i).IsNil() {
			continue
		}
		name := tag.key
		switch {
		case strings.HasSuffix(name, "command"):
			if s.command = v.Field(i).Interface().([]string); len(s.command) == 0 || s.command[0] == "" {
				complain(name, `%s is empty; write a program and its arguments, such as ["pass", "show", "mail"]`, name)
			}
			continue
		case strings.HasSuffix(name, "file"):
			s.file = l.path(v.Field(i).Elem().String())
		case strings.HasSuffix(name, "credential"):
			var err error
			if s, err = systemd(v.Field(i).Elem().String()); err != nil {
				complain(name, "%s: %v", name, err)
				continue
			}
			if s.absent != nil {
				known := len(l.problems)
				complain(name, "%s: %v", name, s.absent)
				l.absent, l.problems = append(l.absent, l.problems[known:]...), l.problems[:known]
				continue
			}
		default:
			if s.value = v.Field(i).Elem().String(); s.value == "" {
				complain(name, "%s is empty", name)
			}
			continue
		}
		if s.whole = one == "service"; l.remember(&s, name, complain) && s.whole {
			if err := isServiceAccount(s); err != nil {
				complain(name, "%s: %v", name, err)
			}
		}
	}
	return s
}

// remember reads a secret from its file now, so that what is wrong is said with
// its line, and so that another secret is a change of the account.
func (l *loader) remember(s *Secret, name string, complain complaint) bool {
	known, ok := l.files[s.file]
	if !ok {
		known.sum, known.err = s.fileSum()
		if known.err == nil && !s.whole {
			_, known.err = s.Read(context.Background())
		}
		if l.files == nil {
			l.files = make(map[string]readFile)
		}
		l.files[s.file] = known
	}
	if known.err != nil {
		complain(name, "%s: %v", name, known.err)
	}
	s.sum = known.sum
	return known.err == nil
}

// isServiceAccount tells what is wrong with Google's key file.
func isServiceAccount(s Secret) error {
	text, err := s.Read(context.Background())
	if err != nil {
		return err
	}
	var key struct {
		Email string `json:"client_email"`
		Key   string `json:"private_key"`
	}
	if err := json.Unmarshal([]byte(text), &key); err != nil || key.Email == "" || key.Key == "" {
		return errors.New("this is no key of a service account: it lacks client_email or private_key; create one of type JSON")
	}
	return nil
}
