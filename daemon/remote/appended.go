package remote

import (
	"errors"
	"strconv"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// answers takes the answers in the order of sending, until the queue is closed and
// empty. After the end of the connection nothing of what is in it is known.
func (a *Appender) answers(queue <-chan *sent) {
	defer close(a.read)
	for s := range queue {
		if !a.hasEnded() {
			reply := s.reply
			if s.other {
				reply = s.otherReply
			}
			err := reply()
			if err == nil {
				a.stored(s.outcomes[s.index : s.index+s.count])
				close(s.answered)
				s.over()
				continue
			}
			a.conn.Close()
			a.failed = err
			close(a.ended)
		}
		s.doubt()
		s.over()
	}
}

// doubt is the outcome of messages whose answer will not come.
func (s *sent) doubt() {
	if !s.begun.Load() {
		return
	}
	for i := range s.count {
		if o := &s.outcomes[s.index+i]; errors.Is(o.Err, mail.ErrNotSent) {
			o.Err = mail.ErrInDoubt
		}
	}
}

// reply reads up to the tagged answer of one command and notes what became of
// its messages. An error means that the connection must end. The clock for it
// runs while nothing is written; while something is, its own progress counts. The batch
// sees to it that the connection ends with its context.
func (s *sent) reply() error {
	outcome := &s.outcomes[s.index]
	for {
		r, err := s.conn.response(s.ctx)
		if err != nil {
			return err
		}
		switch r.Tag {
		case "*":
		case "+":
			s.mayProceed()
		case s.tag:
			switch {
			case s.count > 1:
				return s.answerTogether(r)
			case r.Type == "OK" && s.complete.Load():
				*outcome = appended(r)
				return nil
			case r.Type == "NO":
				outcome.Err = refusal("APPEND", r)
				s.storable.refuse(s.messages[s.index].Flags)
				return nil
			case r.Type == "BAD":
				outcome.Err = refusal("APPEND", r)
				if s.manner != asLiteral8 { // else that is to blame
					s.trust().cautious.Store(true)
				}
				return errors.New("the server could not parse the command")
			}
			return errors.New("the server answered before it had the message")
		default:
			if !s.cameEarly(r) {
				return errors.New("the server answered what was not asked")
			}
		}
	}
}

// mayProceed takes a "+". Only that of the command which is to be answered next counts: a
// server that asks for a literal which did not wait, or before its turn, might be taken
// to have parsed a line that it has not read.
func (s *sent) mayProceed() {
	if !s.waits || s.asked {
		s.trust().cautious.Store(true)
		return
	}
	s.asked = true
	s.begun.Store(true) // from here on it may be sent
	close(s.proceed)
}

// appended reads APPENDUID (RFC 4315 §3). One that is not of the right shape
// counts as none.
func appended(r Response) mail.Appended {
	if r.Code != "APPENDUID" || len(r.Args) != 2 {
		return mail.Appended{}
	}
	validity, err := strconv.ParseUint(r.Args[0].Text, 10, 32)
	if err != nil {
		return mail.Appended{}
	}
	uid, err := parseUID(r.Args[1].Text)
	if err != nil || validity == 0 {
		return mail.Appended{}
	}
	return mail.Appended{UID: uid, UIDValidity: mail.UIDValidity(validity)}
}
