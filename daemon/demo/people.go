package demo

import "github.com/emersion/go-imap/v2"

// person is the owner of an account and what their mail looks like.
type person struct {
	login     string // local part
	name      string
	mailboxes []folder
	subjects  []string
	greetings []string
	sentences []string
	closing   string
}

// folder is a mailbox of a person on the old server and its part of the mail.
type folder struct {
	name  string
	role  imap.MailboxAttr
	share int // of the person's messages, in percent
}

// people returns the persons of the demo. Each mailbox name is one that has
// broken a migration somewhere.
func people() []person {
	return []person{
		{
			login: "anna.mueller", name: "Anna Müller",
			mailboxes: []folder{
				{"INBOX", "", 34}, {"Gesendet", imap.MailboxAttrSent, 16}, {"Entwürfe", imap.MailboxAttrDrafts, 2},
				{"Papierkorb", imap.MailboxAttrTrash, 7}, {"Spam", imap.MailboxAttrJunk, 5},
				{"Kunden", "", 0}, {"Kunden/Müller & Söhne", "", 12}, {"Kunden/Ångström AB", "", 8},
				{"Rechnungen", "", 0}, {"Rechnungen/2024", "", 7}, {"Rechnungen/2025", "", 9}, {"Ideen", "", 0},
			},
			subjects: []string{
				"Angebot für die neue Heizungsanlage", "Re: Liefertermin nächste Woche?", "Rechnung Nr. 2024-0815", "Protokoll der Besprechung vom Dienstag",
				"Urlaubsvertretung", "AW: Schlüsselübergabe am Freitag", "Fwd: Ihre Bestellung wurde versandt", "Einladung: Sommerfest im Hof",
				"Rückfrage zu Position 7 – bitte prüfen", "Glückwunsch zum Jubiläum!",
			},
			greetings: []string{"Liebe Anna,", "Sehr geehrte Frau Müller,", "Hallo zusammen,"},
			sentences: []string{
				"vielen Dank für die schnelle Rückmeldung.", "Anbei finden Sie das überarbeitete Angebot.", "Können wir den Termin auf 14 Uhr verschieben?",
				"Die Lieferung verzögert sich leider um zwei Tage.", "Über die Größe müssen wir noch sprechen.", "Bitte überweisen Sie den Betrag von 1.284,50 € bis Monatsende.",
				"Das Dach wäre danach dicht, sagt der Meister.", "Ich melde mich, sobald die Teile da sind.",
			},
			closing: "Mit freundlichen Grüßen",
		},
		{
			login: "james.okafor", name: "James Okafor",
			mailboxes: []folder{
				{"INBOX", "", 40}, {"Sent Items", imap.MailboxAttrSent, 18}, {"Drafts", imap.MailboxAttrDrafts, 2},
				{"Deleted Items", imap.MailboxAttrTrash, 6}, {"Junk", imap.MailboxAttrJunk, 5},
				{"Projects", "", 2}, {"Projects/Bridge & Tunnel", "", 12}, {"Projects/R&D (2025)", "", 8}, {"Receipts \"paid\"", "", 7},
			},
			subjects: []string{
				"Minutes of Monday's site meeting", "Re: Re: Drawing 14B, revision C", "Your train tickets", "Lunch on Thursday?", "Invoice 20931 is overdue",
				"Concrete test results", "FW: Change request #118", "Happy birthday 🎂", "Out of office until the 12th", "Quick question about the budget",
			},
			greetings: []string{"Hi James,", "Dear Mr Okafor,", "Hello all,"},
			sentences: []string{
				"thanks for getting back to me so quickly.", "The revised drawings are attached.", "Could we move the call to three o'clock?", "I have copied in the surveyor.",
				"The second span passed every load test.", "Please pay by the end of the month.", "Nothing else to report from our side.", "From the river bank it looks rather good.",
			},
			closing: "Kind regards",
		},
		{
			login: "camille.lefevre", name: "Camille Lefèvre",
			mailboxes: []folder{
				{"INBOX", "", 36}, {"Envoyés", imap.MailboxAttrSent, 17}, {"Brouillons", imap.MailboxAttrDrafts, 2},
				{"Corbeille", imap.MailboxAttrTrash, 7}, {"Indésirables", imap.MailboxAttrJunk, 5},
				{"Clients", "", 1}, {"Clients/Société Générale d'Électricité", "", 14}, {"Été 2025", "", 9}, {"Factures", "", 9},
			},
			subjects: []string{
				"Compte rendu de la réunion d'équipe", "Votre commande a été expédiée", "Re : devis à signer", "Congés d'été", "Facture n° 4471",
				"Invitation à l'assemblée générale", "TR : Où en est-on ?", "Photos du week-end à Noirmoutier", "Rappel : échéance du 15", "Merci pour tout !",
			},
			greetings: []string{"Bonjour Camille,", "Chère Madame,", "Bonjour à tous,"},
			sentences: []string{
				"merci de votre réponse rapide.", "Vous trouverez ci-joint le devis modifié.", "Pourrions-nous décaler l'appel à 15 heures ?", "La livraison a été retardée de deux jours.",
				"Le règlement de 320,00 € est attendu avant la fin du mois.", "Ça nous a fait très plaisir de vous voir.", "Le procès-verbal sera envoyé à l'issue de la séance.",
			},
			closing: "Bien cordialement",
		},
		{
			login: "yuki.sato", name: "佐藤 由紀",
			mailboxes: []folder{
				{"INBOX", "", 38}, {"送信済み", imap.MailboxAttrSent, 16}, {"下書き", imap.MailboxAttrDrafts, 2},
				{"ごみ箱", imap.MailboxAttrTrash, 7}, {"迷惑メール", imap.MailboxAttrJunk, 5},
				{"会議", "", 10}, {"会議/議事録", "", 12}, {"プロジェクト", "", 0}, {"プロジェクト/東京→大阪", "", 10},
			},
			subjects: []string{
				"会議の議事録をお送りします", "Re: 見積書の件", "ご注文ありがとうございます", "来週の予定について", "請求書番号 1024", "東京出張のご連絡",
				"お誕生日おめでとうございます", "Fwd: 資料の確認をお願いいたします", "Weekly report", "年末年始の休業のお知らせ",
			},
			greetings: []string{"佐藤様", "お疲れ様です。", "皆様"},
			sentences: []string{
				"早速のご返信ありがとうございます。", "修正した見積書を添付いたします。", "打ち合わせを午後三時に変更できますでしょうか。", "納品が二日ほど遅れる見込みです。",
				"ご確認のほどよろしくお願いいたします。", "月末までにお振り込みください。", "詳細は改めてご連絡いたします。",
			},
			closing: "よろしくお願いいたします。",
		},
	}
}

// correspondent is somebody who writes to a person.
type correspondent struct{ name, address string }

func correspondents() []correspondent {
	return []correspondent{
		{"Jürgen Groß", "j.gross@handwerk.example"}, {"Zoë Brontë", "zoe@letters.example"}, {"Nguyễn Văn An", "an.nguyen@lotus.example"},
		{"Søren Kjær", "soren.kjaer@fjord.example"}, {"Ольга Смирнова", "o.smirnova@pochta.example"}, {"Łukasz Żak", "lzak@wisla.example"},
		{"田中 花子", "hanako.tanaka@sakura.example"}, {"María García", "maria.garcia@correo.example"}, {"Dr. Peter O'Neill", "peter.oneill@clinic.example"},
		{"", "no-reply@shop.example"}, {"The Bridge Gazette", "news@gazette.example"}, {"Αλέξανδρος Παππάς", "alexandros@thalassa.example"},
	}
}
