package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/imapsyncd/imapsyncd/daemon/config"
)

// imapsyncOptions are those of imapsync that have a meaning here.
type imapsyncOptions struct {
	old, new   imapsyncServer
	folders    []string
	excludes   []string
	subfolder2 string
	automap    bool
	refused    []string // options without one, with what to do instead
}

// imapsyncServer is what the options of one number say of a server.
type imapsyncServer struct {
	number              string
	host                string
	port                int
	user                string
	password, passfile  string
	authmech            string
	ssl, tls            bool
	noSSL, noTLS        bool
	serverName, pinning string
}

// servers registers the options that say how both servers are reached.
func (o *imapsyncOptions) servers(flags *pflag.FlagSet) {
	o.old.number, o.new.number = "1", "2"
	for _, s := range []*imapsyncServer{&o.old, &o.new} {
		n, which := s.number, "the old server"
		if n == "2" {
			which = "the new server"
		}
		flags.StringVar(&s.host, "host"+n, "", "`name` or address of "+which)
		flags.IntVar(&s.port, "port"+n, 0, "its `port`; without it 993, with STARTTLS 143")
		flags.BoolVar(&s.ssl, "ssl"+n, false, "TLS from the first octet, as without this option but on port 143")
		flags.BoolVar(&s.tls, "tls"+n, false, "STARTTLS, as without this option on port 143")
		flags.BoolVar(&s.noSSL, "nossl"+n, false, "no TLS from the first octet")
		flags.BoolVar(&s.noTLS, "notls"+n, false, "no STARTTLS; together with --nossl"+n+": clear text, passwords included")
		flags.StringVar(&s.authmech, "authmech"+n, "", "the SASL `mechanism`; without it the best that is offered")
		flags.StringVar(&s.serverName, "tlsservername"+n, "", "the `name` in its certificate, where that is not --host"+n)
		flags.StringVar(&s.pinning, "tlsfingerprint"+n, "", "SHA-256 `fingerprint` of its certificate, where no authority has signed it")
	}
}

// logIns registers the options of one account.
func (o *imapsyncOptions) logIns(flags *pflag.FlagSet) {
	for _, s := range []*imapsyncServer{&o.old, &o.new} {
		n := s.number
		flags.StringVar(&s.user, "user"+n, "", "the `user`")
		flags.StringVar(&s.password, "password"+n, "", "the `password`; safer are --passfile"+n+", and to be asked for it")
		flags.StringVar(&s.passfile, "passfile"+n, "", "`file` with the password, which others cannot read")
	}
}

// mailboxes registers the options that say what is carried where.
func (o *imapsyncOptions) mailboxes(flags *pflag.FlagSet) {
	flags.StringArrayVar(&o.folders, "folder", nil, "only this `mailbox` (may be repeated)")
	flags.StringArrayVar(&o.excludes, "exclude", nil, "no mailbox whose name fits this regular `expression` (may be repeated)")
	flags.StringVar(&o.subfolder2, "subfolder2", "", "put everything below this `mailbox`")
	flags.BoolVar(&o.automap, "automap", false, "find Sent, Trash and the like by their role, as without this option")
}

// server writes the keys of [source] or [destination].
func (s *imapsyncServer) server() (config.DraftServer, error) {
	d := config.DraftServer{
		Host: s.host, Port: s.port, User: s.user, Password: s.password, PasswordFile: s.passfile,
		Auth: strings.ToLower(s.authmech), TLSServerName: s.serverName, TLSFingerprint: s.pinning,
	}
	switch n := s.number; {
	case s.ssl && s.tls, s.ssl && s.noSSL, s.tls && s.noTLS:
		return d, fmt.Errorf("--ssl%[1]s, --tls%[1]s and their opposites exclude one another; keep one", n)
	case s.password != "" && s.passfile != "":
		return d, fmt.Errorf("--password%[1]s and --passfile%[1]s exclude one another; keep one", n)
	case s.ssl:
		d.TLS = "implicit"
	case s.tls, s.noSSL && !s.noTLS, s.port == 143 && !s.noTLS:
		d.TLS = "starttls"
	case s.noSSL:
		d.TLS, d.AllowCleartext = "none", true
	}
	return d, nil
}

