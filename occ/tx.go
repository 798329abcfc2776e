package occ

import (
	"iter"
	"slices"
)

// A Tx is a transaction under way. It sees the store as it was at one moment,
// and its own writes.
//
// A Tx must not be used after the function it was passed to has returned, which
// panics, and is not safe for concurrent use.
type Tx[K comparable, V any] struct {
	t *txn[K, V] // nil once it is over
}

func (tx *Tx[K, V]) active() *txn[K, V] {
	if tx.t == nil {
		panic("occ: the transaction is over")
	}
	return tx.t
}

func (tx *Tx[K, V]) writer(method string) *txn[K, V] {
	t := tx.active()
	if t.readonly {
		panic("occ: " + method + " in a View")
	}
	return t
}

// Get returns the value of key and whether there is one. In an Update it waits
// while another transaction holds the key by Lock, and then takes over the lock.
func (tx *Tx[K, V]) Get(key K) (value V, ok bool) {
	value, _, ok = tx.active().get(key)
	return value, ok
}

// Put gives key a value at commit.
func (tx *Tx[K, V]) Put(key K, value V) {
	tx.writer("Put").write(key, put, value)
}

// Delete removes key at commit, if it is there.
func (tx *Tx[K, V]) Delete(key K) {
	var zero V
	tx.writer("Delete").write(key, remove, zero)
}

// Apply replaces the value of key at commit by what fn makes of the value that
// it has then, zero if it is absent. It reads nothing, so that transactions
// that only Apply to a key never conflict over it, in whatever order they
// commit: counters, sums, maxima.
//
// Fn is called once, with the key locked, unless the transaction has read or
// put the key before or does so later: then it is called right away, and is
// nothing else than Get and Put. It must be short, must not use the store, and
// a panic of it ends the transaction.
func (tx *Tx[K, V]) Apply(key K, fn func(old V) V) {
	tx.writer("Apply").apply(key, fn)
}

// Lock makes the transaction the only one that may read the keys in an Update,
// or write them, until it ends. It waits for others who have locked them, in the order in which
// they came. Use it for what is known to be contended, and before a body that is
// too expensive to be repeated.
//
// Keys of one call are locked in an order that all transactions share. Several
// calls may be out of that order; then a Lock that would have to wait returns
// an error instead, which wraps [ErrConflict]. If the body returns it, the next attempt
// begins with these locks. If it does not, the attempt is repeated all the
// same. When the context of the transaction ends, Lock returns its error.
func (tx *Tx[K, V]) Lock(keys ...K) error {
	return tx.writer("Lock").lockKeys(keys)
}

// Err returns an error that wraps [ErrConflict] if the transaction is known
// not to be able to commit what it writes, and otherwise nil. What it reads is consistent
// nevertheless. A long body that asks now and then, and returns the error, starts
// its next attempt sooner.
func (tx *Tx[K, V]) Err() error {
	if t := tx.active(); t.err != nil {
		return t.err
	} else if t.stale {
		return errRestart
	}
	return nil
}

// All iterates over all keys in ascending order. A loop sees what the
// transaction has written before it; of what is written within the loop, it sees new
// values of keys that it has not reached, and it may or may not see new keys.
// The body may use the transaction.
//
// In an Update the loop is part of what is validated, up to where it was left: no
// other transaction can have added, changed or removed a key there when the
// transaction commits.
func (tx *Tx[K, V]) All() iter.Seq2[K, V] { return tx.scan(interval[K]{}, false) }

// Backward iterates like All, in descending order.
func (tx *Tx[K, V]) Backward() iter.Seq2[K, V] { return tx.scan(interval[K]{}, true) }

// From iterates like All over the keys that are not below lo.
func (tx *Tx[K, V]) From(lo K) iter.Seq2[K, V] { return tx.scan(interval[K]{lo: &lo}, false) }

// Before iterates like Backward over the keys that are below hi: the greatest
// of them first.
func (tx *Tx[K, V]) Before(hi K) iter.Seq2[K, V] { return tx.scan(interval[K]{hi: &hi}, true) }

// Range iterates like All over the keys from lo to hi, without hi.
func (tx *Tx[K, V]) Range(lo, hi K) iter.Seq2[K, V] {
	return tx.scan(interval[K]{lo: &lo, hi: &hi}, false)
}

const (
	firstChunk = 16 // records that a loop fetches at first
	chunk      = 256
)

func (tx *Tx[K, V]) scan(in interval[K], backward bool) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		t := tx.active()
		compare := t.s.index.compare
		if in.lo != nil && in.hi != nil && compare(*in.lo, *in.hi) >= 0 {
			return
		}
		own := t.ownWrites(in, backward)
		at := t.beginSpan(in, backward)
		var records []*record[K, V]
		var last K
		var after *K // &last, once the loop has reached a key
		for n := firstChunk; ; n = chunk {
			// When the snapshot moves forward it may include keys that were
			// not among the records when they were fetched. They are fetched
			// again then, from the last key on that the loop has reached.
			rv := t.rv
			records = t.s.index.scan(records[:0], in, after, backward, n)
			exhausted := len(records) < n
			next := records
			for t.rv == rv && (len(next) > 0 || exhausted && len(own) > 0) {
				order := 1 // -1: the next key is an own one, 1: one of the store, 0: both
				switch {
				case len(next) == 0:
					order = -1
				case len(own) > 0:
					order = compare(t.entries[own[0]].key, next[0].key)
					if backward {
						order = -order
					}
				}
				var key K
				var value V
				var ok bool
				if order < 0 {
					key = t.entries[own[0]].key
					value, _, ok = t.get(key)
				} else if key = next[0].key; t.find(key) != nil {
					value, _, ok = t.get(key)
				} else {
					value, _, ok = t.read(next[0], false).content()
				}
				if t.rv != rv {
					break
				}
				if order <= 0 {
					own = own[1:]
				}
				if order >= 0 {
					next = next[1:]
				}
				last, after = key, &last
				t.reach(at, key)
				if ok && !yield(key, value) {
					return
				}
			}
			if t.rv == rv && exhausted && len(next) == 0 && len(own) == 0 {
				t.endSpan(at)
				return
			}
		}
	}
}

// ownWrites returns the entries of the transaction that write a key of the
// interval, in order.
func (t *txn[K, V]) ownWrites(in interval[K], backward bool) []int {
	var own []int
	compare := t.s.index.compare
	for i := range t.entries {
		e := &t.entries[i]
		if e.kind == none || in.lo != nil && compare(e.key, *in.lo) < 0 || in.endsBefore(e.key, compare) {
			continue
		}
		own = append(own, i)
	}
	slices.SortFunc(own, func(a, b int) int {
		if backward {
			a, b = b, a
		}
		return compare(t.entries[a].key, t.entries[b].key)
	})
	return own
}
