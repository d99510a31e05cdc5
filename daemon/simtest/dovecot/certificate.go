package dovecot

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const day = 24 * time.Hour

// certificate makes an authority and a certificate signed by it.
func (s *Server) certificate(o Options) {
	s.t.Helper()
	until := time.Now().Add(cmp.Or(o.Expires, 60*day))
	if o.Expired {
		until = time.Now().Add(-day)
	}
	s.ca = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-2 * day), NotAfter: time.Now().Add(90 * day), KeyUsage: x509.KeyUsageCertSign,
	}
	caKey, caDER := s.sign(s.ca, nil, nil)
	s.caKey = caKey
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-2 * day), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.ParseIP(s.listen)},
	}
	if o.CertificateName != "" {
		leaf.DNSNames, leaf.IPAddresses = []string{o.CertificateName}, nil
	}
	s.CAFile = s.pem("ca.pem", "CERTIFICATE", caDER)
	s.keep("cert.pem", "key.pem", leaf)
}

// ClientCertificate makes a certificate for a user, signed by the authority of
// CAFile.
func (s *Server) ClientCertificate(name string) (cert, key string) {
	s.t.Helper()
	return s.keep(name+".cert.pem", name+".key.pem", &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-day), NotAfter: time.Now().Add(30 * day),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// keep signs a certificate and writes it with its key.
func (s *Server) keep(certName, keyName string, template *x509.Certificate) (cert, key string) {
	s.t.Helper()
	private, der := s.sign(template, s.ca, s.caKey)
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.pem(certName, "CERTIFICATE", der), s.pem(keyName, "EC PRIVATE KEY", secret)
}

func (s *Server) pem(name, kind string, der []byte) string {
	s.t.Helper()
	path := filepath.Join(s.Dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

func (s *Server) sign(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*ecdsa.PrivateKey, []byte) {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		s.t.Fatal(err)
	}
	return key, der
}
