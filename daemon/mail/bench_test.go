package mail

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// BenchmarkFingerprint makes the fingerprint of a message of which the
// beginning is there.
func BenchmarkFingerprint(b *testing.B) {
	prefix := []byte(strings.Repeat("Received: from somewhere by somewhere else\r\n", 50)[:PrefixLen])
	date := time.Unix(1e9, 0)
	b.ReportAllocs()
	for b.Loop() {
		if NewFingerprint(4711, date, prefix) == 0 {
			b.Fatal("no fingerprint")
		}
	}
}

// BenchmarkParseFlags reads the flags of a message.
func BenchmarkParseFlags(b *testing.B) {
	names := []string{`\Seen`, `\Answered`, "$Label1", "Work"}
	b.ReportAllocs()
	for b.Loop() {
		ParseFlags(names)
	}
}

// BenchmarkOpening makes the fingerprint of a message's first octets.
func BenchmarkOpening(b *testing.B) {
	prefix := []byte(strings.Repeat("Received: from somewhere by somewhere else\r\n", 50)[:PrefixLen])
	b.ReportAllocs()
	for b.Loop() {
		if Opening(prefix) == 0 {
			b.Fatal("no fingerprint")
		}
	}
}

// BenchmarkContent reads a message whole as Content does.
func BenchmarkContent(b *testing.B) {
	data := bytes.Repeat([]byte("A line of a message as there are many.\r\n"), 1<<15)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Content(bytes.NewReader(data)); err != nil {
			b.Fatal(err)
		}
	}
}
