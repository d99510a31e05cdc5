package remote

import (
	"fmt"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// selected is what SELECT or EXAMINE showed of a mailbox (RFC 3501 §7.1, §7.2).
type selected struct {
	status    mail.Status
	flags     []string
	permanent []string // nil: the server did not say
	readOnly  bool
}

// parseSelected reads the responses to SELECT or EXAMINE. A value that the
// server leaves out or that makes no sense stays zero.
func parseSelected(reply Reply) selected {
	var s selected
	for _, r := range reply.Untagged {
		switch r.Type {
		case "EXISTS":
			s.status.Messages, s.status.MessagesKnown = r.Num, true
		case "FLAGS":
			if len(r.Data) > 0 {
				s.flags = texts(r.Data[0].List)
			}
		case "OK":
			s.code(r)
		}
	}
	s.readOnly = reply.Tagged.Code == "READ-ONLY"
	return s
}

func (s *selected) code(r Response) {
	if r.Code == "NOMODSEQ" {
		s.status.HighestModSeq = 0
		return
	}
	if len(r.Args) == 0 {
		return
	}
	switch r.Code {
	case "UIDVALIDITY":
		s.status.UIDValidity = mail.UIDValidity(number(r.Args[0], 32))
	case "UIDNEXT":
		s.status.UIDNext = mail.UID(number(r.Args[0], 32))
	case "HIGHESTMODSEQ":
		s.status.HighestModSeq = mail.ModSeq(number(r.Args[0], 63))
	case "PERMANENTFLAGS":
		s.permanent = append([]string{}, texts(r.Args[0].List)...)
	}
}

// check compares the UIDVALIDITY with the one that the call was planned for.
func (s selected) check(box mail.Ref) error {
	if box.UIDValidity != 0 && s.status.UIDValidity != box.UIDValidity {
		return fmt.Errorf("mailbox %q: %w", box.Name, mail.ErrUIDValidity)
	}
	return nil
}
