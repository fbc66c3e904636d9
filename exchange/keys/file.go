package keys

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrPermissions says that a file with a secret in it can be reached by others
// than its owner.
var ErrPermissions = errors.New("the file's permissions are too wide")

const (
	// worldAccess is what a key file must not grant.
	worldAccess fs.FileMode = 0o007
	// otherAccess is what a seal file must not grant.
	otherAccess fs.FileMode = 0o077
)

// readSecret reads a whole regular file of at most limit bytes and returns it
// with the time it was last changed. Type and permissions are those of the
// opened file, so nothing can be swapped between look and read.
func readSecret(path string, limit int64, forbidden fs.FileMode) ([]byte, time.Time, error) {
	// Without O_NONBLOCK, opening a pipe would wait for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, time.Time{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, time.Time{}, err
	case !info.Mode().IsRegular():
		return nil, time.Time{}, fmt.Errorf("%s is not a regular file", path)
	case info.Mode().Perm()&forbidden != 0:
		return nil, time.Time{}, fmt.Errorf("%w: %s has mode %04o; make it 0600", ErrPermissions, path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("read %s: %w", path, err)
	}
	if int64(len(data)) > limit {
		return nil, time.Time{}, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return data, info.ModTime(), nil
}

// createSecret makes path hold content, with mode 0600, unless it exists. The
// file appears whole and synced or not at all, and of several that race one
// wins. It is a link and not a rename that puts it in place, because a rename
// would replace the winner's file.
func createSecret(path string, content []byte) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, ".comity-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// The loser syncs as well: it is about to use a file that the winner may
	// not have synced yet.
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
