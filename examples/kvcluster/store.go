package kvcluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"iter"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/consistenthash"
	"github.com/ashlar-go/ashlar/examples/internal/budget"
	"github.com/ashlar-go/ashlar/examples/kvcluster/peer"
	"github.com/ashlar-go/ashlar/kvstore/replica"
)

// store is one node's share of the data: objects in an engine, changed by the rules
// of a replica. Whoever changes a key holds its stripe.
//
// In the engine a key has its hash before it, so that all nodes have their keys in
// the same order, which is one of chance: a part of it is a part of every
// key space, and a place in it fits the cursor of a SCAN.
//
//	┌──────────────────┬─────┐
//	│ XXH64(key) 8, BE │ key │
//	└──────────────────┴─────┘
//
// What is shorter than a hash is about the store itself.
type store struct {
	engine  Engine
	rules   *replica.Replica
	seed    maphash.Seed
	world   sync.RWMutex // held for reading by writers: who holds it alone sees nothing change; after a stripe
	stripes [256]sync.Mutex
	sizes   sizes
	readers chan struct{} // one for each object being read to see how large it is
	keys    atomic.Int64  // objects, tombstones with them
	writes  atomic.Uint64

	// stored is called with stripe and world held when an object has replaced
	// another.
	stored func(key []byte, before, after replica.Object)
}

func newStore(e Engine, rules *replica.Replica) *store {
	s := &store{engine: e, rules: rules, readers: make(chan struct{}, 2*runtime.GOMAXPROCS(0)), seed: maphash.MakeSeed(), stored: func([]byte, replica.Object, replica.Object) {}}
	s.keys.Store(int64(e.Stats().Keys) - 1) // but for the identity
	return s
}

func (s *store) lock(key []byte) *sync.Mutex {
	m := &s.stripes[maphash.Bytes(s.seed, key)%uint64(len(s.stripes))]
	m.Lock()
	return m
}

const (
	hashSize = 8
	actorKey = "actor" // of the store's identity
)

// engineKey appends a key as the engine has it.
func engineKey(dst, key []byte) []byte {
	return append(binary.BigEndian.AppendUint64(dst, consistenthash.Hash(string(key))), key...)
}

// get returns the object of a key, zero if there is none.
func (s *store) get(key []byte) (replica.Object, error) {
	value, ok, err := s.engine.Get(engineKey(make([]byte, 0, 64), key))
	if err != nil || !ok {
		return replica.Object{}, err
	}
	return decodeObject(key, value)
}

func decodeObject(key, value []byte) (replica.Object, error) {
	o, n, err := replica.DecodeObject(value)
	if err == nil && n != len(value) {
		err = fmt.Errorf("%d bytes behind the object", len(value)-n)
	}
	if err != nil {
		return replica.Object{}, fmt.Errorf("kvcluster: key %q: %w", key, err)
	}
	return o, nil
}

// serve answers a request for this node's own data. What it says is stored is
// durable, as far as the engine is.
//
// An object that is large takes its place in the budget of the claim that ctx carries,
// or is let go until there is one. If the answer has it and it is larger than room, the
// answer is a [roomError]; with own, room is what the asker's claim has for it, and the
// answer is that error also if the asker does not have its turn to look at it.
func (s *store) serve(ctx context.Context, now time.Time, q replica.Request, room int64, own bool) replica.Reply {
	claim, turn, held := budget.From(ctx), scopeOf(ctx).hasTurn(), int64(0)
	if own {
		defer func() { claim.Give(held) }()
	}
	for {
		reply, need := s.serveWithin(now, q, room, own, turn, claim, &held)
		if need <= held {
			return reply
		}
		if err := claim.Take(ctx, need-held); err != nil {
			return q.Reply(replica.Object{}, err)
		}
		held = need
	}
}

// serveWithin is serve if the claim has what it needs, or can take it at once. Otherwise
// it has done nothing, and returns what it needs.
func (s *store) serveWithin(now time.Time, q replica.Request, room int64, own, turn bool, claim *budget.Claim, held *int64) (reply replica.Reply, need int64) {
	if q.Kind != replica.Fetch { // reads change nothing, so they need no stripe
		defer s.lock(q.Key).Unlock()
	}
	carries := q.Kind == replica.Fetch && !q.Bare || q.Kind == replica.Prepare
	if n := s.sizes.get(q.Key); carries && n > room {
		return q.Reply(replica.Object{}, &roomError{n}), 0
	}
	s.readers <- struct{}{}
	have, err := s.get(q.Key)
	if err == nil {
		s.sizes.set(q.Key, int64(size(have)))
	}
	if n := int64(size(have)); err == nil && n > peer.Large {
		if carries && n > room {
			err = &roomError{n}
		} else if !own || q.Kind != replica.Fetch || q.Bare {
			need = 2 * n // as it is in the engine or in a message, too
		}
		if own && q.Kind == replica.Fetch && q.Bare && !turn {
			err = &roomError{n}
		}
		if err == nil && need > *held && claim.Try(need-*held) {
			*held = need
		}
	}
	<-s.readers
	switch {
	case err != nil:
		return q.Reply(replica.Object{}, err), 0
	case need > *held:
		return reply, need
	}
	next, store, reply := s.rules.Serve(now, have, q)
	if store {
		if err := s.put(q.Key, have, next); err != nil {
			return q.Reply(replica.Object{}, err), 0
		}
	}
	return reply, 0
}

