package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// The answers that fuzzing begins with: what servers of all makes say, some of
// it broken as they were met.
var said = []string{
	"* OK [UIDVALIDITY 7] x\r\n* 3 EXISTS\r\n* FLAGS (\\Seen \\*)\r\n* OK [PERMANENTFLAGS (\\Seen $Work \\*)] y\r\n* OK [UIDNEXT 9] x\r\nR1 OK [READ-ONLY] done\r\n",
	"* LIST (\\HasNoChildren \\Sent) \"/\" {4}\r\nSent\r\n* LIST () NIL INBOX\r\n* LSUB (\\Noselect) \".\" \"a b\"\r\n* STATUS Sent (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 3 HIGHESTMODSEQ 4)\r\n",
	"* NAMESPACE ((\"INBOX.\" \".\")) NIL ((\"#shared.\" \".\")(\"shared.\" \".\"))\r\n* LIST (\\NonExistent) \".\" \"INBOX.&2D0-\"\r\n",
	"* SEARCH 1 2 3 (MODSEQ 9)\r\n* ESEARCH (TAG \"R1\") UID ALL 1:3,7\r\n* VANISHED 1:5\r\n",
	"* 1 FETCH (UID 7 FLAGS (\\Seen \\* NIL) INTERNALDATE \" 1-Jan-2020 10:00:00 +0000\" RFC822.SIZE 5 BODY[] {5}\r\nhello)\r\nR1 OK done\r\n",
	"* 7 FETCH (X-GM-LABELS ({3}\r\na)b ({0}\r\n) {1}\r\n{) UID 7 FLAGS (x) BODY[] {1}\r\ny)\r\nR1 OK\r\n",
	"* 1 FETCH (FLAGS () BODY[HEADER.FIELDS (A \"B\")]<0> NIL UID 4294967295)\r\n* 2 FETCH (UID 8 X-GM-LABELS (\"\\\\Inbox\" {3}\r\na\"b))\r\nR1 NO [LIMIT] x\r\n",
	"R1 OK [APPENDUID 7 1:3] done\r\nR2 NO [COPYUID 7 1,3 5:6 x\r\n+ go ahead\r\n* BYE [ALERT] gone\r\n",
	"* OK [BADCHARSET (A {1}\r\nB)] ((((((\r\n* ( \r\n{0}\r\n\r\n* 99999999999 EXISTS\r\n\r\n \r\n*\r\n",
	"* LIST (((((((((((((((((((((((((((((((((((((((((\r\n* X \"no end\r\n* X {99999999999999999999}\r\n* X {10+}\r\nabc",
}

func seed(f *testing.F) {
	for _, text := range said {
		f.Add([]byte(text))
	}
}

// read calls use with what a server says, until it makes no sense or ends.
func read(data []byte, use func(Response)) error {
	r := bufio.NewReaderSize(bytes.NewReader(data), 16<<10)
	for {
		response, err := readResponse(r)
		if err != nil {
			return err
		}
		use(response)
	}
}

func responses(data []byte) (list []Response) {
	read(data, func(r Response) { list = append(list, r) })
	return list
}

// FuzzResponse: whatever a server says, at whatever length, is read within
// bounds. What is made of it is no more than was said.
func FuzzResponse(f *testing.F) {
	for _, text := range said {
		f.Add([]byte(text), []byte("(a "), uint32(1))
	}
	f.Add([]byte("* X "), []byte("a"), uint32(lineMost))
	f.Add([]byte("* X "), []byte("a \"\" {1}\r\n"), uint32(200_000))
	f.Add([]byte("* X {16000000}\r\n"), []byte("a"), uint32(10))
	f.Add([]byte(""), []byte("("), uint32(2_000_000))
	f.Fuzz(func(t *testing.T, head, again []byte, times uint32) {
		data := slices.Concat(head, bytes.Repeat(again, int(times)%(2*lineMost)/max(len(again), 1)), head)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		said := 0
		err := read(data, func(r Response) {
			// In upper case an octet that is no UTF-8 has become three.
			said += len(r.Tag) + len(r.Type)/3 + len(r.Code)/3 + len(r.Text) + length(r.Args) + length(r.Data)
		})
		runtime.ReadMemStats(&after)
		if taken := after.TotalAlloc - before.TotalAlloc; taken > uint64(len(data))*overheadMost+1<<20 { // others allocate too
			t.Errorf("%d octets are read with %d", len(data), taken)
		}
		if said > len(data) {
			t.Errorf("%d octets are made of %d", said, len(data))
		}
		if err != io.EOF && err != io.ErrUnexpectedEOF && !errors.Is(err, errProtocol) {
			t.Errorf("%v", err)
		}
		for line := range bytes.SplitSeq(data, []byte("\n")) {
			if len(line) > lineMost && !bytes.Contains(data, []byte("}\r\n")) && !bytes.Contains(data, []byte("}\n")) && !errors.Is(err, errProtocol) {
				t.Errorf("a line of %d octets: %v", len(line), err)
			}
		}
	})
}

// overheadMost is how many octets of memory may be spent, in all, on an octet
// of a response: lists of nothing but single letters and literals of one octet
// are the worst there is.
const overheadMost = 250

func length(values []Value) (n int) {
	for _, v := range values {
		n += len(v.Text) + length(v.List)
	}
	return n
}

