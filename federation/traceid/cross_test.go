package traceid_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/comity-auth/comity/federation/traceid"
)

var testKey = []byte("0123456789abcdef0123456789abcdef")

func digester(t *testing.T, key []byte) traceid.Digester {
	t.Helper()
	d, err := traceid.NewDigester(key)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// AU-12: nothing of an inbound trace appears on the far side or in the record.
func TestAU12NothingOfTheForeignTraceCrosses(t *testing.T) {
	t.Parallel()
	inbound := http.Header{
		"Traceparent":       {sample},
		"Tracestate":        {"rojo=00f067aa0ba902b7"},
		"Baggage":           {"user=alice-the-foreigner"},
		"X-Request-Id":      {"req-7f3a90"},
		"X-B3-Traceid":      {trace},
		"Uber-Trace-Id":     {trace + ":1:0:1"},
		"X-Datadog-Origin":  {"rum-foreign"},
		"x-correlation-id":  {"corr-51c2"}, // not in canonical spelling
		"X-Amzn-Trace-Id":   {"Root=1-67891233-abcdef012345678912345678"},
		"Ot-Baggage-Tenant": {"tenant-foreign"},
	}
	secrets := []string{
		trace, trace[:16], trace[16:], parent, "alice-the-foreigner", "req-7f3a90",
		"rum-foreign", "corr-51c2", "67891233", "tenant-foreign", "rojo",
	}
	in, ok := traceid.FromHeader(inbound)
	if !ok || !in.Sampled() {
		t.Fatal("the inbound trace was not read")
	}
	out, link := traceid.Cross(digester(t, testKey), in.Trace().String())

	outbound := inbound.Clone()
	traceid.Strip(outbound)
	outbound.Set("Traceparent", traceid.Within(out).String())
	record, err := json.Marshal(link)
	if err != nil {
		t.Fatal(err)
	}
	seen := fmt.Sprint(outbound) + string(record)
	for _, s := range secrets {
		if strings.Contains(seen, s) {
			t.Errorf("%q crossed the boundary: %s", s, seen)
		}
	}
	if len(outbound) != 1 {
		t.Errorf("headers left: %v", outbound)
	}
	if c, ok := traceid.FromHeader(outbound); !ok || c.Sampled() || c.Trace() != out {
		t.Errorf("outbound traceparent %q, want a restarted trace %s, not sampled", c, out)
	}
}

func TestStripKeepsOtherHeaders(t *testing.T) {
	t.Parallel()
	h := http.Header{"Authorization": {"a"}, "Accept": {"b"}, "Traceparent": {sample}}
	traceid.Strip(h)
	if len(h) != 2 || h.Get("Authorization") != "a" || h.Get("Accept") != "b" {
		t.Errorf("Strip left %v", h)
	}
}

func TestCrossIsNeverDerived(t *testing.T) {
	t.Parallel()
	d := digester(t, testKey)
	a, la := traceid.Cross(d, trace)
	b, lb := traceid.Cross(d, trace)
	if a == b {
		t.Error("the same trace crossed twice to the same id")
	}
	if la.Local != a || lb.Local != b {
		t.Error("the link does not name the outgoing id")
	}
	if la.Foreign == "" || la.Foreign != lb.Foreign {
		t.Errorf("digests of one trace: %q and %q, want equal", la.Foreign, lb.Foreign)
	}
	if la.Foreign != d.Digest(traceid.KindTrace, trace) {
		t.Error("an administrator with the value and the key cannot find the link")
	}
	if id, link := traceid.Cross(d, ""); id.IsZero() || link.Foreign != "" {
		t.Errorf("without a foreign trace: %q, %+v", id, link)
	}
}

func TestDigestSeparates(t *testing.T) {
	t.Parallel()
	d, other := digester(t, testKey), digester(t, bytes.Repeat([]byte{7}, 32))
	seen := map[string]string{}
	for name, digest := range map[string]string{
		"trace":         d.Digest(traceid.KindTrace, "x"),
		"jti":           d.Digest(traceid.KindJTI, "x"),
		"txn":           d.Digest(traceid.KindTxn, "x"),
		"sid":           d.Digest(traceid.KindSession, "x"),
		"task":          d.Digest(traceid.KindTask, "x"),
		"shifted left":  d.Digest("ab", "c"),
		"shifted right": d.Digest("a", "bc"),
		"other value":   d.Digest(traceid.KindTrace, "y"),
		"other key":     other.Digest(traceid.KindTrace, "x"),
	} {
		if len(digest) != 43 {
			t.Errorf("%s: %d characters, want 43", name, len(digest))
		}
		if twin, dup := seen[digest]; dup {
			t.Errorf("%s and %s have one digest", name, twin)
		}
		seen[digest] = name
	}
}

// The digest is stored, so it may not change between releases.
func TestDigestIsStable(t *testing.T) {
	t.Parallel()
	const want = "TSyVcmRLqQbmKzXPXDG8rS97XnUNYfC14f5soK1GR_g"
	if got := digester(t, testKey).Digest(traceid.KindTrace, trace); got != want {
		t.Errorf("Digest = %q, want %q", got, want)
	}
}

func TestDigesterWithoutKeyDigestsNothing(t *testing.T) {
	t.Parallel()
	var zero traceid.Digester
	if got := zero.Digest(traceid.KindTrace, trace); got != "" {
		t.Errorf("Digest without a key = %q", got)
	}
	for _, n := range []int{0, 1, 31} {
		if _, err := traceid.NewDigester(make([]byte, n)); !errors.Is(err, traceid.ErrKey) {
			t.Errorf("NewDigester with %d bytes: %v, want ErrKey", n, err)
		}
	}
}

func TestDigesterCopiesItsKey(t *testing.T) {
	t.Parallel()
	key := bytes.Clone(testKey)
	d := digester(t, key)
	before := d.Digest("a", "b")
	clear(key)
	if d.Digest("a", "b") != before {
		t.Error("a change of the caller's key changed the digest")
	}
}

func TestDigesterNeverPrintsItsKey(t *testing.T) {
	t.Parallel()
	d := digester(t, testKey)
	holder := struct{ inner traceid.Digester }{d}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "d", d, "h", holder)
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	out := fmt.Sprintf("%v %+v %#v %s %x %v %+v %#v", d, d, d, d, d, holder, holder, holder) + log.String() + string(text)
	for _, leak := range []string{string(testKey), "48 49 50", "0x30, 0x31", "30313233"} {
		if strings.Contains(out, leak) {
			t.Errorf("the key shows as %q in %s", leak, out)
		}
	}
}

func BenchmarkCross(b *testing.B) {
	d, err := traceid.NewDigester(testKey)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		traceid.Cross(d, trace)
	}
}

func BenchmarkParseNext(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		c, _ := traceid.Parse(sample)
		_ = c.Next().String()
	}
}
