package remote

import (
	"bytes"
	"compress/flate"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestNudged: a server that goes on with the commands it has read only when more
// comes, as Cyrus does, is sent what means nothing; one that never answers is given
// up in time all the same.
func TestNudged(t *testing.T) {
	for _, answers := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			nudges := 0
			s, o, _ := deflatingServer(t, 0, func(k *talk) {
				k.say("TAG OK active")
				var commands []string
				out, _ := flate.NewWriter(k.Conn, flate.BestSpeed)
				in, feed := io.Pipe()
				defer feed.Close()
				inflated := make(chan string, 10)
				go func() {
					defer close(inflated)
					line := make([]byte, 0, 100)
					from := flate.NewReader(in)
					for octet := make([]byte, 1); ; {
						if _, err := io.ReadFull(from, octet); err != nil {
							return
						}
						if line = append(line, octet...); octet[0] == '\n' {
							inflated <- string(line)
							line = line[:0]
						}
					}
				}()
				for part := make([]byte, 4096); ; {
					n, err := k.in.Read(part)
					if err != nil {
						return
					}
					if bytes.Equal(part[:n], emptyBlock) {
						nudges++
					}
					feed.Write(part[:n])
					synctest.Wait()
					for len(inflated) > 0 {
						commands = append(commands, <-inflated)
					}
					if !answers || len(commands) == 0 {
						continue
					}
					tag, _, _ := strings.Cut(commands[0], " ")
					commands = commands[1:]
					io.WriteString(out, tag+" OK done\r\n")
					out.Flush()
				}
			})
			conn, err := Dial(t.Context(), s, o)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			began := time.Now()
			replies, err := conn.Raw(t.Context(), "NOOP", "NOOP", "NOOP", "NOOP")
			took := time.Since(began)
			if answers && (err != nil || len(replies) != 4 || nudges != 3) {
				t.Errorf("%v: %v after %s and %d nudges", replies, err, took, nudges)
			}
			if !answers && (err == nil || took != o.Timeout) {
				t.Errorf("it never answers: %v after %s", err, took)
			}
		})
	}
}
