package reload

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Stamp says in which state files are.
func Stamp(files []string) string {
	var b strings.Builder
	for _, path := range files {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(&b, "%s absent\n", path)
		} else if err == nil {
			fmt.Fprintf(&b, "%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
		}
	}
	return b.String()
}
