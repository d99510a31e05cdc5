package plan

import (
	"fmt"
	"hash/fnv"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// spellable makes levels out of a path that a server can have: its separator
// inside a level, what is no character and what nothing can show become "_". A
// server without levels gets them joined. Where everything is in INBOX, what was
// in INBOX is beside the rest.
func spellable(path []string, on mail.Listing) []string {
	separator := on.Separator
	if len(path) > 1 && path[0] == "INBOX" && strings.EqualFold(on.Prefix, "INBOX"+string(separator)) {
		path = path[1:]
	}
	levels := make([]string, len(path))
	for i, level := range path {
		levels[i] = strings.Map(func(r rune) rune {
			if r == rune(separator) && separator != 0 || r == unicode.ReplacementChar || unicode.IsControl(r) {
				return '_'
			}
			return r
		}, level)
		if levels[i] == "" {
			levels[i] = "_"
		}
	}
	if separator == 0 {
		return []string{strings.Join(levels, "_")}
	}
	return levels
}

// longLevel is how many characters of a level are left where a name is too long
// for the server.
const longLevel = 40

// Plainer are names to try when the server has refused a path, those that differ
// from it: with nothing but letters, digits, blanks and "-_,+@()'!&=#[]$", then
// with no level longer than 40 characters, whose end a checksum of it replaces.
// The same level always becomes the same, so that what was below one mailbox
// stays together.
func Plainer(path []string) [][]string {
	plain, short := make([]string, len(path)), make([]string, len(path))
	for i, level := range path {
		plain[i] = strings.TrimSpace(strings.Map(func(r rune) rune {
			if r <= 0xffff && (unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r) || strings.ContainsRune(" -_,+@()'!&=#[]$", r)) {
				return r
			}
			return '_'
		}, level))
		if plain[i] == "" {
			plain[i] = "_"
		}
		short[i] = plain[i]
		if runes := []rune(plain[i]); len(runes) > longLevel {
			sum := fnv.New32a()
			sum.Write([]byte(level))
			short[i] = fmt.Sprintf("%s_%08x", string(runes[:longLevel-9]), sum.Sum32())
		}
	}
	var list [][]string
	for _, p := range [][]string{plain, short} {
		if key := pathKey(p); key != pathKey(path) && (len(list) == 0 || key != pathKey(list[0])) {
			list = append(list, p)
		}
	}
	return list
}

// pathKey joins levels by a character that no name can hold.
func pathKey(path []string) string { return strings.Join(path, "\x00") }

// foldedKey is the same for all paths that a server may take for one: they
// differ by case, or in how their characters are composed (Unicode NFC).
func foldedKey(path []string) string {
	return norm.NFC.String(cases.Fold().String(norm.NFC.String(pathKey(path))))
}
