package simtest

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// View is a server as one incarnation of a pass sees it.
type View struct {
	*Server
	*Faults
}

// step names what is done to a mailbox of the server.
func (v View) step(what, box string) step { return step{what, box, v.first} }

// Mailboxes lists one mailbox after the other: each shows a moment of its own.
func (v View) Mailboxes(context.Context) (mail.Listing, error) {
	l := mail.Listing{Separator: '/'}
	v.Server.mu.Lock()
	names := slices.Sorted(maps.Keys(v.Boxes))
	v.Server.mu.Unlock()
	l.Mailboxes = make([]mail.Mailbox, 0, len(names))
	for _, name := range names {
		if err := v.ask(v.step("list", name)); err != nil {
			return mail.Listing{}, err
		}
		v.Server.mu.Lock()
		if b := v.Boxes[name]; b != nil {
			l.Mailboxes = append(l.Mailboxes, mail.Mailbox{Name: name, Path: strings.Split(name, "/"), Role: b.Role, Subscribed: b.Subscribed, Status: v.status(b)})
		}
		v.Server.mu.Unlock()
	}
	return l, nil
}

func (s *Server) status(b *Box) mail.Status {
	status := mail.Status{UIDValidity: b.Validity, UIDNext: b.Next, Messages: uint32(len(b.Messages)), MessagesKnown: true}
	if !s.NoCondstore {
		status.HighestModSeq = b.ModSeq
	}
	return status
}

// open returns what the mailbox shows now.
func (v View) open(box mail.Ref) (*Box, error) {
	if err := v.ask(v.step("open", box.Name)); err != nil {
		return nil, err
	}
	v.Server.mu.Lock()
	defer v.Server.mu.Unlock()
	b := v.Boxes[box.Name]
	switch {
	case b == nil:
		return nil, &mail.Refused{Command: "EXAMINE", Type: "NO", Code: "NONEXISTENT"}
	case box.UIDValidity != 0 && box.UIDValidity != b.Validity:
		return nil, mail.ErrUIDValidity
	}
	shown := *b
	shown.Messages = slices.Clone(b.Messages)
	return &shown, nil
}

func (v View) Status(_ context.Context, box mail.Ref) (mail.Status, error) {
	b, err := v.open(box)
	if err != nil {
		return mail.Status{}, err
	}
	return v.status(b), nil
}

func (v View) UIDs(_ context.Context, box mail.Ref, from mail.UID) ([]mail.UID, error) {
	b, err := v.open(box)
	if err != nil {
		return nil, err
	}
	var uids []mail.UID
	for _, m := range b.Messages {
		if m.UID >= from {
			uids = append(uids, m.UID)
		}
	}
	return uids, nil
}

func (v View) Survey(ctx context.Context, questions []mail.Question) iter.Seq2[mail.Survey, error] {
	return func(yield func(mail.Survey, error) bool) {
		for _, q := range questions {
			b, err := v.open(q.Ref)
			answer := mail.Survey{Err: err}
			if errors.Is(err, errCut) || errors.Is(err, errCrash) {
				yield(mail.Survey{}, err)
				return
			} else if err == nil {
				for _, m := range b.Messages {
					if m.UID >= q.From {
						answer.UIDs, answer.Sizes = append(answer.UIDs, m.UID), append(answer.Sizes, uint32(len(m.Data)))
					}
				}
			}
			if !yield(answer, nil) {
				return
			}
		}
	}
}

func (v View) Messages(_ context.Context, box mail.Ref, uids []mail.UID, fingerprints bool) iter.Seq2[mail.Message, error] {
	return func(yield func(mail.Message, error) bool) {
		b, err := v.open(box)
		if err != nil {
			yield(mail.Message{}, err)
			return
		}
		for _, m := range b.Messages {
			if !slices.Contains(uids, m.UID) {
				continue
			}
			x := mail.Message{UID: m.UID, Size: int64(len(m.Data)), InternalDate: m.Date, Flags: m.Flags}
			if fingerprints {
				x.Fingerprint, x.Opening = mail.NewFingerprint(x.Size, m.Date, []byte(m.Data)), mail.Opening([]byte(m.Data))
			}
			if err := v.ask(v.step("message of", box.Name)); err != nil {
				yield(mail.Message{}, err)
				return
			}
			if !yield(x, nil) {
				return
			}
		}
	}
}

func (v View) Flags(_ context.Context, box mail.Ref, below mail.UID, since mail.ModSeq) iter.Seq2[mail.Message, error] {
	return func(yield func(mail.Message, error) bool) {
		b, err := v.open(box)
		if err != nil {
			yield(mail.Message{}, err)
			return
		}
		for _, m := range b.Messages {
			if m.UID < below && (m.ModSeq > since || v.NoCondstore) && !yield(mail.Message{UID: m.UID, Flags: m.Flags, ModSeq: m.ModSeq}, nil) {
				return
			}
		}
	}
}

func (v View) Headers(_ context.Context, box mail.Ref, uids []mail.UID) iter.Seq2[mail.Message, error] {
	return func(yield func(mail.Message, error) bool) {
		b, err := v.open(box)
		if err != nil {
			yield(mail.Message{}, err)
			return
		}
		for _, m := range b.Messages {
			if !slices.Contains(uids, m.UID) {
				continue
			}
			header := []byte(m.Data)
			if !yield(mail.Message{UID: m.UID, InternalDate: m.Date, Flags: m.Flags, Key: mail.HeaderKey(header), MessageID: mail.MessageID(header)}, nil) {
				return
			}
		}
	}
}

func (v View) Bodies(ctx context.Context, box mail.Ref, uids []mail.UID) iter.Seq2[mail.Body, error] {
	return func(yield func(mail.Body, error) bool) {
		b, err := v.open(box)
		if err != nil {
			yield(mail.Body{}, err)
			return
		}
		for x, err := range v.Messages(ctx, box, uids, false) {
			if err != nil {
				yield(mail.Body{}, err)
				return
			}
			i := slices.IndexFunc(b.Messages, func(m Message) bool { return m.UID == x.UID })
			if i >= 0 && !yield(mail.Body{Message: x, Content: strings.NewReader(b.Messages[i].Data)}, nil) {
				return
			}
		}
	}
}

// SameContents numbers messages for Server.Labels by what they are.
func SameContents(m Message) uint64 { return fnv1a(fnv1a(fnvBasis, m.Data), m.Date.String()) }

// Identities are the numbers of messages.
func (v View) Identities(_ context.Context, box mail.Ref, uids []mail.UID) (map[mail.UID]uint64, error) {
	if v.Labels == nil {
		return nil, nil
	}
	ids := make(map[mail.UID]uint64)
	if len(uids) == 0 {
		return ids, nil
	}
	b, err := v.open(box)
	if err != nil {
		return nil, err
	}
	for _, m := range b.Messages {
		if slices.Contains(uids, m.UID) {
			ids[m.UID] = v.Labels(m)
		}
	}
	return ids, nil
}
