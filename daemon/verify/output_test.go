package verify_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
	"github.com/imapsyncd/imapsyncd/daemon/verify"
)

// hostile are texts that steer what shows them, unless they are made harmless.
var hostile = []string{
	"=cmd()", "<script>alert(1)</script>", `"><img src=x onerror=alert(1)>`, "a\x1b[2Jb", "right\u202eleft", "line\u2028two", "\xff\xfe", "javascript:alert(1)", "{{.}}", "-->", "</style>",
}

// hostileReport is one whose every text is hostile.
func hostileReport(t *testing.T) verify.Report {
	t.Helper()
	w := copied(t)
	for i, text := range hostile {
		w.old.Deliver(text, fmt.Sprintf("Message-ID: <%s>\r\nSubject: secret subject %d\r\n\r\nsecret body", text, i), day, mail.Flags{Keywords: "kw"})
	}
	w.edit(3, func(s string) string { return s[:len(s)-6] })
	w.new.Expunge("a", 0)
	r := w.verify(t, w.options(verify.Deep))
	r.Account = hostile[1]
	r.Excluded, r.Notes = hostile, hostile
	return r
}

func TestText(t *testing.T) {
	r := hostileReport(t)
	var text bytes.Buffer
	if err := verify.Text(&text, []verify.Report{r}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"DIFFERENCES (deep, ", "removed  a UID 1: ", "damaged  a UID 4: contents differ", " <10@test.example>"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in %s", want, text.String())
		}
	}
	if strings.ContainsAny(text.String(), "\x1b\u202e\u2028") {
		t.Errorf("%q", text.String())
	}
}

func TestJSON(t *testing.T) {
	r := hostileReport(t)
	var data bytes.Buffer
	if err := verify.JSON(&data, []verify.Report{r}); err != nil {
		t.Fatal(err)
	}
	var back []verify.Report
	if err := json.Unmarshal(data.Bytes(), &back); err != nil || len(back) != 1 || back[0].Counts[verify.Damaged] != 1 || len(back[0].Differences) != len(r.Differences) {
		t.Errorf("%v: %s", err, data.String())
	}
	data.Reset()
	if err := verify.JSON(&data, nil); err != nil || strings.TrimSpace(data.String()) != "[]" {
		t.Errorf("%v %s", err, data.String())
	}
}

func TestCSV(t *testing.T) {
	r := hostileReport(t)
	var table bytes.Buffer
	if err := verify.CSV(&table, []verify.Report{r}); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&table).ReadAll()
	if err != nil || len(rows) != 1+len(r.Differences) {
		t.Errorf("%v: %d rows", err, len(rows))
	}
	for _, row := range rows {
		for _, cell := range row {
			if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
				t.Errorf("%q would be a formula", cell)
			}
		}
	}
}

// page renders a document.
func page(t *testing.T, d verify.Document) string {
	t.Helper()
	var out bytes.Buffer
	if err := verify.HTML(&out, d); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestHTML: the page needs nothing else, runs nothing, and tells nothing of
// subjects and bodies, whatever servers and mail say.
func TestHTML(t *testing.T) {
	r := hostileReport(t)
	d := verify.Document{
		Title: hostile[2], Reports: []verify.Report{r}, Version: "imapsyncd 1.2.3", Made: day,
		Failed: []verify.Failure{{Account: hostile[2], Why: hostile[1]}},
	}
	for _, text := range hostile {
		d.Sections = append(d.Sections, verify.Section{Title: text, Paragraphs: []string{text}, Rows: [][2]string{{text, text}}})
	}
	text := page(t, d)
	allowed := strings.Fields("html head meta title style body header main section footer h1 h2 h3 p dl div dt dd table thead tbody tr th td span bdi a")
	tags := html.NewTokenizer(strings.NewReader(text))
	var open []string
	for {
		kind := tags.Next()
		if kind == html.ErrorToken {
			if !errors.Is(tags.Err(), io.EOF) {
				t.Error(tags.Err())
			}
			break
		}
		token := tags.Token()
		switch kind {
		case html.StartTagToken:
			if !slices.Contains(allowed, token.Data) {
				t.Errorf("there is a <%s>", token.Data)
			}
			if token.Data != "meta" {
				open = append(open, token.Data)
			}
			for _, a := range token.Attr {
				switch a.Key {
				case "src", "style", "srcset", "action":
					t.Errorf("%s=%q", a.Key, a.Val)
				case "href":
					if !regexp.MustCompile(`^#account-[0-9]+$`).MatchString(a.Val) {
						t.Errorf("a link to %q", a.Val)
					}
				}
				if strings.HasPrefix(a.Key, "on") {
					t.Errorf("a handler %s=%q", a.Key, a.Val)
				}
			}
		case html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != token.Data {
				t.Fatalf("</%s> closes %v", token.Data, open)
			}
			open = open[:len(open)-1]
		case html.TextToken:
			if len(open) > 0 && open[len(open)-1] == "style" && strings.Contains(token.Data, "url(") {
				t.Error("the style needs something else")
			}
		}
	}
	if len(open) > 0 {
		t.Errorf("not closed: %v", open)
	}
	if strings.ContainsAny(text, "\x1b\u202e\u2028") {
		t.Error("something steers how the page is shown")
	}
	for _, secret := range []string{"secret subject", "secret body"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in the page", secret)
		}
	}
	for _, want := range []string{"imapsyncd 1.2.3", "2020-05-06 07:08 UTC", "&lt;10@test.example&gt;", "{{.}}", "1 of 2 accounts could not be compared"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
}

func TestVerdict(t *testing.T) {
	report := func(counts map[verify.Class]int64) verify.Report {
		return verify.Report{Account: "a", Mode: verify.Quick, Counts: counts}
	}
	for want, reports := range map[string][]verify.Report{
		"All 1,234,567 messages of 1 account are on the new server, the same as on the old one.": {report(map[verify.Class]int64{verify.Equal: 1234567, verify.Extra: 5})},
		"All 3 messages of 2 accounts are on the new server, but for what is named below.":       {report(map[verify.Class]int64{verify.Equal: 2}), report(map[verify.Class]int64{verify.Removed: 1})},
		"1 of 3 messages of 1 account differs on the new server, or is not there.":               {report(map[verify.Class]int64{verify.Equal: 1, verify.Missing: 1, verify.Pending: 1})},
		"2 of 3 messages of 1 account still have to be carried.":                                 {report(map[verify.Class]int64{verify.Equal: 1, verify.Held: 1, verify.Flags: 1})},
		"There are no messages on the old server.":                                               {report(map[verify.Class]int64{verify.Extra: 1})},
	} {
		if text := page(t, verify.Document{Reports: reports}); !strings.Contains(text, ">"+want+"<") {
			t.Errorf("%q is not there: %s", want, regexp.MustCompile(`<p class="verdict.*`).FindString(text))
		}
	}
}

func TestTotal(t *testing.T) {
	w := copied(t)
	a := w.verify(t, w.options(verify.Deep))
	w.edit(3, func(s string) string { return s + "\r\n" })
	b := w.verify(t, w.options(verify.Quick))
	total := verify.Total([]verify.Report{a, b})
	if total.Accounts != 2 || total.Clean != 0 || total.Messages != 600 || total.Mailboxes != 6 || total.Compared != 300 || total.Counts[verify.Equal] != 597 ||
		total.Counts[verify.Held] != 2 || total.Alterations[verify.FinalLineEnd] != 1 || !total.Started.Equal(a.Started) || !total.Finished.Equal(b.Finished) {
		t.Errorf("%+v", total)
	}
}
