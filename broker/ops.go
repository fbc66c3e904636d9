package broker

import (
	"encoding/json"
	"net/http"
	"net/http/pprof"
)

// Component is one thing that the broker depends on.
type Component struct {
	Name   string `json:"name"`
	Status string `json:"status"` // ok, degraded or unavailable
	Detail string `json:"detail,omitempty"`
}

// OpsOptions are what the operations handler is made of.
type OpsOptions struct {
	Metrics    http.Handler
	Components func() []Component
	// Ready says whether tokens can be issued now.
	Ready func() error
	Pprof bool
}

// NewOps returns the handler of the operations listener. It is for the inside
// of a deployment and never shares a listener with the public handler.
func NewOps(o OpsOptions) http.Handler {
	mux := http.NewServeMux()
	if o.Metrics != nil {
		mux.Handle("GET /metrics", o.Metrics)
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { status(w, nil) })
	ready := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		body := struct {
			Status     string      `json:"status"`
			Components []Component `json:"components"`
		}{"ok", o.Components()}
		if o.Ready() != nil {
			body.Status = "unavailable"
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(body)
	}
	mux.HandleFunc("GET /readyz", ready)
	mux.HandleFunc("GET /health", ready)
	if o.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}
