package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
)

// listed is one account of a list.
type listed struct {
	line int
	keys accountKeys
}

// badLine is a line of a list that is no account.
type badLine struct {
	line int
	text string // what is wrong; never a password
}

// columns are those that a list may have, and where each goes.
var columns = map[string]func(*accountKeys, string){
	"name":                 func(a *accountKeys, s string) { a.Name = strings.TrimSpace(s) },
	"source_host":          func(a *accountKeys, s string) { a.Source.Host = cell(strings.TrimSpace(s)) },
	"source_user":          func(a *accountKeys, s string) { a.Source.User = cell(strings.TrimSpace(s)) },
	"source_password":      func(a *accountKeys, s string) { a.Source.Password = cell(s) },
	"destination_host":     func(a *accountKeys, s string) { a.Destination.Host = cell(strings.TrimSpace(s)) },
	"destination_user":     func(a *accountKeys, s string) { a.Destination.User = cell(strings.TrimSpace(s)) },
	"destination_password": func(a *accountKeys, s string) { a.Destination.Password = cell(s) },
	"domains":              func(a *accountKeys, s string) { a.Domains = strings.Fields(s) },
}

// cell is a value, or nil where there is none.
func cell(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// The columns of imapsync's lists.
var (
	imapsync4 = []string{"source_user", "source_password", "destination_user", "destination_password"}
	imapsync6 = []string{"source_host", "source_user", "source_password", "destination_host", "destination_user", "destination_password"}
)

// parseList reads a list of accounts: CSV (RFC 4180) with a header line, its
// fields separated by commas, semicolons or tabs, or a list of imapsync's, by
// semicolons, without header and quotes. Each line stands for itself: no value
// can have a line end, so that a quote that is not closed spoils one line only.
func parseList(data []byte) (accounts []listed, bad []badLine) {
	text, err := decodeList(data)
	if err != nil {
		return nil, []badLine{{1, err.Error()}}
	}
	var read func(line string) (accountKeys, error)
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		if trimmed := strings.TrimSpace(line); trimmed == "" || trimmed[0] == '#' || read == nil && strings.HasPrefix(trimmed, "sep=") {
			continue
		}
		if read == nil {
			var isHeader bool
			if read, isHeader, err = listFormat(line); err != nil {
				return nil, []badLine{{number, err.Error()}}
			}
			if isHeader {
				continue
			}
		}
		keys, err := read(line)
		if err != nil {
			bad = append(bad, badLine{number, err.Error()})
			continue
		}
		accounts = append(accounts, listed{number, keys})
	}
	return accounts, bad
}

// decodeList makes UTF-8 with plain line ends of a file. What is no UTF-8 is
// taken for Windows-1252, which Latin-1 is a part of.
func decodeList(data []byte) (string, error) {
	if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
		return "", errors.New("the file is UTF-16; save it as CSV in UTF-8")
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(data) {
		var err error
		if data, err = charmap.Windows1252.NewDecoder().Bytes(data); err != nil {
			return "", err
		}
	}
	return strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data)), nil
}

// listFormat tells by its first line how a list is read.
func listFormat(first string) (read func(string) (accountKeys, error), isHeader bool, err error) {
	for _, comma := range ",;\t" {
		names, err := record(first, comma)
		if err != nil {
			continue
		}
		for i := range names {
			names[i] = strings.ToLower(strings.TrimSpace(names[i]))
		}
		if slices.Contains(names, "source_user") {
			read, err := csvFormat(names, comma)
			return read, true, err
		}
	}
	switch n := len(imapsyncFields(first, 0)); {
	case n == 4:
		return imapsyncFormat(imapsync4), false, nil
	case n == 6:
		return imapsyncFormat(imapsync6), false, nil
	}
	return nil, false, errors.New("this is neither a header line, such as name,source_user,source_password,destination_user,destination_password, nor a line of an imapsync list, user1;password1;user2;password2 or with host1 and host2 before the users")
}

// csvFormat reads lines with these columns.
func csvFormat(names []string, comma rune) (func(string) (accountKeys, error), error) {
	for i, name := range names {
		switch {
		case columns[name] == nil:
			return nil, fmt.Errorf("unknown column %q; there are %s", name, strings.Join(columnNames(), ", "))
		case slices.Contains(names[:i], name):
			return nil, fmt.Errorf("there are two columns %q", name)
		}
	}
	return func(line string) (accountKeys, error) {
		fields, err := record(line, comma)
		if err != nil {
			return accountKeys{}, err
		}
		if len(fields) != len(names) {
			return accountKeys{}, fmt.Errorf("there are %d fields, but %d columns; a field with %q or a quote in it is written in quotes", len(fields), len(names), comma)
		}
		return fill(names, fields)
	}, nil
}

