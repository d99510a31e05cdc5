package config

import (
	"errors"
	"regexp"
	"strings"
)

// Selection is [mailboxes]: which mailboxes are carried. Patterns are names
// with "/" between levels, globs ("*" within a level, "**" over levels), regular
// expressions (RE2) between slashes, or roles such as `\Junk`.
type Selection struct {
	include, exclude []pattern
}

type pattern struct {
	role string // lower case
	name *regexp.Regexp
}

// Match tells whether a mailbox is wanted: included, or nothing is, and not
// excluded.
func (s Selection) Match(path []string, role string) bool {
	name := strings.Join(path, "/")
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
		name, err := regexp.Compile(text[1 : len(text)-1])
		return pattern{name: name}, err
	}
	if first, rest, _ := strings.Cut(text, "/"); strings.EqualFold(first, "INBOX") {
		text = strings.TrimSuffix("INBOX/"+rest, "/")
	}
	expression := regexp.QuoteMeta(text)
	expression = strings.ReplaceAll(expression, `\*\*`, `.*`)
	expression = strings.ReplaceAll(expression, `\*`, `[^/]*`)
	name, err := regexp.Compile(`(?s)^` + expression + `$`)
	return pattern{name: name}, err
}
