package commitlog

import (
	"math/rand/v2"
	"sync/atomic"
)

// A Partitioner chooses the partition of a record, from 0 to n-1. Its method
// may be called by several goroutines at a time.
type Partitioner interface {
	Partition(r *Record, n int) int
}

// HashByKey returns a Partitioner that puts records with the same key into the
// same partition, the one that Kafka's clients choose: murmur2 of the key. For
// records without a key it asks otherwise. When partitions are added, keys
// move.
func HashByKey(otherwise Partitioner) Partitioner { return hashByKey{otherwise} }

type hashByKey struct{ otherwise Partitioner }

func (p hashByKey) Partition(r *Record, n int) int {
	if r.Key == nil {
		return p.otherwise.Partition(r, n)
	}
	return int(murmur2(r.Key)&0x7fffffff) % n
}

// RoundRobin returns a Partitioner that takes the partitions in turn.
func RoundRobin() Partitioner { return &roundRobin{} }

type roundRobin struct{ turn atomic.Uint64 }

func (p *roundRobin) Partition(_ *Record, n int) int {
	return int((p.turn.Add(1) - 1) % uint64(n))
}

// Sticky returns a Partitioner that stays with a partition for about that many
// bytes of keys and values and then goes on to another at random, so that
// records without a key share batches and still spread evenly. This is what
// Kafka's clients do since KIP-794. It panics if bytes is not positive.
func Sticky(bytes int) Partitioner {
	if bytes <= 0 {
		panic("commitlog: Sticky needs a positive number of bytes")
	}
	return &sticky{bytes: int64(bytes)}
}

type sticky struct {
	bytes int64
	left  atomic.Int64
	now   atomic.Uint32
}

func (p *sticky) Partition(r *Record, n int) int {
	size := int64(len(r.Key) + len(r.Value))
	if left := p.left.Add(-size); left < 0 && left+size >= 0 || left == -size { // the one that has used it up
		p.left.Store(p.bytes - size)
		if n > 1 {
			p.now.Store((p.now.Load() + 1 + rand.Uint32N(uint32(n-1))) % uint32(n))
		}
	}
	return int(p.now.Load()) % n
}

// murmur2 is the 32-bit MurmurHash2 of Austin Appleby with the seed that
// Kafka's Java client has chosen.
func murmur2(b []byte) uint32 {
	const m, r = 0x5bd1e995, 24
	h := uint32(0x9747b28c) ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h = h*m ^ k
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(b[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}
