package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

const (
	fromStdin  = "-"
	fromEnv    = "env:"
	maxSource  = 64 << 10
	worldModes = fs.FileMode(0o007)
)

// readSource reads a credential from where a flag says: a file, stdin or a
// variable of the environment. White space around it is not part of it.
func readSource(cmd *cobra.Command, env []string, source string) (string, error) {
	var text string
	if name, ok := strings.CutPrefix(source, fromEnv); ok {
		text = lookup(env, name)
	} else {
		r := cmd.InOrStdin()
		if source != fromStdin {
			f, err := os.Open(source)
			if err != nil {
				return "", err
			}
			defer f.Close()
			r = f
		}
		data, err := readAtMost(r, maxSource)
		if err != nil {
			return "", fmt.Errorf("%s: %w", source, err)
		}
		text = string(data)
	}
	if text = strings.TrimSpace(text); text == "" {
		return "", fmt.Errorf("%s: there is nothing in it", source)
	}
	return text, nil
}

func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("larger than %d bytes", limit)
	}
	return data, err
}

// checkOwn refuses a file with a secret that everybody on the machine can
// reach. What is no regular file, such as a pipe, is left to the system.
func checkOwn(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&worldModes != 0 {
		return fmt.Errorf("%s has mode %04o, so everybody on this machine can reach it; make it 0600", path, info.Mode().Perm())
	}
	return nil
}

// writeSecret makes a file with mode 0600. It never replaces one: the error is
// fs.ErrExist then.
func writeSecret(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		// Half a key is worse than none.
		return errors.Join(err, os.Remove(path))
	}
	return nil
}
