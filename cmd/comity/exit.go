package main

import (
	"errors"
	"fmt"
)

// The exit codes of every command but diff and apply --dry-run, which use
// 0 same, 1 differs, 4 failed.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // wrong usage
	exitRefused = 3 // a policy refused
	exitTrouble = 4 // diff and apply --dry-run failed
)

// exitError is an error that ends the process with a code. Without a cause it
// says nothing: everything was said already.
type exitError struct {
	code  int
	cause error
}

func (e *exitError) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.cause.Error()
}

func (e *exitError) Unwrap() error { return e.cause }

// withExit gives an error the code that the process ends with.
func withExit(code int, cause error) error { return &exitError{code: code, cause: cause} }

// usageError is wrong usage that only the command itself can see.
func usageError(format string, args ...any) error {
	return withExit(exitUsage, fmt.Errorf(format, args...))
}

// exitCode is the code that an error of a command stands for.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitFailure
}

// silent reports whether nothing is left to say about the error.
func silent(err error) bool {
	e, ok := errors.AsType[*exitError](err)
	return ok && e.cause == nil
}
