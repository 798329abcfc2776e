package occ

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// A lockWord is the state of the lock of a record.
//
//	 63                         4    3       2          1         0
//	+----------------------------+------+--------+------------+-------+
//	| number of the transaction  | dead | waited | installing | owned |
//	+----------------------------+------+--------+------------+-------+
//
// 0 is free. A transaction that will take long holds it owned: it runs its
// body, or waits for other locks. Readers pass. Before a commit takes its
// version it changes all its locks to installing. From then on readers whose
// snapshot may include that commit spin, as do others who want the lock, except with
// a log, where the state lasts as long as an Append and the snapshot cannot include
// it. Whoever waits for an owned lock sets waited, and the owner hands the lock
// to the first of them.
//
// Order: locks are waited for in ascending order of record.id, and none is
// waited for by one who holds installing. A transaction out of that order may try a
// lock, and not wait. So there is no cycle of transactions that wait for each
// other.
type lockWord struct{ atomic.Uint64 }

const (
	owned = 1 << iota
	installing
	waited
	dead // the record is out of the index, for good

	lockBits = 4
)

// heldBy reports whether the word w says that transaction id holds the lock.
func heldBy(w, id uint64) bool { return w>>lockBits == id }

func (l *lockWord) try(id, state uint64) bool {
	return l.Load() == 0 && l.CompareAndSwap(0, id<<lockBits|state)
}

// A parkingLot is where transactions wait for owned locks, in the order in
// which they came.
type parkingLot[K comparable, V any] struct {
	places [16]struct { // by id of the record
		sync.Mutex
		waiters []*waiter[K, V]
		_       [32]byte
	}
}

type waiter[K comparable, V any] struct {
	record *record[K, V]
	id     uint64        // of the transaction
	holds  chan struct{} // closed when it holds the lock
}

// wait returns when transaction id holds the lock of r as owned, with nil; when
// r is dead, with errDead; or when ctx has ended. With spin it does not park
// on installing.
func (p *parkingLot[K, V]) wait(ctx context.Context, r *record[K, V], id uint64, spin bool) error {
	for {
		switch word := r.lock.Load(); {
		case word == 0:
			if r.lock.CompareAndSwap(0, id<<lockBits|owned) {
				return nil
			}
		case word&dead != 0:
			return errDead
		case spin && word&installing != 0:
			runtime.Gosched()
		default:
			if w := p.park(r, id, word); w != nil {
				return p.sleep(ctx, w)
			}
		}
	}
}

// park adds a waiter if the lock still says word.
func (p *parkingLot[K, V]) park(r *record[K, V], id, word uint64) *waiter[K, V] {
	place := &p.places[r.id%uint64(len(p.places))]
	place.Lock()
	defer place.Unlock()
	if !r.lock.CompareAndSwap(word, word|waited) {
		return nil
	}
	w := &waiter[K, V]{r, id, make(chan struct{})}
	place.waiters = append(place.waiters, w)
	return w
}

func (p *parkingLot[K, V]) sleep(ctx context.Context, w *waiter[K, V]) error {
	select {
	case <-w.holds:
		return nil
	case <-ctx.Done():
	}
	place := &p.places[w.record.id%uint64(len(p.places))]
	place.Lock()
	i := slices.Index(place.waiters, w)
	if i >= 0 {
		place.waiters = slices.Delete(place.waiters, i, i+1)
	}
	place.Unlock()
	if i < 0 { // it has just been given the lock
		p.release(w.record, w.id)
	}
	return ctx.Err()
}

// release frees the lock of r, which transaction id holds, or hands it to the
// first who waits.
func (p *parkingLot[K, V]) release(r *record[K, V], id uint64) {
	if word := r.lock.Load(); word&waited == 0 && r.lock.CompareAndSwap(word, 0) {
		return
	}
	place := &p.places[r.id%uint64(len(p.places))]
	place.Lock()
	defer place.Unlock()
	var next *waiter[K, V]
	word := uint64(0)
	for i := 0; i < len(place.waiters); i++ {
		if w := place.waiters[i]; w.record != r {
			continue
		} else if next == nil {
			next = w
			word = w.id<<lockBits | owned
			place.waiters = slices.Delete(place.waiters, i, i+1)
			i--
		} else {
			word |= waited
			break
		}
	}
	r.lock.Store(word)
	if next != nil {
		close(next.holds)
	}
}
