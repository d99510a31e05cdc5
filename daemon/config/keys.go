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
	Account       []accountKeys `toml:"account"`
}

type logKeys struct {
	Format *string `toml:"format"`
	Level  *string `toml:"level"`
}

type webKeys struct {
	Listen *string `toml:"listen"`
	Linger *string `toml:"linger"`
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
	Flags        *string `toml:"flags"`
	Deletions    *string `toml:"deletions"`
	AlreadyThere *string `toml:"already_there"`
}

type limitsKeys struct {
	Memory *string `toml:"memory"`
}

type serverKeys struct {
	Host                     *string  `toml:"host"`
	Port                     *int     `toml:"port"`
	TLS                      *string  `toml:"tls"`
	AllowCleartext           *bool    `toml:"allow_cleartext"`
	TLSServerName            *string  `toml:"tls_server_name"`
	TLSCAFile                *string  `toml:"tls_ca_file"`
	TLSFingerprint           *string  `toml:"tls_fingerprint"`
	TLSMinVersion            *string  `toml:"tls_min_version"`
	Auth                     *string  `toml:"auth"`
	MaxConnections           *int     `toml:"max_connections"`
	MaxConnectionsPerAccount *int     `toml:"max_connections_per_account"`
	User                     *string  `toml:"user"`
	Password                 *string  `toml:"password"`
	PasswordFile             *string  `toml:"password_file"`
	PasswordCommand          []string `toml:"password_command"`
}

type mailboxKeys struct {
	Include []string `toml:"include"`
	Exclude []string `toml:"exclude"`
}

type accountKeys struct {
	Name        string       `toml:"name"`
	Domains     []string     `toml:"domains"`
	Source      serverKeys   `toml:"source"`
	Destination serverKeys   `toml:"destination"`
	Mailboxes   *mailboxKeys `toml:"mailboxes"`
}
