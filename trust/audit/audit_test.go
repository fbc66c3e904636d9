package audit_test

import (
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/trust/audit"
)

func chain(n int) (rows []audit.Row) {
	head := audit.Head{Position: audit.Position{Writer: 7}}
	for i := range n {
		row := head.Append(fmt.Appendf(nil, `{"n":%d}`, i))
		rows, head = append(rows, row), row.Head()
	}
	return rows
}

func seq(rows []audit.Row) iter.Seq2[audit.Row, error] {
	return func(yield func(audit.Row, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// AU-04: a changed, deleted, swapped or inserted record breaks the chain, and
// the first bad one is named.
func TestVerifyChain(t *testing.T) {
	t.Parallel()
	start := audit.Head{Position: audit.Position{Writer: 7}}
	for _, tc := range []struct {
		name   string
		tamper func([]audit.Row) []audit.Row
		names  string
	}{
		{"accepts an untouched chain", func(r []audit.Row) []audit.Row { return r }, ""},
		{"accepts an empty chain", func([]audit.Row) []audit.Row { return nil }, ""},
		{"refuses a flipped byte", func(r []audit.Row) []audit.Row { r[3].Body[2] ^= 1; return r }, "record 4 was changed"},
		{"refuses a deleted record", func(r []audit.Row) []audit.Row { return append(r[:2], r[3:]...) }, "record 4 stands where 3"},
		{"refuses swapped records", func(r []audit.Row) []audit.Row { r[1], r[2] = r[2], r[1]; return r }, "record 3 stands where 2"},
		{"refuses an inserted record", func(r []audit.Row) []audit.Row {
			return append(r[:2:2], append([]audit.Row{r[1]}, r[2:]...)...)
		}, "record 2 stands where 3"},
		{"refuses another writer's record", func(r []audit.Row) []audit.Row { r[0].Writer = 8; return r }, "record 1 stands where 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := audit.VerifyChain(start, seq(tc.tamper(chain(6))))
			if tc.names == "" {
				if err != nil {
					t.Fatalf("VerifyChain = %v, want nil", err)
				}
				return
			}
			if !errors.Is(err, audit.ErrBroken) || !strings.Contains(err.Error(), tc.names) {
				t.Fatalf("VerifyChain = %v, want ErrBroken naming %q", err, tc.names)
			}
		})
	}
}

// AU-08: hostile text stays on one line, escaped and capped.
func TestEncodeIsOneLine(t *testing.T) {
	t.Parallel()
	r := audit.Record{At: time.Now(), Event: "token.exchange", Outcome: audit.Deny,
		UserAgent: "a\r\nb\x1b[31m\u2028\"" + strings.Repeat("x", 10<<10),
		Checks:    []audit.Check{{Step: "subject", Name: "sub", Result: audit.Fail, Seen: "bad\xff\nutf8"}}}
	body, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(string(body), "\r\n\x1b\u2028") {
		t.Errorf("the line holds a raw control character or line separator: %q", body)
	}
	back, err := audit.Decode(body)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(back.UserAgent); n > 1100 || !strings.HasSuffix(back.UserAgent, "…") {
		t.Errorf("user agent is %d bytes and ends in %q, want it capped with a mark", n, back.UserAgent[n-3:])
	}
}

func TestEncodeRefusesAnIncompleteRecord(t *testing.T) {
	t.Parallel()
	if _, err := (&audit.Record{Event: "token.exchange"}).Encode(); err == nil {
		t.Error("Encode accepted a record without time and outcome")
	}
}
