package movingavg

import "sync"

// A Locked is an average for several goroutines: any of this package, behind a
// mutex. Create one with NewLocked, and use the average through it only.
//
// A Locked is safe for concurrent use by multiple goroutines.
type Locked[T any, A Average[T]] struct {
	mu      sync.Mutex
	average A
}

// NewLocked returns the average with a mutex.
func NewLocked[T any, A Average[T]](average A) *Locked[T, A] {
	return &Locked[T, A]{average: average}
}

// Add takes a value in.
func (l *Locked[T, A]) Add(v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.average.Add(v)
}

// Value returns the average, and false if there is none yet.
func (l *Locked[T, A]) Value() (float64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.average.Value()
}

// Clear forgets all values.
func (l *Locked[T, A]) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.average.Clear()
}

// Do calls f with the average while nobody else uses it, for what the methods
// of a Locked do not offer. F must not use the Locked.
func (l *Locked[T, A]) Do(f func(average A)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l.average)
}
