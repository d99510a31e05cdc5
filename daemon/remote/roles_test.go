package remote

import (
	"slices"
	"strings"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/mail"
)

// TestRolesByName: the attribute decides, then the name.
func TestRolesByName(t *testing.T) {
	for _, c := range []struct {
		name  string
		boxes []string // path, with "=" and its role where it is announced, "!" where it holds no mail
		want  string   // the roles that the names tell
	}{
		{"nothing", []string{"INBOX", "Kunden"}, ""},
		{"English", []string{"INBOX", "sent items", "DRAFTS", "Deleted Items", "Junk E-mail", "Archive"},
			`Archive=\Archive DRAFTS=\Drafts Deleted Items=\Trash Junk E-mail=\Junk sent items=\Sent`},
		{"German", []string{"Gesendete Elemente", "Entwürfe", "Papierkorb", "Spamverdacht", "Archiv"},
			`Archiv=\Archive Entwürfe=\Drafts Gesendete Elemente=\Sent Papierkorb=\Trash Spamverdacht=\Junk`},
		{"French, composed and not", []string{"E\u0301le\u0301ments envoye\u0301s", "éléments supprimés", "BROUILLONS", "Courrier indésirable"},
			"BROUILLONS=\\Drafts Courrier indésirable=\\Junk E\u0301le\u0301ments envoye\u0301s=\\Sent éléments supprimés=\\Trash"},
		{"Spanish", []string{"Elementos enviados", "Borradores", "Papelera", "Correo no deseado"}, `Borradores=\Drafts Correo no deseado=\Junk Elementos enviados=\Sent Papelera=\Trash`},
		{"Italian", []string{"Posta inviata", "Bozze", "Cestino", "Posta indesiderata"}, `Bozze=\Drafts Cestino=\Trash Posta indesiderata=\Junk Posta inviata=\Sent`},
		{"Portuguese", []string{"Itens enviados", "Rascunhos", "Lixeira", "Lixo eletrônico", "Lixo"}, `Itens enviados=\Sent Lixeira=\Trash Lixo eletrônico=\Junk Rascunhos=\Drafts`},
		{"Dutch", []string{"Verzonden items", "Concepten", "Prullenbak", "Ongewenste e-mail", "Archief"},
			`Archief=\Archive Concepten=\Drafts Ongewenste e-mail=\Junk Prullenbak=\Trash Verzonden items=\Sent`},
		{"Polish", []string{"Elementy wysłane", "Kopie robocze", "Kosz"}, `Elementy wysłane=\Sent Kopie robocze=\Drafts Kosz=\Trash`},
		{"Russian", []string{"ОТПРАВЛЕННЫЕ", "Черновики", "Корзина", "Спам"}, `Корзина=\Trash ОТПРАВЛЕННЫЕ=\Sent Спам=\Junk Черновики=\Drafts`},
		{"Turkish", []string{"Gönderilmiş Öğeler", "Taslaklar", "Çöp Kutusu"}, `Gönderilmiş Öğeler=\Sent Taslaklar=\Drafts Çöp Kutusu=\Trash`},
		{"Japanese, Chinese, Korean", []string{"送信済みアイテム", "草稿箱", "휴지통"}, `草稿箱=\Drafts 送信済みアイテム=\Sent 휴지통=\Trash`},
		{"several of one role: the first of the table", []string{"Sent Messages", "Gesendet", "Sent Items"}, `Sent Items=\Sent`},
		{"announced: the name tells nothing", []string{"Sent", "Gesendet=\\Sent", "Entwürfe"}, `Entwürfe=\Drafts`},
		{"a mailbox of another role", []string{"Sent=\\Archive"}, ""},
		{"holds no mail", []string{"Sent!", "Gesendet"}, `Gesendet=\Sent`},
		{"in INBOX", []string{"INBOX", "INBOX/Sent", "INBOX/Papierkorb", "Trash"}, `INBOX/Sent=\Sent Trash=\Trash`},
		{"elsewhere", []string{"Kunden/Sent", "INBOX/a/Sent"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var boxes []mail.Mailbox
			for _, b := range c.boxes {
				name, role, _ := strings.Cut(b, "=")
				plain := strings.TrimSuffix(name, "!")
				boxes = append(boxes, mail.Mailbox{Name: plain, Path: strings.Split(plain, "/"), Role: role, NoSelect: plain != name})
			}
			rolesByName(boxes)
			var got []string
			for _, m := range boxes {
				if m.RoleByName {
					got = append(got, m.DisplayName()+"="+m.Role)
				}
			}
			slices.Sort(got)
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("%q, want %q", text, c.want)
			}
		})
	}
}

func TestOtherCase(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"Sent", "sENT"}, {"INBOX.Sent.a1", "INBOX.Sent.A1"}, {"R&-D", "r&-d"}, {"&APw-b", "&APw-B"}, {"2019", ""}, {"&BB4EQg-", ""}, {"a.", ""},
	} {
		if got := otherCase(c.name, '.'); got != c.want {
			t.Errorf("%q: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestFolds: one mailbox is asked for by a name that is not its own.
func TestFolds(t *testing.T) {
	const list = "* LIST () \"/\" INBOX\r\n* LIST (\\Noselect) \"/\" Parent\r\n* LIST () \"/\" 2019\r\n* LIST () \"/\" Kunden\r\n"
	for _, c := range []struct {
		name, list, answer string
		sent               string // asked, if anything was
		want               string
	}{
		{"one for it", list, "* STATUS kUNDEN (UIDVALIDITY 4)\r\nTAG OK\r\n", `STATUS "kUNDEN" (UIDVALIDITY)`, "true ok"},
		{"none for it", list, "TAG NO [NONEXISTENT] no such mailbox\r\n", `STATUS "kUNDEN" (UIDVALIDITY)`, "false ok"},
		{"both are there", list + "* LIST () \"/\" kUNDEN\r\n", "TAG OK\r\n", "", "false ok"},
		{"nothing to see it by", "* LIST () \"/\" INBOX\r\n* LIST () \"/\" 2019\r\n", "TAG OK\r\n", "", "false ok"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log transcript
			d := newTestDestination(t, listServer(t, SideDestination, "LIST-EXTENDED", &log, [2]string{"STATUS \"kUNDEN\" (UIDVALIDITY)", c.answer},
				[2]string{"LIST", c.list + "TAG OK\r\n"}, [2]string{"STATUS", "TAG NO\r\n"}))
			listing, err := d.Mailboxes(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			before := len(log.all())
			folds, err := d.Folds(t.Context(), listing)
			asked := strings.Join(log.all()[before:], ", ")
			if got := map[bool]string{true: "true ", false: "false "}[folds] + outcomeOf(err); got != c.want || asked != c.sent {
				t.Errorf("%s, want %s; asked %q, want %q", got, c.want, asked, c.sent)
			}
		})
	}
}
