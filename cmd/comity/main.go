package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

//go:generate go test ./config ./guardconf -run TestGenerated -update

// version is set by the release build (-ldflags "-X main.version=1.2.3").
var version = ""

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ())
	stop()
	os.Exit(code)
}
