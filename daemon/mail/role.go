package mail

import (
	"strings"
	"sync"
)

// Use is what the mailbox is for: its Role, or where it has none, what mail
// programs use mailboxes of that name for, at the top or in INBOX; empty when
// neither tells. Several may be for one thing.
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
	role, _ := RoleOfName(path[0])
	return role
}

// RoleOfName is the role of mailboxes of that name, in any case, and how many
// likelier names for it there are; empty: it tells none.
func RoleOfName(name string) (role string, rank int) {
	told := rolesOfNames()[strings.ToLower(name)]
	return told.role, told.rank
}

// toldRole is what a name tells.
type toldRole struct {
	role string
	rank int
}

// rolesOfNames is roleNames by name in lower case.
var rolesOfNames = sync.OnceValue(func() map[string]toldRole {
	byName := make(map[string]toldRole)
	for role, names := range roleNames {
		for i, name := range names {
			byName[strings.ToLower(name)] = toldRole{role, i}
		}
	}
	return byName
})

// roleNames are the names under which mail programs and servers make the
// mailboxes of a role, in the languages of their users, the likeliest first.
// Names that mean one thing here and another there, such as the Portuguese
// "Lixo", are left out.
var roleNames = map[string][]string{
	`\Sent`: {
		"Sent", "Sent Items", "Sent Messages", "Sent Mail", "Sent-Mail", "SentMail", "Sent Objects",
		"Gesendet", "Gesendete Elemente", "Gesendete Objekte", "Gesendete Nachrichten", "Gesendete Mails", "Gesendete E-Mails", "Gesendete",
		"Envoyés", "Éléments envoyés", "Messages envoyés", "Objets envoyés", "Courrier envoyé", "Courriers envoyés", "Envoyé", "Mails envoyés",
		"Enviados", "Elementos enviados", "Mensajes enviados", "Correo enviado", "Correos enviados", "Enviado", "Itens enviados", "Mensagens enviadas", "E-mails enviados", "Enviadas",
		"Posta inviata", "Inviata", "Inviati", "Elementi inviati", "Messaggi inviati",
		"Verzonden", "Verzonden items", "Verzonden berichten", "Verzonden objecten",
		"Skickat", "Skickade objekt", "Skickade meddelanden", "Skickade", "Skickad post", "Skickade e-postmeddelanden",
		"Sendt", "Sendte elementer", "Sendte meldinger", "Sendt post", "Sendte", "Sendte e-mails", "Sendt e-post",
		"Lähetetyt", "Lähetetyt viestit", "Lähetetyt kohteet", "Sendir hlutir",
		"Wysłane", "Elementy wysłane", "Wiadomości wysłane", "Odeslané", "Odeslaná pošta", "Odeslané položky", "Odoslané", "Odoslaná pošta", "Odoslané položky",
		"Elküldött", "Elküldött elemek", "Elküldött üzenetek", "Elküldött levelek", "Trimise", "Elemente trimise", "Mesaje trimise",
		"Poslano", "Poslana pošta", "Poslani predmeti", "Poslane stavke", "Poslane poruke", "Послато", "Послате ставке",
		"Отправленные", "Отправленные элементы", "Отправленное", "Надіслані", "Надіслані елементи", "Відправлені", "Изпратени", "Изпратени елементи",
		"Išsiųsta", "Išsiųsti laiškai", "Nosūtītie", "Nosūtītie vienumi", "Saadetud", "Saadetud üksused",
		"Απεσταλμένα", "Απεσταλμένα στοιχεία", "Σταλμένα", "Gönderilmiş Öğeler", "Gönderilmiş", "Gönderilenler", "Gönderilmiş Postalar",
		"Enviats", "Elements enviats", "Bidalita", "Bidalitakoak", "פריטים שנשלחו", "נשלח", "العناصر المرسلة", "المرسلة", "البريد المرسل", "موارد ارسال شده",
		"送信済み", "送信済みアイテム", "送信済みメール", "送信済みトレイ", "送信済メール", "已发送", "已发送邮件", "已发邮件", "已发送的邮件", "寄件備份", "已傳送的郵件", "已傳送郵件",
		"보낸 편지함", "보낸편지함", "보낸 메일함", "보낸메일함", "Thư đã gửi", "Mục đã gửi", "Đã gửi", "รายการที่ถูกส่ง", "ส่งแล้ว", "จดหมายที่ส่ง", "Terkirim", "Item Terkirim",
	},
	`\Drafts`: {
		"Drafts", "Draft", "Entwürfe", "Entwurf", "Brouillons", "Brouillon", "Borradores", "Borrador", "Bozze", "Rascunhos", "Rascunho", "Concepten",
		"Utkast", "Kladder", "Kladde", "Luonnokset", "Drög", "Szkice", "Kopie robocze", "Wersje robocze", "Robocze", "Koncepty", "Rozepsané", "Rozpracované",
		"Piszkozatok", "Ciorne", "Schițe", "Osnutki", "Skice", "Nacrti", "Nedovršeno", "Нацрти", "Черновики", "Чернетки", "Чернови", "Juodraščiai", "Melnraksti", "Mustandid",
		"Πρόχειρα", "Taslaklar", "Esborranys", "Zirriborroak", "טיוטות", "المسودات", "مسودات", "پیش نویس ها", "下書き", "草稿", "草稿箱", "草稿匣", "임시 보관함", "임시보관함",
		"Thư nháp", "Bản nháp", "แบบร่าง", "ร่างจดหมาย", "Draf",
	},
	`\Trash`: {
		"Trash", "Deleted Items", "Deleted Messages", "Deleted", "Bin", "Wastebasket", "Deleted Objects",
		"Papierkorb", "Gelöscht", "Gelöschte Elemente", "Gelöschte Objekte", "Gelöschte Nachrichten",
		"Corbeille", "Éléments supprimés", "Messages supprimés", "Poubelle", "Papelera", "Papelera de reciclaje", "Elementos eliminados", "Mensajes eliminados", "Eliminados",
		"Cestino", "Posta eliminata", "Elementi eliminati", "Eliminata", "Eliminati", "Lixeira", "Itens excluídos", "Itens eliminados", "Excluídos", "Excluídas",
		"Prullenbak", "Prullenmand", "Verwijderde items", "Verwijderd", "Verwijderde berichten",
		"Papperskorg", "Papperskorgen", "Borttaget", "Borttagna objekt", "Borttagna meddelanden", "Raderat", "Papirkurv", "Papirkurven", "Slettede elementer", "Slettede meldinger", "Slettet post", "Slettet",
		"Roskakori", "Poistetut", "Poistetut kohteet", "Poistetut viestit", "Eydd atriði", "Kosz", "Elementy usunięte", "Usunięte", "Koš", "Odstraněná pošta", "Odstraněné položky", "Kôš", "Odstránené položky", "Odstránená pošta",
		"Kuka", "Lomtár", "Törölt elemek", "Törölt üzenetek", "Gunoi", "Coș de gunoi", "Elemente șterse", "Izbrisano", "Izbrisani predmeti", "Izbrisane stavke", "Smeće", "Koš za smeti", "Отпад",
		"Корзина", "Удаленные", "Удалённые", "Удаленные элементы", "Удалённые элементы", "Кошик", "Видалені", "Видалені елементи", "Кошче", "Изтрити", "Изтрити елементи", "Šiukšlinė", "Ištrinta", "Miskaste", "Prügikast", "Kustutatud üksused",
		"Κάδος απορριμμάτων", "Κάδος", "Διαγραμμένα", "Διαγραμμένα στοιχεία", "Απορρίμματα", "Çöp Kutusu", "Çöp", "Silinmiş Öğeler", "Silinmiş", "Paperera", "Elements suprimits", "Zakarrontzia",
		"אשפה", "פריטים שנמחקו", "المهملات", "سلة المهملات", "سلة المحذوفات", "العناصر المحذوفة", "ゴミ箱", "ごみ箱", "削除済みアイテム", "已删除", "已删除邮件", "已删除的邮件", "废件箱", "回收站", "刪除的郵件", "已刪除的郵件", "垃圾桶",
		"휴지통", "지운 편지함", "지운편지함", "삭제된 메일함", "Thùng rác", "Mục đã xóa", "ถังขยะ", "รายการที่ถูกลบ", "Sampah", "Tempat Sampah",
	},
	`\Junk`: {
		"Junk", "Spam", "Junk E-mail", "Junk Email", "Junk Mail", "Junk-E-Mail", "Bulk Mail", "Bulk", "Spamverdacht", "Unerwünscht", "Unerwünschte Werbung", "Unerwünschte Mails",
		"Courrier indésirable", "Indésirables", "Pourriel", "Pourriels", "Correo no deseado", "No deseado", "Correo basura", "Posta indesiderata", "Indesiderata", "Lixo eletrônico", "Lixo electrónico", "Lixo eletrónico", "Correio eletrónico não solicitado",
		"Ongewenste e-mail", "Ongewenst", "Ongewenste mail", "Skräppost", "Uønsket e-post", "Uønsket post", "Uønsket e-mail", "Uønsket", "Søppelpost", "Roskaposti", "Ruslpóstur",
		"Wiadomości-śmieci", "Niechciane", "Wiadomości śmieci", "Nevyžádaná pošta", "Nevyžádané", "Nevyžiadaná pošta", "Nevyžiadané", "Levélszemét", "Mesaje nedorite", "Neželena pošta", "Neželjena pošta", "Нежељена пошта",
		"Спам", "Нежелательная почта", "Небажана пошта", "Нежелана поща", "Нежелани", "Brukalas", "Mēstules", "Rämpspost", "Ανεπιθύμητα", "Ανεπιθύμητη αλληλογραφία", "Önemsiz", "Önemsiz E-posta", "Gereksiz E-posta", "İstenmeyen", "Correu brossa",
		"דואר זבל", "البريد العشوائي", "البريد غير الهام", "بريد إلكتروني غير هام", "迷惑メール", "垃圾邮件", "垃圾郵件", "스팸", "스팸 메일함", "스팸메일함", "스팸함", "정크 메일", "Thư rác", "อีเมลขยะ", "จดหมายขยะ",
	},
	`\Archive`: {
		"Archive", "Archives", "Archived", "Archiv", "Archivio", "Archivo", "Archivos", "Arquivo", "Archief", "Arkiv", "Arkisto", "Archiwum", "Archív", "Archívum", "Arhivă", "Arhiva", "Arhiv",
		"Архив", "Архів", "Архива", "Archyvas", "Arhīvs", "Arhiiv", "Αρχειοθήκη", "Αρχείο", "Arşiv", "Arxiu", "ארכיון", "الأرشيف", "أرشيف", "アーカイブ", "存档", "归档", "封存", "보관함", "보관", "Lưu trữ", "เก็บถาวร", "Arsip",
	},
}
