package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
)

// asCrowd makes the test binary the two simulated servers of a crowd, so that
// their memory is their own. Its value is a crowdOrder.
const asCrowd = "IMAPSYNCD_TEST_AS_CROWD"

type crowdOrder struct {
	Accounts, Mailboxes int
	Notify              bool
	CAFile              string // is written
}

// crowdTold is what the servers say, a line each: first their ports, then for
// every delivery how long it took until the message was on the new server, and
// what they were asked when that is wanted.
type crowdTold struct {
	Ports map[string]int
	Took  time.Duration
	Asked crowdAsked
}

// crowdDelivery is what they are told. Without mailboxes there is none to be made:
// what they have been asked is wanted.
type crowdDelivery struct{ Account, Mailbox int }

// whatWasAsked is such a crowdDelivery.
var whatWasAsked = crowdDelivery{-1, -1}

// simulatedCrowd is a crowd on simulated servers, in a process of their own.
type simulatedCrowd struct {
	t      *testing.T
	caFile string
	ports  map[string]int
	in     *json.Encoder
	out    *json.Decoder
}

const crowdPassword = `p;"w`

func newSimulatedCrowd(t *testing.T, accounts, mailboxes int, notify bool) *simulatedCrowd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &simulatedCrowd{t: t, caFile: filepath.Join(t.TempDir(), "ca.pem")}
	order, err := json.Marshal(crowdOrder{accounts, mailboxes, notify, c.caFile})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), asCrowd+"="+string(order))
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the simulated servers: %v", err)
		}
	})
	c.in, c.out = json.NewEncoder(in), json.NewDecoder(bufio.NewReader(out))
	c.ports = c.told().Ports
	return c
}

func (c *simulatedCrowd) told() (told crowdTold) {
	if err := c.out.Decode(&told); err != nil {
		c.t.Errorf("the simulated servers: %v", err)
	}
	return told
}

func (c *simulatedCrowd) keys(string) string   { return fmt.Sprintf("tls_ca_file = %q\n", c.caFile) }
func (c *simulatedCrowd) port(side string) int { return c.ports[side] }
func (c *simulatedCrowd) password() string     { return crowdPassword }
func (c *simulatedCrowd) ready()               {}
func (c *simulatedCrowd) next() time.Duration  { return c.told().Took }
func (c *simulatedCrowd) asked() crowdAsked {
	c.deliver(whatWasAsked.Account, whatWasAsked.Mailbox)
	return c.told().Asked
}
func (c *simulatedCrowd) deliver(a, m int) {
	if err := c.in.Encode(crowdDelivery{a, m}); err != nil {
		c.t.Fatal(err)
	}
}

// crowdBox is the name of a mailbox.
func crowdBox(i int) string {
	if i == 0 {
		return "INBOX"
	}
	return fmt.Sprintf("F%02d", i)
}

// crowdMain is the simulated servers. They end with their standard input.
func crowdMain(order string) error {
	var o crowdOrder
	if err := json.Unmarshal([]byte(order), &o); err != nil {
		return err
	}
	certificate, err := selfSigned(o.CAFile)
	if err != nil {
		return err
	}
	capabilities := slices.DeleteFunc(slices.Clone(imapsim.Capabilities), func(c string) bool { return c == "NOTIFY" && !o.Notify })
	sides := map[string]map[string]*simtest.Server{"source": {}, "destination": {}}
	for i := range o.Accounts + 1 { // a reload adds one
		from := simtest.NewServer(1)
		for m := range o.Mailboxes {
			from.Make(crowdBox(m))
		}
		from.Deliver("INBOX", crowdMessage(-1), time.Now().Add(-24*time.Hour), mail.Flags{})
		sides["source"][crowdUser(i)], sides["destination"][crowdUser(i)] = from, simtest.NewServer(2)
	}
	told := crowdTold{Ports: make(map[string]int)}
	var asked askedCounter
	var servers []*imapsim.Server
	for side, users := range sides {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		server := imapsim.New(imapsim.Options{
			Users: users, Password: crowdPassword, Capabilities: capabilities, Source: side == "source",
			TLS:    &tls.Config{Certificates: []tls.Certificate{certificate}},
			Before: asked.counts(side),
		})
		go server.Serve(gathering{l})
		servers = append(servers, server)
		asked.servers = servers
		told.Ports[side] = l.Addr().(*net.TCPAddr).Port
	}
	var mu sync.Mutex // of out
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(told); err != nil {
		return err
	}
	in := json.NewDecoder(os.Stdin)
	for n := 0; ; n++ {
		var d crowdDelivery
		if err := in.Decode(&d); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		if d == whatWasAsked {
			out.Encode(crowdTold{Asked: asked.take()})
			continue
		}
		from, to, box := sides["source"][crowdUser(d.Account)], sides["destination"][crowdUser(d.Account)], crowdBox(d.Mailbox)
		at, want := time.Now(), 0
		from.Deliver(box, crowdMessage(n), at, mail.Flags{})
		from.Look(func() { want = len(from.Boxes[box].Messages) })
		go func() {
			for there := false; ; {
				news := to.News()
				to.Look(func() { there = to.Boxes[box] != nil && len(to.Boxes[box].Messages) >= want })
				if there {
					break
				}
				<-news
			}
			mu.Lock()
			defer mu.Unlock()
			out.Encode(crowdTold{Took: time.Since(at)})
		}()
	}
	for _, s := range servers {
		for _, violation := range s.Violations() {
			err = fmt.Errorf("a violation: %s", violation)
		}
	}
	return err
}

// gathering is a listener whose connections send what is written within a moment
// in one piece, as servers do: imapsim writes each response by itself.
type gathering struct{ net.Listener }

func (g gathering) Accept() (net.Conn, error) {
	conn, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &gathered{Conn: conn}, nil
}

type gathered struct {
	net.Conn
	mu   sync.Mutex
	wait []byte
}

func (g *gathered) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.wait) == 0 {
		time.AfterFunc(200*time.Microsecond, g.flush)
	}
	g.wait = append(g.wait, p...)
	return len(p), nil
}

func (g *gathered) Read(p []byte) (int, error) {
	g.flush() // nothing more is said before something is heard, but of news
	return g.Conn.Read(p)
}

func (g *gathered) Close() error {
	g.flush()
	return g.Conn.Close()
}

func (g *gathered) flush() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.wait) > 0 {
		g.Conn.Write(g.wait) // whoever reads learns of a failure
		g.wait = nil
	}
}

// crowdMessage is a message of about 3 KB.
func crowdMessage(n int) string {
	text := fmt.Sprintf("From: a@sender.example\r\nMessage-ID: <crowd%d@sender.example>\r\nSubject: number %d\r\n\r\n", n, n)
	for len(text) < 3000 {
		text += "It is not the content that counts here but that there is some.\r\n"
	}
	return text
}

// selfSigned makes a certificate for 127.0.0.1 and writes it to a file.
func selfSigned(file string) (c tls.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "crowd"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return c, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600)
}
