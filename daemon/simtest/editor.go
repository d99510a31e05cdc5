package simtest

import (
	"context"
	"slices"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

func (w Writable) Editor(_ context.Context, box mail.Ref) (mail.Editor, error) {
	b, err := w.open(box)
	if err != nil {
		return nil, err
	}
	return &editor{w, mail.Ref{Name: box.Name, UIDValidity: b.Validity}, w.status(b)}, nil
}

// editor changes the messages of one mailbox of a model server.
type editor struct {
	w      Writable
	box    mail.Ref
	status mail.Status
}

func (e *editor) Status() mail.Status                  { return e.status }
func (e *editor) Storable(flags mail.Flags) mail.Flags { return flags }
func (e *editor) NotAppended() mail.System             { return e.w.notAppended() }
func (e *editor) CanMove() bool                        { return !e.w.NoUIDPlus }
func (e *editor) CanRemove() bool                      { return !e.w.NoUIDPlus }
func (e *editor) Close() error                         { return nil }

func (e *editor) Flags(_ context.Context, uids []mail.UID) ([]mail.Message, error) {
	b, err := e.w.open(e.box)
	if err != nil {
		return nil, err
	}
	var list []mail.Message
	for _, m := range b.Messages {
		if slices.Contains(uids, m.UID) {
			list = append(list, mail.Message{UID: m.UID, Flags: m.Flags, ModSeq: m.ModSeq})
		}
	}
	return list, nil
}

// command is a change of messages.
func (e *editor) command(kind mail.IntentKind, uids []mail.UID, change func(b *Box)) error {
	for _, uid := range uids {
		e.w.Changing(kind, e.box, uid)
	}
	return e.do(change)
}

// do runs a change between two questions. Where the connection is lost before it, it
// may be done all the same, at once or late.
func (e *editor) do(change func(b *Box)) error {
	run := func() {
		e.w.Server.mu.Lock()
		defer e.w.Server.mu.Unlock()
		if b := e.w.Boxes[e.box.Name]; b != nil && b.Validity == e.box.UIDValidity {
			e.w.Changes++
			change(b)
		}
	}
	if err := e.w.ask(e.w.step("change", e.box.Name)); err != nil {
		if e.w.Late != nil {
			if after, ever := e.w.Late(); ever && after == 0 {
				run()
			} else if ever {
				time.AfterFunc(after, run)
			}
		}
		return err
	}
	run()
	return e.w.ask(e.w.step("change", e.box.Name))
}

// unchanged tells whether a message is as it was read.
func (e *editor) unchanged(m Message, from mail.Flags) bool {
	if e.w.NoCondstore {
		return m.Flags.Equal(from)
	}
	return m.ModSeq <= e.status.HighestModSeq
}

func (e *editor) each(edits []mail.Edit, kind mail.IntentKind, change func(b *Box, i int, edit mail.Edit)) (changed []mail.UID, err error) {
	uids := make([]mail.UID, len(edits))
	for i, edit := range edits {
		uids[i] = edit.UID
	}
	err = e.command(kind, uids, func(b *Box) {
		for _, edit := range edits {
			i := slices.IndexFunc(b.Messages, func(m Message) bool { return m.UID == edit.UID })
			switch {
			case i < 0:
			case e.unchanged(b.Messages[i], edit.From):
				change(b, i, edit)
			default:
				changed = append(changed, edit.UID)
			}
		}
	})
	return changed, err
}

func (e *editor) Store(_ context.Context, edits []mail.Edit) ([]mail.UID, error) {
	for _, edit := range edits {
		if err := e.w.refusedKeyword("UID STORE", edit.To); err != nil {
			return nil, err
		}
	}
	return e.each(edits, mail.IntentStore, func(b *Box, i int, edit mail.Edit) { b.Flag(i, edit.To) })
}

// Remove marks and expunges, in two commands: the connection may be lost
// between them.
func (e *editor) Remove(_ context.Context, edits []mail.Edit) ([]mail.UID, error) {
	changed, err := e.each(edits, mail.IntentRemove, func(b *Box, i int, edit mail.Edit) {
		b.Flag(i, edit.From.With(mail.Flags{System: mail.Deleted}))
	})
	if err != nil {
		return nil, err
	}
	var uids []mail.UID
	for _, edit := range edits {
		if !slices.Contains(changed, edit.UID) {
			uids = append(uids, edit.UID)
		}
	}
	return changed, e.expunge(uids)
}

func (e *editor) expunge(uids []mail.UID) error {
	return e.command(mail.IntentRemove, uids, func(b *Box) {
		for i := len(b.Messages) - 1; i >= 0; i-- {
			if m := b.Messages[i]; slices.Contains(uids, m.UID) && m.Flags.System&mail.Deleted != 0 {
				b.Take(i)
			}
		}
	})
}

// Move moves in one command, or where the server cannot, copies, marks and
// expunges in three.
func (e *editor) Move(_ context.Context, uids []mail.UID, to string) (map[mail.UID]mail.UID, mail.UIDValidity, error) {
	moved := make(map[mail.UID]mail.UID)
	var validity mail.UIDValidity
	err := e.command(mail.IntentMove, uids, func(b *Box) {
		target := e.w.Boxes[to]
		if target == nil {
			return
		}
		validity = target.Validity
		for _, uid := range uids {
			i := slices.IndexFunc(b.Messages, func(m Message) bool { return m.UID == uid })
			if i < 0 {
				continue
			}
			m := b.Messages[i]
			if moved[uid] = target.Add(m.Data, m.Date, m.Flags); !e.w.NoMove {
				b.Take(i)
			}
		}
	})
	if err == nil && e.w.NoMove {
		err = e.command(mail.IntentMove, uids, func(b *Box) {
			for i, m := range b.Messages {
				if moved[m.UID] != 0 {
					b.Flag(i, m.Flags.With(mail.Flags{System: mail.Deleted}))
				}
			}
		})
		if err == nil {
			err = e.expunge(uids)
		}
	}
	if err != nil {
		return nil, 0, err
	}
	return moved, validity, nil
}

// Copy copies as a whole or not at all. An intent must be durable as for an APPEND.
func (e *editor) Copy(_ context.Context, uids []mail.UID, to string) (map[mail.UID]mail.UID, mail.UIDValidity, error) {
	b, err := e.w.open(e.box)
	if err != nil {
		return nil, 0, err
	}
	for _, m := range b.Messages {
		if !slices.Contains(uids, m.UID) {
			continue
		}
		data, date := e.w.original(m)
		if err := e.w.Intended(to, int64(len(data)), mail.NewFingerprint(int64(len(data)), date, []byte(data))); err != nil {
			return nil, 0, err
		}
	}
	copied := make(map[mail.UID]mail.UID)
	var validity mail.UIDValidity
	err = e.do(func(b *Box) {
		target := e.w.Boxes[to]
		if target == nil {
			return
		}
		validity = target.Validity
		for _, m := range slices.Clone(b.Messages) {
			if slices.Contains(uids, m.UID) {
				copied[m.UID] = target.Add(m.Data, m.Date, m.Flags)
				e.w.Copies++
			}
		}
	})
	if err != nil {
		return nil, 0, err
	}
	if e.w.CopyAnswer != nil {
		err = e.w.CopyAnswer(copied)
	}
	return copied, validity, err
}
