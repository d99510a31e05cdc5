package config

import (
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// policy reads [policy].
func (l *loader) policy(keys policyKeys) Policy {
	return Policy{
		Flags:        l.oneOf("policy.flags", or(keys.Flags, "follow"), "follow", "copy"),
		Deletions:    l.oneOf("policy.deletions", or(keys.Deletions, "follow"), "follow", "keep"),
		Fixups:       l.fixups("policy.fixups", keys.Fixups),
		AlreadyThere: l.oneOf("policy.already_there", or(keys.AlreadyThere, "skip"), "skip", "copy"),
	}
}

// fixups reads the names of what may be mended.
func (l *loader) fixups(key string, names []string) (all mail.Fixups) {
	for _, name := range names {
		one, known := mail.FixupsNamed(name)
		if !known || one&mail.Mendings == 0 {
			l.complain(key, "%s: %q; write any of %s", key, name, strings.Join(mail.Mendings.Names(), ", "))
		}
		all |= one
	}
	return all
}
