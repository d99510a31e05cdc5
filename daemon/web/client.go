package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
)

// ErrNoDaemon is the error of every call when no daemon answers on the socket.
var ErrNoDaemon = errors.New("no daemon is running")

// Client asks a running daemon over its control socket.
type Client struct {
	path string
	http http.Client
}

// Dial returns a client of the daemon at a socket. Nothing is connected before
// the first call.
func Dial(path string) *Client {
	return &Client{path: path, http: http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}}
}

// Status asks how things are.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	err = c.call(ctx, http.MethodGet, "status", nil, &s)
	return s, err
}

// Pause stops the passes over the named accounts, or all.
func (c *Client) Pause(ctx context.Context, accounts []string, all bool) error {
	return c.call(ctx, http.MethodPost, "pause", accountsRequest{accounts, all}, nil)
}

// Resume takes the passes up again.
func (c *Client) Resume(ctx context.Context, accounts []string, all bool) error {
	return c.call(ctx, http.MethodPost, "resume", accountsRequest{accounts, all}, nil)
}

// Reload has the configuration read again.
func (c *Client) Reload(ctx context.Context, allowRemovals bool) error {
	return c.call(ctx, http.MethodPost, "reload", reloadRequest{allowRemovals}, nil)
}

// Sync runs a complete pass over the named accounts, or all, and waits for it.
func (c *Client) Sync(ctx context.Context, accounts []string, all bool) error {
	return c.call(ctx, http.MethodPost, "sync", accountsRequest{accounts, all}, nil)
}

// Call asks a [Method].
func (c *Client) Call(ctx context.Context, name string, request, result any) error {
	return c.call(ctx, http.MethodPost, name, request, result)
}

// call sends one request. An error of the daemon has the daemon's words only.
func (c *Client) call(ctx context.Context, method, name string, request, result any) error {
	if err := checkSocketPath(c.path); err != nil {
		return err
	}
	var body io.Reader
	if request != nil {
		b, err := json.Marshal(request)
		if err != nil {
			return fmt.Errorf("ask the daemon to %s: %w", name, err)
		}
		body = bytes.NewReader(b)
	}
	q, err := http.NewRequestWithContext(ctx, method, "http://imapsyncd/"+name, body)
	if err != nil {
		return fmt.Errorf("ask the daemon to %s: %w", name, err)
	}
	answer, err := c.http.Do(q)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: nobody answers at %s", ErrNoDaemon, c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("no permission to use %s: run this as root or as the user of the daemon", c.path)
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("ask the daemon: %w; it may have ended meanwhile", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		var e errorAnswer
		if json.Unmarshal(text, &e) != nil || e.Error == "" {
			return fmt.Errorf("the daemon does not know %q: it is of another version (%s)", name, answer.Status)
		}
		return errors.New(e.Error)
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(text, result); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	return nil
}
