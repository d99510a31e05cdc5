package verify

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

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
		for _, a := range Alterations() {
			if n := r.Alterations[a]; n > 0 {
				fmt.Fprintf(&b, "    altered  %d: %s\n", n, a.Explain())
			}
		}
		for _, d := range r.Differences {
			fmt.Fprintf(&b, "    %-8s %s", d.Class, printable(d.Mailbox))
			if uid := d.Where(); uid != 0 {
				fmt.Fprintf(&b, " UID %d", uid)
			}
			fmt.Fprintf(&b, ": %s", printable(d.What))
			if d.MessageID != "" {
				fmt.Fprintf(&b, " %s", printable(d.MessageID))
			}
			b.WriteString("\n")
		}
		if r.Left > 0 {
			fmt.Fprintf(&b, "    and %d more\n", r.Left)
		}
		for _, note := range r.Notes {
			fmt.Fprintf(&b, "    %s\n", printable(note))
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
	rows := [][]string{{"account", "class", "mailbox", "uid", "destination_mailbox", "destination_uid", "what", "message_id", "internal_date", "size"}}
	for _, r := range reports {
		for _, d := range r.Differences {
			date, size := "", ""
			if !d.InternalDate.IsZero() {
				date = d.InternalDate.UTC().Format(time.RFC3339)
			}
			if d.Size != 0 {
				size = strconv.FormatInt(d.Size, 10)
			}
			rows = append(rows, []string{
				harmless(r.Account), string(d.Class), harmless(d.Mailbox), number(d.UID), harmless(d.Destination), number(d.Copy), harmless(d.What),
				harmless(d.MessageID), date, size,
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

// printable keeps what a server or a message says from steering what shows it:
// a terminal, or the direction in which a page is written.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) || c == '\u2028' || c == '\u2029' {
			return '?'
		}
		return c
	}, text)
}
