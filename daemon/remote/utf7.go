package remote

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// utf7 is the base64 of modified UTF-7: "," for "/", no padding (RFC 3501
// §5.1.3).
var utf7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// decodeUTF7 makes a level of a raw mailbox name readable. It takes what
// servers are met to give: names that are not canonical, raw UTF-8, a shift
// that is not ended. What still cannot be decoded stays visible, "&" as itself
// and octets as "=XX", and ok is false.
func decodeUTF7(raw string) (name string, ok bool) {
	var b strings.Builder
	ok = true
	for raw != "" {
		if raw[0] == '&' {
			text, rest, valid := decodeShift(raw[1:])
			if !valid {
				text, rest, ok = "&", raw[1:], false
			}
			b.WriteString(text)
			raw = rest
			continue
		}
		r, n := utf8.DecodeRuneInString(raw)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, "=%02X", raw[0])
			ok = false
		} else {
			b.WriteString(raw[:n])
		}
		raw = raw[n:]
	}
	return b.String(), ok
}

// decodeShift decodes what follows "&", up to and with its "-".
func decodeShift(s string) (text, rest string, ok bool) {
	end := 0
	for end < len(s) && s[end] != '-' && isUTF7Digit(s[end]) {
		end++
	}
	digits, rest := s[:end], strings.TrimPrefix(s[end:], "-")
	if digits == "" {
		return "&", rest, rest != s[end:]
	}
	octets, err := utf7.DecodeString(digits)
	if err != nil || len(octets)%2 != 0 || len(octets) == 0 {
		return "", "", false
	}
	units := make([]uint16, len(octets)/2)
	for i := range units {
		units[i] = binary.BigEndian.Uint16(octets[2*i:])
	}
	for i := 0; i < len(units); i++ {
		r := rune(units[i])
		if utf16.IsSurrogate(r) {
			if i+1 == len(units) || utf16.DecodeRune(r, rune(units[i+1])) == utf8.RuneError {
				return "", "", false
			}
			i++
		}
	}
	return string(utf16.Decode(units)), rest, true
}

func isUTF7Digit(c byte) bool {
	return 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '+' || c == ','
}

// encodeUTF7 spells a level of a name in canonical modified UTF-7.
func encodeUTF7(name string) string {
	var b strings.Builder
	var shifted []byte
	flush := func() {
		if len(shifted) > 0 {
			b.WriteString("&" + utf7.EncodeToString(shifted) + "-")
			shifted = shifted[:0]
		}
	}
	for _, r := range name {
		if r < 0x20 || r > 0x7e {
			for _, unit := range utf16.Encode([]rune{r}) {
				shifted = binary.BigEndian.AppendUint16(shifted, unit)
			}
			continue
		}
		flush()
		b.WriteRune(r)
		if r == '&' {
			b.WriteByte('-')
		}
	}
	flush()
	return b.String()
}
