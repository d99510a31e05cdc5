package config

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/prometheus/exporter-toolkit/web"
)

// Load reads a configuration. What is wrong with it is returned as Problems.
func Load(path string) (*Config, error) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(absolute)
	if errors.Is(err, fs.ErrPermission) {
		return nil, Problems{{File: path, Text: forUs(path, errors.Unwrap(err)).Error()}}
	}
	if err != nil {
		return nil, Problems{{File: path, Text: fmt.Sprintf("cannot be read: %v; name the configuration with --config FILE", errors.Unwrap(err))}}
	}
	if err := private(absolute); err != nil {
		return nil, Problems{{File: path, Text: err.Error()}}
	}
	return parse(absolute, path, data)
}

// Parse reads a configuration that stands in no file; name is what its problems
// are said to be in. Relative paths are relative to the working directory.
func Parse(name string, data []byte) (*Config, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	c, err := parse(filepath.Join(dir, name), name, data)
	if err == nil {
		c.Path = "" // there is nothing to watch
	}
	return c, err
}

// socketMost is how many octets the name of a unix socket may have.
const socketMost = 107

// loader gathers what is wrong while it builds a Config.
type loader struct {
	dir      string // relative paths are relative to it
	name     string // of the file, as the operator wrote it
	at       map[string]position
	problems Problems
	absent   Problems // of credentials, see Config.Absent
	// What many accounts share is looked at once.
	files    map[string]readFile // secrets by file
	checked  map[string]error    // certificates by file
	told     map[string]bool     // problems of what is inherited
	selected *Selection          // [mailboxes]
}

// readFile is what came of reading a secret from its file.
type readFile struct {
	sum [sha256.Size]byte
	err error
}

func parse(absolute, name string, data []byte) (*Config, error) {
	l := &loader{dir: filepath.Dir(absolute), name: name, at: positions(data)}
	var file fileKeys
	l.decode(data, &file)
	c := &Config{Path: absolute, Sum: sha256.Sum256(data)}
	l.top(c, file)
	l.cutover(c, file)
	for i := range file.Domain {
		c.Domains = append(c.Domains, l.domain(file, i))
	}
	l.list(c, &file)
	c.Accounts = make([]Account, 0, len(file.Account))
	for i := range file.Account {
		c.Accounts = append(c.Accounts, l.account(&file, i, c.Domains))
	}
	if len(file.Account) == 0 && len(l.problems) == 0 {
		l.complain("accounts.file", "there is no account; every mailbox to be moved needs an [[account]], or a line in the list of [accounts] file")
	}
	l.together(c)
	l.domains(c)
	if len(l.problems) > 0 {
		slices.SortStableFunc(l.problems, func(a, b Problem) int {
			return cmp.Or(l.rank(a.File)-l.rank(b.File), a.Line-b.Line, a.Column-b.Column)
		})
		return nil, slices.Compact(l.problems)
	}
	c.Absent = slices.Compact(l.absent)
	return c, nil
}

// rank puts the configuration itself before the list of accounts.
func (l *loader) rank(file string) int {
	if file == l.name {
		return 0
	}
	return 1
}

// complain notes a problem with a key. One that does not stand in the file is
// a problem of the table in which it should.
func (l *loader) complain(key, format string, args ...any) {
	at := l.at[key]
	for table := key; at.line == 0 && table != ""; at = l.at[table] {
		table = table[:max(0, strings.LastIndexByte(table, '.'))]
	}
	l.problems = append(l.problems, Problem{File: cmp.Or(at.file, l.name), Line: at.line, Column: at.column, Text: fmt.Sprintf(format, args...)})
}

