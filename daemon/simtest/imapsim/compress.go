package imapsim

import (
	"bufio"
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
	pool *sync.Pool // of *flate.Writer
}

func (d deflated) Write(p []byte) (n int, err error) {
	to, _ := d.pool.Get().(*flate.Writer)
	if to == nil {
		if to, err = flate.NewWriter(nil, flate.BestSpeed); err != nil {
			return 0, err
		}
	}
	to.Reset(d.Conn)
	if n, err = to.Write(p); err == nil {
		err = to.Flush()
	}
	to.Reset(nil)
	d.pool.Put(to)
	return n, err
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
	c.deflated, c.conn, c.in = true, deflated{c.conn, &c.deflaters}, bufio.NewReader(inflate(c.in))
	return "", nil
}
