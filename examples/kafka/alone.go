package kafka

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// alone is the controller of a cluster of one broker. It keeps the image in a
// file, which it replaces with each command.
type alone struct {
	id      int32
	dir     string
	current atomic.Pointer[image]

	mu      sync.Mutex
	changed chan struct{}
}

const imageFile = "cluster.json"

func openAlone(dir string, id int32) (*alone, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	a := &alone{id: id, dir: dir, changed: make(chan struct{})}
	data, err := os.ReadFile(filepath.Join(dir, imageFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		a.current.Store(newImage(newClusterID()))
		return a, nil
	case err != nil:
		return nil, err
	}
	m, err := decodeImage(data)
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", err, filepath.Join(dir, imageFile))
	}
	a.current.Store(m)
	return a, nil
}

// newClusterID returns 16 random bytes as Kafka writes them.
func newClusterID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(id[:])
}

func (a *alone) Image() *image { return a.current.Load() }

func (a *alone) Leader() int32 { return a.id }

func (a *alone) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

func (a *alone) Propose(_ context.Context, c command) (result, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	next, r := a.current.Load().apply(c)
	if r.Code != 0 {
		return r, nil
	}
	data, err := json.Marshal(next)
	if err != nil {
		return result{}, err
	}
	if err := replaceFile(filepath.Join(a.dir, imageFile), data); err != nil {
		return result{}, err
	}
	a.current.Store(next)
	close(a.changed)
	a.changed = make(chan struct{})
	return r, nil
}

func (a *alone) Close() error { return nil }

// replaceFile makes data the content of a file, as a whole or not at all, and
// durable.
func replaceFile(path string, data []byte) error {
	next := path + ".next"
	f, err := os.OpenFile(next, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// removeFile removes a file, if there is one, and makes that durable.
func removeFile(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, syncDir(filepath.Dir(path)))
}

// syncDir makes the entries of a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
