// Package guardnode builds the guard of comity guard out of its configuration,
// starts it, replaces it when the configuration changes, and stops it. It decides
// nothing: what is admitted is in package federation/guard.
package guardnode
