package remote

import "strings"

// namespace is one element of NAMESPACE (RFC 2342).
type namespace struct {
	prefix    string
	separator byte // 0: flat
}

// namespaces are the parts of a server's name space. Only the personal part is
// migrated.
type namespaces struct {
	personal []namespace // the first is where new mailboxes go
	foreign  []namespace // of other users and shared
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

// isPersonal tells whether a name is the user's own: the longest prefix that
// it has decides.
func (n namespaces) isPersonal(name string) bool {
	if isInbox(name) || len(n.personal) == 0 {
		return true
	}
	longest := func(list []namespace) int {
		length := -1
		for _, space := range list {
			root := strings.TrimSuffix(space.prefix, string(space.separator))
			if within(name, space.prefix) || (root != "" && name == root) {
				length = max(length, len(space.prefix))
			}
		}
		return length
	}
	own := longest(n.personal)
	return own >= 0 && own >= longest(n.foreign)
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
