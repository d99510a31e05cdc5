package config

import (
	"cmp"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func or[T any](value *T, fallback T) T {
	if value == nil {
		return fallback
	}
	return *value
}

func (l *loader) path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(l.dir, p)
}

func (l *loader) oneOf(key, value string, allowed ...string) string {
	if !slices.Contains(allowed, value) {
		l.complain(key, "%s: %q; write one of %s", key, value, strings.Join(allowed, ", "))
	}
	return value
}

func (l *loader) duration(key, text string, least time.Duration) time.Duration {
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		l.complain(key, "%s: %q is no duration; write for example \"90s\", \"5m\" or \"6h\"", key, text)
	case d < least:
		l.complain(key, "%s: %q is too short; at least %s", key, text, least)
	}
	return d
}

var sizePattern = regexp.MustCompile(`^([0-9]{1,12})\s*([kKMG]i?)?B?$`)

// size reads octets such as "32MiB" or "500kB".
func (l *loader) size(key, text string) int64 {
	n, ok := parseSize(text)
	if !ok {
		l.complain(key, "%s: %q is no size; write for example \"32MiB\"", key, text)
	}
	return n
}

func parseSize(text string) (int64, bool) {
	m := sizePattern.FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	n, _ := strconv.ParseInt(m[1], 10, 64)
	unit, base := strings.ToLower(m[2]), int64(1000)
	if strings.HasSuffix(unit, "i") {
		base = 1024
	}
	for range 1 + strings.Index("kmg", cmp.Or(strings.TrimSuffix(unit, "i"), "-")) {
		n *= base
	}
	return n, true
}
