package config

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// server makes one side of an account of what it inherits and of its own keys.
func (l *loader) server(a *Account, side, account string, shared, own *serverKeys) Server {
	k := inherit(shared, own)
	// An account's own key is blamed where it stands, else the one it inherits;
	// a line of a list is blamed for nothing that cannot stand there.
	listed := l.at[account].file != ""
	inLine := func(name string) bool {
		return name == "user" || name == "password" || name == "password_file" && k.PasswordFile == nil || name == "host" && own.Host != nil
	}
	var complain complaint = func(name, format string, args ...any) {
		text := fmt.Sprintf("[%s] %s", side, fmt.Sprintf(format, args...))
		key, shared := account+"."+side+"."+name, side+"."+name
		if own := l.at[key].line != 0 || l.at[shared].line == 0; listed && inLine(name) || !listed && own {
			l.complain(key, "account %s: %s", a.Name, text)
		} else if !l.told[text] {
			if l.told == nil {
				l.told = make(map[string]bool)
			}
			l.told[text] = true
			l.complain(shared, "account %s: %s", a.Name, text)
		}
	}
	s := Server{
		Host: or(k.Host, ""), Port: or(k.Port, 0), TLS: or(k.TLS, "implicit"), AllowCleartext: or(k.AllowCleartext, false),
		TLSServerName: or(k.TLSServerName, ""), TLSCAFile: l.path(or(k.TLSCAFile, "")), TLSMinVersion: or(k.TLSMinVersion, "1.2"),
		TLSLegacyCiphers: or(k.TLSLegacyCiphers, false), TLSCertFile: l.path(or(k.TLSCertFile, "")), TLSKeyFile: l.path(or(k.TLSKeyFile, "")),
		Auth: or(k.Auth, "auto"), Compress: or(k.Compress, "auto"), MaxConnections: or(k.MaxConnections, 50), MaxConnectionsPerAccount: or(k.MaxConnectionsPerAccount, 4),
		User: or(k.User, ""),
	}
	oneOf := func(name, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			complain(name, "%s: %q; write one of %s", name, value, strings.Join(allowed, ", "))
		}
	}
	oneOf("tls", s.TLS, "implicit", "starttls", "none")
	oneOf("tls_min_version", s.TLSMinVersion, "1.0", "1.1", "1.2", "1.3")
	if s.TLSMinVersion < "1.2" && !s.TLSLegacyCiphers {
		complain("tls_min_version", "tls_min_version: %q is not safe any more; if the server speaks nothing newer, write tls_legacy_ciphers = true too", s.TLSMinVersion)
	}
	oneOf("auth", s.Auth, "auto", "plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256", "xoauth2", "oauthbearer", "external")
	oneOf("compress", s.Compress, "auto", "on", "off")
	if s.Host == "" {
		complain("host", "host is missing; write the name or address of the server")
	} else if strings.ContainsFunc(s.Host, notOfHost) && net.ParseIP(s.Host) == nil {
		complain("host", "host: %q is no name or address; the port goes into port", s.Host)
	}
	if s.Port == 0 && k.Port == nil {
		if s.Port = 993; s.TLS != "implicit" {
			s.Port = 143
		}
	} else if s.Port < 1 || s.Port > 65535 {
		complain("port", "port: %d; write 1 to 65535", s.Port)
	}
	if s.TLS == "none" && !s.AllowCleartext && !isLoopback(s.Host) && s.Host != "" {
		complain("tls", `tls = "none" would send the password to %s in clear text; write "implicit" or "starttls", or allow_cleartext = true`, s.Host)
	}
	for name, n := range map[string]int{"max_connections": s.MaxConnections, "max_connections_per_account": s.MaxConnectionsPerAccount} {
		if n < 1 {
			complain(name, "%s: %d; at least 1", name, n)
		}
	}
	reserve := or(k.QuotaReserve, "5%")
	percent, err := strconv.ParseFloat(strings.TrimSuffix(reserve, "%"), 64)
	switch {
	case side == "source" && k.QuotaReserve != nil:
		complain("quota_reserve", "quota_reserve: nothing is written to the old server; write it below [destination]")
	case err != nil || !strings.HasSuffix(reserve, "%") || !(percent >= 0 && percent <= 90):
		complain("quota_reserve", "quota_reserve: %q; write a part of the quota such as \"5%%\", at most \"90%%\"", reserve)
	}
	s.QuotaReserve = percent / 100
	switch s.Namespaces = k.Namespaces; {
	case side == "destination" && k.Namespaces != nil:
		complain("namespaces", "namespaces: on the new server everything goes into what is its user's own; write it below [source]")
	case k.Namespaces == nil:
		s.Namespaces = []string{"personal"}
	case len(k.Namespaces) == 0:
		complain("namespaces", "namespaces: it is empty; write [\"personal\"], and \"shared\" or \"other\" beside it")
	}
	for _, name := range s.Namespaces {
		oneOf("namespaces", name, "personal", "shared", "other")
	}
	if s.TLSCAFile != "" {
		if err := l.once(s.TLSCAFile, func() error { return holdsCertificate(s.TLSCAFile) }); err != nil {
			complain("tls_ca_file", "tls_ca_file: %v", err)
		}
	}
	if text := or(k.TLSFingerprint, ""); text != "" {
		s.TLSFingerprint = strings.ToLower(strings.ReplaceAll(text, ":", ""))
		if sum, err := hex.DecodeString(s.TLSFingerprint); err != nil || len(sum) != 32 {
			complain("tls_fingerprint", "tls_fingerprint: %q; write the 64 hexadecimal digits of the certificate's SHA-256", text)
		}
	}
	if s.User == "" {
		complain("user", "user is missing; write the log-in name")
	} else if strings.ContainsFunc(s.User, unicode.IsControl) {
		complain("user", "user: %q has a control character; write the log-in name as the server knows it", s.User)
	}
	if own.Limits != nil {
		limits := l.limits(account+"."+side+".limits", Limits{}, own.Limits)
		if own.Limits.DailyBytesPerAccount != nil {
			l.complain(account+"."+side+".limits.daily_bytes_per_account", "account %s: daily_bytes_per_account is for all accounts, below [%s.limits]; write daily_bytes here", a.Name, side)
		}
		s.Limits = &limits
	}
	l.logIn(&s, k, []string{"IMAPSYNCD_ACCOUNT=" + a.Name, "IMAPSYNCD_SIDE=" + side, "IMAPSYNCD_USER=" + s.User}, complain)
	return s
}

func holdsCertificate(file string) error {
	pem, err := os.ReadFile(file)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
		err = fmt.Errorf("%s holds no certificate in PEM", file)
	}
	return err
}

// notOfHost tells what stands in no name of a host.
func notOfHost(r rune) bool {
	return unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune("/:@", r)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
