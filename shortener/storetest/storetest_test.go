package storetest_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/shortener"
	"github.com/ashlar-go/ashlar/shortener/storetest"
)

func TestMemoryStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) shortener.Store { return new(shortener.MemoryStore) })
}

// A broken store is a MemoryStore with a fault.
type broken struct {
	*shortener.MemoryStore
	insert func(*shortener.MemoryStore, shortener.Link) error
	update func(*shortener.MemoryStore, string, func(*shortener.Link) error) (shortener.Link, error)
	get    func(*shortener.MemoryStore, string) (shortener.Link, error)
	delete func(*shortener.MemoryStore, string) error
}

func (b broken) Insert(ctx context.Context, link shortener.Link) error {
	if b.insert != nil {
		return b.insert(b.MemoryStore, link)
	}
	return b.MemoryStore.Insert(ctx, link)
}

func (b broken) Get(ctx context.Context, code string) (shortener.Link, error) {
	if b.get != nil {
		return b.get(b.MemoryStore, code)
	}
	return b.MemoryStore.Get(ctx, code)
}

func (b broken) Update(ctx context.Context, code string, change func(*shortener.Link) error) (shortener.Link, error) {
	if b.update != nil {
		return b.update(b.MemoryStore, code, change)
	}
	return b.MemoryStore.Update(ctx, code, change)
}

func (b broken) Delete(ctx context.Context, code string) error {
	if b.delete != nil {
		return b.delete(b.MemoryStore, code)
	}
	return b.MemoryStore.Delete(ctx, code)
}

// A recorder notes that a test fails instead of failing.
type recorder struct {
	testing.TB
	mu     sync.Mutex
	failed bool
}

func (r *recorder) fail() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.fail() }
func (r *recorder) Fatalf(string, ...any) { r.fail(); runtime.Goexit() }
func (r *recorder) Fatal(...any)          { r.fail(); runtime.Goexit() }

// The suite finds these faults.
func TestBrokenStores(t *testing.T) {
	ctx := context.Background()
	for name, b := range map[string]broken{
		"insert replaces": {insert: func(m *shortener.MemoryStore, l shortener.Link) error {
			_ = m.Delete(ctx, l.Code)
			return m.Insert(ctx, l)
		}},
		"times lose their fractions": {insert: func(m *shortener.MemoryStore, l shortener.Link) error {
			l.Expires = l.Expires.Truncate(time.Second)
			return m.Insert(ctx, l)
		}},
		"the owner is not kept": {insert: func(m *shortener.MemoryStore, l shortener.Link) error {
			l.Owner = ""
			return m.Insert(ctx, l)
		}},
		"absent is an empty link": {get: func(m *shortener.MemoryStore, code string) (shortener.Link, error) {
			l, _ := m.Get(ctx, code)
			return l, nil
		}},
		"update in two steps": {update: func(m *shortener.MemoryStore, code string, change func(*shortener.Link) error) (shortener.Link, error) {
			l, err := m.Get(ctx, code)
			if err != nil {
				return l, err
			}
			if err := change(&l); err != nil {
				return l, err
			}
			runtime.Gosched()
			return m.Update(ctx, code, func(now *shortener.Link) error { *now = l; return nil })
		}},
		"failed updates stay": {update: func(m *shortener.MemoryStore, code string, change func(*shortener.Link) error) (shortener.Link, error) {
			var failed error
			l, err := m.Update(ctx, code, func(l *shortener.Link) error { failed = change(l); return nil })
			if err == nil {
				err = failed
			}
			return l, err
		}},
		"delete does nothing":   {delete: func(*shortener.MemoryStore, string) error { return nil }},
		"delete of what is not": {delete: func(m *shortener.MemoryStore, code string) error { _ = m.Delete(ctx, code); return nil }},
		"update returns the past": {update: func(m *shortener.MemoryStore, code string, change func(*shortener.Link) error) (shortener.Link, error) {
			before, _ := m.Get(ctx, code)
			_, err := m.Update(ctx, code, change)
			return before, err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			failed := []string{}
			for _, test := range storetest.Tests() {
				r := &recorder{TB: t}
				b.MemoryStore = new(shortener.MemoryStore)
				var wg sync.WaitGroup
				wg.Go(func() { test.Run(r, b) })
				wg.Wait()
				if r.failed {
					failed = append(failed, test.Name)
				}
			}
			require.NotEmpty(t, failed)
		})
	}
}