// FuzzListing: whatever LIST, STATUS and NAMESPACE say, each mailbox that can be
// opened has a name that can be sent and levels that can be shown.
func FuzzListing(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		l := newLister()
		read(data, func(r Response) { l.take(r) })
		s := &session{spaces: l.namespaces(), logger: quiet()}
		listing := s.listing(l.boxes(*s.spaces, []kind{kindPersonal}), l.statuses)
		names := make(map[string]bool)
		for _, m := range listing.Mailboxes {
			if names[m.Name] || m.Name == "" || len(m.Path) == 0 || !utf8.ValidString(m.DisplayName()) {
				t.Errorf("%+v", m)
			}
			names[m.Name] = true
			if _, err := quote(m.Name); err != nil && !m.NoSelect {
				t.Errorf("%q cannot be sent", m.Name)
			}
			if m.NoSelect && m.Status != (mail.Status{}) {
				t.Errorf("%+v cannot be opened and has a status", m)
			}
			if _, err := quote(s.spaces.spell(m.Path)); err != nil && !strings.ContainsAny(listing.Prefix+string(listing.Separator), "\r\n\x00") {
				t.Errorf("the path %q of %q is spelled as what cannot be sent", m.Path, m.Name)
			}
		}
	})
}

// FuzzSelected: whatever SELECT says, the numbers are numbers of its kind.
func FuzzSelected(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		list := responses(data)
		reply := Reply{Untagged: list}
		if n := len(list); n > 0 {
			reply = Reply{Untagged: list[:n-1], Tagged: list[n-1]}
		}
		s := parseSelected(reply)
		if s.status.HighestModSeq > 1<<63-1 {
			t.Errorf("HIGHESTMODSEQ %d", s.status.HighestModSeq)
		}
		storable := newStorable(s.flags, s.permanent, new(Trust))
		all := mail.Flags{System: 31, Keywords: "$Work mine"}
		if kept := storable.reduce(all); !all.With(kept).Equal(all) {
			t.Errorf("%v is reduced to %v", all, kept)
		}
		rows := parseFlagRows(reply, func(uid mail.UID) bool { return uid != 5 })
		if !slices.IsSortedFunc(rows, func(a, b mail.Message) int { return int(int64(a.UID) - int64(b.UID)) }) || slices.ContainsFunc(rows, func(m mail.Message) bool { return m.UID == 0 || m.UID == 5 }) {
			t.Errorf("%v", rows)
		}
		uids, _, err := parseSearch(reply, 3, 1000)
		if err == nil && (!slices.IsSorted(uids) || len(uids) > 998 || len(uids) > 0 && (uids[0] < 3 || uids[len(uids)-1] > 1000)) {
			t.Errorf("%v", uids)
		}
	})
}

// FuzzUIDSet: a set of UIDs is what it names, however it is read.
func FuzzUIDSet(f *testing.F) {
	for _, set := range []string{"1", "1:3,7", "4294967295", "3:1,2", "1:4294967295", "0", "*", "1:*", "", ",", "1,,2", "01:1", "+1", "5:5,5"} {
		f.Add(set, []byte{1, 2, 3, 9})
	}
	f.Fuzz(func(t *testing.T, set string, some []byte) {
		var uids []mail.UID
		for i, c := range some {
			uids = append(uids, mail.UID(i*7+1)+mail.UID(c)%7)
		}
		sets, parts := uidSets(uids)
		if got := slices.Concat(parts...); !slices.Equal(got, uids) {
			t.Errorf("%v is spelled as %v", uids, got)
		}
		for i, s := range sets {
			if again, err := expandSet(s, len(uids)); err != nil || !slices.Equal(again, parts[i]) || len(s) > 7000 {
				t.Errorf("%v: %v %v", parts[i], again, err)
			}
		}

		const most = 5000
		named, err := expandSet(set, most)
		if err != nil {
			return
		}
		if len(named) > most {
			t.Fatalf("%d UIDs", len(named))
		}
		from := mail.UID(4)
		want := slices.DeleteFunc(slices.Clone(named), func(uid mail.UID) bool { return uid < from })
		if got, err := appendSet(nil, set, from); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v %v, not %v", set, got, err, want)
		}
		want = slices.DeleteFunc(slices.Clone(uids), func(uid mail.UID) bool { return !slices.Contains(named, uid) })
		if got, err := namedBy(uids, set); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q of %v: %v %v, not %v", set, uids, got, err, want)
		}
	})
}

// FuzzFetch: whatever a server answers to FETCH, its reader neither
// panics nor waits for what does not come, and no message is served longer or
// shorter than was announced.
func FuzzFetch(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs := net.Pipe()
		conn := newConn(Server{Side: SideSource, Host: "fuzz"}, Options{Timeout: 5 * time.Second}, ours)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			defer theirs.Close()
			if _, err := bufio.NewReader(theirs).ReadString('\n'); err == nil {
				theirs.SetWriteDeadline(time.Now().Add(5 * time.Second))
				theirs.Write(data)
			}
		}()
		s := &session{conn: conn, logger: quiet(), box: "x", isOpen: true, open: func(context.Context) (*Conn, error) { return nil, io.EOF }}
		for body, err := range s.Bodies(t.Context(), mail.Ref{Name: "x"}, []mail.UID{7, 8}) {
			if err != nil {
				break
			}
			if body.Refused != nil {
				continue
			}
			if n, err := io.Copy(io.Discard, body.Content); err == nil && n != body.Size || n > body.Size {
				t.Errorf("%d octets of %d: %v", n, body.Size, err)
			}
		}
		conn.Close()
		<-ended
	})
}
