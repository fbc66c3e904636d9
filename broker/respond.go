package broker

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/comity-auth/comity/exchange"
)

// tokenBody is a successful response (RFC 6749 section 5.1, RFC 8693 section
// 2.2.1).
type tokenBody struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type,omitempty"`
	TokenType       string `json:"token_type"`
	ExpiresIn       int64  `json:"expires_in"`
	Scope           string `json:"scope,omitempty"`
}

// errorBody is an error response (RFC 6749 section 5.2).
type errorBody struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
	DecisionID  string `json:"decision_id,omitempty"`
}

func (h *handler) result(w http.ResponseWriter, r *exchange.Result) {
	w.Header().Set("Comity-Decision", r.DecisionID)
	if r.Nonce != "" {
		w.Header().Set("DPoP-Nonce", r.Nonce)
	}
	h.write(w, http.StatusOK, tokenBody{r.AccessToken.Reveal(), r.IssuedTokenType.String(), r.TokenType, r.ExpiresIn, r.Scope})
}

// fault writes the one answer for what went wrong. A nil fault is a failure of
// ours that nobody foresaw.
func (h *handler) fault(w http.ResponseWriter, f *exchange.Fault, byHeader bool) {
	if f == nil {
		h.write(w, http.StatusInternalServerError, errorBody{Error: exchange.ServerError, Description: "The request could not be completed."})
		return
	}
	body := errorBody{Error: f.Code, Description: f.Public, DecisionID: f.DecisionID}
	if f.Code == exchange.TooManyRequests {
		body.Error = exchange.Unavailable
	}
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((f.RetryAfter+time.Second-1)/time.Second), 10))
	}
	if f.Code == exchange.InvalidClient && byHeader {
		w.Header().Set("WWW-Authenticate", `Basic realm="token endpoint", charset="UTF-8"`)
	}
	if f.Nonce != "" {
		w.Header().Set("DPoP-Nonce", f.Nonce)
	}
	if f.DecisionID != "" {
		w.Header().Set("Comity-Decision", f.DecisionID)
	}
	h.write(w, statusOf(f), body)
}

func statusOf(f *exchange.Fault) int {
	if errors.Is(f, exchange.ErrBodySize) {
		return http.StatusRequestEntityTooLarge
	}
	switch f.Code {
	case exchange.InvalidClient:
		return http.StatusUnauthorized
	case exchange.TooManyRequests:
		return http.StatusTooManyRequests
	case exchange.Unavailable:
		return http.StatusServiceUnavailable
	case exchange.ServerError:
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

func (h *handler) write(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		h.opts.Logger.Error("encode a response", "event", "http.encode", "error", err.Error())
		status, text = http.StatusInternalServerError, []byte(`{"error":"server_error"}`)
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(text)
}
