package config

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
)

// inherit returns base with every key that own has. A password of its own, by
// whatever way, replaces the inherited one.
func inherit(base, own serverKeys) serverKeys {
	if own.Password != nil || own.PasswordFile != nil || own.PasswordCommand != nil {
		base.Password, base.PasswordFile, base.PasswordCommand = nil, nil, nil
	}
	from, to := reflect.ValueOf(own), reflect.ValueOf(&base).Elem()
	for i := range from.NumField() {
		if !from.Field(i).IsNil() {
			to.Field(i).Set(from.Field(i))
		}
	}
	return base
}

// server makes one side of an account of what it inherits and of its own keys.
func (l *loader) server(a *Account, side, account string, shared, own serverKeys) Server {
	k := inherit(shared, own)
	// at is where a key stands: with the account, else with what it inherits.
	at := func(name string) string {
		if key := account + "." + side + "." + name; l.at[key].line != 0 || l.at[side+"."+name].line == 0 {
			return key
		}
		return side + "." + name
	}
	complain := func(name, format string, args ...any) {
		l.complain(at(name), "account %s: [%s] %s", a.Name, side, fmt.Sprintf(format, args...))
	}
	s := Server{
		Host: or(k.Host, ""), Port: or(k.Port, 0), TLS: or(k.TLS, "implicit"), AllowCleartext: or(k.AllowCleartext, false),
		TLSServerName: or(k.TLSServerName, ""), TLSCAFile: l.path(or(k.TLSCAFile, "")), TLSMinVersion: or(k.TLSMinVersion, "1.2"),
		Auth: or(k.Auth, "auto"), MaxConnections: or(k.MaxConnections, 50), MaxConnectionsPerAccount: or(k.MaxConnectionsPerAccount, 4),
		User: or(k.User, ""),
	}
	oneOf := func(name, value string, allowed ...string) {
		if !slices.Contains(allowed, value) {
			complain(name, "%s: %q; write one of %s", name, value, strings.Join(allowed, ", "))
		}
	}
	oneOf("tls", s.TLS, "implicit", "starttls", "none")
	oneOf("tls_min_version", s.TLSMinVersion, "1.2", "1.3")
	oneOf("auth", s.Auth, "auto", "plain", "login")
	if s.Host == "" {
		complain("host", "host is missing; write the name or address of the server")
	} else if strings.ContainsAny(s.Host, "/:@ ") && net.ParseIP(s.Host) == nil {
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
	if s.TLSCAFile != "" {
		if pem, err := os.ReadFile(s.TLSCAFile); err != nil {
			complain("tls_ca_file", "tls_ca_file: %v", err)
		} else if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			complain("tls_ca_file", "tls_ca_file: %s holds no certificate in PEM", s.TLSCAFile)
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
	}
	s.Password = l.secret(k, complain)
	return s
}

// secret checks that there is exactly one way to the password.
func (l *loader) secret(k serverKeys, complain func(name, format string, args ...any)) Secret {
	var s Secret
	ways := 0
	if k.Password != nil {
		ways++
		if s.value = *k.Password; s.value == "" {
			complain("password", "password is empty")
		}
	}
	if k.PasswordFile != nil {
		ways++
		s.file = l.path(*k.PasswordFile)
		// Read now, so that what is wrong is said with its line, and so that
		// another password is a change of the account.
		password, err := Secret{file: s.file}.Read(context.Background())
		if err != nil {
			complain("password_file", "password_file: %v", err)
		}
		s.sum = sha256.Sum256([]byte(password))
	}
	if k.PasswordCommand != nil {
		ways++
		if s.command = k.PasswordCommand; len(s.command) == 0 || s.command[0] == "" {
			complain("password_command", `password_command is empty; write a program and its arguments, such as ["pass", "show", "mail"]`)
		}
	}
	switch {
	case ways == 0:
		complain("password_file", "there is no password; write password_file = \"…\"")
	case ways > 1:
		complain("password_file", "password, password_file and password_command exclude one another; keep one")
	}
	return s
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
