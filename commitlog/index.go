package commitlog

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"sort"
)

// An entry of the sparse index is made for the first batch and then for each
// that begins IndexBytes or more after the last one that has an entry.
type entry struct {
	offset   int64 // of the first record of the batch at position
	position int64 // in the file
	latest   int64 // the highest timestamp before position, in milliseconds
}

// An index finds the batch of an offset or a time.
//
//	offset   ──►  0      41     87     120          entries, ascending in all
//	position ──►  4096   8210   12400  16502        three columns
//	latest   ──►  -∞     10:01  10:01  10:03
//	              │      │      │      │
//	              ▼      ▼      ▼      ▼
//	              ┌──┬──┬┬──┬───┬┬──┬──┬┬────┐
//	              │b │b ││b │b  ││b │b ││b   │      batches
//	              └──┴──┴┴──┴───┴┴──┴──┴┴────┘
//
// It is in memory for the segment that is written, at the end of the file for
// a sealed one, and made again from the frames where it is missing or damaged.
type index struct {
	entries []entry
	latest  int64 // the highest timestamp so far
}

func newIndex() index { return index{latest: math.MinInt64} }

// add notes a batch that lies at the position.
func (x *index) add(offset, position, latest, every int64) {
	if n := len(x.entries); n == 0 || position-x.entries[n-1].position >= every {
		x.entries = append(x.entries, entry{offset, position, x.latest})
	}
	x.latest = max(x.latest, latest)
}

// find returns the position from which to look for the batch with the offset.
func (x *index) find(offset int64) int64 {
	i := sort.Search(len(x.entries), func(i int) bool { return x.entries[i].offset > offset })
	if i == 0 {
		return headerSize
	}
	return x.entries[i-1].position
}

// findTime returns the position from which to look for the first record that
// is not before the time.
func (x *index) findTime(millis int64) int64 {
	i := sort.Search(len(x.entries), func(i int) bool { return x.entries[i].latest >= millis })
	if i == 0 {
		return headerSize
	}
	return x.entries[i-1].position
}

// append encodes the index for a segment:
//
//	checksum of salt and rest 4 │ 0 4 │ entries 8 │ { offset 8, position 8, latest 8 } …
func (x *index) append(dst []byte, salt uint64) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, 8)...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(len(x.entries)))
	for _, e := range x.entries {
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.offset))
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.position))
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.latest))
	}
	binary.BigEndian.PutUint32(dst[start:], indexChecksum(dst[start+4:], salt))
	return dst
}

func indexChecksum(b []byte, salt uint64) uint32 {
	var s [8]byte
	binary.BigEndian.PutUint64(s[:], salt)
	return crc32.Update(crc32.Checksum(s[:], castagnoli), castagnoli, b)
}

// parseIndex decodes what append made for frames up to end; ok is false if
// anything about it is not as it must be.
func parseIndex(b []byte, salt uint64, end int64) (x index, ok bool) {
	x = newIndex()
	if len(b) < indexHeader || (len(b)-indexHeader)%entrySize != 0 ||
		indexChecksum(b[4:], salt) != binary.BigEndian.Uint32(b) ||
		binary.BigEndian.Uint64(b[8:]) != uint64((len(b)-indexHeader)/entrySize) {
		return x, false
	}
	x.entries = make([]entry, 0, (len(b)-indexHeader)/entrySize)
	for b = b[indexHeader:]; len(b) > 0; b = b[entrySize:] {
		e := entry{
			offset:   int64(binary.BigEndian.Uint64(b)),
			position: int64(binary.BigEndian.Uint64(b[8:])),
			latest:   int64(binary.BigEndian.Uint64(b[16:])),
		}
		if e.position < headerSize || e.position >= end {
			return x, false
		}
		x.entries = append(x.entries, e)
	}
	return x, true
}
