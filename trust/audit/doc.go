// Package audit holds the decision record: what was asked, every check with
// what was expected and what was seen, and the outcome. One request leaves one
// record, and the audit log, the metrics, the administrator's explanation and
// the client's error are views of it.
//
// Records of one writer form a hash chain from the first record on. The
// package computes and verifies chains; it neither stores records nor signs
// anything. A record holds no token, secret, assertion or proof, and of another
// domain's identifiers only keyed digests.
package audit
