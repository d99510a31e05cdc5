// Package config reads imapsyncd.toml: strictly, with the place of everything
// that is wrong, and all of it at once.
//
// Invariants:
//   - What Load returns is whole: every account has its effective servers, every
//     path is absolute, every name has been checked.
//   - A secret is never printed, whatever prints it.
//   - fileKeys (keys.go) is the one definition of what may stand in the file.
package config

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Config is a configuration that can be worked with.
type Config struct {
	Path          string
	Sum           [sha256.Size]byte // of the file's content
	StateDir      string
	Socket        string
	PollInterval  time.Duration
	FlagsInterval time.Duration
	FullSweep     time.Duration
	Log           Log
	Web           Web
	AccountLabel  string // name, hash or none
	Memory        int64  // octets in flight, all accounts together
	// SourceLimits and DestinationLimits are for each server, all accounts
	// together.
	SourceLimits, DestinationLimits Limits
	Policy                          Policy
	DNS                             DNS
	Cutover                         Cutover
	Domains                         []Domain
	Accounts                        []Account
	list                            Secret // [accounts] file; zero: none

	// Absent are the credentials of systemd that this process has not got: it
	// cannot log in, and can ask a daemon that has.
	Absent Problems
}

// Policy is [policy].
type Policy struct {
	Flags     string // follow or copy
	Deletions string // follow or keep
	// Fixups may be made of messages that the new server refuses as they are.
	Fixups mail.Fixups
	// AlreadyThere is skip or copy: what becomes of mail that has reached the
	// new server by itself.
	AlreadyThere string
}

// SecretFiles are all files with secrets, the list of accounts among them, with
// the sum of what stood in each when the configuration was read.
func (c *Config) SecretFiles() map[string][sha256.Size]byte {
	files := make(map[string][sha256.Size]byte)
	if c.list.file != "" {
		files[c.list.file] = c.list.sum
	}
	for _, a := range c.Accounts {
		for _, secret := range append(a.Source.secrets(), a.Destination.secrets()...) {
			if secret.file != "" {
				files[secret.file] = secret.sum
			}
		}
	}
	return files
}

// Log is [log].
type Log struct {
	Format string // auto, text or json
	Level  slog.Level
}

// Web is [web].
type Web struct {
	Listen string
	Linger time.Duration // how long it stays up after the end
	// ConfigFile says who may read and how the connection is encrypted, in the
	// form that every Prometheus exporter takes; empty: everybody, in clear text.
	ConfigFile string
}

// Account is one [[account]] with what it inherits.
type Account struct {
	Name        string
	Domains     []string
	Source      Server
	Destination Server
	Mailboxes   Selection
}

// Server is how to reach one side of an account.
type Server struct {
	Host                     string
	Port                     int
	TLS                      string // implicit, starttls or none
	AllowCleartext           bool
	TLSServerName            string
	TLSCAFile                string
	TLSFingerprint           string // 64 hexadecimal digits
	TLSMinVersion            string
	TLSLegacyCiphers         bool
	TLSCertFile              string // of our own; empty: none
	TLSKeyFile               string
	tlsKey                   Secret
	Auth                     string
	Compress                 string // auto, on or off
	MaxConnections           int
	MaxConnectionsPerAccount int
	QuotaReserve             float64  // of the new server: the part of its quota that is left alone
	Namespaces               []string // of the old server: personal, shared, other (RFC 2342)
	Limits                   *Limits  // of this account alone, beside those of the server; nil: none
	User                     string
	Admin                    Admin
	Password                 Secret  // of the user or of the administrator; zero: OAuth2 or a certificate
	OAuth2                   *OAuth2 // nil: none
}

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File   string
	Line   int // 0: the file as a whole
	Column int
	Text   string // what is wrong, and what to write instead
}

func (p Problem) String() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, p.Text)
	}
	return fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Text)
}

// Problems is everything that is wrong with a configuration, as an error.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}
