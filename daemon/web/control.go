package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Controller is what the daemon lets the commands do. Errors are shown to the
// operator as they are.
type Controller interface {
	Status() Status
	// Pause and Resume act on the named accounts, or on all.
	Pause(accounts []string, all bool) error
	Resume(accounts []string, all bool) error
	// Reload reads the configuration again. allowRemovals lets it remove more
	// accounts than a slip of the hand would.
	Reload(ctx context.Context, allowRemovals bool) error
	// Sync runs a complete pass over the named accounts, or all, at once and
	// returns when it is done.
	Sync(ctx context.Context, accounts []string, all bool) error
}

// Found is one message: where it is on either side, and why not.
type Found struct {
	Source      *Place `json:"source,omitempty"`
	Destination *Place `json:"destination,omitempty"`
	// Receipt tells that the one is known to be the copy of the other; Touched
	// that its user has changed the copy since.
	Receipt bool `json:"receipt"`
	Touched bool `json:"touched"`
	// Held and HeldText say why it is not copied.
	Held     mail.Reason `json:"held,omitempty"`
	HeldText string      `json:"held_text,omitempty"`
}

// Place is a message in a mailbox.
type Place struct {
	Mailbox      string    `json:"mailbox"` // as people read it
	UID          mail.UID  `json:"uid"`
	InternalDate time.Time `json:"internal_date"`
	Size         int64     `json:"size"`
	Flags        []string  `json:"flags"`
}

// What the commands send.
type (
	accountsRequest struct {
		Accounts []string `json:"accounts"`
		All      bool     `json:"all"`
	}
	reloadRequest struct {
		AllowRemovals bool `json:"allow_removals"`
	}
	errorAnswer struct {
		Error string `json:"error"`
	}
)

// ControlOptions says how [ListenControl] listens.
type ControlOptions struct {
	// Path of the socket. Its directory exists.
	Path string
	// Listen listens in another way; nil: on a socket at Path that only its
	// owner and Group can use.
	Listen func(network, address string) (net.Listener, error)
	// Group may use the socket besides its owner; empty: nobody else.
	Group      string
	Controller Controller
	// Methods are what [Client.Call] may ask besides, by name.
	Methods map[string]Method
	Logger  *slog.Logger
}

// Control answers the commands on a unix socket.
type Control struct {
	options  ControlOptions
	listener net.Listener
	socket   fs.FileInfo // of the file that is ours; nil: there is none
}

