package kvstore

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"sync"
)

// leafCap is the number of keys in a full leaf. A leaf of 61 fills one size
// class of the allocator (1536 bytes).
const leafCap = 61

// A place says where a record is: the slot of its segment (20 bits), its
// number in a block (12 bits), and the position of the record, or of the
// block, in the segment (32 bits).
type place uint64

const (
	maxSlots   = 1 << 20
	maxInBlock = 1 << 12
)

func newPlace(slot uint32, index int, offset int64) place {
	return place(uint64(slot)<<44 | uint64(index)<<32 | uint64(offset))
}

func (p place) slot() uint32  { return uint32(p >> 44) }
func (p place) index() int    { return int(p>>32) & (maxInBlock - 1) }
func (p place) offset() int64 { return int64(uint32(p)) }

// A leaf holds some tens of keys in order. What all of them begin with is
// stored once; of the rest, the first 8 bytes are a number that comparisons
// look at first, and what is longer lies in the arena:
//
//	arena   prefix | len rest | len rest …
//	heads   the 8 bytes after the prefix, big endian, padded with zeros
//	items   where the record is, its bytes on disk, and where in the arena
//	        the rest is, or that there is none
//
// Invariants: keys ascend strictly; every key begins with the prefix; waste is
// what deleted keys have left in the arena.
//
// Only the writer changes a leaf, holding mu; others read it holding mu, or
// without once it is frozen.
type leaf struct {
	arena  []byte
	mu     sync.RWMutex
	gen    uint64 // of the operation that made it
	n      uint16
	prefix uint16
	waste  int32
	first  uint64 // headOf the prefix, so that finding a key need not look at the arena
	heads  [leafCap]uint64
	items  [leafCap]item
}

// An item is what a leaf knows of a key besides its head: who has found the head
// needs all of it, and gets it with one line of the processor's cache.
type item struct {
	at   place
	tail uint32
	size uint32
}

// short marks a tail of a key without rest; its low bits are the number of
// bytes in the head.
const short = 1 << 31

// headOf returns the first 8 bytes of s as a number.
func headOf(s []byte) uint64 {
	if len(s) >= 8 {
		return binary.BigEndian.Uint64(s)
	}
	var h uint64
	for i, c := range s {
		h |= uint64(c) << (56 - 8*i)
	}
	return h
}

// common returns the length of what a and b begin with.
func common(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)/8
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

func (l *leaf) prefixBytes() []byte { return l.arena[:l.prefix] }

// rest returns what follows the head of key i.
func (l *leaf) rest(i int) []byte {
	t := l.items[i].tail
	if t&short != 0 {
		return nil
	}
	n := uint32(binary.LittleEndian.Uint16(l.arena[t:]))
	return l.arena[t+2 : t+2+n]
}

// headLen returns how many bytes of key i are in its head.
func (l *leaf) headLen(i int) int {
	if t := l.items[i].tail; t&short != 0 {
		return int(t &^ short)
	}
	return 8
}

// appendSuffix appends key i without the prefix to dst.
func (l *leaf) appendSuffix(dst []byte, i int) []byte {
	var h [8]byte
	binary.BigEndian.PutUint64(h[:], l.heads[i])
	dst = append(dst, h[:l.headLen(i)]...)
	return append(dst, l.rest(i)...)
}

// appendKey appends key i to dst.
func (l *leaf) appendKey(dst []byte, i int) []byte {
	return l.appendSuffix(append(dst, l.prefixBytes()...), i)
}

// hasPrefix reports whether key begins with the prefix.
func (l *leaf) hasPrefix(key []byte) bool {
	if n := uint(l.prefix); n <= 8 {
		return len(key) >= int(n) && (headOf(key)^l.first)>>(64-8*n) == 0
	}
	return bytes.HasPrefix(key, l.prefixBytes())
}

// setPrefix makes the first n bytes of the arena the prefix.
func (l *leaf) setPrefix(n int) {
	l.prefix, l.waste = uint16(n), 0
	l.first = headOf(l.arena[:n])
}

