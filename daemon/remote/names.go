package remote

import "strings"

// namespace is one element of NAMESPACE (RFC 2342).
type namespace struct {
	prefix    string
	separator byte // 0: flat
	kind      kind
}

// kind is whose the mailboxes of a namespace are, as the configuration names it.
type kind string

const (
	kindPersonal kind = "personal"
	kindOther    kind = "other" // of other users
	kindShared   kind = "shared"
)

func kindsOf(names []string) (kinds []kind) {
	for _, name := range names {
		kinds = append(kinds, kind(name))
	}
	return kinds
}

// namespaces are the parts of a server's name space.
type namespaces struct {
	personal []namespace // the first is where new mailboxes go
	foreign  []namespace // of other users and shared
}

// holds tells whether a name is of that namespace: in it, or its root.
func (n namespace) holds(name string) bool {
	root := strings.TrimSuffix(n.prefix, string(n.separator))
	return within(name, n.prefix) || root != "" && name == root
}

// home is the personal namespace in which new mailboxes are made.
func (n namespaces) home() namespace {
	if len(n.personal) == 0 {
		return namespace{}
	}
	return n.personal[0]
}

// isInbox tells whether a raw name is INBOX, which has any case (RFC 3501
// §5.1).
func isInbox(name string) bool { return strings.EqualFold(name, "INBOX") }

// within tells whether a name lies below a prefix. The INBOX in a prefix has
// any case as well.
func within(name, prefix string) bool {
	if len(name) < len(prefix) {
		return false
	}
	if len(prefix) >= 5 && isInbox(prefix[:5]) {
		return isInbox(name[:5]) && name[5:len(prefix)] == prefix[5:]
	}
	return name[:len(prefix)] == prefix
}

// isPersonal tells whether a name is the user's own.
func (n namespaces) isPersonal(name string) bool { return n.kindOf(name) == kindPersonal }

// kindOf tells whose a name is: the longest prefix that it has decides. Where none
// does, it is nobody's.
func (n namespaces) kindOf(name string) (of kind) {
	if isInbox(name) || len(n.personal) == 0 {
		return kindPersonal
	}
	length := -1
	for _, list := range [][]namespace{n.foreign, n.personal} { // of two that are as long, the latter
		for _, space := range list {
			if space.holds(name) && len(space.prefix) >= length {
				of, length = space.kind, len(space.prefix)
			}
		}
	}
	return of
}

// path decodes a raw name into its levels below the personal namespace.
// decoded is false when a level is shown in part as it is.
func (n namespaces) path(name string, separator byte) (path []string, decoded bool) {
	if isInbox(name) {
		return []string{"INBOX"}, true
	}
	home := n.home()
	if home.prefix != "" && len(name) > len(home.prefix) && within(name, home.prefix) && !isInbox(name[len(home.prefix):]) {
		name = name[len(home.prefix):]
	}
	levels := []string{name}
	if separator != 0 {
		levels = strings.Split(strings.TrimSuffix(name, string(separator)), string(separator))
	}
	decoded = true
	for i, level := range levels {
		text, ok := decodeUTF7(level)
		levels[i] = text
		decoded = decoded && ok
	}
	if isInbox(levels[0]) {
		levels[0] = "INBOX"
	}
	return levels, decoded
}

// spell is the raw name of a path in the personal namespace; no level holds the
// separator, and there is one where the server has none.
func (n namespaces) spell(path []string) string {
	if len(path) == 1 && isInbox(path[0]) {
		return "INBOX"
	}
	home := n.home()
	levels := make([]string, len(path))
	for i, level := range path {
		levels[i] = encodeUTF7(level)
	}
	return home.prefix + strings.Join(levels, string(home.separator))
}

// kinds are those of namespaces whose mailboxes are listed.
func (s *session) kinds() []kind {
	if len(s.lists) == 0 {
		return []kind{kindPersonal}
	}
	return s.lists
}
