package corpus

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Odd returns messages as no book describes them and every old server has them:
// line ends, octets, headers, MIME, dates, and contents that look like IMAP.
// Each is different from all others.
func Odd() []Message {
	const header = "From: a@example.org\r\nSubject: odd\r\n"
	var odd []Message
	add := func(format string, args ...any) {
		date := time.Date(2019, 3, 4, 5, 6, len(odd)%60, 0, time.FixedZone("", (len(odd)%25-12)*3600))
		odd = append(odd, Message{Data: fmt.Appendf(nil, format, args...), Date: date})
	}
	body := func(format string, args ...any) {
		add(header+"X-Number: %d\r\n\r\n%s", len(odd), fmt.Sprintf(format, args...))
	}
	// Line ends.
	for _, text := range []string{
		"one\ntwo\n", "one\r\ntwo\nthree\r\n", "\n", "\n\n\n", "one\rtwo\r\n", "one\r\r\ntwo\r\n", "one\r", "\r", "\r\r\r\n", "no end", "", "\r\n", "\r\n\r\n\r\n",
		"one\n\rtwo\r\n", "blank at the end \r\n", "\ttab\r\n", "one\r\n\r", "one\r\n.\r\ntwo\r\n", "..\r\n", "From the start\r\n", ">From\r\n",
	} {
		body("%s", text)
	}
	// Octets.
	for _, text := range []string{
		"\x00\r\n", "a\x00b\x00c\r\n", "\x80\x81\xfe\xff\r\n", "caf\xe9\r\n", "café\r\n", "\xef\xbb\xbfwith a mark\r\n", "\x01\x02\x1b[31mred\x07\r\n", "\x7f\r\n",
		"\xff\xfeU\x00T\x00F\x00\r\n", "\xc0\xaf\r\n", "\xed\xa0\x80\r\n", "\u2028\u2029\r\n", "\x1a\r\n", "\x0c\x0b\r\n",
	} {
		body("%s", text)
	}
	// Headers.
	for i, text := range []string{
		"Subject: caf\xe9\r\n", "Subject: café\r\n", "Subject: =?utf-8?q?caf=C3=A9?=\r\n", "Subject: =?x?b?!!!?=\r\n", "Subject:\r\n", "Subject: \r\n", "Subject: a\r\n\tb\r\n c\r\n",
		"Subject: a\r\n \r\n b\r\n", "no colon here\r\n", "From a@example.org Mon Jan  1 00:00:00 2018\r\nSubject: x\r\n", ": no name\r\n", "Na me: x\r\n", "Name : x\r\n",
		"Subject: x\nFrom: y\n", "subject: x\r\nSUBJECT: y\r\nSubject: z\r\n", "Message-ID: <>\r\n", "Message-ID: none\r\n", "Message-ID: <" + strings.Repeat("m", 2000) + "@x>\r\n",
		"Date: yesterday\r\n", "Date: Mon, 99 Foo 1899 25:61:61 +9999\r\n", "To: " + strings.Repeat("somebody@example.org, ", 2000) + "x@y\r\n", "To: undisclosed-recipients:;\r\n",
		"From: \"unclosed <a@b>\r\n", "From: (((((((((((\r\n", "Subject: a\x00b\r\n", "Subject: a\x07b\r\n", "Content-Type: text/plain; charset=\"\r\n", "Content-Type: ;;;\r\n",
		"Content-Transfer-Encoding: base64\r\nContent-Transfer-Encoding: 8bit\r\n", "MIME-Version: 99\r\n", "X: " + strings.Repeat("x", 998) + "\r\n", "X: " + strings.Repeat("x", 100_000) + "\r\n",
		strings.Repeat("Received: from x by y; Mon, 1 Jan 2018 00:00:00 +0000\r\n", 1000), "X-\xe9: y\r\n", "\tfolded first\r\n", "Subject: x\r\n\xa0\r\n", "Return-Path: <>\r\n", "Bcc: secret@example.org\r\n",
		"Status: RO\r\nX-Status: A\r\nX-UID: 5\r\nX-Keywords: a\r\n", "Content-Length: 99999\r\n", "Lines: -1\r\n",
		"Z1 CREATE pwned\r\n", "Z1: CREATE pwned\r\n", "Subject: x\r\n)\r\nZ1 CREATE pwned\r\n", "Subject: x\r\n Z1 CREATE pwned\r\n", "Subject: {10}\r\n", "Subject: {10+}\r\n", "* BYE: gone\r\n",
	} {
		add("%sX-Odd: %d\r\n\r\nx\r\n", text, i)
	}
	// Not even that much.
	for _, text := range []string{"x", "\r\n\r\n", "\r\n", "\n", "Subject: only\r\n", "Subject: no end", "just text\r\n", "a\r\nb\r\nc", ":", "\r\n\r\nbody only\r\n", "\x00", "\xff", " ", "Subject: a\r\n\r\n"} {
		add("%s", text)
	}
	// MIME.
	part := func(boundary, text string) string { return "--" + boundary + "\r\n\r\n" + text + "\r\n" }
	for _, n := range []int{1, 10, 100, 400} {
		add("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n%s--b%[1]d--\r\n", n, strings.Repeat(part(fmt.Sprintf("b%d", n), "part"), n))
	}
	for _, depth := range []int{5, 50} {
		var open strings.Builder
		for i := range depth {
			fmt.Fprintf(&open, "Content-Type: multipart/mixed; boundary=n%d\r\n\r\n--n%[1]d\r\n", i)
		}
		add("%s\r\ndeep\r\n", open.String())
	}
	for _, text := range []string{
		"Content-Type: multipart/mixed\r\n\r\n--\r\n\r\nx\r\n", "Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\nx\r\n", "Content-Type: multipart/mixed; boundary=q\r\n\r\nnever\r\n",
		"Content-Type: multipart/mixed; boundary=q\r\n\r\n--q--\r\n--q\r\n\r\nafter the end\r\n", "Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ninner\r\n",
		"Content-Type: message/rfc822\r\n\r\n", "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!not base64!!!\r\n", "Content-Type: text/plain\r\nContent-Transfer-Encoding: uuencode\r\n\r\nbegin 644 x\r\n",
		"Content-Type: multipart/signed; boundary=s; micalg=x\r\n\r\n--s\r\n\r\nsigned \r\n--s--\r\n", "Content-Type: application/octet-stream; name*0*=utf-8''a; name*1=b\r\n\r\nx\r\n",
		"Content-Type: multipart/mixed; boundary=" + strings.Repeat("b", 300) + "\r\n\r\nx\r\n", "Content-Disposition: attachment; filename=\"../../etc/passwd\"\r\n\r\nx\r\n",
	} {
		add("%s", text)
	}
	// What looks like IMAP.
	for _, text := range []string{
		"Z1 CREATE pwned\r\n", "Z1 LOGOUT\r\n", ")\r\nZ1 CREATE pwned\r\n", "* 1 FETCH (FLAGS (\\Deleted))\r\n", "* BYE\r\n", "{10}\r\n", "{10+}\r\n0123456789", "+ go ahead\r\n",
		"~{3}\r\n", "\"\r\n", "\\\r\n", "A1 OK [APPENDUID 1 1] done\r\n", "* OK [UIDVALIDITY 1]\r\n", " (\\Seen) {5+}\r\nhello", "DONE\r\n", "*\r\n", "* 1 EXPUNGE\r\n", "{4294967296}\r\n",
	} {
		body("%s", text)
	}
	// Sizes at the borders of buffers, and lines of every length.
	for _, n := range []int{4095, 4096, 4097, 8191, 8192, 8193, 65535, 65536, 65537} {
		body("%s\r\n", strings.Repeat("0123456789abcdef\r\n", n/18))
	}
	for _, n := range []int{77, 998, 999, 1000, 8191, 8192, 16384, 100_000} {
		body("%s\r\n", strings.Repeat("y", n))
	}
	// Dates.
	for _, year := range []int{1899, 1901, 1969, 1970, 1971, 1999, 2000, 2026, 2037, 2038, 2039, 2099, 2106} {
		body("of %d\r\n", year)
		odd[len(odd)-1].Date = time.Date(year, 1, 1, 0, 0, 1, 0, time.UTC)
	}
	// Flags and keywords.
	many := make([]string, 120)
	for i := range many {
		many[i] = fmt.Sprint("many", i)
	}
	for i, flags := range []string{
		`\Seen`, `\Seen \Answered \Flagged \Draft \Deleted`, `$Label1 $Forwarded`, "NonJunk", strings.Repeat("k", 64), "a.b_c-d+e", "UPPER upper", "odd]word", "caf\xe9", strings.Repeat("k", 200), strings.Join(many, " "),
	} {
		body("with keywords %d\r\n", i)
		odd[len(odd)-1].Flags = strings.Fields(flags)
	}
	// And no octet at all.
	add("")
	return odd
}

