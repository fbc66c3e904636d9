package telemetry_test

import (
	"strings"
	"testing"
	"time"

	"github.com/comity-auth/comity/broker/telemetry"
	"github.com/comity-auth/comity/exchange"
	"github.com/comity-auth/comity/federation"
	"github.com/comity-auth/comity/trust/audit"
)

// What lower layers report has a label of its own.
func TestSetsAreThoseOfTheLayersBelow(t *testing.T) {
	t.Parallel()
	m := telemetry.New("1.2.3")
	for _, code := range []string{exchange.InvalidRequest, exchange.InvalidClient, exchange.UnauthorizedClient, exchange.UnsupportedGrantType,
		exchange.InvalidTarget, exchange.InvalidScope, exchange.InvalidDPoPProof, exchange.Unavailable, exchange.TooManyRequests,
		exchange.ServerError} {
		m.Decision(&audit.Record{Event: "token.exchange", Outcome: audit.Deny, Error: code}, time.Millisecond)
	}
	for _, result := range []federation.FetchResult{federation.FetchOK, federation.FetchNotModified, federation.FetchUnreachable,
		federation.FetchAddress, federation.FetchBreakerOpen, federation.FetchStatus, federation.FetchMalformed, federation.FetchMisconfigured} {
		m.Fetch("acme", string(result))
	}
	for series := range values(t, m) {
		if strings.Contains(series, `"other"`) {
			t.Errorf("%s: a value of a closed set was not known", series)
		}
	}
}
