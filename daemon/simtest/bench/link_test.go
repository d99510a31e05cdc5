package bench

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// link is a path to a server: a distance that costs time and no throughput,
// since what follows a piece of data on its way does not wait for it; a width,
// which all connections share; and a count of what passes.
type link struct {
	port     int
	target   string
	oneWay   time.Duration
	toServer lane
	toClient lane
	commands atomic.Int64 // command lines of clients
	up, down atomic.Int64 // octets to the server, from it
}

// window is how much may be under way on one connection in one direction, far
// more than a path of that length needs: beyond it the sender waits.
const window = 16 << 20

// lane is one direction of a path.
type lane struct {
	rate float64 // octets a second; 0: any number

	mu   sync.Mutex
	free time.Time // when the last piece has gone
}

// gone is when so many octets have gone that come now.
func (l *lane) gone(octets int) time.Time {
	now := time.Now()
	if l.rate == 0 {
		return now
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(float64(octets) / l.rate * float64(time.Second)))
	return l.free
}

// newLink starts a path to an address with a round-trip time and a width in
// octets a second, 0 for any.
func newLink(t testing.TB, target string, roundTrip time.Duration, rate float64) *link {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &link{target: target, oneWay: roundTrip / 2, port: listener.Addr().(*net.TCPAddr).Port}
	l.toServer.rate, l.toClient.rate = rate, rate
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		open = make(map[net.Conn]bool)
		over bool
	)
	keep := func(c net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		if open[c] = true; over {
			c.Close()
		}
	}
	all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			keep(client)
			all.Go(func() {
				defer client.Close()
				time.Sleep(3 * l.oneWay) // SYN, SYN-ACK, ACK
				server, err := net.Dial("tcp", l.target)
				if err != nil {
					return
				}
				defer server.Close()
				keep(server)
				var lines lineCounter
				var both sync.WaitGroup
				both.Go(func() {
					l.carry(client, server, &l.toServer, func(data []byte) {
						l.up.Add(int64(len(data)))
						l.commands.Add(int64(lines.count(data)))
					})
				})
				both.Go(func() { l.carry(server, client, &l.toClient, func(data []byte) { l.down.Add(int64(len(data))) }) })
				both.Wait()
				mu.Lock()
				delete(open, client)
				delete(open, server)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		mu.Lock()
		over = true
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return l
}

// carry forwards what one end sends, each piece when it is due.
func (l *link) carry(from, to net.Conn, by *lane, passing func([]byte)) {
	type piece struct {
		data []byte
		due  time.Time
	}
	const size = 64 << 10
	pieces := make(chan piece, window/size)
	ended := make(chan struct{})
	go func() {
		defer close(pieces)
		for {
			data := make([]byte, size)
			n, err := from.Read(data)
			if n > 0 {
				passing(data[:n])
				select {
				case pieces <- piece{data[:n], by.gone(n).Add(l.oneWay)}:
				case <-ended:
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range pieces {
		time.Sleep(time.Until(p.due)) // the distance
		if _, err := to.Write(p.data); err != nil {
			from.Close()
			close(ended)
			return
		}
	}
	if half, ok := to.(*net.TCPConn); ok {
		half.CloseWrite() // the other direction may still have something to say
	}
}

// lineCounter counts command lines in what a client sends, without literals
// and what belongs to them.
type lineCounter struct {
	line    []byte // the beginning of one, enough of it
	last    []byte // its end
	literal int64
	within  bool // the line goes on after a literal
}

func (c *lineCounter) count(data []byte) int {
	n := 0
	for len(data) > 0 {
		if c.literal > 0 {
			skip := min(c.literal, int64(len(data)))
			c.literal -= skip
			data = data[skip:]
			continue
		}
		part, rest, whole := bytes.Cut(data, []byte("\n"))
		c.line = append(c.line, part[:min(len(part), max(0, 64-len(c.line)))]...)
		c.last = append(c.last, part...)
		c.last = c.last[max(0, len(c.last)-32):]
		if data = rest; !whole {
			return n
		}
		if !c.within && bytes.IndexByte(c.line, ' ') > 0 {
			n++
		}
		c.literal = announced(c.last)
		c.within = c.literal >= 0
		c.line, c.last = c.line[:0], c.last[:0]
	}
	return n
}

// announced is the size of the literal that a line ends with, -1 without one.
func announced(line []byte) int64 {
	line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\r")), []byte("}"))
	open := bytes.LastIndexByte(line, '{')
	if open < 0 {
		return -1
	}
	n, err := strconv.ParseInt(string(bytes.TrimSuffix(line[open+1:], []byte("+"))), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// forget sets the counts to 0.
func (l *link) forget() {
	l.commands.Store(0)
	l.up.Store(0)
	l.down.Store(0)
}

// row is the counts as cells of a table.
func (l *link) row() string {
	return fmt.Sprintf("%d commands | %.1f KB | %.1f KB", l.commands.Load(), float64(l.up.Load())/1e3, float64(l.down.Load())/1e3)
}
