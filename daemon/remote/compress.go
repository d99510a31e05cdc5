package remote

import (
	"bufio"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Compress says when a connection is compressed (COMPRESS=DEFLATE, RFC 4978),
// where the server offers it.
type Compress string

// The values of Compress; empty is CompressOff.
const (
	CompressAuto Compress = "auto" // when the server is farAway
	CompressOn   Compress = "on"
	CompressOff  Compress = "off"
)

// farAway is from which round-trip time on CompressAuto compresses. What the
// line between carries cannot be seen at a log-in, how far the server is can:
// within one house a server sends faster than it compresses, beyond it the line
// is narrower than that.
const farAway = 5 * time.Millisecond

// brokenAfter is how many connections in a row may end before anything that was
// compressed could be read, until none is compressed any more.
const brokenAfter = 3

// muteMost is how many octets of compression may come with nothing in them. A
// server that flushes now and then without need sends five.
const muteMost = lineMost

// Compression is what all connections of a process share: what it takes to
// compress, a megabyte each, and which servers do it wrongly. The zero value is
// ready; a nil one compresses nothing.
type Compression struct {
	pool sync.Pool // of *deflating

	mu    sync.Mutex
	fails map[string]int           // connections in a row, by address; brokenAfter: all
	away  map[string]time.Duration // the shortest time in which an answer has come, by address
}

// distance is how far away a server is, by the time that one more answer has taken.
// A busy machine, or server, makes that long: it is no longer than it ever was.
func (k *Compression) distance(server string, took time.Duration) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.away == nil {
		k.away = make(map[string]time.Duration)
	}
	if least, known := k.away[server]; known && least <= took {
		return least
	}
	k.away[server] = took
	return took
}

func (k *Compression) works(server string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fails[server] < brokenAfter
}

// worked notes that a server has said something that could be read.
func (k *Compression) worked(server string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.fails, server)
}

// failed notes so many failures, and tells whether the server's compression is
// given up with them.
func (k *Compression) failed(server string, n int) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fails == nil {
		k.fails = make(map[string]int)
	}
	before := k.fails[server]
	k.fails[server] = min(before+n, brokenAfter)
	return before < brokenAfter && k.fails[server] == brokenAfter
}

// mayCompress tells whether the server can.
func (c *Conn) mayCompress() bool {
	k := c.server.Compression
	return k != nil && c.Has("COMPRESS=DEFLATE") && k.works(c.server.address())
}

// wantsCompression decides by what the log-in has shown.
func (c *Conn) wantsCompression() bool {
	k := c.server.Compression
	if !c.mayCompress() {
		return false
	}
	auto := c.server.Compress == CompressAuto
	if !auto && c.away == 0 { // it has not been measured
		return c.server.Compress == CompressOn
	}
	away := k.distance(c.server.address(), c.away)
	return c.server.Compress == CompressOn || auto && away >= farAway
}

// compress begins compression, if it is wanted and the server does not refuse
// it. It is sent alone: what came after its answer would be compressed.
func (c *Conn) compress(ctx context.Context) error {
	if !c.wantsCompression() {
		return nil
	}
	replies, err := c.Raw(ctx, "COMPRESS DEFLATE")
	if err != nil {
		return err
	}
	if answer := replies[0].Tagged; answer.Type != "OK" {
		c.options.Logger.Debug("no compression", "side", string(c.server.Side), "answer", c.masked(answer.Text))
		return nil
	}
	// What has been read beyond the answer is the beginning of the stream.
	c.inflating = &inflating{Conn: c, from: flate.NewReader(c.in)}
	c.in = bufio.NewReaderSize(c.inflating, 16<<10)
	c.deflater = &deflater{to: progress{c}, pool: &c.server.Compression.pool}
	c.buffered.Reset(c.deflater)
	return nil
}

// flush sends what has been written, with an end up to which it can be read at
// once.
func (c *Conn) flush() error {
	err := c.buffered.Flush()
	if err == nil && c.deflater != nil {
		err = c.deflater.flush()
	}
	return err
}

// deflater compresses what is written until it is flushed. It starts afresh
// after that, which costs little and leaves a connection without anything
// written no larger than it was: the stream goes on, it only does not refer to
// what came before.
type deflater struct {
	to   io.Writer
	pool *sync.Pool

	mu  sync.Mutex
	now *deflating // nil: nothing has been written
}

