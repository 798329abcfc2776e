//go:build !linux

package tail

import "errors"

// A watcher is not to be had here: rounds come at their interval.
type watcher struct{ changes chan struct{} }

func newWatcher() (*watcher, error) { return nil, errors.ErrUnsupported }

func (w *watcher) add(string) {}

func (w *watcher) close() {}