func columnNames() []string {
	var names []string
	for name := range columns {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// record reads one line of CSV.
func record(line string, comma rune) ([]string, error) {
	if !strings.Contains(line, `"`) {
		return strings.Split(line, string(comma)), nil
	}
	reader := csv.NewReader(strings.NewReader(line))
	reader.Comma = comma
	fields, err := reader.Read()
	if err != nil { // which says nothing of the content, but in its own words
		return nil, errors.New(`a quote is not closed, or stands where none may be: a field with quotes in it is written in quotes, "like ""this"""`)
	}
	return fields, nil
}

// imapsyncFormat reads lines of an imapsync list.
func imapsyncFormat(names []string) func(string) (accountKeys, error) {
	return func(line string) (accountKeys, error) {
		fields := imapsyncFields(line, len(names))
		switch {
		case len(fields) > 6 && len(names) == 6:
			return accountKeys{}, errors.New("there are options in a seventh field, which imapsyncd does not know; give this account an [[account]] of its own")
		case len(fields) != len(names):
			return accountKeys{}, fmt.Errorf("there are %d fields, but %d in the first line; a password with a semicolon needs the form with a header line and quotes", len(fields), len(names))
		}
		for i, field := range fields {
			if field == "" {
				return accountKeys{}, fmt.Errorf("%s is empty", names[i])
			}
		}
		return fill(names, fields)
	}
}

// imapsyncFields are the fields of a line but for empty ones at its end, of
// which least are kept.
func imapsyncFields(line string, least int) []string {
	fields := strings.Split(line, ";")
	for len(fields) > least && fields[len(fields)-1] == "" {
		fields = fields[:len(fields)-1]
	}
	return fields
}

// fill makes an account of the fields of a line. Without a name it has that of
// its user, without a user on the new server the one on the old.
func fill(names, fields []string) (accountKeys, error) {
	var a accountKeys
	for i, name := range names {
		if strings.ContainsRune(fields[i], 0) {
			return accountKeys{}, fmt.Errorf("%s has a NUL in it", name)
		}
		columns[name](&a, fields[i])
	}
	if a.Source.User == nil {
		return accountKeys{}, errors.New("source_user is empty")
	}
	if a.Destination.User == nil {
		a.Destination.User = a.Source.User
	}
	if a.Name == "" {
		a.Name = *a.Source.User
	}
	return a, nil
}

// list appends the accounts of [accounts] file to those of the configuration,
// each with the place of its line.
func (l *loader) list(c *Config, f *fileKeys) {
	if f.Accounts.File == nil {
		return
	}
	if *f.Accounts.File == "" {
		l.complain("accounts.file", "accounts.file is empty; write the name of a list of accounts")
		return
	}
	c.list = Secret{file: l.path(*f.Accounts.File), whole: true}
	data, err := c.list.content()
	if err != nil {
		l.complain("accounts.file", "accounts.file: %v", err)
		return
	}
	c.list.sum = sha256.Sum256(data)
	name := *f.Accounts.File
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(l.name), name)
	}
	accounts, bad := parseList(data)
	for _, b := range bad {
		l.problems = append(l.problems, Problem{File: name, Line: b.line, Column: 1, Text: b.text})
	}
	f.Account = slices.Grow(f.Account, len(accounts))
	for _, a := range accounts {
		l.at[fmt.Sprintf("account[%d]", len(f.Account))] = position{name, a.line, 1}
		f.Account = append(f.Account, a.keys)
	}
}

// ImapsyncLine is a line of a list of imapsync's.
type ImapsyncLine struct {
	Line             int
	Host1, Host2     string // empty in a list without hosts
	User1, Password1 string
	User2, Password2 string
	Options          []string // those of the seventh field
}

// ParseImapsync reads a list of imapsync's, with what its lines may have beside
// what [accounts] file takes. Problems, one for each line that is wrong, name
// the file so.
func ParseImapsync(file string, data []byte) (lines []ImapsyncLine, problems Problems) {
	text, err := decodeList(data)
	if err != nil {
		return nil, Problems{{file, 1, 1, err.Error()}}
	}
	number := 0
	for line := range strings.SplitSeq(text, "\n") {
		number++
		if trimmed := strings.TrimSpace(line); trimmed == "" || trimmed[0] == '#' {
			continue
		}
		l := ImapsyncLine{Line: number}
		fields, users := imapsyncFields(line, 0), []*string{&l.User1, &l.Password1, &l.User2, &l.Password2}
		switch {
		case len(fields) == 6 || len(fields) == 7:
			l.Host1, l.Host2 = strings.TrimSpace(fields[0]), strings.TrimSpace(fields[3])
			if len(fields) == 7 {
				l.Options = strings.Fields(fields[6])
			}
			fields = slices.Concat(fields[1:3], fields[4:6])
		case len(fields) != 4:
			problems = append(problems, Problem{file, number, 1, fmt.Sprintf("there are %d fields, not the 6 of host1;user1;password1;host2;user2;password2 or the 4 of user1;password1;user2;password2; a list with a header line needs no import, name it in [accounts] file", len(fields))})
			continue
		}
		for i, field := range fields {
			if *users[i] = field; i%2 == 0 {
				*users[i] = strings.TrimSpace(field)
			}
			if *users[i] == "" || strings.ContainsRune(field, 0) {
				problems = append(problems, Problem{file, number, 1, imapsync4[i] + " is empty, or has a NUL in it"})
				break
			}
		}
		lines = append(lines, l)
	}
	if len(lines) == 0 && problems == nil {
		problems = Problems{{File: file, Text: "there is no account in it"}}
	}
	return lines, problems
}
