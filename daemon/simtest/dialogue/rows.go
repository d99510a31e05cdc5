package dialogue

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var partForm = regexp.MustCompile(`BODY\.PEEK\[\](?:<0\.(\d+)>)?`)

// rows are the FETCH responses to the command, without the last CRLF.
func (k *played) rows() string {
	fields := strings.Fields(k.command) // UID FETCH set (items)
	if len(fields) < 4 {
		return ""
	}
	items := strings.ToUpper(strings.Join(fields[3:], " "))
	var rows []string
	for i, m := range k.held {
		if !contains(fields[2], m.UID, k.held[len(k.held)-1].UID) {
			continue
		}
		row := fmt.Sprintf("* %d FETCH (UID %d", i+1, m.UID)
		if strings.Contains(items, "RFC822.SIZE") {
			row += fmt.Sprintf(" RFC822.SIZE %d", len(m.Text))
		}
		if strings.Contains(items, "FLAGS") {
			row += " FLAGS (" + m.Flags + ")"
		}
		if strings.Contains(items, "INTERNALDATE") {
			row += ` INTERNALDATE "` + m.Date + `"`
		}
		if part := partForm.FindStringSubmatch(items); part != nil {
			if n, err := strconv.Atoi(part[1]); err == nil {
				row += " BODY[]<0> " + literal(m.Text[:min(n, len(m.Text))])
			} else {
				row += " BODY[] " + literal(m.Text)
			}
		}
		rows = append(rows, row+")")
	}
	if len(rows) == 0 {
		return "* OK nothing of that is here"
	}
	return strings.Join(rows, "\r\n")
}

// contains tells whether a set of UIDs holds one of them; last is the highest
// there is.
func contains(set string, uid, last uint32) bool {
	bound := func(text string) uint32 {
		if text == "*" {
			return last
		}
		n, _ := strconv.ParseUint(text, 10, 32)
		return uint32(n)
	}
	for part := range strings.SplitSeq(set, ",") {
		low, high, isRange := strings.Cut(part, ":")
		if !isRange {
			high = low
		}
		from, to := bound(low), bound(high)
		if min(from, to) <= uid && uid <= max(from, to) {
			return true
		}
	}
	return false
}