// OddNames are mailbox names with "/" between levels that some servers cannot
// have.
var OddNames = []string{
	"R&D", "Entwürfe (alt)", "会議/議事録", "😀", `back\slash`, `quo"te`, "per%cent", "star*", "semi;colon", "pipe|", "<less>", "{brace}", "back`tick", "caret^", "~tilde", "#hash",
	"dot.dot", " leading", "trailing ", "two  blanks", "UPPER", "upper", "a/b/c/d/e/f/g", "100", "-", "+", "(paren)", "[bracket]", "at@sign", "é", "e\u0301", "comma,comma", "apostrophe's",
}

// Offer appends one message, and returns the server's answer.
func (c *Client) Offer(rawMailbox string, m Message) string {
	c.t.Helper()
	c.tags++
	tag := fmt.Sprintf("C%d", c.tags)
	c.send(fmt.Appendf(nil, "%s APPEND %s (%s) %s {%d}\r\n", tag, quote(rawMailbox), strings.Join(m.Flags, " "), m.Date.Format(`"_2-Jan-2006 15:04:05 -0700"`), len(m.Data)))
	for {
		line := c.line()
		if answer, ok := strings.CutPrefix(line, tag+" "); ok {
			return answer
		}
		if strings.HasPrefix(line, "+") {
			c.send(append(bytes.Clone(m.Data), "\r\n"...))
			_, answer := c.until(tag)
			return answer
		}
	}
}

