package remote

import (
	"context"
	"errors"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// Quota is how much a user may store, in octets (RFC 9208 §5.1: STORAGE).
type Quota struct {
	Known bool  // the server tells
	Used  int64 // what is stored
	Limit int64 // how much may be; 0: as much as one likes
}

// Quota asks how much room there is for INBOX. Where several quota roots bound
// it, that of which the largest part is used counts.
func (d *Destination) Quota(ctx context.Context) (q Quota, err error) {
	conn, err := d.connection(ctx)
	if err != nil || !conn.Has("QUOTA") {
		return Quota{}, err
	}
	reply, err := d.command(ctx, "GETQUOTAROOT INBOX")
	if errors.As(err, new(*mail.Refused)) {
		return Quota{}, nil
	} else if err != nil {
		return Quota{}, err
	}
	q.Known = true
	for _, r := range reply.Untagged {
		if r.Type != "QUOTA" || len(r.Data) < 2 {
			continue
		}
		resources := r.Data[1].List
		for i := 0; i+2 < len(resources); i += 3 {
			used, limit := int64(number(resources[i+1], 53))<<10, int64(number(resources[i+2], 53))<<10
			if strings.EqualFold(resources[i].Text, "STORAGE") && limit > 0 && (q.Limit == 0 || ratio(used, limit) > ratio(q.Used, q.Limit)) {
				q.Used, q.Limit = used, limit
			}
		}
	}
	return q, nil
}

// AppendLimit is how many octets a message may have at most (APPENDLIMIT, RFC
// 7889), while a connection is open; 0: the server does not tell.
func (d *Destination) AppendLimit() int64 {
	if d.conn == nil {
		return 0
	}
	return d.conn.appendLimit()
}

func ratio(used, limit int64) float64 { return float64(used) / float64(limit) }