// ListenControl takes the socket. What an ended daemon has left there is
// replaced; a daemon that answers and a file that is no socket are errors. The
// caller holds the lock of the state directory, so that no two do this at once.
func ListenControl(o ControlOptions) (*Control, error) {
	if o.Listen != nil {
		l, err := o.Listen("unix", o.Path)
		if err != nil {
			return nil, fmt.Errorf("control socket: %w", err)
		}
		return &Control{options: o, listener: l}, nil
	}
	if err := checkSocketPath(o.Path); err != nil {
		return nil, err
	}
	info, err := os.Lstat(o.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("control socket: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("control socket: %s is there and is not a socket", o.Path)
	default:
		conn, err := net.Dial("unix", o.Path)
		if err == nil {
			conn.Close()
			return nil, fmt.Errorf("control socket: another daemon answers at %s", o.Path)
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("control socket: %w", err)
		}
	}

	// Bound under another name, restricted, and only then put in its place:
	// the socket can never be used by others, and a stale one is replaced in
	// one step.
	temporary := filepath.Join(filepath.Dir(o.Path), ".sock~")
	if info, err := os.Lstat(temporary); err == nil && info.Mode().Type() == fs.ModeSocket {
		os.Remove(temporary)
	}
	if err := checkSocketPath(temporary); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	c := &Control{options: o, listener: l}
	if err := c.place(temporary); err != nil {
		l.Close()
		os.Remove(temporary)
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return c, nil
}

// place sets who may use the socket and moves it to its path.
func (c *Control) place(temporary string) error {
	if err := os.Chmod(temporary, 0o600); err != nil {
		return err
	}
	if c.options.Group != "" {
		g, err := user.LookupGroup(c.options.Group)
		if err != nil {
			return err
		}
		id, err := strconv.Atoi(g.Gid)
		if err != nil {
			return err
		}
		if err := os.Chown(temporary, -1, id); err != nil {
			return err
		}
		if err := os.Chmod(temporary, 0o660); err != nil {
			return err
		}
	}
	var err error
	if c.socket, err = os.Lstat(temporary); err != nil {
		return err
	}
	return os.Rename(temporary, c.options.Path)
}

// checkSocketPath refuses a name that a unix socket cannot have: the kernel
// would cut it or say "invalid argument".
func checkSocketPath(path string) error {
	most := len(syscall.RawSockaddrUnix{}.Path) - 1
	if len(path) > most {
		return fmt.Errorf("control socket: %s has %d bytes, the name of a unix socket at most %d; set socket to a shorter path", path, len(path), most)
	}
	return nil
}

// Serve answers the commands until ctx ends, which is no error, and removes
// the socket.
func (c *Control) Serve(ctx context.Context) error {
	defer c.Close()
	s := &http.Server{
		Handler: c.handler(),
		// Not ReadTimeout, which would end the context of what takes long.
		ReadHeaderTimeout: 10 * time.Second,
		// What takes long, such as a pass, ends with the daemon.
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(c.options.Logger.Handler(), slog.LevelDebug),
	}
	return serve(ctx, c.listener, s, func() error { return s.Serve(c.listener) })
}

// Close gives the socket up. After Serve it does nothing.
func (c *Control) Close() error {
	err := c.listener.Close()
	if c.socket != nil {
		if info, statErr := os.Lstat(c.options.Path); statErr == nil && os.SameFile(info, c.socket) {
			os.Remove(c.options.Path)
		}
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (c *Control) handler() http.Handler {
	daemon := c.options.Controller
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, daemon.Status().Counted())
	})
	mux.HandleFunc("POST /pause", answer(func(_ context.Context, q accountsRequest) (any, error) {
		return struct{}{}, daemon.Pause(q.Accounts, q.All)
	}))
	mux.HandleFunc("POST /resume", answer(func(_ context.Context, q accountsRequest) (any, error) {
		return struct{}{}, daemon.Resume(q.Accounts, q.All)
	}))
	mux.HandleFunc("POST /reload", answer(func(ctx context.Context, q reloadRequest) (any, error) {
		return struct{}{}, daemon.Reload(ctx, q.AllowRemovals)
	}))
	mux.HandleFunc("POST /sync", answer(func(ctx context.Context, q accountsRequest) (any, error) {
		return struct{}{}, daemon.Sync(ctx, q.Accounts, q.All)
	}))
	for name, method := range c.options.Methods {
		mux.HandleFunc("POST /"+name, http.HandlerFunc(method))
	}
	return mux
}

// Method answers one kind of request of [Client.Call].
type Method http.HandlerFunc

// NewMethod makes a Method of a function. Request and result travel as JSON, an
// error as its text.
func NewMethod[Q, R any](act func(context.Context, Q) (R, error)) Method {
	return Method(answer(func(ctx context.Context, q Q) (any, error) { return act(ctx, q) }))
}

// answer reads a request, acts and writes the result or the error.
func answer[Q any](act func(context.Context, Q) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var q Q
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
		d.DisallowUnknownFields()
		if err := d.Decode(&q); err != nil {
			writeJSON(w, http.StatusBadRequest, errorAnswer{"read request: " + err.Error()})
			return
		}
		result, err := act(r.Context(), q)
		if err != nil {
			writeJSON(w, http.StatusUnprocessableEntity, errorAnswer{err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, result)
	}
}
