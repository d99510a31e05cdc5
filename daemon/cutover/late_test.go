package cutover

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

var (
	oldHosts = []string{"mx.old.example", "*.store.old.example", "198.51.100.7", "2001:db8:7::/48"}
	migrated = func(domain string) bool { return domain == "example.org" || domain == "example.net" }
)

// header joins the lines of a header; what begins with a blank is folded.
func header(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\nbody\r\n" }

const postfix = "Received: from mail.sender.example (mail.sender.example [203.0.113.5])\r\n" +
	"\tby mx.old.example (Postfix) with ESMTPS id 4Xyz\r\n\tfor <foo@example.org>; Mon,  5 Jan 2026 10:00:00 +0100 (CET)"

func TestOriginOf(t *testing.T) {
	tests := []struct {
		name, message         string
		domain, host, address string
	}{
		{"Postfix", header("Return-Path: <a@sender.example>", "X-Original-To: foo@example.org", "Delivered-To: foo@example.org", postfix, "From: a@sender.example"),
			"example.org", "mail.sender.example", "203.0.113.5"},
		{"Postfix, no reverse name, TLS", header("Received: from [10.0.0.1] (unknown [203.0.113.5])",
			" (using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)", "  key-exchange X25519 server-signature RSA-PSS (2048 bits))",
			" (No client certificate requested)", " by mx.old.example (Postfix) with ESMTPS id 4X for <foo@example.org>; Mon"),
			"example.org", "203.0.113.5", "203.0.113.5"},
		{"Postfix, IPv6", header("Received: from a (a.sender.example [IPv6:2001:DB8:1::5]) by mx.old.example (Postfix) with ESMTP id 1"), "", "a.sender.example", "2001:db8:1::5"},
		{"Exim, verified name", header("Envelope-to: foo@example.org", "Delivery-date: Mon", "Received: from mail.sender.example ([203.0.113.5] helo=[127.0.0.1])",
			" by mx.old.example with esmtps  (TLS1.3) tls TLS_AES_256_GCM_SHA384", " (Exim 4.96)", " (envelope-from <a@sender.example>)", " id 1tAbcd-000001-2X for foo@example.org; Mon"),
			"example.org", "mail.sender.example", "203.0.113.5"},
		{"Exim, no name", header("Received: from [203.0.113.5] (helo=mx.old.example) by mx.old.example with smtp (Exim 4.96) id 1 for foo@example.org; Mon"),
			"example.org", "203.0.113.5", "203.0.113.5"},
		{"Exim, with its port", header("Received: from [203.0.113.5]:4711 (helo=localhost) by mx.old.example with smtp id 1"), "", "203.0.113.5", "203.0.113.5"},
		{"Sendmail", header("Received: from sender (IDENT:root@mail.sender.example [203.0.113.5]) by mx.old.example (8.17.1/8.17.1) with ESMTPS id 605 for <Foo@Example.ORG.>; Mon"),
			"example.org", "mail.sender.example", "203.0.113.5"},
		{"Sendmail, forged", header("Received: from mx.old.example (mx.old.example [203.0.113.5] (may be forged)) by mx.old.example (8.17.1/8.17.1) with ESMTP id 605"),
			"", "203.0.113.5", "203.0.113.5"},
		{"qmail", header("Delivered-To: example.org-foo@example.org", "Received: (qmail 4711 invoked by uid 89); 5 Jan 2026 09:00:00 -0000",
			"Received: from unknown (HELO [192.168.0.1]) (203.0.113.5)", "  by mx.old.example with SMTP; 5 Jan 2026 09:00:00 -0000"), "example.org", "203.0.113.5", "203.0.113.5"},
		{"Exchange", header("Received: from mail.sender.example (203.0.113.5) by mx.old.example (10.1.2.3) with Microsoft SMTP Server id 15.1"), "", "203.0.113.5", "203.0.113.5"},
		{"Dovecot before Postfix", header("Delivered-To: <foo@example.org>", "Received: from mx.old.example ([198.51.100.7])", "\tby a.store.old.example with LMTP", "\tid abc", "\t(envelope-from <a@sender.example>)",
			"\tfor <foo@example.org>; Mon", postfix), "example.org", "mail.sender.example", "203.0.113.5"},
		{"a back end that is not in the list", header("Received: from mx.old.example (mx.old.example [198.51.100.7]) by imap7.hoster.example with LMTP id a", postfix), "example.org", "mail.sender.example", "203.0.113.5"},
		{"through a filter", header("Received: from localhost (localhost [127.0.0.1]) by mx.old.example (Postfix) with ESMTP id 2 for <foo@example.org>; Mon",
			"Received: from mx.old.example ([127.0.0.1]) by localhost (mx.old.example [127.0.0.1]) (amavisd-new, port 10024) with ESMTP id b for <foo@example.org>; Mon", postfix),
			"example.org", "mail.sender.example", "203.0.113.5"},
		{"a private network", header("Received: from relay.old.example (relay.old.example [10.0.0.9]) by mx.old.example (Postfix) with ESMTP id 2"), "", "", ""},
		{"shared address space", header("Received: from x.sender.example (x.sender.example [100.64.1.1]) by mx.old.example"), "", "", ""},
		{"IPv4 in IPv6", header("Received: from x (x.sender.example [IPv6:::ffff:10.0.0.1]) by mx.old.example"), "", "", ""},
		{"a form", header("Received: by mx.old.example (Postfix, from userid 33) id 4; Mon", "To: foo@example.org"), "", "", ""},
		{"a user", header("Received: from [192.168.1.5] (dsl.provider.example [203.0.113.77]) by mx.old.example (Postfix) with ESMTPSA id 9 for <foo@example.org>; Mon", postfix), "example.org", "", ""},
		{"no Received line", header("Subject: x"), "", "", ""},
		{"by address", header("Received: from m.sender.example (m.sender.example [203.0.113.5]) by [198.51.100.7] with SMTP"), "", "m.sender.example", "203.0.113.5"},
		{"by address in a network", header("Received: from m.sender.example (m.sender.example [203.0.113.5]) by [IPv6:2001:db8:7::25] with SMTP"), "", "m.sender.example", "203.0.113.5"},
		{"from a host without address", header("Received: from list.sender.example by mx.old.example with UUCP id 4"), "", "list.sender.example", ""},
		{"bare line feeds", strings.ReplaceAll(header("X-Original-To: foo@example.net", postfix), "\r\n", "\n"), "example.org", "mail.sender.example", "203.0.113.5"},
		{"an mbox line", "From a@b Mon Jan  5 10:00:00 2026\n" + header(postfix), "example.org", "mail.sender.example", "203.0.113.5"},

		// Domains.
		{"an alias", header("X-Original-To: info@example.net", "Delivered-To: foo@example.org", "Received: from m.sender.example (m.sender.example [203.0.113.5]) by mx.old.example (Postfix) with ESMTP id 1"),
			"example.net", "m.sender.example", "203.0.113.5"},
		{"a local name", header("X-Original-To: foo@example.org", "Delivered-To: foo@mx.old.example", "Received: by mx.old.example (Postfix)"), "example.org", "", ""},
		{"another's domain", header("Delivered-To: foo@elsewhere.example"), "", "", ""},
		{"several", header("Envelope-To: x@elsewhere.example,\r\n foo@example.net"), "example.net", "", ""},
		{"a quoted local part", header(`Delivered-To: "a@b <c>"@example.net`), "example.net", "", ""},

		// What others wrote.
		{"forged below", header("Received: by mx.old.example (Postfix, from userid 33) id 4; Mon", "Received: from x.evil.example by relay.evil.example with SMTP for <foo@example.net>; Mon",
			"X-Original-To: foo@example.net", "Received: from acknowledged.example (acknowledged.example [203.0.113.1]) by mx.old.example for <foo@example.net>; Mon"), "", "", ""},
		{"forged recipient", header("Received: from m.sender.example (m.sender.example [203.0.113.5]) by mx.old.example (Postfix) with ESMTP id 1", "X-Original-To: foo@example.net", "Delivered-To: foo@example.net"),
			"", "m.sender.example", "203.0.113.5"},
		{"HELO by", header("Received: from by (m.sender.example [203.0.113.5]) by mx.old.example (Postfix)"), "", "m.sender.example", "203.0.113.5"},
		{"HELO for", header("Received: from for (m.sender.example [203.0.113.5]) by mx.old.example (Postfix)"), "", "m.sender.example", "203.0.113.5"},
		{"HELO localhost", header("Received: from localhost (m.sender.example [203.0.113.5]) by mx.old.example (Postfix)"), "", "m.sender.example", "203.0.113.5"},
		{"HELO of the old server", header("Received: from mx.old.example (m.sender.example [203.0.113.5]) by mx.old.example (Postfix)"), "", "m.sender.example", "203.0.113.5"},
		{"after the date", header("Received: by store; Mon by mx.old.example from evil.example (evil.example [203.0.113.9])"), "", "", ""},
		{"in a comment", header("Received: (from evil.example ([203.0.113.9]) by mx.old.example) by store"), "", "", ""},
		{"in a quoted string", header(`Received: from "x by mx.old.example" (m.sender.example [203.0.113.5]) by elsewhere.example`), "", "", ""},
		{"a name for a terminal", header("Received: from x (\x1b[2J\x1b.evil.example [203.0.113.5]) by mx.old.example"), "", "203.0.113.5", "203.0.113.5"},
		{"8-bit", header("Received: from \xff\xfe (\xe4.example [203.0.113.5]) by mx.old.example for <\xff@example.org>; Mon"), "example.org", "203.0.113.5", "203.0.113.5"},
		{"open parentheses", header("Received: from x ((((((m.sender.example [203.0.113.5] by mx.old.example"), "", "", ""},
		{"nested parentheses", header(`Received: from x (a (b \) c) [203.0.113.5]) by mx.old.example`), "", "203.0.113.5", "203.0.113.5"},
		{"nothing but words", header("Received: from by for with id via ;"), "", "", ""},
		{"cut within the line", "Received: from m.sender.example (m.sender.example [203.0.113.5]) by mx.old.example", "", "", ""},
		{"NUL", "\x00\x00:\r\n" + header(postfix), "example.org", "mail.sender.example", "203.0.113.5"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := OriginOf([]byte(test.message), oldHosts, migrated)
			want := Origin{Domain: test.domain, Host: test.host}
			if test.address != "" {
				want.Address = netip.MustParseAddr(test.address)
			}
			if got != want {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
}

// TestOriginOfMegabytes: it takes no more time than reading does, whatever is
// sent.
func TestOriginOfMegabytes(t *testing.T) {
	for name, unit := range map[string]string{
		"parentheses": "(", "quotes": "\"a", "blanks": " ", "words": "by ", "backslashes": "(\\", "folds": "\r\n ", "lines": "\r\nReceived: from a (b [203.0.113.5]) by localhost",
		"fields": "\r\nX-Original-To: a@b", "addresses": "a@b,", "colons": "::",
	} {
		message := header("Received: " + strings.Repeat(unit, (4<<20)/len(unit)))
		start := time.Now()
		OriginOf([]byte(message), oldHosts, migrated)
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%s: 4 MB took %s", name, took)
		}
	}
}

// FuzzOriginOf: whatever the header, a host is only one that can be shown, and
// never one within the walls.
func FuzzOriginOf(f *testing.F) {
	f.Add([]byte(header("X-Original-To: foo@example.org", postfix)))
	f.Add([]byte(header("Received: from [203.0.113.5] (helo=[10.0.0.1]) by mx.old.example with esmtpsa id 1 for foo@example.org; Mon")))
	f.Add([]byte(header("Received: from unknown (HELO x) (root@203.0.113.5)\n by mx.old.example with SMTP; Mon")))
	f.Add([]byte(header("Received: from x ([IPv6:2001:db8::1]) by [198.51.100.7] (a (b) \\) c) with LMTP id \"q\\\"\"")))
	f.Add([]byte("Received : from\r\n\tby (\r\n for\n\nbody"))
	f.Fuzz(func(t *testing.T, message []byte) {
		o := OriginOf(message, oldHosts, migrated)
		if o.Domain != "" && !migrated(o.Domain) {
			t.Errorf("domain %q is not one of ours", o.Domain)
		}
		if strings.Trim(o.Host, "abcdefghijklmnopqrstuvwxyz0123456789-._:") != "" || len(o.Host) > 253 {
			t.Errorf("host %q", o.Host)
		}
		if a := o.Address; a.IsValid() && (o.Host == "" || a.IsPrivate() || a.IsLoopback() || newHostSet(oldHosts).hasAddress(a)) {
			t.Errorf("%+v is no host outside", o)
		}
		if o.Host == "mx.old.example" {
			t.Error("the old server was taken for another")
		}
		// A line that the other side could have sent changes nothing once the
		// old server's own line is above it.
		own := []byte(postfix + "\r\n")
		if with := OriginOf(append(own, message...), oldHosts, migrated); with.Host != "mail.sender.example" || with.Domain != "example.org" {
			// But for a fold that belongs to the line itself.
			if len(message) == 0 || message[0] != ' ' && message[0] != '\t' {
				t.Errorf("below the line of the old server: %+v", with)
			}
		}
	})
}
