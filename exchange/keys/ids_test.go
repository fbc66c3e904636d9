package keys_test

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/comity-auth/comity/exchange/keys"
	"github.com/comity-auth/comity/trust/audit"
)

func newIDs(t testing.TB, key byte) *keys.IDs {
	t.Helper()
	ids, err := keys.NewIDs(bytes.Repeat([]byte{key}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func TestDecisionIDNamesItsRecord(t *testing.T) {
	t.Parallel()
	ids, seen := newIDs(t, 1), map[string]bool{}
	for _, pos := range []audit.Position{
		{Writer: 0, Seq: 1}, {Writer: 1, Seq: 1}, {Writer: 1, Seq: 2}, {Writer: 7, Seq: 1 << 40},
		{Writer: math.MaxUint32, Seq: math.MaxUint64}, {Writer: 0, Seq: math.MaxUint64},
	} {
		id := ids.Seal(pos)
		if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" || seen[id] {
			t.Errorf("Seal(%v) = %q, want 32 lower-case hex digits of its own", pos, id)
		}
		seen[id] = true
		if got, ok := ids.Open(id); !ok || got != pos {
			t.Errorf("Open(Seal(%v)) = %v, %v", pos, got, ok)
		}
	}
}

// Ids are answered to clients and kept by them: they must outlive an upgrade.
func TestDecisionIDIsStable(t *testing.T) {
	t.Parallel()
	// AES-256 of 00000007 0000000000000001 00000000 under 32 bytes of 01.
	const want = "40b6a9f379855bcc1cd6df247cdc6e86"
	if got := newIDs(t, 1).Seal(audit.Position{Writer: 7, Seq: 1}); got != want {
		t.Errorf("Seal = %s, want %s", got, want)
	}
}

func TestDecisionIDRefuses(t *testing.T) {
	t.Parallel()
	ids := newIDs(t, 1)
	good := ids.Seal(audit.Position{Writer: 7, Seq: 12})
	for _, tc := range []struct{ name, id string }{
		{"rejects nothing", ""},
		{"rejects 31 digits", good[:31]},
		{"rejects 33 digits", good + "0"},
		{"rejects upper case", strings.ToUpper(good)},
		{"rejects a letter beyond f", "g" + good[1:]},
		{"rejects a control character", "\n" + good[1:]},
		{"rejects an id under another key", newIDs(t, 2).Seal(audit.Position{Writer: 7, Seq: 12})},
		{"rejects the id of no record", ids.Seal(audit.Position{Writer: 7})},
		{"rejects zeros", strings.Repeat("0", 32)},
		{"rejects a readable position", "00000007000000000000000c00000000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if pos, ok := ids.Open(tc.id); ok || pos != (audit.Position{}) {
				t.Errorf("Open(%q) = %v, %v, want no position", tc.id, pos, ok)
			}
		})
	}
	for i := range good {
		changed := []byte(good)
		if changed[i]++; changed[i] == '9'+1 || changed[i] == 'g' {
			changed[i] = '0'
		}
		if _, ok := ids.Open(string(changed)); ok {
			t.Errorf("Open accepts the id with digit %d changed", i)
		}
	}
	if _, err := keys.NewIDs(make([]byte, 31)); err == nil {
		t.Error("NewIDs accepts a key of 31 bytes")
	}
}

// Neighbouring records have ids with nothing in common.
func TestDecisionIDTellsNothingAboutVolume(t *testing.T) {
	t.Parallel()
	ids := newIDs(t, 1)
	a, b := ids.Seal(audit.Position{Writer: 1, Seq: 1}), ids.Seal(audit.Position{Writer: 1, Seq: 2})
	same := 0
	for i := range a {
		if a[i] == b[i] {
			same++
		}
	}
	if same > 16 {
		t.Errorf("%s and %s share %d of 32 digits", a, b, same)
	}
}

func FuzzDecisionID(f *testing.F) {
	ids := newIDs(f, 1)
	f.Add(ids.Seal(audit.Position{Writer: 3, Seq: 9}))
	f.Add("00000007000000000000000c00000000")
	f.Add("")
	f.Fuzz(func(t *testing.T, id string) {
		if pos, ok := ids.Open(id); ok && (pos.Seq == 0 || ids.Seal(pos) != id) {
			t.Errorf("Open(%q) = %v, whose id is %q", id, pos, ids.Seal(pos))
		}
	})
}