// A roomError is the answer to those who did not say that they have room for an object
// of so many bytes.
type roomError struct{ bytes int64 }

func (e *roomError) Error() string {
	return fmt.Sprintf("kvcluster: the object takes %d bytes, and there is no room for it", e.bytes)
}

// sizes remembers how large objects are that are large, so that they need not be read for
// that. A reader and a writer at once may leave a wrong one, which whoever reads the
// object then corrects: it costs a reader too much or too little room, and another try.
type sizes struct {
	mu    sync.Mutex
	large map[uint64]int64 // by the hash of the key
}

const mostSizes = 1 << 16

// get returns a size, or 0.
func (s *sizes) get(key []byte) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.large[consistenthash.Hash(string(key))]
}

func (s *sizes) set(key []byte, bytes int64) {
	hash := consistenthash.Hash(string(key))
	s.mu.Lock()
	defer s.mu.Unlock()
	if bytes <= peer.Large {
		delete(s.large, hash)
		return
	}
	if s.large == nil {
		s.large = map[uint64]int64{}
	}
	for other := range s.large {
		if len(s.large) < mostSizes {
			break
		}
		delete(s.large, other) // any of them
	}
	s.large[hash] = bytes
}

// put replaces the object of a key, the stripe of which is held.
func (s *store) put(key []byte, before, after replica.Object) error {
	s.world.RLock()
	defer s.world.RUnlock()
	if err := s.engine.Put(engineKey(nil, key), replica.AppendObject(nil, after)); err != nil {
		return err
	}
	s.writes.Add(1)
	s.sizes.set(key, int64(size(after)))
	if before.IsZero() {
		s.keys.Add(1)
	}
	s.stored(key, before, after)
	return nil
}

// merge takes what another node has under a key.
func (s *store) merge(ctx context.Context, key []byte, o replica.Object) error {
	reply := s.serve(ctx, time.Now(), replica.Request{Kind: replica.Store, Key: key, Object: o}, 0, true)
	return reply.Err
}

// drop forgets a key that this node does not own any more, unless its object is
// another than the one that was handed over.
func (s *store) drop(key []byte, handed replica.Object) error {
	defer s.lock(key).Unlock()
	have, err := s.get(key)
	if err != nil || have.IsZero() || !have.Equal(handed) {
		return err
	}
	return s.remove(key, have)
}

// remove forgets a key, the stripe of which is held.
func (s *store) remove(key []byte, have replica.Object) error {
	s.world.RLock()
	defer s.world.RUnlock()
	if err := s.engine.Delete(engineKey(nil, key)); err != nil {
		return err
	}
	s.keys.Add(-1)
	s.sizes.set(key, 0)
	s.stored(key, have, replica.Object{})
	return nil
}

// collect removes versions that have been dead for longer than the grace.
func (s *store) collect(key []byte, now time.Time) error {
	if s.rules.Grace <= 0 {
		return nil
	}
	defer s.lock(key).Unlock()
	have, err := s.get(key)
	if err != nil || have.IsZero() {
		return err
	}
	kept, ok := have.Collect(now, s.rules.Grace)
	switch {
	case !ok:
		return s.remove(key, have)
	case kept.Equal(have):
		return nil
	}
	return s.put(key, have, kept)
}

// from iterates over the objects whose hashes are at least hash, in order of
// hashes.
func (s *store) from(hash uint64) iter.Seq2[Stored, error] {
	return func(yield func(Stored, error) bool) {
		for e, err := range s.engine.Scan(binary.BigEndian.AppendUint64(nil, hash)) {
			if err != nil {
				yield(Stored{}, err)
				return
			}
			if len(e.Key) < hashSize {
				continue
			}
			key := e.Key[hashSize:]
			o, err := decodeObject(key, e.Value)
			if !yield(Stored{binary.BigEndian.Uint64(e.Key), key, o}, err) || err != nil {
				return
			}
		}
	}
}

// Stored is a key, its hash and its object, which are valid until the iteration
// goes on.
type Stored struct {
	Hash   uint64
	Key    []byte
	Object replica.Object
}

// clone returns the same with bytes of its own, which are valid for longer.
func (s Stored) clone() Stored {
	s.Key = slices.Clone(s.Key)
	s.Object.Versions = slices.Clone(s.Object.Versions)
	for i := range s.Object.Versions {
		v := &s.Object.Versions[i]
		v.Data = slices.Clone(v.Data)
	}
	return s
}

// size returns about how many bytes an object takes.
func size(o replica.Object) int {
	bytes := 64 + 16*len(o.Context)
	for _, v := range o.Versions {
		bytes += 64 + len(v.Data)
	}
	return bytes
}
