package imapsim

import (
	"bufio"
	"compress/flate"
	"net"
	"strings"
)

// deflated compresses what is written to a connection, each piece so that it
// can be read at once.
type deflated struct {
	net.Conn
	to *flate.Writer
}

func (d *deflated) Write(p []byte) (int, error) {
	n, err := d.to.Write(p)
	if err == nil {
		err = d.to.Flush()
	}
	return n, err
}

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
	to, err := flate.NewWriter(c.conn, flate.BestSpeed)
	if err != nil {
		return "", err
	}
	c.send("%s OK begin", k.tag)
	c.deflated, c.conn, c.in = true, &deflated{c.conn, to}, bufio.NewReader(flate.NewReader(c.in))
	return "", nil
}
