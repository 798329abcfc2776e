package shortener

import (
	"context"
	"hash/maphash"
	"sync"
	"time"
)

// A Link is what a Store keeps of a short link. Times have no monotonic part
// and are in UTC; the zero time stands for never.
type Link struct {
	Code      string
	URL       string    // canonical
	Created   time.Time // to the microsecond, as the other times
	Expires   time.Time // from then on the link has expired
	Removed   time.Time // when the owner removed it
	MaxVisits int64     // 0 means no limit
	Visits    int64     // that count against MaxVisits; not kept without it
	Permanent bool      // redirect with 301 and not 302
	Alias     bool      // the code was chosen by somebody
	Owner     string    // whatever the application makes of it
	Secret    [32]byte  // SHA-256 of the owner's secret
}

// State returns nil if the link leads somewhere at a time, and otherwise
// ErrRemoved, ErrExpired or ErrExhausted.
func (l *Link) State(now time.Time) error {
	switch {
	case !l.Removed.IsZero():
		return ErrRemoved
	case !l.Expires.IsZero() && !now.Before(l.Expires):
		return ErrExpired
	case l.MaxVisits > 0 && l.Visits >= l.MaxVisits:
		return ErrExhausted
	}
	return nil
}

// A Store keeps links by their codes. Package storetest tests whether one does
// as is said here.
//
// A Store is safe for concurrent use by multiple goroutines.
type Store interface {
	// Insert adds a link, or returns an error that wraps ErrTaken if there is
	// one with its code.
	Insert(ctx context.Context, link Link) error

	// Get returns the link with a code, or an error that wraps ErrNotFound.
	Get(ctx context.Context, code string) (Link, error)

	// Update changes a link by a function, in one step: nobody else changes
	// it in between. The function may be called more than once, for a link as
	// it is then. If it returns an error, nothing changes, and Update returns
	// that error. It must not use the store, nor change the code. Update
	// returns the link as it now is, or an error that wraps ErrNotFound.
	Update(ctx context.Context, code string, change func(*Link) error) (Link, error)

	// Delete forgets a link, as if it had never been, or returns an error that
	// wraps ErrNotFound.
	Delete(ctx context.Context, code string) error
}

// A MemoryStore is a Store in memory. The zero MemoryStore is empty and ready
// for use; it must not be copied after first use.
//
// A MemoryStore is safe for concurrent use by multiple goroutines.
type MemoryStore struct {
	shards [64]struct {
		mu    sync.RWMutex
		links map[string]*Link // what is in a map does not change
		_     [24]byte
	}
}

var seed = maphash.MakeSeed()

func (m *MemoryStore) shard(code string) int { return int(maphash.String(seed, code) % 64) }

// Insert adds a link.
func (m *MemoryStore) Insert(_ context.Context, link Link) error {
	s := &m.shards[m.shard(link.Code)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.links[link.Code] != nil {
		return ErrTaken
	}
	if s.links == nil {
		s.links = map[string]*Link{}
	}
	s.links[link.Code] = &link
	return nil
}

// Get returns a link.
func (m *MemoryStore) Get(_ context.Context, code string) (Link, error) {
	s := &m.shards[m.shard(code)]
	s.mu.RLock()
	link := s.links[code]
	s.mu.RUnlock()
	if link == nil {
		return Link{}, ErrNotFound
	}
	return *link, nil
}

// Update changes a link.
func (m *MemoryStore) Update(_ context.Context, code string, change func(*Link) error) (Link, error) {
	s := &m.shards[m.shard(code)]
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.links[code]
	if before == nil {
		return Link{}, ErrNotFound
	}
	link := *before
	if err := change(&link); err != nil {
		return Link{}, err
	}
	after := link // change may have kept the address of link
	after.Code = code
	s.links[code] = &after
	return after, nil
}

// Delete forgets a link.
func (m *MemoryStore) Delete(_ context.Context, code string) error {
	s := &m.shards[m.shard(code)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.links[code] == nil {
		return ErrNotFound
	}
	delete(s.links, code)
	return nil
}

// Len returns the number of links.
func (m *MemoryStore) Len() (n int) {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.RLock()
		n += len(s.links)
		s.mu.RUnlock()
	}
	return n
}
