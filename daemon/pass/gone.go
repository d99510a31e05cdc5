package pass

import (
	"fmt"
	"slices"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// vanished is a receipt whose source message is no longer where it names it.
type vanished struct {
	pair mail.PairID
	mail.Receipt
}

// gone are the receipts of one account whose source message has vanished, by
// fingerprint: a new source message that is one of them has been carried
// already. It is read when it is first needed and follows every commit.
type gone struct {
	known   bool
	byPrint map[mail.Fingerprint][]vanished
	prints  map[goneKey]mail.Fingerprint
}

type goneKey struct {
	pair   mail.PairID
	source mail.UID
}

func (g *gone) put(pair mail.PairID, r mail.Receipt) {
	if r.Vanished() {
		g.byPrint[r.Fingerprint] = append(g.byPrint[r.Fingerprint], vanished{pair, r})
		g.prints[goneKey{pair, r.Source}] = r.Fingerprint
	}
}

func (g *gone) remove(pair mail.PairID, source mail.UID) {
	print, ok := g.prints[goneKey{pair, source}]
	if !ok || source == 0 {
		return // those without UID go with all of their pair
	}
	delete(g.prints, goneKey{pair, source})
	g.filter(print, func(v vanished) bool { return v.pair == pair && v.Source == source })
}

func (g *gone) filter(print mail.Fingerprint, out func(vanished) bool) {
	if list := slices.DeleteFunc(g.byPrint[print], out); len(list) > 0 {
		g.byPrint[print] = list
	} else {
		delete(g.byPrint, print)
	}
}

// apply follows a commit.
func (g *gone) apply(c mail.Change) {
	if !g.known {
		return
	}
	for _, all := range c.Replace {
		for print := range g.byPrint {
			g.filter(print, func(v vanished) bool { return v.pair == all.Pair })
		}
		for _, r := range all.Receipts {
			g.put(all.Pair, r)
		}
	}
	for _, d := range c.Drop {
		for _, uid := range d.UIDs {
			g.remove(d.Pair, uid)
		}
	}
	for _, list := range c.Receipts {
		for _, r := range list.Receipts {
			g.remove(list.Pair, r.Source)
			g.put(list.Pair, r)
		}
	}
}

// vanished returns the receipts whose source message has vanished.
func (p *Pass) vanished() (map[mail.Fingerprint][]vanished, error) {
	if p.gone.known {
		return p.gone.byPrint, nil
	}
	p.gone = gone{byPrint: make(map[mail.Fingerprint][]vanished), prints: make(map[goneKey]mail.Fingerprint)}
	for _, pair := range p.storedPairs() {
		for r, err := range p.Journal.Receipts(pair.ID) {
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrJournal, err)
			}
			p.gone.put(pair.ID, r)
		}
	}
	p.gone.known = true
	return p.gone.byPrint, nil
}
