package config

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Selection is [mailboxes]: which mailboxes are carried, and where they go.
// Patterns are names with "/" between levels, globs ("*" within a level, "**"
// over levels), regular expressions (RE2) between slashes, or roles such as
// `\Junk`.
type Selection struct {
	include, exclude []pattern
	// Rename gives mailboxes, with what is below them, other names.
	Rename map[string]string
	// Prefix is the mailbox below which everything goes; empty: none.
	Prefix string
}

// selection reads [mailboxes], and what an account has of its own: each of its
// keys takes the place of the one for all.
func (l *loader) selection(all, own mailboxKeys, ownKey string) (s Selection) {
	at := func(name string, isOwn bool) string {
		if isOwn {
			return ownKey + "." + name
		}
		return "mailboxes." + name
	}
	keys := all
	if own.Include != nil {
		keys.Include = own.Include
	}
	if own.Exclude != nil {
		keys.Exclude = own.Exclude
	}
	if own.Rename != nil {
		keys.Rename = own.Rename
	}
	if own.Prefix != nil {
		keys.Prefix = own.Prefix
	}
	s.include = l.patterns(at("include", own.Include != nil), keys.Include)
	s.exclude = l.patterns(at("exclude", own.Exclude != nil), keys.Exclude)
	s.Rename = l.renames(at("rename", own.Rename != nil), keys.Rename)
	if key := at("prefix", own.Prefix != nil); or(keys.Prefix, "") != "" {
		s.Prefix = l.mailboxName(key, *keys.Prefix)
	}
	return s
}

func (l *loader) patterns(key string, texts []string) []pattern {
	var list []pattern
	for _, text := range texts {
		p, err := parsePattern(text)
		if err != nil {
			l.complain(key, "%s: %q: %v", key, text, err)
			continue
		}
		list = append(list, p)
	}
	return list
}

// renames reads the table of other names. No two mailboxes get one.
func (l *loader) renames(key string, table map[string]string) map[string]string {
	if len(table) == 0 {
		return nil
	}
	renames, from := make(map[string]string, len(table)), make(map[string]string, len(table))
	for _, old := range slices.Sorted(maps.Keys(table)) {
		name, place := l.mailboxName(key, old), l.mailboxName(key, table[old])
		if other, taken := from[place]; taken && place != "" {
			l.complain(key, "%s: %q and %q would both become %q; give each a name of its own", key, other, old, place)
		}
		from[place] = old
		if _, twice := renames[name]; twice {
			l.complain(key, "%s: %q stands there twice", key, name)
		}
		renames[name] = place
	}
	return renames
}

// mailboxName reads the whole name of a mailbox.
func (l *loader) mailboxName(key, text string) string {
	levels := strings.Split(text, "/")
	switch {
	case slices.Contains(levels, ""):
		l.complain(key, "%s: %q is no name of a mailbox; write levels with \"/\" between them, such as \"Archive/2019\"", key, text)
	case text[0] == '\\':
		l.complain(key, "%s: %q is a role; write the name of a mailbox", key, text)
	case strings.Contains(text, "*"):
		l.complain(key, "%s: %q: there are no globs here; write a whole name, what is below it goes along", key, text)
	case strings.ContainsFunc(text, unicode.IsControl):
		l.complain(key, "%s: %q has a control character, which no server takes", key, text)
	}
	if strings.EqualFold(levels[0], "INBOX") {
		levels[0] = "INBOX"
	}
	return norm.NFC.String(strings.Join(levels, "/"))
}

type pattern struct {
	role string // lower case
	name *regexp.Regexp
}

// Match tells whether a mailbox is wanted: included, or nothing is, and not
// excluded. However the characters of a name are composed, it is the same name.
func (s Selection) Match(path []string, role string) bool {
	name := norm.NFC.String(strings.Join(path, "/"))
	return (len(s.include) == 0 || matches(s.include, name, role)) && !matches(s.exclude, name, role)
}

func matches(patterns []pattern, name, role string) bool {
	for _, p := range patterns {
		if p.role != "" && p.role == strings.ToLower(role) || p.name != nil && p.name.MatchString(name) {
			return true
		}
	}
	return false
}

var errPattern = errors.New("write a name, a glob, an expression between slashes or a role such as \\\\Junk")

func parsePattern(text string) (pattern, error) {
	switch {
	case text == "" || text == `\`:
		return pattern{}, errPattern
	case text[0] == '\\':
		return pattern{role: strings.ToLower(text)}, nil
	case len(text) > 2 && text[0] == '/' && text[len(text)-1] == '/': // no name begins so
		name, err := regexp.Compile(norm.NFC.String(text[1 : len(text)-1]))
		return pattern{name: name}, err
	}
	if first, rest, _ := strings.Cut(text, "/"); strings.EqualFold(first, "INBOX") {
		text = strings.TrimSuffix("INBOX/"+rest, "/")
	}
	expression := regexp.QuoteMeta(norm.NFC.String(text))
	expression = strings.ReplaceAll(expression, `\*\*`, `.*`)
	expression = strings.ReplaceAll(expression, `\*`, `[^/]*`)
	name, err := regexp.Compile(`(?s)^` + expression + `$`)
	return pattern{name: name}, err
}
