package guardconf

import "github.com/comity-auth/comity/cmd/comity/settings"

// document describes the configuration, bound to c.
func document(c *Config) settings.Document {
	return settings.Document{
		Keys: table(c), Sections: sections(), Aliases: aliases(),
		Title:     "Configuration of comity guard",
		About:     "What the file may hold. The environment and flags can give any key too, so none is required here.",
		Preamble:  preamble,
		Reference: reference,
		Headings: map[string]string{"audience": "Resource and issuers", "routes": "What is admitted", "listen": "Public listener",
			"leeway": "Tokens"},
	}
}

// aliases are the variables of the Agent Authorization Profile's own
// deployments.
func aliases() []settings.Alias {
	return []settings.Alias{
		{Name: "AAP_RS_AUDIENCE", Path: "audience", Doc: "The resource's own identifier."},
		{Name: "AAP_RS_PORT", Path: "listen", Port: true, Doc: "The port of the public listener; its address stays."},
		{Name: "AAP_TRUSTED_ISSUERS", Path: "issuers", Doc: "The issuers, with commas between them."},
		{Name: "AAP_PUBLIC_KEY_PATH", Path: "public_key_file", Doc: "The file with the public keys of the only issuer."},
		{Name: "AAP_REDIS_URL", Path: "valkey", Doc: "Shared counts and used proofs."},
	}
}

const preamble = "# Configuration of a Comity guard. Every key stands here with its default:\n" +
	"# leave out what you do not change. Only audience, issuers and routes must be\n" +
	"# filled in, and upstream or trusted_proxies.\n" +
	"# Any key can be given by environment too, as the name in brackets; the same\n" +
	"# name with _FILE behind it reads the value from a file.\n" +
	"# Relative paths mean the folder of this file.\n"

const reference = `# Configuration of guard

<!-- Generated from the table of keys; do not edit. Regenerate with: go generate ./cmd/comity -->

One YAML file, read strictly: an unknown or repeated key is an error with its line, and ` + "`comity check-config --guard FILE`" + ` reports everything that is wrong at once. ` + "`comity config init --guard`" + ` prints a file to begin with.

The file is the one that ` + "`--config`" + ` names, otherwise the first that exists of ` + "`./comity-guard.yaml`" + `, ` + "`$XDG_CONFIG_HOME/comity/comity-guard.yaml`" + ` (` + "`~/.config`" + ` when unset) and ` + "`/etc/comity/comity-guard.yaml`" + `.

Values come from, each stronger than the one before: the default, the file, the ` + "`AAP_*`" + ` names below, the environment, the flags. ` + "`comity config show --guard --origin`" + ` says where each came from.

- **Environment.** The name in the table. The same name with ` + "`_FILE`" + ` behind it reads the value from a file, less one line end; giving both is an error. An unknown ` + "`COMITY_*`" + ` is a warning.
- **Flags.** The key with dashes: ` + "`--max-token-age 10m`" + `. Keys that may hold a credential have none, since every user of a machine can read its command lines.
- **Durations** are written as in Go (` + "`300s`, `24h`, `1h30m`" + `); a plain number is seconds.
- **Lists** are YAML lists in the file, and separated by commas in environment and flags. Lists of objects are written there in YAML's brackets: ` + "`COMITY_ROUTES='[{match: \"GET /search\", action: archive.search}]'`" + `.
- **Paths** that are relative mean the folder of the file (defaults too), and in environment and flags the working directory.
- **Reload.** SIGHUP reads everything again. A good configuration holds for the requests that come from then on, counts and used proofs are kept; a bad one is logged and changes nothing. The new one first learns what the issuers have revoked, for which it is given 5 s; until then the old one holds. ` + "`listen`, `ops`, `tls`, `valkey` and `log`" + ` are for the life of the process; certificates are read again when their files change.
- **Insecure.** What switches a protection off is reported at every start and reload.
`
