package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/cutover"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
)

// errOtherServer: the source is not the server that was logged in to first
// (I10).
var errOtherServer = errors.New("the old server is not the one that it was")

// checkSource compares a connection to the source with the first one: a name that
// has been repointed to the new server would have an account copied onto itself
// for ever. Its address, and what it says of itself (ID, RFC 2971), must be what
// they were; another certificate at the same place is a renewal, and only noted.
func (d *Daemon) checkSource(ctx context.Context, account string, s config.Server, conn *remote.Conn, address net.Addr) error {
	now := cutover.SourceSeen{Host: s.Host, Certificate: conn.PeerCertificate(), ID: conn.ServerID()}
	if at, err := netip.ParseAddrPort(address.String()); err == nil {
		now.Addresses = []netip.Addr{at.Addr().Unmap()}
	}
	known, _ := d.record.knownAccount(account)
	first := known.Source
	fresh := first.Host != s.Host
	switch {
	case fresh:
		now.Addresses = merged(now.Addresses, d.addressesOf(ctx, s.Host))
	case !common(first.Addresses, now.Addresses):
		// One name may have several addresses, and some of them be new.
		if all := d.addressesOf(ctx, s.Host); len(all) > 0 && common(all, first.Addresses) && common(all, now.Addresses) {
			now.Addresses = merged(now.Addresses, all)
			break
		}
		return otherServer(account, s.Host, "address", list(first.Addresses), list(now.Addresses))
	case first.ID != "" && now.ID != "" && first.ID != now.ID:
		return otherServer(account, s.Host, "ID", first.ID, now.ID)
	}
	if !fresh {
		now.Addresses = merged(first.Addresses, now.Addresses)
		if first.Certificate != now.Certificate {
			d.Logger.Warn("the old server has another certificate at the same address", "account", account, "was", first.Certificate, "is", now.Certificate)
		}
		if now.ID == "" {
			now.ID = first.ID
		}
	}
	err := d.record.account(account, func(m *cutover.AccountMemory) []cutover.Change {
		m.Source = now
		return nil
	})
	if err != nil {
		return fmt.Errorf("remember the old server: %w", err)
	}
	return nil
}

func otherServer(account, host, what, was, is string) error {
	return fmt.Errorf("%w: the %s of %s was %s at the first log-in and is %s now; if somebody has repointed the name, write the old server's own address into [source] host; if the old server itself has moved, 'imapsyncd account accept %s' goes on with it",
		errOtherServer, what, host, was, is, account)
}

// addressesOf are all addresses of a host; none where they cannot be found out.
func (d *Daemon) addressesOf(ctx context.Context, host string) []netip.Addr {
	if at, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{at.Unmap()}
	}
	if d.Dial != nil {
		return nil // its names are not those of the network
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	list, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil
	}
	for i := range list {
		list[i] = list[i].Unmap()
	}
	return list
}

// common tells whether two lists share an address, or one is not known.
func common(a, b []netip.Addr) bool {
	return len(a) == 0 || len(b) == 0 || slices.ContainsFunc(a, func(x netip.Addr) bool { return slices.Contains(b, x) })
}

// merged are the addresses of both lists, each once and sorted.
func merged(a, b []netip.Addr) []netip.Addr {
	all := slices.Concat(a, b)
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

func list(addresses []netip.Addr) string {
	var texts []string
	for _, a := range addresses {
		texts = append(texts, a.String())
	}
	return strings.Join(texts, ", ")
}

// AcceptSource implements [Operator].
func (d *desk) AcceptSource(ctx context.Context, accounts []string) error {
	chosen, err := d.named(accounts)
	if err != nil {
		return err
	}
	now := d.now()
	var names []string
	for _, a := range chosen {
		names = append(names, a.Name)
		if err := d.record.account(a.Name, func(m *cutover.AccountMemory) []cutover.Change {
			m.Source = cutover.SourceSeen{}
			return []cutover.Change{{At: now, Account: a.Name, What: "the old server is to be known anew", Why: saidSo}}
		}); err != nil {
			return err
		}
	}
	return d.turn(ctx, names)
}
