package demo

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
	"mime"
	"mime/quotedprintable"
	netmail "net/mail"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
)

// message is a message as a server stores it.
type message struct {
	text    string // RFC 5322, with CRLF
	flags   []imap.Flag
	arrived time.Time // INTERNALDATE
}

// newest is when the youngest message of the past arrived. It is fixed, so
// that a seed gives the same mail on every day.
var newest = time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC)

// oldMessage writes a message of the last seven years, more of them recent, as
// it lies in a folder.
func oldMessage(r *rand.Rand, p person, f folder) message {
	u := r.Float64()
	age := time.Duration(u * u * float64(7*365*24*time.Hour)).Truncate(time.Second)
	zone := time.FixedZone("", []int{0, 3600, 7200, -18000, 32400}[r.IntN(5)])
	m := message{arrived: newest.Add(-age).In(zone)}
	m.text = compose(r, p, f.role == imap.MailboxAttrSent || f.role == imap.MailboxAttrDrafts, m.arrived)

	add := func(percent int, flag imap.Flag) {
		if r.IntN(100) < percent {
			m.flags = append(m.flags, flag)
		}
	}
	switch f.role {
	case imap.MailboxAttrDrafts:
		m.flags = []imap.Flag{imap.FlagDraft, imap.FlagSeen}
		return m
	case imap.MailboxAttrSent:
		add(100, imap.FlagSeen)
	case imap.MailboxAttrJunk:
		add(20, imap.FlagSeen)
	default:
		add(85, imap.FlagSeen)
	}
	add(25, imap.FlagAnswered)
	add(8, imap.FlagFlagged)
	add(2, imap.FlagDeleted)
	add(10, imap.FlagForwarded)
	add(6, "$label1")
	add(4, "todo")
	return m
}

// compose writes one message to p, or by p when sent is true.
func compose(r *rand.Rand, p person, sent bool, at time.Time) string {
	others := correspondents()
	other := others[r.IntN(len(others))]
	me := netmail.Address{Name: p.name, Address: p.login + "@" + domain}
	from, to := netmail.Address{Name: other.name, Address: other.address}, me
	if sent {
		from, to = to, from
	}
	subject := pick(r, p.subjects)
	text := body(r, p, sent)

	var b strings.Builder
	field := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	if !sent {
		host := other.address[strings.IndexByte(other.address, '@')+1:]
		field("Return-Path", "<"+other.address+">")
		field("Delivered-To", me.Address)
		field("Received", fmt.Sprintf("from mail.%s (mail.%s [192.0.2.%d])\r\n\tby mx.old.%s with ESMTPS id %08X\r\n\tfor <%s>; %s",
			host, host, 1+r.IntN(250), domain, r.Uint32(), me.Address, at.Format(time.RFC1123Z)))
	}
	field("Date", at.Add(-time.Duration(r.IntN(90))*time.Second).Format(time.RFC1123Z))
	field("From", from.String())
	field("To", to.String())
	switch r.IntN(20) {
	case 0: // as some old clients wrote it: raw 8-bit in a header
		field("Subject", subject)
	case 1:
		field("Subject", mime.BEncoding.Encode("utf-8", subject))
	default:
		field("Subject", mime.QEncoding.Encode("utf-8", subject))
	}
	if r.IntN(25) != 0 { // a few have none
		field("Message-ID", fmt.Sprintf("<%08x.%08x@%s>", r.Uint32(), r.Uint32(), from.Address[strings.IndexByte(from.Address, '@')+1:]))
	}
	if strings.HasPrefix(subject, "Re") || strings.HasPrefix(subject, "AW") {
		field("In-Reply-To", fmt.Sprintf("<%08x.%08x@%s>", r.Uint32(), r.Uint32(), domain))
	}
	field("MIME-Version", "1.0")

	switch n := r.IntN(100); {
	case n < 35:
		part(&b, "text/plain; charset=utf-8", "8bit", text)
	case n < 55:
		part(&b, "text/plain; charset=utf-8; format=flowed", "quoted-printable", text)
	case n < 62:
		part(&b, "text/plain; charset=utf-8", "base64", text)
	case n < 80:
		multipart(r, &b, "alternative", func(next func()) {
			next()
			part(&b, "text/plain; charset=utf-8", "8bit", text)
			next()
			part(&b, "text/html; charset=utf-8", "quoted-printable", htmlOf(text))
		})
	default:
		multipart(r, &b, "mixed", func(next func()) {
			next()
			part(&b, "text/plain; charset=utf-8", "quoted-printable", text)
			for range 1 + r.IntN(2) {
				next()
				attach(r, &b)
			}
		})
	}
	if r.IntN(30) == 0 { // as some programs leave it
		return strings.TrimSuffix(b.String(), "\r\n")
	}
	return b.String()
}

