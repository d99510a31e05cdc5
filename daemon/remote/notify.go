package remote

import "context"

// notify asks to be told of all mailboxes, where the server can tell of them.
// The one that is open is named too: what NOTIFY does not name, IDLE does not
// tell of any more (RFC 5465 §3.1).
func (w *watcher) notify(ctx context.Context) error {
	if !w.notified {
		return nil
	}
	var answer Response
	// A new mailbox is told of by MailboxName. Who cannot do that, or tell of
	// flags, can tell of mail (RFC 5465 §5).
	for _, events := range []struct{ selected, personal string }{
		{"MessageNew MessageExpunge FlagChange", "MessageNew MessageExpunge FlagChange MailboxName"},
		{"MessageNew MessageExpunge", "MessageNew MessageExpunge"},
	} {
		replies, err := w.session.raw(ctx, "NOTIFY SET (selected-delayed ("+events.selected+")) (personal ("+events.personal+"))")
		if err != nil {
			if ctx.Err() == nil {
				w.unnotified(err, true)
			}
			return err
		}
		if answer = replies[0].Tagged; answer.Type == "OK" || answer.Code != "BADEVENT" {
			break
		}
	}
	if w.notified = answer.Type == "OK"; !w.notified {
		w.unnotified(refusal("NOTIFY", answer), false)
	}
	return nil
}

// overflow is the code of a server that tells no more by NOTIFY (RFC 5465 §5.8).
const overflow = "NOTIFICATIONOVERFLOW"

// notification takes what may have come by NOTIFY, and not as an answer to a
// sweep.
func (w *watcher) notification(r Response) {
	switch {
	case r.Type == "STATUS" && len(r.Data) > 0:
		w.Hint(r.Data[0].Text)
	case r.Type == "STATUS", r.Type == "LIST":
		w.Hint("")
	case !w.notified:
	case r.Code == overflow:
		w.notified = false
		w.unnotified(refusal("NOTIFY", r), false)
		w.Hint("")
	case r.Type == "NO": // Dovecot's word for events that it has lost
		w.Hint("")
	}
}

func (w *watcher) unnotified(why error, ended bool) {
	if w.Unnotified != nil {
		w.Unnotified(why, ended)
	}
}
