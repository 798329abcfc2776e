package tail

import (
	"os"

	"golang.org/x/sys/unix"
)

// A watcher tells that something changed in a directory. What it was, the
// next round finds out.
type watcher struct {
	changes chan struct{}
	fd      int
	events  *os.File
	dirs    map[string]int
	ended   chan struct{}
}

func newWatcher() (*watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, err
	}
	w := &watcher{changes: make(chan struct{}, 1), fd: fd, events: os.NewFile(uintptr(fd), "inotify"), dirs: map[string]int{}, ended: make(chan struct{})}
	go w.listen()
	return w, nil
}

func (w *watcher) listen() {
	defer close(w.ended)
	buf := make([]byte, 16<<10)
	for {
		if _, err := w.events.Read(buf); err != nil {
			return
		}
		select {
		case w.changes <- struct{}{}:
		default:
		}
	}
}

// add watches a directory, if the system has room for it; rounds come anyway.
func (w *watcher) add(dir string) {
	if w == nil {
		return
	}
	// The same directory twice is one watch, and a directory that was removed
	// and made again needs a new one.
	if wd, err := unix.InotifyAddWatch(w.fd, dir, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_FROM|unix.IN_MOVED_TO|unix.IN_DELETE); err == nil {
		w.dirs[dir] = wd
	}
}

func (w *watcher) close() {
	_ = w.events.Close()
	<-w.ended
}
