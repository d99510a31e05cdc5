package remote

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/netsim"
)

const compressAt = "127.0.0.1:143"

// listening serves a simulated network until the end of the test.
func listening(t *testing.T, network *netsim.Network, serve func(net.Listener)) {
	l, err := network.Listen("tcp", compressAt)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		serve(l)
	}()
	t.Cleanup(func() {
		l.Close()
		network.Sever()
		<-ended
	})
}

// deflatingServer starts a server that is so far away, and leaves the connection to
// answer once it has been asked for compression. What is asked is in the
// transcript.
func deflatingServer(t *testing.T, away time.Duration, answer func(k *talk)) (Server, Options, *transcript) {
	network, log := new(netsim.Network), new(transcript)
	listening(t, network, func(l net.Listener) {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			k := &talk{Conn: conn, in: bufio.NewReader(conn)}
			k.say("* OK ready")
			for line := k.read(); line != ""; line = k.read() {
				var command string
				k.tag, command, _ = strings.Cut(line, " ")
				log.add(command)
				time.Sleep(away)
				switch command {
				case "CAPABILITY":
					k.say("* CAPABILITY IMAP4rev1 COMPRESS=DEFLATE", "TAG OK done")
				case "COMPRESS DEFLATE":
					answer(k)
				default:
					k.say("TAG OK")
				}
			}
			conn.Close()
		}
	})
	s := Server{
		Side: SideSource, Host: "127.0.0.1", Port: 143, TLS: TLSNone, User: "jo", Password: secret("x"),
		Compress: CompressOn, Compression: new(Compression),
	}
	return s, Options{Dial: network.Dial, Timeout: time.Minute}, log
}

// squeezed is text compressed, to where it can be read at once.
func squeezed(text string) string {
	var out bytes.Buffer
	w, _ := flate.NewWriter(&out, flate.BestCompression)
	io.WriteString(w, text)
	w.Flush()
	return out.String()
}

// TestCompressWhen: only where it is wanted and offered, by how far the server
// is away if that is what it depends on, and not where the server refuses it.
func TestCompressWhen(t *testing.T) {
	for _, c := range []struct {
		name     string
		away     time.Duration
		compress Compress
		answer   string
		want     bool // it was asked for
	}{
		{"near, auto", farAway - 1, CompressAuto, "TAG NO", false},
		{"far, auto", farAway, CompressAuto, "TAG NO", true},
		{"near, on", 0, CompressOn, "TAG NO [COMPRESSIONACTIVE] TLS does it", true},
		{"refused as unknown", 0, CompressOn, "TAG BAD what?", true},
		{"far, off", time.Second, CompressOff, "TAG NO", false},
		{"not said", time.Second, "", "TAG NO", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, o, log := deflatingServer(t, c.away, func(k *talk) { k.say(c.answer) })
				s.Compress = c.compress
				conn, err := Dial(t.Context(), s, o)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if asked := slices.Contains(log.all(), "COMPRESS DEFLATE"); asked != c.want {
					t.Errorf("asked for it: %v", asked)
				}
				// After a refusal it goes on as before.
				if replies, err := conn.Raw(t.Context(), "NOOP"); err != nil || replies[0].Tagged.Type != "OK" {
					t.Errorf("%+v %v", replies, err)
				}
			})
		})
	}
}

// TestCompressBusy: a server that has once answered quickly is near, however long it
// takes now.
func TestCompressBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		compression := new(Compression)
		for i, away := range []time.Duration{farAway, 0, farAway} {
			s, o, log := deflatingServer(t, away, func(k *talk) { k.say("TAG NO") })
			s.Compress, s.Compression = CompressAuto, compression
			conn, err := Dial(t.Context(), s, o)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if asked, want := slices.Contains(log.all(), "COMPRESS DEFLATE"), i == 0; asked != want {
				t.Errorf("connection %d: asked for it: %v", i+1, asked)
			}
		}
	})
}

// TestCompressUnmeasured: a connection that is not compressed in any case, and whose
// log-in took no command that would tell, says nothing about how far the server is.
func TestCompressUnmeasured(t *testing.T) {
	k := new(Compression)
	wants := func(compress Compress, away time.Duration) bool {
		c := newConn(Server{Host: "imap.example.org", Compress: compress, Compression: k}, Options{}, nil)
		c.caps, c.away = map[string]bool{"COMPRESS=DEFLATE": true}, away
		return c.wantsCompression()
	}
	if wants(CompressOff, 0) || !wants(CompressOn, 0) || !wants(CompressAuto, farAway) {
		t.Error("what was not measured counts")
	}
	if wants(CompressOff, farAway-1) || !wants(CompressOn, farAway) || wants(CompressAuto, farAway) {
		t.Error("what was measured does not count")
	}
}

