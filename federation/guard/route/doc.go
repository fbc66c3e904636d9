// Package route reads a request for the resource-server guard: it brings the
// path into the one form that is decided on, finds the route, and extracts what
// constraints are held against (the target URL, the region, the amount).
//
// What two readers could read in two ways is refused, not repaired: a path with
// dot segments, empty segments or encoded separators, a parameter that is there
// twice, a body that is not strict JSON. So whoever serves the request sees what
// the guard decided on. It knows nothing of tokens.
package route
