package remote

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// benchServer answers every FETCH by the same octets.
func benchServer(b *testing.B, fetched []byte) *fakeServer {
	return newFakeServer(b, SideSource, "CONDSTORE UIDPLUS", func(conn net.Conn, in *bufio.Reader) {
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			tag, command, _ := strings.Cut(line, " ")
			var answer []byte
			switch {
			case strings.HasPrefix(command, "EXAMINE"):
				answer = []byte("* 1000000 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 1000001] ok\r\n")
			case strings.HasPrefix(command, "UID FETCH"):
				answer = fetched
			case strings.HasPrefix(command, "LOGOUT"):
				answer = []byte("* BYE\r\n")
			}
			if _, err := conn.Write(append(answer[:len(answer):len(answer)], tag+" OK done\r\n"...)); err != nil {
				return
			}
		}
	})
}

const benchRows = 10_000

func benchUIDs(n int) []mail.UID {
	uids := make([]mail.UID, n)
	for i := range uids {
		uids[i] = mail.UID(i + 1)
	}
	return uids
}

var benchMail = strings.Repeat("A line of a message as there are many.\r\n", 75) // 3 KB

// perSecond reports how many of something were done a second.
func perSecond(b *testing.B, n int, what string) {
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), what+"/s")
}

// BenchmarkResponse reads the responses of a server one by one.
func BenchmarkResponse(b *testing.B) {
	for _, c := range []struct{ name, line string }{
		{"fetch", "* 4711 FETCH (UID 4711 FLAGS (\\Seen $Label1) INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" RFC822.SIZE 44827)\r\n"},
		{"status", "* STATUS \"Customers/M&APw-ller\" (MESSAGES 231 UIDNEXT 44292 UIDVALIDITY 1436726424 HIGHESTMODSEQ 90060115194045001)\r\n"},
		{"size", "* 4711 FETCH (UID 4711 RFC822.SIZE 44827)\r\n"},
		{"append", "A142 OK [APPENDUID 38505 3955:4004] APPEND completed\r\n"},
	} {
		b.Run(c.name, func(b *testing.B) {
			text := []byte(strings.Repeat(c.line, benchRows))
			b.SetBytes(int64(len(c.line)))
			b.ReportAllocs()
			var in *bufio.Reader
			left := 0
			for b.Loop() {
				if left == 0 {
					in, left = bufio.NewReaderSize(bytes.NewReader(text), 64<<10), benchRows
				}
				if _, err := readResponse(in); err != nil {
					b.Fatal(err)
				}
				left--
			}
		})
	}
}

// BenchmarkMessages reads the metadata of mail, without and with what a
// fingerprint needs, and mail itself.
func BenchmarkMessages(b *testing.B) {
	rows := func(item string) []byte {
		var text bytes.Buffer
		for i := range benchRows {
			fmt.Fprintf(&text, "* %d FETCH (UID %d FLAGS (\\Seen) INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" RFC822.SIZE %d%s)\r\n", i+1, i+1, len(benchMail), item)
		}
		return text.Bytes()
	}
	prefix := fmt.Sprintf(" BODY[]<0> {%d}\r\n%s", mail.PrefixLen, benchMail[:mail.PrefixLen])
	whole := fmt.Sprintf(" BODY[] {%d}\r\n%s", len(benchMail), benchMail)
	ref, uids := mail.Ref{Name: "INBOX", UIDValidity: 7}, benchUIDs(benchRows)
	run := func(name string, text []byte, read func(*Source) (int, error)) {
		b.Run(name, func(b *testing.B) {
			source := NewSource(SourceOptions{Open: benchServer(b, text).dial, Logger: quiet()})
			closing(b, source)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if n, err := read(source); err != nil || n != benchRows {
					b.Fatal(n, err)
				}
			}
			perSecond(b, benchRows, "messages")
		})
	}
	metadata := func(fingerprints bool) func(*Source) (int, error) {
		return func(s *Source) (n int, err error) {
			for _, err := range s.Messages(b.Context(), ref, uids, fingerprints) {
				if err != nil {
					return n, err
				}
				n++
			}
			return n, nil
		}
	}
	run("metadata", rows(""), metadata(false))
	run("fingerprints", rows(prefix), metadata(true))
	run("bodies", rows(whole), func(s *Source) (n int, err error) {
		for body, err := range s.Bodies(b.Context(), ref, uids) {
			if err == nil {
				_, err = io.Copy(io.Discard, body.Content)
			}
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	})
}

// BenchmarkAppend appends mail to a server that takes everything at once.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct {
		name, caps     string
		messages, size int
	}{
		{"3 KB together", "LITERAL+ MULTIAPPEND UIDPLUS", 1000, 3 << 10},
		{"3 KB one by one", "LITERAL+ UIDPLUS", 1000, 3 << 10},
		{"300 KB", "LITERAL+ MULTIAPPEND UIDPLUS", 50, 300 << 10},
	} {
		b.Run(c.name, func(b *testing.B) {
			server := newFakeServer(b, SideDestination, c.caps, swallow)
			destination := NewDestination(DestinationOptions{Open: server.dial, Logger: quiet()})
			closing(b, destination)
			appender, err := destination.Appender(b.Context(), mail.Ref{Name: "INBOX", UIDValidity: 7})
			if err != nil {
				b.Fatal(err)
			}
			data := bytes.Repeat([]byte("x"), c.size)
			uploads := make([]mail.Upload, c.messages)
			for i := range uploads {
				uploads[i] = mail.Upload{Size: int64(c.size), Content: mail.Octets(data), Flags: mail.Flags{System: mail.Seen}, Date: time.Unix(1e9, 0)}
			}
			b.SetBytes(int64(c.messages * c.size))
			b.ReportAllocs()
			for b.Loop() {
				answer := <-appender.Append(b.Context(), uploads)
				if answer.Err != nil {
					b.Fatal(answer.Err)
				}
				for _, outcome := range answer.Outcomes {
					if outcome.Err != nil {
						b.Fatal(outcome.Err)
					}
				}
			}
			perSecond(b, c.messages, "messages")
		})
	}
}

// swallow serves a connection that appends to one mailbox, of which nothing is
// kept.
func swallow(conn net.Conn, in *bufio.Reader) {
	next := 1
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		tag, command, _ := strings.Cut(strings.TrimSpace(line), " ")
		answer := tag + " OK done\r\n"
		switch {
		case strings.HasPrefix(command, "SELECT"):
			answer = "* FLAGS (\\Seen)\r\n* 0 EXISTS\r\n* OK [PERMANENTFLAGS (\\Seen \\*)] ok\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 1] ok\r\n" + answer
		case strings.HasPrefix(command, "APPEND"):
			first := next
			for line = command; strings.HasSuffix(line, "+}"); next++ {
				size, err := strconv.Atoi(line[strings.LastIndexByte(line, '{')+1 : len(line)-2])
				if err != nil {
					return
				}
				if _, err := io.CopyN(io.Discard, in, int64(size)); err != nil {
					return
				}
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
				line = strings.TrimSpace(line)
			}
			answer = fmt.Sprintf("%s OK [APPENDUID 7 %d:%d] done\r\n", tag, first, next-1)
			if next == first+1 {
				answer = fmt.Sprintf("%s OK [APPENDUID 7 %d] done\r\n", tag, first)
			}
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
	}
}