// TestCompressedAtOnce: what a server sends together with its consent is
// compressed already.
func TestCompressedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o, _ := deflatingServer(t, 0, func(k *talk) {
			io.WriteString(k, k.tag+" OK begin\r\n"+squeezed("* 7 EXISTS\r\n"))
		})
		conn, err := Dial(t.Context(), s, o)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if r, err := conn.Next(t.Context()); err != nil || r.Type != "EXISTS" || r.Num != 7 {
			t.Errorf("%+v %v", r, err)
		}
	})
}

// endless is sent again and again until nobody takes it any more, or there has
// been too much of it.
func endless(k *talk, what string, most int) (sent int) {
	for sent < most {
		n, err := io.WriteString(k, what)
		if sent += n; err != nil {
			return sent
		}
	}
	return sent
}

// TestCompressedWithoutEnd: what a server makes of little is bounded like
// anything that it says, and so is what is made of nothing.
func TestCompressedWithoutEnd(t *testing.T) {
	const most = 10 << 20
	empty := strings.Repeat("\x00\x00\x00\xff\xff", 1000) // stored blocks without an octet
	line := strings.Repeat("a", 1<<20)
	for _, c := range []struct {
		name, first, then string
		want              string
	}{
		{"line", squeezed("* OK "), squeezed(line), "a line of more than"},
		{"blocks", squeezed("* OK"), empty, "octets of compression with nothing in them"},
		{"blocks from the beginning", "", empty, "octets of compression with nothing in them"},
		{"literal", squeezed("* LIST () {17000000}\r\n"), squeezed(line), "a response of more than"},
		{"literals", "", squeezed("* LIST () {1000000}\r\n" + line[:1000000] + " {1000000}\r\n" + line[:1000000]), "a response of more than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sent := make(chan int, 1)
				s, o, _ := deflatingServer(t, 0, func(k *talk) {
					io.WriteString(k, k.tag+" OK begin\r\n"+c.first)
					sent <- endless(k, c.then, most)
				})
				conn, err := Dial(t.Context(), s, o)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_, err = conn.Next(t.Context())
				var far *Error
				if !errors.As(err, &far) || far.Class != ClassProtocol || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v", err)
				}
				if n := <-sent; n >= most {
					t.Errorf("%d octets were taken", n)
				}
			})
		})
	}
}

