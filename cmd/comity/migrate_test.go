package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/comity-auth/comity/trust/sqlite"
)

func TestMigrate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db := filepath.Join(dir, "comity.db")
	run := func(args ...string) ran {
		return comity(t, "", nil, append([]string{"migrate", "--domain", "globex.example", "--issuer", "http://127.0.0.1:8080",
			"--store", "sqlite:" + db}, args...)...)
	}
	if got := run("--status"); got.code != 1 || got.stdout != "" {
		t.Errorf("status of a store that is not there: %+v", got)
	}
	if _, err := os.Stat(db); err == nil {
		t.Error("--status made a store")
	}
	for range 2 { // the second finds nothing to do
		var s schema
		got := run("--json")
		if err := json.Unmarshal([]byte(got.stdout), &s); err != nil || got.code != 0 {
			t.Fatalf("%+v: %v", got, err)
		}
		if s.Store != "sqlite" || s.Version != s.Binary || s.Binary == 0 || !s.Usable {
			t.Errorf("schema = %+v", s)
		}
	}
	run("--status").want(t, 0, fmt.Sprintf("sqlite: schema version %[1]d, this binary is for version %[1]d\n", sqlite.SchemaVersion), "")
}