// find returns the index of key, or where it belongs.
func (l *leaf) find(key []byte) (int, bool) {
	if !l.hasPrefix(key) {
		if bytes.Compare(key, l.prefixBytes()) < 0 {
			return 0, false
		}
		return int(l.n), false
	}
	suffix := key[l.prefix:]
	head := headOf(suffix)
	lo, hi := 0, int(l.n)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if l.heads[mid] < head {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	end := lo
	for end < int(l.n) && l.heads[end] == head {
		end++
	}
	for lo < end {
		mid := int(uint(lo+end) >> 1)
		switch c := l.compareRest(suffix, mid); {
		case c == 0:
			return mid, true
		case c > 0:
			lo = mid + 1
		default:
			end = mid
		}
	}
	return lo, false
}

// compareRest compares suffix with key i, whose head it has.
func (l *leaf) compareRest(suffix []byte, i int) int {
	a, b := min(len(suffix), 8), l.headLen(i)
	if a != b || a < 8 {
		return a - b
	}
	return bytes.Compare(suffix[8:], l.rest(i))
}

// insert adds key at index i, where find said that it belongs. The leaf must
// not be full.
func (l *leaf) insert(i int, key []byte, p place, size uint32) {
	if l.n == 0 {
		l.arena = append(l.arena[:0], key...)
		l.setPrefix(len(key))
	} else if n := common(key, l.prefixBytes()); n < int(l.prefix) {
		l.rebuild(n)
	}
	n := int(l.n)
	copy(l.heads[i+1:n+1], l.heads[i:n])
	copy(l.items[i+1:n+1], l.items[i:n])
	l.n++
	l.set(i, key[l.prefix:], p, size)
}

// set stores a key, given without the prefix, at index i.
func (l *leaf) set(i int, suffix []byte, p place, size uint32) {
	l.heads[i] = headOf(suffix)
	l.items[i] = item{at: p, size: size}
	if len(suffix) <= 8 {
		l.items[i].tail = short | uint32(len(suffix))
		return
	}
	rest := suffix[8:]
	if need := len(l.arena) + 2 + len(rest); need > cap(l.arena) {
		l.arena = append(make([]byte, 0, need+need/4), l.arena...)
	}
	l.items[i].tail = uint32(len(l.arena))
	l.arena = binary.LittleEndian.AppendUint16(l.arena, uint16(len(rest)))
	l.arena = append(l.arena, rest...)
}

// remove takes key i out.
func (l *leaf) remove(i int) {
	if l.items[i].tail&short == 0 {
		l.waste += int32(2 + len(l.rest(i)))
	}
	n := int(l.n)
	copy(l.heads[i:n-1], l.heads[i+1:n])
	copy(l.items[i:n-1], l.items[i+1:n])
	l.n--
	if int(l.waste) > len(l.arena)/2 {
		l.rebuild(int(l.prefix))
	}
}

// rebuild writes the arena anew, with a prefix of n bytes, which all keys have.
func (l *leaf) rebuild(n int) {
	old := leaf{arena: l.arena, prefix: l.prefix, n: l.n, heads: l.heads, items: l.items}
	gone := slices.Clone(old.arena[n:old.prefix])
	l.arena = append(make([]byte, 0, len(old.arena)+len(gone)), old.arena[:n]...)
	l.setPrefix(n)
	var space [256]byte
	for i := range int(l.n) {
		suffix := old.appendSuffix(append(space[:0], gone...), i)
		l.set(i, suffix, l.items[i].at, l.items[i].size)
	}
}

// clone returns a copy that the operation gen may change.
func (l *leaf) clone(gen uint64) *leaf {
	c := &leaf{gen: gen, n: l.n, prefix: l.prefix, waste: l.waste, first: l.first}
	c.arena = append(make([]byte, 0, cap(l.arena)), l.arena...)
	n := int(l.n)
	copy(c.heads[:n], l.heads[:n])
	copy(c.items[:n], l.items[:n])
	return c
}

// take appends the keys from..to of other, which are larger than all here.
func (l *leaf) take(other *leaf, from, to int) {
	if from == to {
		return
	}
	var a, b [256]byte
	first, last := other.appendKey(a[:0], from), other.appendKey(b[:0], to-1)
	if l.n == 0 {
		n := common(first, last)
		l.arena = append(l.arena[:0], first[:n]...)
		l.setPrefix(n)
	} else if n := common(l.prefixBytes(), last[:min(len(last), int(l.prefix))]); n < int(l.prefix) {
		l.rebuild(n)
	}
	if n := common(l.prefixBytes(), first); n < int(l.prefix) {
		l.rebuild(n)
	}
	for i := from; i < to; i++ {
		key := other.appendKey(a[:0], i)
		l.n++
		l.set(int(l.n)-1, key[l.prefix:], other.items[i].at, other.items[i].size)
	}
}
