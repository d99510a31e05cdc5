package main

// refusals are the options of imapsync that the command does not take, and what
// to do instead of each.
var refusals = []struct{ options, instead string }{
	// Log-ins and connections.
	{"authuser1 proxyauth1 authmd51", "an administrator is admin_user with admin_style in [source] of a configuration"},
	{"authuser2 proxyauth2 authmd52", "an administrator is admin_user with admin_style in [destination] of a configuration"},
	{"domain1 domain2", "NTLM is not spoken; where an administrator logs in, see admin_style = \"exchange\" of a configuration"},
	{"oauthaccesstoken1 oauthdirect1", "an access token expires while mail is copied: token_command in [source] of a configuration gets new ones"},
	{"oauthaccesstoken2 oauthdirect2", "an access token expires while mail is copied: token_command in [destination] of a configuration gets new ones"},
	{"sslargs1 sslargs2", "see tls_ca_file, tls_min_version and tls_cert_file of a configuration, or --tlsservername1 and --tlsfingerprint1"},
	{"timeout timeout1 timeout2 keepalive1 keepalive2 reconnectretry1 reconnectretry2 inet4 inet6", "leave it out: a connection that makes no progress is broken off and built anew"},
	{"compress1 compress2", "leave it out: what crosses a narrow line is compressed where the server can; see compress in [source] and [destination] of a configuration"},
	{"id noid", "leave it out: the ID is exchanged where a server offers it"},
	{"showpasswords debugssl", "leave it out: passwords are never shown"},
	// Mailboxes.
	{"folderrec", "write include = [\"NAME\", \"NAME/**\"] into [mailboxes] of a configuration"},
	{"include", "write include into [mailboxes] of a configuration: names, globs, or expressions between slashes"},
	{"folderfirst folderlast", "leave it out: mailboxes are carried side by side"},
	{"f1f2 regextrans2", "write rename into [mailboxes] of a configuration"},
	{"subfolder1", "write include = [\"NAME/**\"] and rename into [mailboxes] of a configuration"},
	{"prefix1 sep1 prefix2 sep2", "leave it out: both servers are asked for it (NAMESPACE)"},
	{"subscribed", "there is none: every mailbox that is not excluded is carried, subscribed to or not"},
	{"subscribe nosubscribe subscribeall subscribe_all nosubscribeall", "leave it out: subscriptions are carried as they are"},
	{"nomixfolders", "leave it out: no two mailboxes are carried into one without a word"},
	{"skipemptyfolders", "there is none: an empty mailbox is a mailbox"},
	{"checkselectable nocheckselectable checkfoldersexist nocheckfoldersexist create_folder_old", "leave it out: only what can be selected is carried, and what is missing is created"},
	{"foldersizes nofoldersizes foldersizesatend nofoldersizesatend justfoldersizes", "use 'imapsyncd check' with a configuration, and --dry here: both count"},
	{"justconnect justlogin", "use 'imapsyncd check' with a configuration; --dry here logs in too"},
	{"justfolders", "there is none: mailboxes come with their mail"},
	{"justautomap", "--dry shows which mailbox goes where"},
	// Messages.
	{"delete delete1 expunge expunge1 noexpunge1 delete1emptyfolders", "there is none: the old server is never changed"},
	{"delete2 delete2folders delete2foldersonly delete2foldersbutnot expunge2 uidexpunge2 noexpunge2", "what is deleted on the old server is deleted from the copies by policy.deletions = \"follow\"; what else is on the new server is never removed"},
	{"delete2duplicates", "there is none: what is on the new server is not removed, and nothing is copied twice"},
	{"syncduplicates nosyncduplicates skipcrossduplicates noskipcrossduplicates", "leave it out: a message that is there twice is carried twice"},
	{"maxsize minsize maxage minage search search1 search2 noabletosearch noabletosearch1 noabletosearch2", "there is none: every message is carried; what the new server refuses is held, with its reason"},
	{"skipmess pipemess regexmess disarmreadreceipts truncmess addheader skipsize allowsizemismatch fixcolonbug", "there is none: messages are carried octet for octet, but for what policy.fixups of a configuration mends because the new server refuses it"},
	{"useheader skipheader wholeheaderifneeded useuid usecache nousecache", "leave it out: messages are known by UID, and by content where UIDs have changed"},
	{"synclabels nosynclabels resynclabels noresynclabels", "leave it out: each label of Gmail is a mailbox"},
	{"syncinternaldates nosyncinternaldates idatefromheader", "leave it out: each message keeps its INTERNALDATE"},
	{"syncflags nosyncflags resyncflags noresyncflags syncflagsaftercopy nosyncflagsaftercopy", "policy.flags of a configuration is \"follow\" or \"copy\"; here they are followed"},
	{"regexflag filterflags nofilterflags flagscase noflagscase", "leave it out: flags that the new server does not keep are left away"},
	{"gmail1 gmail2 office1 office2 exchange1 exchange2 domino1 domino2", "leave it out: what a server is like is found out; write --host1, --host2 and what [mailboxes] exclude is to leave away"},
	// Rates and sizes.
	{"maxbytespersecond maxmessagespersecond maxbytesafter maxsleep", "limits of rates stand in [limits] of a configuration"},
	{"buffersize split1 split2 fastio1 nofastio1 fastio2 nofastio2 maxlinelength maxlinelengthcmd", "leave it out; limits.memory of a configuration bounds what is in memory"},
	{"abort exitwhenover errorsmax errordump", "leave it out: it can be interrupted at any moment and run again"},
	// The process.
	{"log nolog logfile logdir", "leave it out: what happens goes to standard error"},
	{"tmpdir pidfile pidfilelocking nopidfilelocking", "leave it out: what has been carried is kept in --state-dir, by one process at a time"},
	{"releasecheck noreleasecheck modulesversion nomodulesversion", "leave it out: nothing is asked of anybody but the two servers"},
	{"version", "use 'imapsyncd version'"},
	{"simulong tests testsdebug testslive testslive6 testsunit", "there is none; see 'imapsyncd demo'"},
	{"debug debugimap debugimap1 debugimap2 debugcontent debugflags debugfolders debugmemory debuglabels debugcache debugsleep debugcrossduplicates", "leave it out; with a configuration, log.level = \"debug\""},
}