// decode reads the file strictly: each unknown key is a problem, and so is a
// value of a wrong type or a line that is no TOML.
func (l *loader) decode(data []byte, file *fileKeys) {
	decoder := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	err := decoder.Decode(file)
	var unknown *toml.StrictMissingError
	var broken *toml.DecodeError
	switch {
	case err == nil:
	case errors.As(err, &unknown):
		for _, e := range unknown.Errors {
			row, column := e.Position()
			key := strings.Join(e.Key(), ".")
			text := fmt.Sprintf("unknown key %s", key)
			if near := nearest(e.Key()); near != "" {
				text += fmt.Sprintf("; did you mean %s?", near)
			}
			l.problems = append(l.problems, Problem{l.name, row, column, text})
		}
	case errors.As(err, &broken):
		row, column := broken.Position()
		text := strings.TrimPrefix(broken.Error(), "toml: ")
		if key := strings.Join(broken.Key(), "."); key != "" {
			text = key + ": " + text
		}
		l.problems = append(l.problems, Problem{l.name, row, column, text})
	default:
		l.problems = append(l.problems, Problem{File: l.name, Text: err.Error()})
	}
}

// nearest returns the known key that is most like the last part of an unknown
// one, when one is.
func nearest(key []string) string {
	wrong := key[len(key)-1]
	best, distance := "", max(2, len(wrong)/3)+1
	for _, k := range Keys() {
		last := k[strings.LastIndexByte(k, '.')+1:]
		if d := editDistance(wrong, last); d < distance {
			best, distance = last, d
		}
	}
	return best
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// Keys lists every key that the file may hold, such as "source.host".
func Keys() []string {
	var keys []string
	var walk func(t reflect.Type, prefix string)
	walk = func(t reflect.Type, prefix string) {
		for i := range t.NumField() {
			f := t.Field(i)
			kind := f.Type
			for kind.Kind() == reflect.Pointer || kind.Kind() == reflect.Slice {
				kind = kind.Elem()
			}
			name := prefix + f.Tag.Get("toml")
			if f.Anonymous {
				walk(kind, prefix)
			} else if kind.Kind() == reflect.Struct {
				walk(kind, name+".")
			} else {
				keys = append(keys, name)
			}
		}
	}
	walk(reflect.TypeFor[fileKeys](), "")
	return keys
}

// top checks what stands outside the accounts.
func (l *loader) top(c *Config, f fileKeys) {
	c.StateDir, c.Socket = l.places(f.StateDir, f.Socket)
	if len(c.Socket) > socketMost {
		l.complain("socket", "socket: %s is longer than the %d octets a unix socket's name may have; set socket to a shorter one", c.Socket, socketMost)
	}
	c.PollInterval = l.duration("poll_interval", or(f.PollInterval, "60s"), time.Second)
	c.FlagsInterval = l.duration("flags_interval", or(f.FlagsInterval, "1h"), time.Second)
	c.FullSweep = l.duration("full_sweep", or(f.FullSweep, "6h"), time.Minute)
	c.Log.Format = l.oneOf("log.format", or(f.Log.Format, "auto"), "auto", "text", "json")
	if err := c.Log.Level.UnmarshalText([]byte(l.oneOf("log.level", or(f.Log.Level, "info"), "debug", "info", "warn", "error"))); err != nil {
		c.Log.Level = slog.LevelInfo
	}
	c.Web.Listen = or(f.Web.Listen, "127.0.0.1:9143")
	if _, _, err := net.SplitHostPort(c.Web.Listen); err != nil {
		l.complain("web.listen", "web.listen: %q is no address; write for example \"127.0.0.1:9143\"", c.Web.Listen)
	}
	c.Web.Linger = l.duration("web.linger", or(f.Web.Linger, "10m"), 0)
	c.Web.ConfigFile = l.path(or(f.Web.ConfigFile, ""))
	if err := CheckWebConfig(c.Web.ConfigFile); err != nil {
		l.complain("web.config_file", "web.config_file: %v", err)
	}
	c.Policy = l.policy(f.Policy)
	c.AccountLabel = l.oneOf("metrics.account_label", or(f.Metrics.AccountLabel, "name"), "name", "hash", "none")
	c.Memory = l.size("limits.memory", or(f.Limits.Memory, "32MiB"))
	if c.Memory > 0 && c.Memory < 4<<20 {
		l.complain("limits.memory", "limits.memory: at least 4MiB is needed")
	}
	shared := l.limits("limits", Limits{LoginsPerSecond: 10}, &f.Limits.rateKeys)
	c.SourceLimits = l.limits("source.limits", shared, f.Source.Limits)
	c.DestinationLimits = l.limits("destination.limits", shared, f.Destination.Limits)
}

// CheckWebConfig tells what is wrong with a [Web.ConfigFile]; "" is none.
func CheckWebConfig(file string) error {
	if file == "" {
		return nil
	}
	if err := private(file); err != nil {
		return err
	}
	if err := web.Validate(file); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

var accountName = regexp.MustCompile(`^[A-Za-z0-9_@+-][A-Za-z0-9._@+-]{0,127}$`)

func (l *loader) account(f *fileKeys, i int, domains []Domain) Account {
	keys := &f.Account[i]
	key := fmt.Sprintf("account[%d]", i)
	a := Account{Name: keys.Name}
	for _, name := range keys.Domains {
		d := plainName(name)
		if d != "default" && !domainName.MatchString(d) {
			l.complain(key+".domains", "account %s: domains: %q is no name of a domain", keys.Name, name)
		}
		if !slices.Contains(a.Domains, d) {
			a.Domains = append(a.Domains, d)
		}
	}
	switch {
	case keys.Name == "":
		l.complain(key+".name", "the account has no name; write name = \"…\" below [[account]]")
	case !accountName.MatchString(keys.Name):
		column := ""
		if l.at[key].file != "" {
			column = "; give it one in a column \"name\""
		}
		l.complain(key+".name", "account %q: a name has 1 to 128 of A-Z a-z 0-9 . _ @ + - and no dot first%s", keys.Name, column)
	}
	a.Source = l.server(&a, "source", key, &f.Source, &keys.Source)
	a.Destination = l.server(&a, "destination", key, &f.Destination, &keys.Destination)
	if keys.Mailboxes != nil {
		a.Mailboxes = l.selection(f.Mailboxes, *keys.Mailboxes, key+".mailboxes")
	} else {
		if l.selected == nil {
			all := l.selection(f.Mailboxes, mailboxKeys{}, "")
			l.selected = &all
		}
		a.Mailboxes = *l.selected
	}
	if len(a.Domains) == 0 {
		a.Domains = domainsOf(a, domains)
	}
	return a
}

// once returns what check found the first time for this key.
func (l *loader) once(key string, check func() error) error {
	err, done := l.checked[key]
	if !done {
		if l.checked == nil {
			l.checked = make(map[string]error)
		}
		err = check()
		l.checked[key] = err
	}
	return err
}

// together checks the accounts against one another.
func (l *loader) together(c *Config) {
	names, logins := make(map[string]int), make(map[string]int)
	for i, a := range c.Accounts {
		key := fmt.Sprintf("account[%d]", i)
		if j, taken := names[strings.ToLower(a.Name)]; taken && a.Name != "" {
			l.complain(key+".name", "account %q has the name of account %q in %s; give it another", a.Name, c.Accounts[j].Name, l.place(l.at[key], l.at[fmt.Sprintf("account[%d]", j)]))
		} else {
			names[strings.ToLower(a.Name)] = i
		}
		login := logIn(a.Destination)
		if a.Destination.User == "" {
			continue
		}
		if j, taken := logins[login]; taken {
			l.complain(key+".destination.user", "account %s fills the same mailbox on the new server as account %s in %s: the log-in %s on %s; the mail of two would be mixed there: give one of them a log-in of its own, or take it out",
				a.Name, c.Accounts[j].Name, l.place(l.at[key], l.at[fmt.Sprintf("account[%d]", j)]), a.Destination.User, a.Destination.Host)
		} else {
			logins[login] = i
		}
		if logIn(a.Source) == login {
			l.complain(key+".source.user", "account %s: old and new server are the same log-in, %s on %s", a.Name, a.Source.User, a.Source.Host)
		}
	}
}

// place names a position, seen from another.
func (l *loader) place(from, at position) string {
	if from.file == at.file {
		return fmt.Sprintf("line %d", at.line)
	}
	return fmt.Sprintf("%s, line %d", cmp.Or(at.file, l.name), at.line)
}

// logIn is the same for all that lead to one mailbox: hardly a server tells users
// apart by case.
func logIn(s Server) string {
	return strings.ToLower(net.JoinHostPort(strings.TrimSuffix(s.Host, "."), strconv.Itoa(s.Port)) + " " + s.User)
}
