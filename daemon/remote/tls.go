package remote

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

var tlsVersions = map[string]uint16{"1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

// Security is how a connection is protected; zero: not at all.
type Security struct {
	Version     string    // such as "TLS 1.3"
	Cipher      string    // such as "TLS_AES_128_GCM_SHA256"
	Weak        bool      // the version or the cipher is not safe any more
	Names       string    // what the server's certificate is for
	Fingerprint string    // its SHA-256, hexadecimal
	NotAfter    time.Time // when it expires
}

func securityOf(state tls.ConnectionState) Security {
	cert := state.PeerCertificates[0]
	return Security{
		Version: tls.VersionName(state.Version), Cipher: tls.CipherSuiteName(state.CipherSuite),
		Weak: state.Version < tls.VersionTLS12 || slices.ContainsFunc(tls.InsecureCipherSuites(), func(suite *tls.CipherSuite) bool {
			return suite.ID == state.CipherSuite
		}),
		Names: names(cert), Fingerprint: fingerprint(cert), NotAfter: cert.NotAfter,
	}
}

func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// errFingerprint: the certificate is not the one that is configured.
var errFingerprint = errors.New("the certificate is another one than tls_fingerprint says")

// errShownAgain: what a certificate is held against is kept for one handshake.
var errShownAgain = errors.New("the server shows a certificate once more on the same connection")

// tlsConfig returns how to check the server's certificate, and where the one
// that it shows is kept for a message about it.
func (s Server) tlsConfig() (*tls.Config, **x509.Certificate, error) {
	seen := new(*x509.Certificate)
	config := &tls.Config{ServerName: cmp.Or(s.TLSServerName, s.Host), MinVersion: tlsVersions[cmp.Or(s.TLSMinVersion, "1.2")]}
	if s.TLSLegacy {
		for _, suite := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
			config.CipherSuites = append(config.CipherSuites, suite.ID)
		}
	}
	if s.TLSCertFile != "" {
		// Read for each log-in: it may have been renewed.
		own, err := tls.LoadX509KeyPair(s.TLSCertFile, s.TLSKeyFile)
		if err != nil {
			return nil, nil, s.fail(ClassCertificate, err, "tls_cert_file and tls_key_file cannot be used: "+err.Error(), "")
		}
		config.Certificates = []tls.Certificate{own}
	}
	var roots *x509.CertPool // nil: the system's
	if s.TLSCAFile != "" {
		pem, err := os.ReadFile(s.TLSCAFile)
		if err != nil {
			return nil, nil, s.fail(ClassCertificate, err, "tls_ca_file cannot be read: "+err.Error(), "")
		}
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, nil, s.fail(ClassCertificate, nil, "tls_ca_file "+s.TLSCAFile+" holds no certificate", "")
		}
	}
	name, pinned := config.ServerName, strings.ToLower(strings.ReplaceAll(s.TLSFingerprint, ":", "")) // this is kept with the connection
	// The check is ours, so that the certificate can be described when it fails.
	config.InsecureSkipVerify = true
	shown := false
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if shown { // there is no renegotiation
			return errShownAgain
		}
		shown = true
		certs := state.PeerCertificates
		*seen = certs[0]
		if pinned != "" {
			if fingerprint(certs[0]) != pinned {
				return errFingerprint
			}
			return nil
		}
		options := x509.VerifyOptions{Roots: roots, DNSName: name, Intermediates: x509.NewCertPool()}
		roots = nil // it is asked once only
		for _, c := range certs[1:] {
			options.Intermediates.AddCert(c)
		}
		_, err := certs[0].Verify(options)
		if wrong := (x509.HostnameError{}); errors.As(err, &wrong) {
			// The right name is of no use where nobody has signed it.
			options.DNSName = ""
			if _, untrusted := certs[0].Verify(options); untrusted != nil {
				err = untrusted
			}
		}
		return err
	}
	return config, seen, nil
}

// tlsError says what is wrong with a handshake and which line mends it.
func (s Server) tlsError(err error, cert *x509.Certificate) *Error {
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	section := "[" + string(s.Side) + "]"
	if cert == nil {
		if isTimeout(err) {
			return s.fail(ClassTimeout, err, "no TLS handshake in time", "check port and tls in "+section)
		}
		advice := "check port and tls in " + section
		if words := err.Error(); !s.TLSLegacy && (strings.Contains(words, "protocol version") || strings.Contains(words, "handshake failure")) {
			advice = "it may speak no TLS that is still safe: if it cannot be renewed, see tls_min_version and tls_legacy_ciphers"
		}
		return s.fail(ClassTLS, err, "TLS fails: "+err.Error(), advice)
	}
	told := s.fail(ClassCertificate, err, "", "")
	told.Key, told.Value = "tls_fingerprint", fingerprint(cert)
	switch pin := fmt.Sprintf("write into %s: tls_fingerprint = %q", section, told.Value); {
	case errors.Is(err, errFingerprint):
		told.Text, told.Advice = "shows another certificate than tls_fingerprint says, one for "+names(cert), "if it was renewed, "+pin
	case errors.As(err, &name):
		told.Text, told.Advice = fmt.Sprintf("the certificate is for %s, not for %s (fingerprint %s)", names(cert), name.Host, told.Value), pin
		if first := firstName(cert); first != "" {
			told.Key, told.Value = "tls_server_name", first
			told.Advice = fmt.Sprintf("if that is the server, write into %s: tls_server_name = %q", section, first)
		}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		told.Text = fmt.Sprintf("the certificate for %s is valid from %s to %s only", names(cert), cert.NotBefore.Format(time.DateOnly), cert.NotAfter.Format(time.DateOnly))
		told.Advice = "renew it, or " + pin
	default:
		told.Text, told.Advice = fmt.Sprintf("the certificate for %s cannot be trusted: %v", names(cert), err), "set tls_ca_file to its authority, or "+pin
	}
	return told
}

// names lists what a certificate is for.
func names(cert *x509.Certificate) string {
	list := append([]string{}, cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		list = append(list, ip.String())
	}
	if len(list) == 0 {
		list = append(list, cert.Subject.CommonName)
	}
	if len(list) > 10 {
		list = append(list[:10], "…")
	}
	return printable(strings.Join(list, ", "))
}

func firstName(cert *x509.Certificate) string {
	switch {
	case len(cert.DNSNames) > 0:
		return printable(cert.DNSNames[0])
	case len(cert.IPAddresses) > 0:
		return cert.IPAddresses[0].String()
	}
	return ""
}
