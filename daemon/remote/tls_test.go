package remote

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pair is a certificate that is its own authority.
type pair struct {
	tls.Certificate
	certFile, keyFile string
	pool              *x509.CertPool
}

func newPair(t *testing.T, key crypto.Signer, err error) pair {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(72 * time.Hour).Truncate(time.Second), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p := pair{certFile: filepath.Join(t.TempDir(), "cert.pem"), pool: x509.NewCertPool()}
	p.keyFile = p.certFile + ".key"
	for file, block := range map[string]*pem.Block{p.certFile: {Type: "CERTIFICATE", Bytes: der}, p.keyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if p.Certificate, err = tls.LoadX509KeyPair(p.certFile, p.keyFile); err != nil {
		t.Fatal(err)
	}
	p.pool.AddCert(p.Leaf)
	return p
}

func ecPair(t *testing.T) pair {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return newPair(t, key, err)
}

func rsaPair(t *testing.T) pair {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	return newPair(t, key, err)
}

// secured puts TLS before a scripted server that takes every log-in.
func secured(t *testing.T, config *tls.Config) Server {
	t.Helper()
	fake := newFakeServer(t, SideSource, "", func(conn net.Conn, _ *bufio.Reader) {
		conn = tls.Server(conn, config)
		io.WriteString(conn, "* OK ready\r\n")
		answers(func(command string) string {
			return "* CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=EXTERNAL SASL-IR\r\nTAG OK\r\n"
		})(conn, bufio.NewReader(conn))
	})
	return serverAt(t, fake, TLSImplicit)
}

func serverAt(t *testing.T, fake *fakeServer, mode TLSMode) Server {
	t.Helper()
	address, err := net.ResolveTCPAddr("tcp", fake.address)
	if err != nil {
		t.Fatal(err)
	}
	return Server{Side: SideSource, Account: "a", Host: "127.0.0.1", Port: address.Port, TLS: mode, User: "jo", Password: secret("s3cret-w0rd")}
}

// TestOldTLS: a server that speaks nothing newer than TLS 1.0, or only a cipher
// that is not safe any more, is talked to when that is allowed, and then it
// shows.
func TestOldTLS(t *testing.T) {
	p := rsaPair(t)
	for _, c := range []struct {
		name    string
		server  *tls.Config
		least   string
		version string
	}{
		{"TLS 1.0", &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, "1.0", "TLS 1.0"},
		{"TLS 1.1", &tls.Config{MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS11}, "1.1", "TLS 1.1"},
		{"old cipher", &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}}, "1.2", "TLS 1.2"},
	} {
		c.server.Certificates = []tls.Certificate{p.Certificate}
		c.server.CipherSuites = append(c.server.CipherSuites, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA)
		s := secured(t, c.server)
		s.TLSCAFile = p.certFile
		var far *Error
		if _, err := dialed(t, s); !errors.As(err, &far) || far.Class != ClassTLS || !strings.Contains(err.Error(), "tls_min_version and tls_legacy_ciphers") {
			t.Errorf("%s: %v", c.name, err)
		}
		s.TLSMinVersion, s.TLSLegacy = c.least, true
		conn, err := Dial(t.Context(), s, Options{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		conn.Close()
		if seen := conn.Security(); !seen.Weak || seen.Version != c.version || seen.Cipher != "TLS_RSA_WITH_3DES_EDE_CBC_SHA" || seen.Names != "127.0.0.1" || !seen.NotAfter.Equal(p.Leaf.NotAfter) {
			t.Errorf("%s: %+v", c.name, seen)
		}
	}
	// Where both can do better they do.
	s := secured(t, &tls.Config{Certificates: []tls.Certificate{p.Certificate}})
	s.TLSCAFile, s.TLSMinVersion, s.TLSLegacy = p.certFile, "1.0", true
	conn, err := Dial(t.Context(), s, Options{})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if seen := conn.Security(); seen.Weak || seen.Version != "TLS 1.3" {
		t.Errorf("%+v", seen)
	}
}

// TestClientCertificate: a server that wants a certificate of ours gets it, and
// the one that is renewed from the next log-in on.
func TestClientCertificate(t *testing.T) {
	p, own, next := ecPair(t), ecPair(t), ecPair(t)
	config := &tls.Config{Certificates: []tls.Certificate{p.Certificate}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: own.pool}
	own.pool.AddCert(next.Leaf)
	var seen []string
	config.VerifyConnection = func(state tls.ConnectionState) error {
		seen = append(seen, fingerprint(state.PeerCertificates[0]))
		return nil
	}
	s := secured(t, config)
	s.TLSCAFile = p.certFile
	var far *Error
	if _, err := dialed(t, s); !errors.As(err, &far) || far.Class != ClassTLS || !strings.Contains(err.Error(), "tls_cert_file in [source]") {
		t.Errorf("without a certificate: %v", err)
	}
	s.TLSCertFile, s.TLSKeyFile, s.Password, s.Auth = own.certFile, own.keyFile, nil, "external"
	if _, err := dialed(t, s); err != nil {
		t.Error(err)
	}
	for _, file := range [][2]string{{next.certFile, own.certFile}, {next.keyFile, own.keyFile}} {
		if err := os.Rename(file[0], file[1]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := dialed(t, s); err != nil {
		t.Error(err)
	}
	if len(seen) != 2 || seen[0] != fingerprint(own.Leaf) || seen[1] != fingerprint(next.Leaf) {
		t.Errorf("shown %q", seen)
	}
	if err := os.Remove(own.keyFile); err != nil {
		t.Fatal(err)
	}
	if _, err := dialed(t, s); err == nil || !strings.Contains(err.Error(), "tls_cert_file and tls_key_file cannot be used") {
		t.Errorf("without its key: %v", err)
	}
}

// TestStartTLS: what comes before TLS counts for nothing, and what would have
// it count ends the connection before a secret is sent.
func TestStartTLS(t *testing.T) {
	p := ecPair(t)
	upgrade := func(conn net.Conn) (net.Conn, *bufio.Reader) {
		secured := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{p.Certificate}})
		return secured, bufio.NewReader(secured)
	}
	for _, c := range []struct {
		name, greeting, answer string
		want                   string
	}{
		{"as it should be", "* OK [CAPABILITY IMAP4rev1 STARTTLS LITERAL+ AUTH=CRAM-MD5] ready\r\n", "* CAPABILITY IMAP4rev1 AUTH=CRAM-MD5 LITERAL+\r\nTAG OK begin\r\n", ""},
		{"injected response", "* OK ready\r\n", "TAG OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n", "somebody may be injecting commands"},
		{"injected garbage", "* OK ready\r\n", "TAG OK begin\r\n\x16\x03", "somebody may be injecting commands"},
		{"PREAUTH", "* PREAUTH welcome\r\n", "", "greets with PREAUTH"},
		{"refused", "* OK ready\r\n", "TAG NO not now\r\n", "the password is not sent in clear text"},
		{"unknown", "* OK ready\r\n", "TAG BAD what\r\n", "the password is not sent in clear text"},
		{"greeted by BYE", "* BYE too many connections\r\n", "", "lower max_connections"},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := new(transcript)
			s := serverAt(t, newFakeServer(t, SideSource, "", func(conn net.Conn, in *bufio.Reader) {
				io.WriteString(conn, c.greeting)
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				log.add(line)
				tag, _, _ := strings.Cut(line, " ")
				if io.WriteString(conn, strings.ReplaceAll(c.answer, "TAG", tag)); strings.Contains(c.answer, " OK ") {
					conn, in = upgrade(conn)
				}
				answers(func(command string) string {
					log.add(command)
					return "* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\nTAG OK\r\n"
				})(conn, in)
			}), TLSStartTLS)
			s.TLSCAFile = p.certFile
			conn, err := Dial(t.Context(), s, Options{Timeout: 5 * time.Second})
			if err == nil {
				conn.Close()
			}
			if c.want == "" && (err != nil || conn.Has("LITERAL+") || !strings.Contains(log.String(), "AUTHENTICATE PLAIN ")) ||
				c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(log.String(), "AUTHENTICATE") || strings.Contains(log.String(), "LOGIN")) {
				t.Errorf("%v, sent %q", err, log)
			}
		})
	}
}

// TestShownOnce: what a certificate is held against is forgotten after the
// handshake. One that is shown later would be held against the system's
// authorities, and so is refused.
func TestShownOnce(t *testing.T) {
	own := ecPair(t)
	config, _, err := Server{Host: "127.0.0.1", TLSCAFile: own.certFile}.tlsConfig()
	if err != nil {
		t.Fatal(err)
	}
	state := tls.ConnectionState{PeerCertificates: []*x509.Certificate{own.Leaf}}
	if err := config.VerifyConnection(state); err != nil {
		t.Fatal(err)
	}
	if err := config.VerifyConnection(state); !errors.Is(err, errShownAgain) {
		t.Errorf("shown again: %v", err)
	}
}
