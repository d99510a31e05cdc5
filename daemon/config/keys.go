package config

// fileKeys is the file as it is written. A pointer is nil where the key does
// not stand there.
type fileKeys struct {
	StateDir      *string       `toml:"state_dir"`
	Socket        *string       `toml:"socket"`
	PollInterval  *string       `toml:"poll_interval"`
	FlagsInterval *string       `toml:"flags_interval"`
	FullSweep     *string       `toml:"full_sweep"`
	Log           logKeys       `toml:"log"`
	Web           webKeys       `toml:"web"`
	Metrics       metricsKeys   `toml:"metrics"`
	DNS           dnsKeys       `toml:"dns"`
	Cutover       cutoverKeys   `toml:"cutover"`
	Limits        limitsKeys    `toml:"limits"`
	Source        serverKeys    `toml:"source"`
	Destination   serverKeys    `toml:"destination"`
	Policy        policyKeys    `toml:"policy"`
	Mailboxes     mailboxKeys   `toml:"mailboxes"`
	Domain        []domainKeys  `toml:"domain"`
	Accounts      accountsKeys  `toml:"accounts"`
	Account       []accountKeys `toml:"account"`
}

type accountsKeys struct {
	File *string `toml:"file"`
}

type logKeys struct {
	Format *string `toml:"format"`
	Level  *string `toml:"level"`
}

type webKeys struct {
	Listen     *string `toml:"listen"`
	Linger     *string `toml:"linger"`
	ConfigFile *string `toml:"config_file"`
}

type metricsKeys struct {
	AccountLabel *string `toml:"account_label"`
}

type dnsKeys struct {
	Resolvers []string `toml:"resolvers"`
	Interval  *string  `toml:"interval"`
}

type cutoverKeys struct {
	MaxLag        *string   `toml:"max_lag"`
	VerifyEvery   *string   `toml:"verify_every"`
	QuietPeriod   *string   `toml:"quiet_period"`
	Workdays      *[]string `toml:"workdays"`
	HeldAllowed   *int      `toml:"held_allowed"`
	Finish        *string   `toml:"finish"`
	OldHosts      []string  `toml:"old_hosts"`
	NotifyCommand []string  `toml:"notify_command"`
}

type domainKeys struct {
	Name      string   `toml:"name"`
	NewMX     []string `toml:"new_mx"`
	OldMX     []string `toml:"old_mx"`
	Switch    *string  `toml:"switch"`
	Handover  *string  `toml:"handover"`
	AliasesOf *string  `toml:"aliases_of"`
}

type policyKeys struct {
	Flags        *string  `toml:"flags"`
	Deletions    *string  `toml:"deletions"`
	Fixups       []string `toml:"fixups"`
	AlreadyThere *string  `toml:"already_there"`
}

type limitsKeys struct {
	rateKeys
	Memory *string `toml:"memory"`
}

// rateKeys are the keys of the limits of a server, or of an account on it.
// Octets may be numbers or sizes, such as "2MB".
type rateKeys struct {
	LoginsPerSecond      any       `toml:"logins_per_second"`
	BytesPerSecond       any       `toml:"bytes_per_second"`
	MessagesPerSecond    any       `toml:"messages_per_second"`
	DailyBytes           any       `toml:"daily_bytes"`
	DailyBytesPerAccount any       `toml:"daily_bytes_per_account"`
	Windows              *[]string `toml:"windows"`
}

// serverKeys are the keys of one server. The tag way names the ways to log in
// that a key belongs to; those of the tag one are alternatives to each other.
type serverKeys struct {
	Host                     *string  `toml:"host"`
	Port                     *int     `toml:"port"`
	TLS                      *string  `toml:"tls"`
	AllowCleartext           *bool    `toml:"allow_cleartext"`
	TLSServerName            *string  `toml:"tls_server_name"`
	TLSCAFile                *string  `toml:"tls_ca_file"`
	TLSFingerprint           *string  `toml:"tls_fingerprint"`
	TLSMinVersion            *string  `toml:"tls_min_version"`
	TLSLegacyCiphers         *bool    `toml:"tls_legacy_ciphers"`
	TLSCertFile              *string  `toml:"tls_cert_file"`
	TLSKeyFile               *string  `toml:"tls_key_file"`
	Auth                     *string  `toml:"auth"`
	Compress                 *string  `toml:"compress"`
	MaxConnections           *int     `toml:"max_connections"`
	MaxConnectionsPerAccount *int     `toml:"max_connections_per_account"`
	QuotaReserve             *string  `toml:"quota_reserve"`
	Namespaces               []string `toml:"namespaces"`
	User                     *string  `toml:"user"`

	Limits *rateKeys `toml:"limits"`

	Password        *string  `toml:"password" way:"password" one:"password"`
	PasswordFile    *string  `toml:"password_file" way:"password" one:"password"`
	PasswordCommand []string `toml:"password_command" way:"password" one:"password"`
	Credential      *string  `toml:"credential" way:"password" one:"password"`

	AdminUser            *string  `toml:"admin_user" way:"admin"`
	AdminStyle           *string  `toml:"admin_style"`
	AdminSeparator       *string  `toml:"admin_separator"`
	AdminPassword        *string  `toml:"admin_password" way:"admin" one:"admin"`
	AdminPasswordFile    *string  `toml:"admin_password_file" way:"admin" one:"admin"`
	AdminPasswordCommand []string `toml:"admin_password_command" way:"admin" one:"admin"`
	AdminCredential      *string  `toml:"admin_credential" way:"admin" one:"admin"`

	TokenCommand             []string `toml:"token_command" way:"command"`
	TokenURL                 *string  `toml:"token_url" way:"client"`
	ClientID                 *string  `toml:"client_id" way:"client"`
	ClientSecret             *string  `toml:"client_secret" way:"client" one:"client"`
	ClientSecretFile         *string  `toml:"client_secret_file" way:"client" one:"client"`
	ClientSecretCommand      []string `toml:"client_secret_command" way:"client" one:"client"`
	ClientSecretCredential   *string  `toml:"client_secret_credential" way:"client" one:"client"`
	RefreshToken             *string  `toml:"refresh_token" way:"client" one:"refresh"`
	RefreshTokenFile         *string  `toml:"refresh_token_file" way:"client" one:"refresh"`
	RefreshTokenCommand      []string `toml:"refresh_token_command" way:"client" one:"refresh"`
	RefreshTokenCredential   *string  `toml:"refresh_token_credential" way:"client" one:"refresh"`
	ServiceAccountFile       *string  `toml:"service_account_file" way:"service" one:"service"`
	ServiceAccountCredential *string  `toml:"service_account_credential" way:"service" one:"service"`
	TokenScopes              []string `toml:"token_scopes"`
}

type mailboxKeys struct {
	Include []string          `toml:"include"`
	Exclude []string          `toml:"exclude"`
	Rename  map[string]string `toml:"rename"`
	Prefix  *string           `toml:"prefix"`
}

type accountKeys struct {
	Name        string       `toml:"name"`
	Domains     []string     `toml:"domains"`
	Source      serverKeys   `toml:"source"`
	Destination serverKeys   `toml:"destination"`
	Mailboxes   *mailboxKeys `toml:"mailboxes"`
}
