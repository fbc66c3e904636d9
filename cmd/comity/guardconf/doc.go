// Package guardconf is the configuration of comity guard: the table of its keys,
// and the rules that say whether the settings do not contradict one another and
// are safe to start with. How they are read is in package settings.
//
// The package opens no listener and asks nobody; of the files that are named it
// looks at nothing but whether they are there and who may read them.
package guardconf
