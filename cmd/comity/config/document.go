package config

import "github.com/comity-auth/comity/cmd/comity/settings"

// document describes the configuration, bound to c.
func document(c *Config) settings.Document {
	return settings.Document{
		Keys: table(c), Sections: sections(), Aliases: aliases(),
		Title:     "Configuration of comity serve",
		About:     "What the file may hold. The environment and flags can give any key too, so none is required here.",
		Preamble:  preamble,
		Reference: reference,
		Headings:  map[string]string{"domain": "Identity and public listener", "store": "Store and trust", "trusted_proxies": "Proxies and shared counters"},
	}
}

// The prefixes of values that hold a path.
const (
	sqliteScheme = "sqlite:"
	sealScheme   = "file:"
)

// aliases are the variables of the Agent Authorization Profile's own
// deployments.
func aliases() []settings.Alias {
	return []settings.Alias{
		{Name: "AAP_ISSUER", Path: "issuer", Doc: "The issuer."},
		{Name: "AAP_AS_PORT", Path: "listen", Port: true, Doc: "The port of the public listener; its address stays."},
		{Name: "AAP_PRIVATE_KEY", Path: "keys.inline", Doc: "The private key itself, PEM or JWK; \\n stands for a line end when there is none."},
		{Name: "AAP_PRIVATE_KEY_PATH", Path: "keys.file", Doc: "The private key's file."},
		{Name: "AAP_POLICY_PATH", Path: "policies", Doc: "The folder of AAP policy files."},
		{Name: "AAP_REDIS_URL", Path: "valkey", Doc: "Shared rate-limit counters."},
		{Name: "AAP_PUBLIC_KEY_PATH", Doc: "the public key is derived from the private one"},
	}
}

const preamble = "# Configuration of a Comity broker. Every key stands here with its default:\n" +
	"# leave out what you do not change. Only domain and issuer must be filled in.\n" +
	"# Any key can be given by environment too, as the name in brackets; the same\n" +
	"# name with _FILE behind it reads the value from a file.\n" +
	"# Relative paths mean the folder of this file.\n"

const reference = `# Configuration of serve

<!-- Generated from the table of keys; do not edit. Regenerate with: go generate ./cmd/comity -->

One YAML file, read strictly: an unknown or repeated key is an error with its line, and ` + "`comity check-config`" + ` reports everything that is wrong at once.

The file is the one that ` + "`--config`" + ` names, otherwise the first that exists of ` + "`./comity.yaml`" + `, ` + "`$XDG_CONFIG_HOME/comity/comity.yaml`" + ` (` + "`~/.config`" + ` when unset) and ` + "`/etc/comity/comity.yaml`" + `.

Values come from, each stronger than the one before: the default, the file, the ` + "`AAP_*`" + ` names below, the environment, the flags. ` + "`comity config show --origin`" + ` says where each came from.

- **Environment.** The name in the table. The same name with ` + "`_FILE`" + ` behind it reads the value from a file, less one line end; giving both is an error. An unknown ` + "`COMITY_*`" + ` is a warning.
- **Flags.** The key with dashes: ` + "`--tokens-max-ttl 600s`" + `. Keys that may hold a credential have none (but for ` + "`--store`" + `), since every user of a machine can read its command lines.
- **Durations** are written as in Go (` + "`300s`, `24h`, `1h30m`" + `); a plain number is seconds.
- **Lists** are YAML lists in the file, and separated by commas in environment and flags.
- **Paths** that are relative mean the folder of the file (defaults too), and in environment and flags the working directory.
- **Secrets.** A file that holds one is refused when users outside its owner and group may reach it. Passwords in URLs are never printed.
`
