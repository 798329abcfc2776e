package kvstore

import (
	"errors"
	"os"
)

// The ballast is a file without content that is removed when the disk is full,
// so that there is room for a new log, for a merge, or for a manifest, which
// then give more back. It is a quarter of a segment once there is a full one,
// and grows up to that with the first one.
const (
	ballastName = "RESERVE"
	minBallast  = 32 << 10 // more than a new log needs
	maxBallast  = 16 << 20
)

// loadBallast is for Open.
func (s *Store) loadBallast() {
	if size, _, err := s.fs.Stat(ballastName); err == nil {
		s.ballast = size
	}
}

// keepBallast makes the ballast as large as it should be, if there is room.
// The work lock is held.
func (s *Store) keepBallast() {
	s.ballastOf(s.fullBallast())
}

func (s *Store) fullBallast() int64 {
	return min(max(s.segmentLimit()/4, minBallast), maxBallast)
}

// growBallast makes the ballast, or makes it larger, when the log has got more
// space: a disk may be full before there is a full segment. It tries each size
// once. The lock is held, and so it does not wait for the work lock.
func (s *Store) growBallast() {
	want := int64(minBallast)
	for most := min(s.used.Load()/4, s.fullBallast()); 2*want <= most; {
		want *= 2
	}
	if s.used.Load() < 2*minBallast || want <= s.ballastTried.Load() || !s.keeper.work.TryLock() {
		return
	}
	defer s.keeper.work.Unlock()
	s.ballastTried.Store(want)
	s.ballastOf(want)
}

// ballastOf makes the ballast at least so large, if there is room. The work
// lock is held.
func (s *Store) ballastOf(want int64) {
	if s.ballast >= want {
		return
	}
	f, err := s.fs.OpenFile(ballastName, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	err = f.Allocate(want)
	if err != nil && s.ballast > 0 && f.Truncate(s.ballast) == nil {
		err, want = nil, s.ballast
	}
	if err := errors.Join(err, f.Close()); err != nil {
		s.dropBallast()
		return
	}
	s.ballast = want
}

// dropBallast reports whether it has made room. The work lock is held.
func (s *Store) dropBallast() bool {
	had := s.ballast > 0
	s.ballast = 0
	return s.fs.Remove(ballastName) == nil && had
}

// withBallast tries once more without the ballast if the disk is full. The work
// lock is held.
func (s *Store) withBallast(do func() error) error {
	err := do()
	if errors.Is(err, ErrFull) && s.dropBallast() {
		err = do()
	}
	return err
}