var (
	listed  = regexp.MustCompile(`^\* LIST \(([^)]*)\) (?:"(.)"|NIL) (?:"((?:[^"\\]|\\.)*)"|([^ "{]+)|\{(\d+)\})$`)
	literal = regexp.MustCompile(`\{(\d+)\}$`)
)

// Bodies reads what an account holds by the simplest commands there are: the
// contents of its messages, by the names of mailboxes as the server spells them.
func (c *Client) Bodies() map[string][]string {
	c.t.Helper()
	bodies := make(map[string][]string)
	c.tags++
	tag := fmt.Sprintf("C%d", c.tags)
	c.send([]byte(tag + " LIST \"\" *\r\n"))
	for line := c.line(); !strings.HasPrefix(line, tag+" "); line = c.line() {
		m := listed.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		name := strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(m[3]) + m[4]
		if m[5] != "" {
			name = c.literal(m[5])
			c.line()
		}
		if !strings.Contains(strings.ToLower(m[1]), `\noselect`) && !strings.Contains(strings.ToLower(m[1]), `\nonexistent`) {
			bodies[name] = nil
		}
	}
	for name := range bodies {
		c.Do("EXAMINE " + quote(name))
		c.tags++
		tag := fmt.Sprintf("C%d", c.tags)
		c.send([]byte(tag + " UID FETCH 1:* (BODY.PEEK[])\r\n"))
		for line := c.line(); !strings.HasPrefix(line, tag+" "); line = c.line() {
			if n := literal.FindStringSubmatch(line); n != nil {
				bodies[name] = append(bodies[name], c.literal(n[1]))
			} else if strings.Contains(line, "BODY[] \"") {
				_, text, _ := strings.Cut(line, "BODY[] \"")
				bodies[name] = append(bodies[name], text[:strings.LastIndexByte(text, '"')])
			}
		}
	}
	return bodies
}

func (c *Client) literal(length string) string {
	c.t.Helper()
	n, err := strconv.Atoi(length)
	if err != nil {
		c.t.Fatal(err)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(c.in, data); err != nil {
		c.t.Fatal(err)
	}
	return string(data)
}
