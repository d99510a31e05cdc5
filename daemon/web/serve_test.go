package web_test

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/web"
)

// TestWebConfigFile: with a web configuration the page is served over TLS, to
// who has the password, and a password that is changed is asked for at once.
func TestWebConfigFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	lender := httptest.NewTLSServer(nil) // of a certificate and of a client that trusts it
	defer lender.Close()
	certificate := lender.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write("page.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]})))
	write("page.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	const tls = "tls_server_config:\n  cert_file: page.crt\n  key_file: page.key\n"
	const users = "basic_auth_users:\n  prometheus: "
	// "secret" and "other", as htpasswd -nbB -C 4 writes them.
	file := write("web.yml", tls+users+"$2y$04$qF75iT1diSpencmH//WD3eH8lQY6afbL/TqcQrKFv2sMiwyynIlnG\n")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- web.Serve(ctx, l, file, handler(sample, true), slog.New(slog.DiscardHandler)) }()
	client := lender.Client()
	expect := func(url, password string, want int) {
		t.Helper()
		q, err := http.NewRequestWithContext(ctx, "GET", url+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		if password != "" {
			q.SetBasicAuth("prometheus", password)
		}
		answer, err := client.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, _ := io.ReadAll(answer.Body)
		if answer.StatusCode != want || (want == 200) != strings.Contains(string(body), "imapsyncd_test 42") {
			t.Errorf("%s with %q: %s\n%s", url, password, answer.Status, body)
		}
	}
	address := l.Addr().String()
	expect("http://"+address, "secret", 400)
	expect("https://"+address, "", 401)
	expect("https://"+address, "other", 401)
	expect("https://"+address, "secret", 200)
	write("web.yml", tls+users+"$2y$04$YH0kuE6G82SK7oQ/wCpPWuYOkh0DF2uZEfKUj0Bo9t0tvs5uUKsI.\n")
	expect("https://"+address, "secret", 401)
	expect("https://"+address, "other", 200)

	// Who watches is let go at the end, over HTTP/2 too.
	transport := lender.Client().Transport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2 = true
	defer transport.CloseIdleConnections()
	q, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+address+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	q.SetBasicAuth("prometheus", "other")
	events, err := transport.RoundTrip(q)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	if events.ProtoMajor != 2 || events.StatusCode != 200 {
		t.Errorf("events: %s %s", events.Proto, events.Status)
	}
	lines := bufio.NewReader(events.Body)
	if line, err := lines.ReadString('\n'); err != nil || line != "event: head\n" {
		t.Errorf("events: %q, %v", line, err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Errorf("the events end with %v", err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