// deflating is what it takes to compress. The second buffer is there because
// flate writes by a quarter of a kilobyte.
type deflating struct {
	*flate.Writer
	out *bufio.Writer
}

// By measurement on mail, BestSpeed compresses 120 to 260 MB/s to within 2 % of
// what the better levels reach at 60.
const deflateLevel = flate.BestSpeed

func (d *deflater) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.now == nil {
		if d.now, _ = d.pool.Get().(*deflating); d.now == nil {
			out := bufio.NewWriterSize(nil, 16<<10)
			w, err := flate.NewWriter(out, deflateLevel)
			if err != nil {
				return 0, err
			}
			d.now = &deflating{w, out}
		}
		d.now.out.Reset(d.to)
		d.now.Reset(d.now.out)
	}
	return d.now.Write(p)
}

func (d *deflater) flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.now == nil {
		return nil
	}
	if err := d.now.Flush(); err != nil {
		return err
	}
	if err := d.now.out.Flush(); err != nil {
		return err
	}
	d.now.out.Reset(nil)
	d.pool.Put(d.now)
	d.now = nil
	return nil
}

// nudgeAfter is how long a server that compresses may be silent while an answer is
// due, until it is nudged, and again.
const nudgeAfter = time.Second

// emptyBlock is what a flush adds to a stream that has been flushed: a stored block
// of no octets (RFC 1951 §3.2.4).
var emptyBlock = []byte{0, 0, 0, 0xff, 0xff}

// nudge sends what means nothing, unless something is being written. Cyrus waits
// for its socket when a command ends where a part of what it has inflated ends, and
// does not look at the commands that it has read, but not inflated yet: whoever
// pipelines waits for ever.
func (d *deflater) nudge() error {
	if !d.mu.TryLock() {
		return nil
	}
	defer d.mu.Unlock()
	if d.now != nil {
		return nil
	}
	_, err := d.to.Write(emptyBlock)
	return err
}

// setDeadline bounds a read while an answer is due. The caller holds clock.
func (c *Conn) setDeadline() {
	until := c.silent.Add(c.options.Timeout)
	if next := time.Now().Add(nudgeAfter); c.deflater != nil && next.Before(until) {
		until = next
	}
	c.wakeBy(until)
}

// patient tells whether a read that has come to its deadline goes on: it was that of
// another one, or of a command that has been answered, or there is time left.
func (c *Conn) patient() bool {
	c.clock.Lock()
	silent := time.Since(c.silent)
	c.readBy = longAgo
	c.clock.Unlock()
	if c.pending.Load() == 0 {
		return true
	}
	if silent >= c.options.Timeout {
		return false
	}
	return c.deflater == nil || silent < nudgeAfter || c.deflater.nudge() == nil
}

// inflating reads what the server has compressed. What comes out of it is
// bounded where it is read, like anything that a server says.
type inflating struct {
	*Conn
	from io.Reader
	mute int  // octets from the server since the last that was made of them
	made bool // anything at all
}

func (i *inflating) Read(p []byte) (int, error) {
	n, err := i.from.Read(p)
	if n > 0 {
		i.mute = 0
	}
	if n > 0 && err == nil && !i.made { // else it came to light only by the end
		i.made = true
		i.server.Compression.worked(i.server.address())
	}
	var corrupt flate.CorruptInputError
	switch {
	case errors.As(err, &corrupt):
		err = fmt.Errorf("%w: what it has compressed cannot be read", errProtocol)
		i.failed(brokenAfter, err)
	case err != nil && !i.made:
		i.failed(1, err)
	}
	return n, err
}

// take counts what has come for it.
func (i *inflating) take(octets int) error {
	if i.mute += octets; i.mute > muteMost {
		return fmt.Errorf("%w: %d octets of compression with nothing in them", errProtocol, i.mute)
	}
	return nil
}

// failed notes that the server's compression has been of no use, so many times.
func (i *inflating) failed(n int, err error) {
	if i.server.Compression.failed(i.server.address(), n) {
		i.options.Logger.Warn("compression does not work with this server, and is not used any more", "side", string(i.server.Side), "host", i.server.Host, "error", err)
	}
}
