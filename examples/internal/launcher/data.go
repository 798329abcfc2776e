package launcher

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
)

// errInUse says that another process has a data directory.
var errInUse = errors.New("in use by another process")

// openData returns the data directory of a system and the function that gives
// it back. Asked for no particular directory, it takes one below the user's
// cache directory, or, if another process has that, one that lives only as
// long as this process.
func openData(asked, name string, log *slog.Logger) (dir string, release func(), err error) {
	if asked != "" {
		dir, err = filepath.Abs(asked)
		if err != nil {
			return "", nil, err
		}
		return lockData(dir)
	}
	if cache, err := os.UserCacheDir(); err == nil {
		dir, release, err = lockData(filepath.Join(cache, "ashlar", name))
		if err == nil {
			return dir, release, nil
		}
		log.Warn("data will not outlive this process", "system", name, "reason", err)
	}
	dir, err = os.MkdirTemp("", "ashlar-"+name+"-")
	if err != nil {
		return "", nil, err
	}
	return dir, func() { _ = os.RemoveAll(dir) }, nil
}

// lockData makes dir and holds a lock on a file in it.
func lockData(dir string) (string, func(), error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", nil, err
	}
	if err := lockFile(file); err != nil {
		_ = file.Close()
		return "", nil, fmt.Errorf("%s: %w", dir, err)
	}
	return dir, func() { _ = file.Close() }, nil
}