func pick(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }

// body is a greeting, a few paragraphs and a closing, with CRLF.
func body(r *rand.Rand, p person, sent bool) string {
	var lines []string
	if !sent {
		lines = append(lines, pick(r, p.greetings), "")
	}
	for range 1 + r.IntN(6) {
		var sentences []string
		for range 1 + r.IntN(4) {
			sentences = append(sentences, pick(r, p.sentences))
		}
		lines = append(lines, strings.Join(sentences, " "), "")
	}
	lines = append(lines, p.closing)
	if sent {
		lines = append(lines, p.name)
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

func htmlOf(text string) string {
	return "<html><body>\r\n<p>" + strings.ReplaceAll(strings.TrimSpace(text), "\r\n\r\n", "</p>\r\n<p>") + "</p>\r\n</body></html>\r\n"
}

// part writes the fields of a body part, an empty line and its content.
func part(b *strings.Builder, contentType, encoding, content string, more ...string) {
	fmt.Fprintf(b, "Content-Type: %s\r\nContent-Transfer-Encoding: %s\r\n", contentType, encoding)
	for _, line := range more {
		b.WriteString(line + "\r\n")
	}
	b.WriteString("\r\n")
	switch encoding {
	case "quoted-printable":
		w := quotedprintable.NewWriter(b)
		w.Write([]byte(content)) // a strings.Builder takes everything
		w.Close()
	case "base64":
		encoded := base64.StdEncoding.EncodeToString([]byte(content))
		for len(encoded) > 76 {
			b.WriteString(encoded[:76] + "\r\n")
			encoded = encoded[76:]
		}
		b.WriteString(encoded + "\r\n")
	default:
		b.WriteString(content)
	}
}

// multipart writes a body of several parts; parts calls next before each.
func multipart(r *rand.Rand, b *strings.Builder, subtype string, parts func(next func())) {
	boundary := fmt.Sprintf("=_%016x", r.Uint64())
	fmt.Fprintf(b, "Content-Type: multipart/%s; boundary=\"%s\"\r\n\r\n", subtype, boundary)
	parts(func() { fmt.Fprintf(b, "\r\n--%s\r\n", boundary) })
	fmt.Fprintf(b, "\r\n--%s--\r\n", boundary)
}

// attach writes a small attachment.
func attach(r *rand.Rand, b *strings.Builder) {
	var name, contentType, content string
	switch r.IntN(4) {
	case 0:
		name, contentType, content = "Foto – Straße.png", "image/png", picture(r)
	case 1:
		name, contentType = "umsätze.csv", "text/csv; charset=utf-8"
		for i := range 5 + r.IntN(40) {
			content += fmt.Sprintf("%d;Posten %d;%d,%02d €\r\n", i+1, r.IntN(900), r.IntN(5000), r.IntN(100))
		}
	case 2:
		name, contentType = "invite.ics", "text/calendar; charset=utf-8; method=REQUEST"
		content = fmt.Sprintf("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:%016x\r\nDTSTART:202610%02dT090000Z\r\nSUMMARY:会議\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n", r.Uint64(), 1+r.IntN(28))
	default:
		name, contentType = "見積書.pdf", "application/pdf"
		noise := make([]byte, 2000+r.IntN(18000))
		for i := range noise {
			noise[i] = byte(r.Uint32())
		}
		content = "%PDF-1.4\n" + string(noise)
	}
	part(b, contentType, "base64", content,
		"Content-Disposition: "+mime.FormatMediaType("attachment", map[string]string{"filename": name}))
}

func picture(r *rand.Rand) string {
	img := image.NewRGBA(image.Rect(0, 0, 16, 16))
	for i := range 256 {
		img.Set(i%16, i/16, color.RGBA{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), 255})
	}
	var b bytes.Buffer
	png.Encode(&b, img) // a bytes.Buffer takes everything
	return b.String()
}

// largeMessage is a message too big to be kept in memory by a careful client.
func largeMessage(r *rand.Rand, p person, f folder) message {
	m := oldMessage(r, p, f)
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Date: %s\r\nFrom: %s@%s\r\nSubject: Scan\r\nMIME-Version: 1.0\r\n", m.arrived.Format(time.RFC1123Z), p.login, domain)
	part(&b, "image/tiff", "base64", string(noise), `Content-Disposition: attachment; filename="scan.tif"`)
	m.text = b.String()
	return m
}
