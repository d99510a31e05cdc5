package imapsim

import (
	"bufio"
	"bytes"
	"compress/flate"
	"io"
	"net"
	"strings"
	"sync"
)

// deflated compresses what is written to a connection, each piece by itself, so
// that it can be read at once and a connection that waits holds nothing of the
// megabyte that it takes: the server lives in the process whose memory is measured.
type deflated struct {
	net.Conn
	*deflater
}

// deflater is what the connections of a server compress with, one after the
// other. A sync.Pool drops what it is given where the race detector watches.
type deflater struct {
	mu sync.Mutex
	to *flate.Writer // nil: nothing was compressed yet
}

func (d deflated) Write(p []byte) (n int, err error) {
	var piece bytes.Buffer // who compresses does not wait for a client
	if err := d.piece(&piece, p); err != nil {
		return 0, err
	}
	if _, err := d.Conn.Write(piece.Bytes()); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (d *deflater) piece(to io.Writer, p []byte) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.to == nil {
		if d.to, err = flate.NewWriter(nil, flate.BestSpeed); err != nil {
			return err
		}
	}
	d.to.Reset(to)
	defer d.to.Reset(nil)
	if _, err := d.to.Write(p); err != nil {
		return err
	}
	return d.to.Flush()
}

// inflated is what a client has compressed, as long as the client is there. Go's
// inflate keeps back what it has made until more comes, and gives it out when
// nothing can come any more; other servers have seen it long before, so that it
// must not be taken for a command of half an hour later.
type inflated struct {
	in   io.Reader
	from io.Reader // inflates what is read of in
	err  error     // of in
}

func inflate(in io.Reader) *inflated {
	i := &inflated{in: in}
	i.from = flate.NewReader(bufio.NewReader(readerFunc(func(p []byte) (n int, err error) {
		n, err = i.in.Read(p)
		i.err = err
		return n, err
	})))
	return i
}

func (i *inflated) Read(p []byte) (int, error) {
	n, err := i.from.Read(p)
	if i.err != nil {
		return 0, i.err
	}
	return n, err
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// compress is COMPRESS (RFC 4978). What the client has sent before it had the
// answer is a violation.
func (c *session) compress(k *command) (string, error) {
	mechanism, err := k.word()
	if err != nil {
		return "", err
	}
	if err := k.end(); err != nil {
		return "", err
	}
	switch {
	case !strings.EqualFold(mechanism, "DEFLATE"):
		return "NO not offered", nil
	case c.deflated:
		return "NO [COMPRESSIONACTIVE] it is already", nil
	case c.in.Buffered() > 0:
		c.violated("sent behind COMPRESS, before its answer: %d octets", c.in.Buffered())
	}
	c.send("%s OK begin", k.tag)
	c.deflated, c.conn, c.in = true, deflated{c.conn, &c.deflater}, bufio.NewReader(inflate(c.in))
	return "", nil
}