// TestCompressionGivenUp: a server that compresses wrongly is talked to without
// from then on, one that goes silent after it has asked for patience too.
func TestCompressionGivenUp(t *testing.T) {
	text := squeezed("* 7 EXISTS\r\n")
	for _, c := range []struct {
		name   string
		answer func(k *talk)
		after  int // connections
	}{
		{"nonsense", func(k *talk) { io.WriteString(k, k.tag+" OK\r\n\xff\xff\xff\xff") }, 1},
		{"nonsense later", func(k *talk) { io.WriteString(k, k.tag+" OK\r\n"+text+"\xff\xff\xff\xff") }, 1},
		{"not flushed", func(k *talk) { io.WriteString(k, k.tag+" OK\r\n"+text[:len(text)-6]) }, brokenAfter},
		{"not compressed", func(k *talk) { k.say("TAG OK", "* 7 EXISTS") }, 1},
		{"closed", func(k *talk) { k.say("TAG OK"); k.Close() }, brokenAfter},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, o, log := deflatingServer(t, 0, c.answer)
				for range c.after {
					conn, err := Dial(t.Context(), s, o)
					if err != nil {
						t.Fatal(err)
					}
					for err == nil {
						_, err = conn.Next(t.Context())
					}
					conn.Close()
				}
				if n := strings.Count(log.String(), "COMPRESS"); n != c.after {
					t.Errorf("it was asked for %d times", n)
				}
				conn, err := Dial(t.Context(), s, o)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if n := strings.Count(log.String(), "COMPRESS"); n != c.after {
					t.Error("it was asked for again")
				}
				if _, err := conn.Raw(t.Context(), "NOOP"); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestCompressionForgives: failures count only when nothing has worked between
// them.
func TestCompressionForgives(t *testing.T) {
	var k Compression
	for range 3 {
		if !k.works("a") || k.failed("a", brokenAfter-1) {
			t.Fatal("given up too early")
		}
		k.worked("a")
	}
	if k.failed("b", 1) || !k.failed("b", brokenAfter) || k.failed("b", 1) || k.works("b") || !k.works("a") {
		t.Error("not given up once, or with another server")
	}
}

// TestCompressedCuts breaks compressed connections everywhere: no message is
// taken for whole that is not, on either side.
func TestCompressedCuts(t *testing.T) {
	texts := []string{"Subject: 1\r\n\r\nZ1 CREATE pwned\r\n", strings.Repeat("Z2 DELETE INBOX\r\n", 300), "Subject: 3\r\n\r\n" + strings.Repeat("x", 70_000)}
	for _, side := range []Side{SideSource, SideDestination} {
		whole := 0
		for octets := 0; whole == 0; octets += 29 {
			if octets > 10_000 {
				t.Fatalf("%s: so much cannot be said, compressed", side)
			}
			for _, toClient := range []bool{true, false} {
				synctest.Test(t, func(t *testing.T) {
					if cutCompressed(t, side, texts, octets, toClient) {
						whole++
					}
				})
			}
			if whole == 1 {
				whole = 0 // in one direction less is said
			}
		}
	}
}

// cutCompressed carries the texts over a connection that breaks behind so many
// octets, and tells whether it did not come to that.
func cutCompressed(t *testing.T, side Side, texts []string, octets int, toClient bool) bool {
	model := simtest.NewServer(7)
	model.Make("INBOX")
	sim := imapsim.New(imapsim.Options{Users: map[string]*simtest.Server{"jo": model}, Password: "x", Capabilities: imapsim.Capabilities, Source: side == SideSource})
	fuse := netsim.NewFuse(octets, netsim.Break(octets%2))
	network := &netsim.Network{Faults: func(string) netsim.Faults {
		if toClient {
			return netsim.Faults{ToClient: fuse}
		}
		return netsim.Faults{ToServer: fuse}
	}}
	listening(t, network, func(l net.Listener) { sim.Serve(l) })
	open := func(ctx context.Context) (*Conn, error) {
		conn, err := Dial(ctx, Server{
			Side: side, Host: "127.0.0.1", Port: 143, TLS: TLSNone, User: "jo", Password: secret("x"), Compress: CompressOn, Compression: new(Compression),
		}, Options{Dial: network.Dial, Timeout: time.Minute})
		if err == nil && conn.deflater == nil {
			t.Error("not compressed")
		}
		return conn, err
	}
	where := fmt.Sprintf("%s, cut behind %d octets, to the client: %v", side, octets, toClient)
	if side == SideSource {
		var uids []mail.UID
		for _, text := range texts {
			model.Deliver("INBOX", text, noon, mail.Flags{})
			uids = append(uids, mail.UID(len(uids)+1))
		}
		s := NewSource(SourceOptions{Open: open, Logger: quiet()})
		defer s.Close()
		n := 0
		for body, err := range s.Bodies(t.Context(), mail.Ref{Name: "INBOX"}, uids) {
			if err != nil {
				break
			}
			data, err := io.ReadAll(body.Content)
			if err != nil {
				break
			}
			if string(data) != texts[n] {
				t.Errorf("%s: message %d is not as it was", where, n)
			}
			n++
		}
		if !fuse.Blown() && n != len(texts) {
			t.Errorf("%s: %d messages", where, n)
		}
	} else {
		d := NewDestination(DestinationOptions{Open: open, Logger: quiet()})
		defer d.Close()
		outcomes := []mail.Appended{{}, {}, {}}
		a, err := d.Appender(t.Context(), mail.Ref{Name: "INBOX"})
		if err == nil {
			defer a.Close()
			outcomes, _ = outcomesOf(a.Append(t.Context(), []mail.Upload{text(texts[0]), text(texts[1]), text(texts[2])}))
		} else {
			for i := range outcomes {
				outcomes[i].Err = mail.ErrNotSent
			}
		}
		network.Sever()
		synctest.Wait()
		model.Look(func() {
			stored := make(map[string]int)
			for _, m := range model.Boxes["INBOX"].Messages {
				stored[m.Data]++
			}
			for i, outcome := range outcomes {
				if n := stored[texts[i]]; n > 1 || outcome.Err == nil && n != 1 || errors.Is(outcome.Err, mail.ErrNotSent) && n != 0 {
					t.Errorf("%s: message %d, %v, is there %d times", where, i, outcome.Err, n)
				}
				delete(stored, texts[i])
			}
			if len(stored) > 0 || len(model.Boxes) != 1 {
				t.Errorf("%s: there is what was not sent: %v", where, model.Boxes)
			}
		})
	}
	if v := sim.Violations(); v != nil && !fuse.Blown() {
		t.Errorf("%s: %v", where, v)
	}
	return !fuse.Blown()
}
