package verify

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

func ascending(uids []mail.UID) []mail.UID {
	slices.Sort(uids)
	return slices.Compact(uids)
}

// Text writes reports for people: the counts of each account and a line for
// each difference.
func Text(w io.Writer, reports []Report) error {
	var b strings.Builder
	for _, r := range reports {
		verdict := "no difference"
		if !r.Clean() {
			verdict = "DIFFERENCES"
		}
		fmt.Fprintf(&b, "%s: %s (%s, %d mailboxes", r.Account, verdict, r.Mode, r.Mailboxes)
		if r.Compared > 0 {
			fmt.Fprintf(&b, ", contents of %d compared", r.Compared)
		}
		b.WriteString(")\n   ")
		for _, class := range Classes() {
			if n := r.Counts[class]; n > 0 || class == Equal {
				fmt.Fprintf(&b, " %d %s", n, class)
			}
		}
		b.WriteString("\n")
		for _, d := range r.Differences {
			fmt.Fprintf(&b, "    %-8s %s", d.Class, printable(d.Mailbox))
			if d.UID != 0 {
				fmt.Fprintf(&b, " UID %d", d.UID)
			}
			fmt.Fprintf(&b, ": %s\n", printable(d.What))
		}
		if r.Left > 0 {
			fmt.Fprintf(&b, "    and %d more\n", r.Left)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// JSON writes reports as one array.
func JSON(w io.Writer, reports []Report) error {
	if reports == nil {
		reports = []Report{}
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(reports)
}

// CSV writes the differences (RFC 4180), in a form that no spreadsheet takes
// for a formula.
func CSV(w io.Writer, reports []Report) error {
	out := csv.NewWriter(w)
	out.UseCRLF = true
	rows := [][]string{{"account", "class", "mailbox", "uid", "destination_mailbox", "destination_uid", "what"}}
	for _, r := range reports {
		for _, d := range r.Differences {
			rows = append(rows, []string{
				r.Account, string(d.Class), harmless(d.Mailbox), number(d.UID), harmless(d.Destination), number(d.Copy), harmless(d.What),
			})
		}
	}
	return out.WriteAll(rows)
}

func number(uid mail.UID) string {
	if uid == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(uid), 10)
}

func harmless(text string) string {
	text = printable(text)
	if text != "" && strings.ContainsRune("=+-@", rune(text[0])) {
		return "'" + text
	}
	return text
}

// printable keeps what a server says from steering a terminal.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 {
			return '?'
		}
		return c
	}, text)
}
