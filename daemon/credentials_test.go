package daemon

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/imapsyncd/imapsyncd/daemon/config"
	"github.com/imapsyncd/imapsyncd/daemon/remote"
)

// TestWhoSharesTokens: one client has the same tokens for all accounts, a
// service account has tokens of its own for each user, and an account with a
// client of its own has others.
func TestWhoSharesTokens(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"robot.json": `{"client_email": "robot@example.org", "private_key": "x"}`,
		"c.toml": `
[source]
host = "old.example.org"
token_url = "https://login.example.org/"
client_id = "me"
client_secret = "x"
[destination]
host = "new.example.org"
service_account_file = "robot.json"
[[account]]
name = "foo"
[account.source]
user = "foo"
[account.destination]
user = "foo"
[[account]]
name = "bar"
[account.source]
user = "bar"
[account.destination]
user = "bar"
[[account]]
name = "own"
[account.source]
user = "own"
client_id = "other"
[account.destination]
user = "own"
password = "x"
`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(filepath.Join(dir, "c.toml"))
	if err != nil {
		t.Fatal(err)
	}
	var c credentials
	source := func(i int) remote.Tokens {
		return c.server(remote.SideSource, "x", cfg.Accounts[i].Source).Tokens
	}
	destination := func(i int) remote.Server {
		return c.server(remote.SideDestination, "x", cfg.Accounts[i].Destination)
	}
	if source(0) != source(1) {
		t.Error("one client, two sources of tokens")
	}
	if source(0) == source(2) {
		t.Error("two clients, one source of tokens")
	}
	if destination(0).Tokens == destination(1).Tokens || destination(0).Tokens != destination(0).Tokens {
		t.Error("a service account has a source of tokens for each user")
	}
	if s := destination(2); s.Tokens != nil || s.Password == nil {
		t.Error("an account with a password gets tokens")
	}
}