// selection writes the keys of [mailboxes]; nil: there are none.
func (o *imapsyncOptions) selection() (*config.DraftMailboxes, error) {
	if len(o.folders) == 0 && len(o.excludes) == 0 && o.subfolder2 == "" {
		return nil, nil
	}
	m := &config.DraftMailboxes{Prefix: o.subfolder2}
	for _, folder := range o.folders {
		if folder == "" || strings.Contains(folder, "*") || strings.HasPrefix(folder, `\`) || strings.HasPrefix(folder, "/") {
			return nil, fmt.Errorf("--folder %q: write the whole name of a mailbox, such as \"Archive/2019\"", folder)
		}
		m.Include = append(m.Include, spellings(folder)...)
	}
	for _, expression := range o.excludes {
		if expression == "" {
			return nil, fmt.Errorf(`--exclude "": write a regular expression, such as "^Junk"`)
		}
		m.Exclude = append(m.Exclude, "/"+levels(expression)+"/")
	}
	return m, nil
}

// account writes the keys of an [[account]], but for its name.
func (o *imapsyncOptions) account() (a config.DraftAccount, err error) {
	if a.Source, err = o.old.server(); err != nil {
		return a, err
	}
	if a.Destination, err = o.new.server(); err != nil {
		return a, err
	}
	a.Mailboxes, err = o.selection()
	return a, err
}

// spellings are the ways to write a name that imapsync takes as the old server
// spells it: with dots between levels, perhaps, and with INBOX before all.
func spellings(folder string) []string {
	names := []string{folder}
	if strings.Contains(folder, ".") {
		names = append(names, strings.ReplaceAll(folder, ".", "/"))
	}
	if last := names[len(names)-1]; len(last) > 6 && strings.EqualFold(last[:6], "INBOX/") {
		names = append(names, last[6:])
	}
	return names
}

// levels has an expression that is written for dots between levels fit names
// with "/" there, and without the INBOX before them that some servers have.
func levels(expression string) string {
	var fits strings.Builder
	class := false // inside [ ]
	for rest := expression; rest != ""; {
		n, text := 1, rest[:1]
		switch {
		case strings.HasPrefix(rest, `INBOX\.`) && !class:
			n, text = len(`INBOX\.`), `(?:INBOX[./])?`
		case strings.HasPrefix(rest, `\.`) && class:
			n, text = 2, "./"
		case strings.HasPrefix(rest, `\.`):
			n, text = 2, "[./]"
		case rest[0] == '\\' && len(rest) > 1:
			n, text = 2, rest[:2]
		case rest[0] == '[' || rest[0] == ']':
			class = rest[0] == '['
		}
		fits.WriteString(text)
		rest = rest[n:]
	}
	return fits.String()
}

// complete tells what is missing for one account.
func (o *imapsyncOptions) complete() error {
	for _, s := range []*imapsyncServer{&o.old, &o.new} {
		if missing := cmp.Or(absent(s.host, "--host"), absent(s.user, "--user")); missing != "" {
			return fmt.Errorf("%s%s is missing", missing, s.number)
		}
	}
	return nil
}

func absent(value, option string) string {
	if value == "" {
		return option
	}
	return ""
}

// accountName makes a name for an account that none of the others has.
func accountName(user string, taken map[string]bool) string {
	name := strings.TrimLeft(strings.Map(func(r rune) rune {
		if r < 0x80 && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._@+-", r)) {
			return r
		}
		return '-'
	}, user), ".")
	name = cmp.Or(name[:min(len(name), 120)], "account")
	unique := name
	for i := 2; taken[strings.ToLower(unique)]; i++ {
		unique = fmt.Sprintf("%s-%d", name, i)
	}
	taken[strings.ToLower(unique)] = true
	return unique
}

// refuse registers every other option of imapsync, so that each can be answered
// with what does its job here.
func (o *imapsyncOptions) refuse(flags *pflag.FlagSet) {
	for _, r := range refusals {
		for _, name := range strings.Fields(r.options) {
			if flags.Lookup(name) != nil {
				continue
			}
			f := flags.VarPF(&refusal{o, name, r.instead}, name, "", r.instead)
			f.NoOptDefVal, f.Hidden = "yes", true
		}
	}
}

// refusal is the value of an option that is refused.
type refusal struct {
	options       *imapsyncOptions
	name, instead string
}

func (r *refusal) String() string { return "" }
func (r *refusal) Type() string   { return "bool" }
func (r *refusal) Set(string) error {
	if text := fmt.Sprintf("--%s: %s", r.name, r.instead); !slices.Contains(r.options.refused, text) {
		r.options.refused = append(r.options.refused, text)
	}
	return nil
}
