package web

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	toolkit "github.com/prometheus/exporter-toolkit/web"
)

// Gatherer is what /metrics shows.
type Gatherer = prometheus.Gatherer

// Options says what [New] shows.
type Options struct {
	// Status is asked for each page; it must not wait for servers or disks.
	Status func() Status
	// Account is asked for the page of one account. It may read a file of this
	// machine, but waits for no server; false: there is no such account.
	Account func(name string) (AccountDetails, bool)
	// Every is how often a page that is watched is rendered anew; 0: two seconds.
	Every time.Duration
	// Ready tells whether the accounts are being worked on.
	Ready    func() bool
	Gatherer Gatherer
	Logger   *slog.Logger
}

//go:embed style.css page.js icon.svg
var files embed.FS

// New returns the handler of everything that is served over TCP.
func New(o Options) http.Handler {
	status := func() Status { return o.Status().Counted() }
	mux := http.NewServeMux()
	servePages(mux, o, status)
	for name, kind := range map[string]string{"style.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"} {
		mux.HandleFunc("GET /"+name, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", kind+"; charset=utf-8")
			http.ServeFileFS(w, r, files, name)
		})
	}
	mux.HandleFunc("GET /api/status", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, status())
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelError),
		EnableOpenMetrics: true,
	}))
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "healthy\n") })
	mux.HandleFunc("GET /-/ready", func(w http.ResponseWriter, _ *http.Request) {
		if !o.Ready() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, "ready\n")
	})
	return readOnly(mux)
}

// servePages serves the pages for people and what changes in them.
func servePages(mux *http.ServeMux, o Options, status func() Status) {
	pages, feed := newPages(), newFeed(status, cmp.Or(o.Every, 2*time.Second))
	show := func(w http.ResponseWriter, name string, v any) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if err := pages.ExecuteTemplate(w, name, v); err != nil {
			o.Logger.Debug("the page was not sent", "error", err)
		}
	}
	tell := func(w http.ResponseWriter, r *http.Request, page string, render func(Status) ([]fragment, error)) {
		if err := feed.serve(w, r, page, render); err != nil {
			o.Logger.Debug("the page is not told any more what changes", "error", err)
		}
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		show(w, "all", newOverview(status(), readChoice(r.URL.Query())))
	})
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		c := readChoice(r.URL.Query())
		tell(w, r, c.link(), func(s Status) ([]fragment, error) { return render(pages, overviewParts(), newOverview(s, c)) })
	})
	mux.HandleFunc("GET /account/{name}", func(w http.ResponseWriter, r *http.Request) {
		if a, ok := o.Account(r.PathValue("name")); ok {
			show(w, "one", newAccountView(status(), a, r.URL.Query().Has("still")))
			return
		}
		http.Error(w, "there is no such account", http.StatusNotFound)
	})
	mux.HandleFunc("GET /account/{name}/events", func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		if _, ok := o.Account(name); !ok {
			http.Error(w, "there is no such account", http.StatusNotFound)
			return
		}
		tell(w, r, r.URL.EscapedPath(), func(s Status) ([]fragment, error) {
			a, ok := o.Account(name)
			if !ok {
				return nil, fmt.Errorf("account %q is not there any more", name)
			}
			return render(pages, accountParts(), newAccountView(s, a, false))
		})
	})
}

// readOnly refuses whatever is not GET or HEAD and sets the headers that keep
// browsers from making more of an answer than it is.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "read-only: use the imapsyncd command on this machine to change anything", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.Encode(v) // a reader who has gone needs no answer
}

// grace is how long answers under way may take once the end has come.
const grace = time.Second

// Serve answers requests on l until ctx ends, which is no error. configFile is
// that of [web], which may ask for TLS and passwords; it is read anew for each
// connection.
func Serve(ctx context.Context, l net.Listener, configFile string, h http.Handler, logger *slog.Logger) error {
	s := &http.Server{
		Handler:      h,
		ReadTimeout:  10 * time.Second,
		WriteTimeout: time.Minute,
		IdleTimeout:  2 * time.Minute,
		// Who watches a page is let go when the end comes.
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	return serve(ctx, l, s, func() error {
		if configFile == "" {
			return s.Serve(l)
		}
		return toolkit.Serve(l, s, &toolkit.FlagConfig{WebConfigFile: &configFile}, logger)
	})
}

// serve runs a server until ctx ends.
func serve(ctx context.Context, l net.Listener, s *http.Server, run func() error) error {
	s.MaxHeaderBytes = 64 << 10
	served := make(chan error, 1)
	go func() { served <- run() }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if s.Shutdown(patience) != nil {
			s.Close()
		}
		err = <-served
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve %s: %w", l.Addr(), err)
}
