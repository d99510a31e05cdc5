package config

import "github.com/pelletier/go-toml/v2"

// Draft is a configuration that is made by a program, of what it was told in
// another form. What is not there is left to the defaults.
type Draft struct {
	StateDir    string          `toml:"state_dir,omitempty"`
	Source      *DraftServer    `toml:"source,omitempty"`
	Destination *DraftServer    `toml:"destination,omitempty"`
	Mailboxes   *DraftMailboxes `toml:"mailboxes,omitempty"`
	Accounts    []DraftAccount  `toml:"account"`
}

// DraftServer is [source] or [destination], for all or for one account.
type DraftServer struct {
	Host           string `toml:"host,omitempty"`
	Port           int    `toml:"port,omitempty"`
	TLS            string `toml:"tls,omitempty"`
	AllowCleartext bool   `toml:"allow_cleartext,omitempty"`
	TLSServerName  string `toml:"tls_server_name,omitempty"`
	TLSFingerprint string `toml:"tls_fingerprint,omitempty"`
	Auth           string `toml:"auth,omitempty"`
	User           string `toml:"user,omitempty"`
	Password       string `toml:"password,omitempty"`
	PasswordFile   string `toml:"password_file,omitempty"`
}

// DraftMailboxes is [mailboxes], for all or for one account.
type DraftMailboxes struct {
	Include []string `toml:"include,omitempty"`
	Exclude []string `toml:"exclude,omitempty"`
	Prefix  string   `toml:"prefix,omitempty"`
}

// DraftAccount is an [[account]].
type DraftAccount struct {
	Name        string          `toml:"name"`
	Source      DraftServer     `toml:"source"`
	Destination DraftServer     `toml:"destination"`
	Mailboxes   *DraftMailboxes `toml:"mailboxes,omitempty"`
}

// TOML is the text of the configuration. It holds the passwords.
func (d Draft) TOML() ([]byte, error) { return toml.Marshal(d) }
