package cutover

import (
	"net/netip"
	"path"
	"strings"
)

// hostSet is what the entries of new_mx, old_mx or old_hosts stand for.
type hostSet struct {
	names    []string // in lower case, with globs
	networks []netip.Prefix
}

// newHostSet reads names, globs, addresses, and networks such as 192.0.2.0/24.
func newHostSet(entries []string) hostSet {
	var s hostSet
	for _, entry := range entries {
		entry = strings.TrimSpace(entry)
		if address, err := netip.ParseAddr(strings.Trim(entry, "[]")); err == nil {
			address = address.Unmap().WithZone("")
			s.networks = append(s.networks, netip.PrefixFrom(address, address.BitLen()))
		} else if network, err := netip.ParsePrefix(entry); err == nil {
			s.networks = append(s.networks, network)
		} else if name := hostName(entry); name != "" {
			s.names = append(s.names, name)
		}
	}
	return s
}

// hostName is a name as names are compared: in lower case, without a final dot.
func hostName(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }

func (s hostSet) hasName(name string) bool {
	name = hostName(name)
	for _, pattern := range s.names {
		if matched, err := path.Match(pattern, name); err == nil && matched && name != "" {
			return true
		}
	}
	return false
}

func (s hostSet) hasAddress(address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	for _, network := range s.networks {
		if network.Contains(address) {
			return true
		}
	}
	return false
}
