// Package storetest is the conformance suite that every implementation of
// [trust.Store] passes. It works through the contract alone, on real databases,
// with several handles and several processes at once. A difference between two
// stores is a failing test.
//
// It does not measure speed beyond its benchmarks, and it does not test what
// only one kind of database can do.
package storetest
