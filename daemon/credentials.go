package daemon

import (
	"fmt"
	"sync"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
	"github.com/imapsyncd/imapsyncd/daemon/token"
)

// credentials are what all accounts of a process log in by: accounts that
// share a way to access tokens share the tokens, and what one connection has
// shown serves the next.
type credentials struct {
	logIns      remote.LogIns
	compression remote.Compression

	mu     sync.Mutex
	tokens map[string]*token.Source
}

// server is one side of an account, ready to be dialed.
func (c *credentials) server(side remote.Side, account string, s config.Server) remote.Server {
	server := remote.Server{
		Side: side, Account: account, Host: s.Host, Port: s.Port, TLS: remote.TLSMode(s.TLS), AllowCleartext: s.AllowCleartext,
		TLSServerName: s.TLSServerName, TLSCAFile: s.TLSCAFile, TLSFingerprint: s.TLSFingerprint,
		TLSMinVersion: s.TLSMinVersion, TLSLegacy: s.TLSLegacyCiphers, TLSCertFile: s.TLSCertFile, TLSKeyFile: s.TLSKeyFile,
		Auth: s.Auth, User: s.User, LogIns: &c.logIns, Compress: remote.Compress(s.Compress), Compression: &c.compression,
		Admin: remote.Admin{Style: remote.AdminStyle(s.Admin.Style), User: s.Admin.User, Separator: s.Admin.Separator},
	}
	switch {
	case s.OAuth2 != nil:
		server.Tokens = c.source(s.OAuth2, s.User)
	case s.Password.Is():
		server.Password = s.Password.Read
	}
	return server
}

// source returns where an account gets its tokens, the same for all that get
// them in the same way.
func (c *credentials) source(o *config.OAuth2, user string) *token.Source {
	options := token.Options{URL: o.URL, ClientID: o.ClientID, Scopes: o.Scopes}
	key := o.Key()
	for _, s := range []struct {
		from config.Secret
		to   *token.Secret
	}{{o.Command, &options.Command}, {o.ServiceAccount, &options.ServiceAccount}, {o.ClientSecret, &options.ClientSecret}, {o.RefreshToken, &options.RefreshToken}} {
		if s.from.Is() {
			*s.to = s.from.Read
		}
	}
	if options.ServiceAccount != nil {
		options.Subject = user
		key += " " + user
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tokens == nil {
		c.tokens = make(map[string]*token.Source)
	}
	if c.tokens[key] == nil {
		c.tokens[key] = token.New(options)
	}
	return c.tokens[key]
}

// warnOfOldTLS says aloud, once for each server, that protection which is none
// any more has been allowed.
func (d *Daemon) warnOfOldTLS(accounts []config.Account) {
	told := make(map[string]bool)
	for _, a := range accounts {
		for side, s := range map[remote.Side]config.Server{remote.SideSource: a.Source, remote.SideDestination: a.Destination} {
			if at := fmt.Sprint(side, " ", s.Host, ":", s.Port); s.TLSLegacyCiphers && !told[at] {
				told[at] = true
				d.Logger.Warn("old TLS is allowed, which others can break: passwords and mail may be read on the way; remove tls_legacy_ciphers when the server is renewed",
					"side", string(side), "host", s.Host, "tls_min_version", s.TLSMinVersion)
			}
		}
	}
}
