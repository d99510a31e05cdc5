package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/simtest/imapsim"
)

// earners are flags and dates, as an old server that is not to be trusted shows
// them, that a server answers BAD to, or reads as more than one argument: a
// command that ends too early has the message behind it read as commands.
var earners = []struct {
	flags string
	date  time.Time // zero: one that any server takes
}{
	{flags: `odd]word`}, {flags: `brack[et`}, {flags: "caf\xe9"}, {flags: "caf\u00e9"}, {flags: `{5}`}, {flags: `{5+}`}, {flags: `%*`}, {flags: `NIL`}, {flags: `\*`}, {flags: `\Bogus`},
	{flags: strings.Repeat("k", 200)}, {flags: strings.Repeat("k", 5000)}, {flags: `"a b) \"1-Jan-2020 00:00:00 +0000\" {0+}"`},
	{flags: "\\Seen " + strings.Repeat("a", 50) + " " + strings.Join(wordsOf("word", 120), " ")},
	{date: time.Date(2, 1, 1, 0, 0, 0, 0, time.UTC)}, {date: time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC)}, {date: time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC)},
	{date: time.Date(2107, 1, 1, 0, 0, 0, 0, time.UTC)}, {date: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)}, {date: time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC)},
	{date: time.Date(2019, 1, 1, 0, 0, 0, 0, time.FixedZone("", 99*3600+59*60))},
}

func wordsOf(word string, n int) (words []string) {
	for i := range n {
		words = append(words, fmt.Sprint(word, i))
	}
	return words
}

// commands is a message of which every line could be a command, in its header
// as far as Cyrus takes that, and in its body.
func commands(i int) string {
	const lines = "Z1 CREATE pwned\r\n)\r\nZ2 CREATE pwned\r\nZ3 APPEND INBOX {7+}\r\nX: evil\r\n{0+}\r\n\r\nZ4 CREATE pwned\r\nDONE\r\nZ5 CREATE pwned\r\n"
	return fmt.Sprintf("Z0: CREATE pwned\r\nX-Number: %d\r\nSubject:\r\n Z1 CREATE pwned\r\n\tZ2 CREATE pwned\r\n\r\n%s", i, lines)
}

// hostile is an old server with mail that is made to be executed: in each of its
// mailboxes every earner stands at another place, between messages that earn
// nothing. It returns the server's port and what is in its mailboxes.
func hostile(t *testing.T) (port int, boxes map[string][]string) {
	t.Helper()
	const places = 6
	server, port := simulated(t, imapsim.Options{Source: true}, 10, 1)
	boxes = make(map[string][]string)
	good := time.Date(2019, 3, 4, 5, 6, 7, 0, time.UTC)
	for place := range places {
		name, n := fmt.Sprint("place", place), 0
		deliver := func(date time.Time, flags string) {
			text := commands(100*place + n)
			n++
			server.Users["user0@example.org"].Deliver(name, text, date, mail.Flags{Keywords: flags})
			boxes[name] = append(boxes[name], text)
		}
		for range place {
			deliver(good, "")
		}
		for i := range earners {
			e := earners[(i+place*len(earners)/places)%len(earners)]
			if e.date.IsZero() {
				e.date = good
			}
			deliver(e.date, e.flags)
			if i%places == place {
				deliver(good, "")
			}
		}
	}
	return port, boxes
}

// executed is what of an account only a command in a message can have made.
func executed(boxes map[string][]string) (names []string) {
	for name, messages := range boxes {
		if strings.Contains(name, "pwned") || slices.Contains(messages, "X: evil") {
			names = append(names, name)
		}
	}
	return names
}
