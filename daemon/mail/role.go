package mail

import "strings"

// Use is what the mailbox is for: its Role, or where the server announces none
// (Courier never does, Dovecot only if told to), one of `\Sent`, `\Drafts`,
// `\Trash` and `\Junk` that mail programs make under that name; empty when
// neither tells. It is good enough to judge by, not to rename by.
func (m Mailbox) Use() string {
	if m.Role != "" || len(m.Path) == 0 {
		return m.Role
	}
	path := m.Path
	if len(path) == 2 && path[0] == "INBOX" {
		path = path[1:] // some servers and programs put everything below it
	}
	if len(path) != 1 {
		return ""
	}
	name := strings.ToLower(path[0])
	for _, use := range uses {
		for list := range strings.SplitSeq(use.names, "\n") {
			for known := range strings.SplitSeq(list, ", ") {
				if known == name {
					return use.role
				}
			}
		}
	}
	return ""
}

// uses are the names that mail programs give in the languages of their users,
// in lower case.
var uses = [...]struct{ role, names string }{
	{`\Sent`, `sent, sent items, sent messages, sent mail, sent-mail, sent objects
gesendet, gesendete, gesendete elemente, gesendete objekte, gesendete nachrichten
envoyés, éléments envoyés, messages envoyés, objets envoyés
enviados, enviadas, elementos enviados, mensajes enviados, itens enviados, mensagens enviadas
inviati, inviata, posta inviata, elementi inviati, messaggi inviati
verzonden, verzonden items, verzonden berichten, verzonden objecten
skickat, skickade, skickade objekt, skickade meddelanden, sendt, sendt post, sendte elementer, lähetetyt
wysłane, elementy wysłane, odeslané, odeslaná pošta, odoslané, elküldött, elküldött elemek, trimise
отправленные, исходящие, надіслані, gönderilenler, gönderilmiş öğeler, gönderilmiş postalar
送信済み, 送信済みアイテム, 送信済みメール, 已发送, 已发送邮件, 寄件備份, 보낸 편지함`},
	{`\Drafts`, `drafts, draft, entwürfe, entwurf, brouillons, brouillon, borradores, borrador, rascunhos, rascunho, bozze, concepten, concept
utkast, kladder, luonnokset, robocze, kopie robocze, wersje robocze, koncepty, rozepsané, piszkozatok, ciorne
черновики, чернетки, taslaklar, 下書き, 草稿, 草稿箱, 임시 보관함`},
	{`\Trash`, `trash, bin, deleted, deleted items, deleted messages
papierkorb, gelöscht, gelöschte elemente, gelöschte objekte, gelöschte nachrichten
corbeille, éléments supprimés, messages supprimés, papelera, eliminados, elementos eliminados, lixeira, itens excluídos
cestino, eliminati, posta eliminata, elementi eliminati, prullenbak, verwijderde items, verwijderde berichten
papperskorg, papperskorgen, borttagna objekt, papirkurv, slettet, slettet post, slettede elementer, roskakori, poistetut
kosz, elementy usunięte, koš, odstraněná pošta, kôš, kuka, törölt elemek, gunoi
корзина, удаленные, удалённые, кошик, çöp kutusu, silinmiş öğeler, ごみ箱, 削除済みアイテム, 已删除, 已删除邮件, 휴지통`},
	{`\Junk`, `junk, junk mail, junk e-mail, junk email, spam, bulk, bulk mail
unerwünscht, courrier indésirable, indésirables, correo no deseado, lixo eletrônico, lixo eletrónico
posta indesiderata, ongewenste e-mail, ongewenst, skräppost, søppelpost, uønsket e-mail, uønsket post, roskaposti
wiadomości-śmieci, nevyžádaná pošta, levélszemét, спам, нежелательная почта, önemsiz e-posta, 迷惑メール, 垃圾邮件, 스팸`},
}
