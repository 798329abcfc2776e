package cache

import "fmt"

// CheckIdle returns an error if something of a load or of a change is left
// although none is under way.
func (l *Loading[K, V]) CheckIdle() error { return l.fs.checkIdle() }

// CheckIdle is that of a Loading, and for mutations that are on their way.
func (w *WriteBehind[K, V]) CheckIdle() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.dirty) != 0 || len(w.queue) != 0 || w.held != 0 || w.commits != 0 || w.waiting != 0 || w.applied != w.last {
		return fmt.Errorf("%d keys are dirty, %d mutations queued, %d held, %d commits open, %d writers waiting, %d of %d applied",
			len(w.dirty), len(w.queue), w.held, w.commits, w.waiting, w.applied, w.last)
	}
	return w.fs.checkIdle()
}

func (fs *flights[K, V, S]) checkIdle() error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if len(fs.inAir) != 0 || len(fs.busy) != 0 || len(fs.loads) != 0 || fs.left.Load() != 0 {
		return fmt.Errorf("%d flights in the air, %d keys busy, %d loads, %d changes left", len(fs.inAir), len(fs.busy), len(fs.loads), fs.left.Load())
	}
	return nil
}
