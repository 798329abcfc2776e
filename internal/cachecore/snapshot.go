package cachecore

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"time"

	"github.com/ashlar-go/ashlar/cache"
)

// The format of a snapshot, version 1:
//
//	magic   8 bytes "ashlar\x00C"
//	version 1 byte
//	block   uvarint length, that many bytes of records, CRC-32C (4 bytes,
//	        little-endian) of the length and the records
//	...
//	end     uvarint 0, uvarint number of records, CRC-32C of both
//
//	record  uvarint length, varint deadline (Unix nanoseconds, 0 for none),
//	        uvarint weight (see Weigher), the entry as the codec wrote it;
//	        the length is that of all three
//
// Records come in the order in which the cache would give the entries up, so
// that loading them into a smaller cache keeps the best. Nothing follows the
// end.
const (
	snapshotMagic   = "ashlar\x00C"
	snapshotVersion = 1
	blockSize       = 64 << 10
	maxBlock        = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type record[K comparable, V any] struct {
	entry[K, V]
	deadline int64 // Unix nanoseconds
	weight   uint64
}

// Save writes the live entries to w.
func (c *Cache[K, V]) Save(w io.Writer, codec cache.Codec[K, V]) error {
	codec = codecOr(codec)
	out := bufio.NewWriter(w)
	if _, err := out.WriteString(snapshotMagic + string(rune(snapshotVersion))); err != nil {
		return fmt.Errorf("%s: save: %w", c.name, err)
	}
	var block, one []byte
	count := uint64(0)
	for _, r := range c.records() {
		one = binary.AppendVarint(one[:0], r.deadline)
		one = binary.AppendUvarint(one, r.weight)
		var err error
		if one, err = codec.Append(one, r.key, r.value); err != nil {
			return fmt.Errorf("%s: save: entry %d: %w", c.name, count, err)
		}
		block = binary.AppendUvarint(block, uint64(len(one)))
		block = append(block, one...)
		count++
		if len(block) >= blockSize {
			if err := writeBlock(out, block); err != nil {
				return fmt.Errorf("%s: save: %w", c.name, err)
			}
			block = block[:0]
		}
	}
	if len(block) > 0 {
		if err := writeBlock(out, block); err != nil {
			return fmt.Errorf("%s: save: %w", c.name, err)
		}
	}
	end := binary.AppendUvarint([]byte{0}, count)
	end = binary.LittleEndian.AppendUint32(end, crc32.Checksum(end, castagnoli))
	if _, err := out.Write(end); err != nil {
		return fmt.Errorf("%s: save: %w", c.name, err)
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("%s: save: %w", c.name, err)
	}
	return nil
}

func writeBlock(w *bufio.Writer, block []byte) error {
	if len(block) > maxBlock {
		return fmt.Errorf("an entry of %d bytes is over the %d that a snapshot holds", len(block), maxBlock)
	}
	length := binary.AppendUvarint(nil, uint64(len(block)))
	sum := crc32.Update(crc32.Checksum(length, castagnoli), castagnoli, block)
	w.Write(length)
	w.Write(block)
	_, err := w.Write(binary.LittleEndian.AppendUint32(nil, sum))
	return err
}

// records returns the live entries, the first to be given up first. Shards
// take turns, counted from the best entry of each.
func (c *Cache[K, V]) records() []record[K, V] {
	lists := make([][]record[K, V], len(c.shards))
	total, longest := 0, 0
	for i := range c.shards {
		lists[i] = c.shardRecords(i)
		total += len(lists[i])
		longest = max(longest, len(lists[i]))
	}
	all := make([]record[K, V], 0, total)
	for rank := range longest {
		for _, list := range lists {
			if rank < len(list) {
				all = append(all, list[rank])
			}
		}
	}
	slices.Reverse(all)
	return all
}

// shardRecords returns the live entries of shard i, the best first.
func (c *Cache[K, V]) shardRecords(i int) []record[K, V] {
	s := &c.shards[i]
	s.lock()
	defer s.mu.Unlock()
	weigher, _ := s.policy.(Weigher)
	list := make([]record[K, V], 0, s.length.Load())
	var wall, now int64
	if s.timed > 0 {
		wall, now = c.clock()
	}
	s.policy.Descend(func(slot uint32) bool {
		r := record[K, V]{entry: s.entries[slot]}
		if s.deadlines != nil && s.deadlines[slot] != 0 {
			if s.deadlines[slot] <= now {
				return true
			}
			if r.deadline = add(wall, add(s.deadlines[slot], -now)); r.deadline == 0 {
				r.deadline = 1 // 0 means none
			}
		}
		if weigher != nil {
			r.weight = weigher.Weight(slot, s.hash(slot))
		}
		list = append(list, r)
		return true
	})
	return list
}

// clock returns the time in Unix nanoseconds and, as deadlines have it, since
// the cache was made. The wall clock may have been set since then.
func (c *Cache[K, V]) clock() (wall, now int64) {
	if c.opts.Now != nil {
		t := c.opts.Now()
		return t.UnixNano(), int64(t.Sub(c.start))
	}
	return time.Now().UnixNano(), int64(time.Since(c.start))
}

// add is a+b, or what is nearest to it.
func add(a, b int64) int64 {
	switch sum := a + b; {
	case a > 0 && b > 0 && sum < 0:
		return math.MaxInt64
	case a < 0 && b < 0 && sum >= 0:
		return math.MinInt64
	default:
		return sum
	}
}

// Load replaces the contents by the snapshot in r, which must hold nothing
// else, and returns the number of entries that are in the cache now. The
// cache is left as it was if it returns an error.
func (c *Cache[K, V]) Load(r io.Reader, codec cache.Codec[K, V]) (n int, err error) {
	in := &snapshotReader{r: bufio.NewReader(r)}
	records, err := readSnapshot(in, codecOr(codec))
	if err != nil {
		return 0, fmt.Errorf("%s: load: %w", c.name, err)
	}
	records, costs := c.fitting(records)
	c.Clear()
	for i := range records {
		r := &records[i]
		hash := c.hashOf(r.key)
		s := c.at(hash)
		var out removals[K, V]
		s.lock()
		c.put(s, hash, r.key, r.value, costs[i], r.deadline, c.out(&out))
		if weigher, ok := s.policy.(Weigher); ok {
			if slot := s.find(hash, r.key); slot != 0 {
				weigher.SetWeight(slot, hash, r.weight)
			}
		}
		s.mu.Unlock()
		out.report(c.opts.OnRemoval)
	}
	return c.Len(), nil
}

// fitting returns the last of records, as many as each shard has room for,
// with their deadlines in the time of the cache, and what they cost. It leaves
// nothing to the policy, which does not know yet what the entries are worth.
func (c *Cache[K, V]) fitting(records []record[K, V]) ([]record[K, V], []int64) {
	wall, now := c.clock()
	limits, room := make([]int64, len(c.shards)), make([]int64, len(c.shards))
	for i := range c.shards {
		s := &c.shards[i]
		s.lock()
		limits[i], room[i] = s.limit, s.limit
		s.mu.Unlock()
	}
	costs := make([]int64, len(records))
	first := len(records)
	for i := len(records) - 1; i >= 0; i-- {
		r := records[i]
		if r.deadline != 0 {
			left := add(r.deadline, -wall)
			if left <= 0 {
				continue
			}
			if r.deadline = add(now, left); r.deadline == 0 {
				r.deadline = 1 // 0 means none
			}
		}
		cost := int64(1)
		if c.opts.Cost != nil {
			cost = max(0, c.opts.Cost(r.key, r.value))
		}
		// What is too large for the shard is left to put, which rejects it.
		if at := c.hashOf(r.key) >> 8 & c.mask; cost <= limits[at] {
			if room[at] -= cost; room[at] < 0 {
				room[at] = -1 // nor is there room for what comes before it
				continue
			}
		}
		first--
		records[first], costs[first] = r, cost
	}
	return records[first:], costs[first:]
}

// A snapshotReader knows how far it has come.
type snapshotReader struct {
	r  *bufio.Reader
	at int64
}

func (in *snapshotReader) ReadByte() (byte, error) {
	b, err := in.r.ReadByte()
	if err == nil {
		in.at++
	}
	return b, err
}

func (in *snapshotReader) Read(p []byte) (int, error) {
	n, err := in.r.Read(p)
	in.at += int64(n)
	return n, err
}

// bad returns an error that says what is wrong and where. A failure of the
// reader itself is not the snapshot's.
func (in *snapshotReader) bad(what string, cause error) error {
	switch {
	case cause == nil:
		return fmt.Errorf("%w: %s at byte %d", cache.ErrBadSnapshot, what, in.at)
	case errors.Is(cause, io.EOF) || errors.Is(cause, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: %s: it ends at byte %d", cache.ErrBadSnapshot, what, in.at)
	case errors.Is(cause, errBadRecord):
		return fmt.Errorf("%w: %s at byte %d: %w", cache.ErrBadSnapshot, what, in.at, cause)
	}
	return fmt.Errorf("%s at byte %d: %w", what, in.at, cause)
}

var errBadRecord = errors.New("bad record")

func readSnapshot[K comparable, V any](in *snapshotReader, codec cache.Codec[K, V]) ([]record[K, V], error) {
	var head [len(snapshotMagic) + 1]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return nil, in.bad("header", err)
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return nil, fmt.Errorf("%w: it does not begin as one", cache.ErrBadSnapshot)
	}
	if v := head[len(snapshotMagic)]; v != snapshotVersion {
		return nil, fmt.Errorf("%w: format version %d, this code reads %d", cache.ErrBadSnapshot, v, snapshotVersion)
	}
	var records []record[K, V]
	for {
		length, err := binary.ReadUvarint(in)
		if err != nil {
			return nil, in.bad("length of a block", noEOF(err))
		}
		if length == 0 {
			break
		}
		if length > maxBlock {
			return nil, in.bad(fmt.Sprintf("block of %d bytes", length), nil)
		}
		block, err := in.block(length)
		if err != nil {
			return nil, err
		}
		if records, err = appendRecords(records, block, codec); err != nil {
			return nil, in.bad("block that ends", err)
		}
	}
	count, err := binary.ReadUvarint(in)
	if err != nil {
		return nil, in.bad("number of records", noEOF(err))
	}
	if err := in.checksum(binary.AppendUvarint([]byte{0}, count), nil); err != nil {
		return nil, err
	}
	if count != uint64(len(records)) {
		return nil, in.bad(fmt.Sprintf("%d records where the end says %d", len(records), count), nil)
	}
	if _, err := in.ReadByte(); err == nil {
		return nil, in.bad("something follows the end", nil)
	} else if err != io.EOF {
		return nil, in.bad("end", err)
	}
	return records, nil
}

func noEOF(err error) error {
	if err.Error() == "binary: varint overflows a 64-bit integer" {
		return errBadRecord
	}
	return err
}

// block reads a block and its checksum. Its memory grows with what is really
// there, not with what the length claims.
func (in *snapshotReader) block(length uint64) ([]byte, error) {
	var b bytes.Buffer
	if _, err := io.CopyN(&b, in, int64(length)); err != nil {
		return nil, in.bad("block", err)
	}
	return b.Bytes(), in.checksum(binary.AppendUvarint(nil, length), b.Bytes())
}

func (in *snapshotReader) checksum(length, block []byte) error {
	var sum [4]byte
	if _, err := io.ReadFull(in, sum[:]); err != nil {
		return in.bad("checksum", err)
	}
	if binary.LittleEndian.Uint32(sum[:]) != crc32.Update(crc32.Checksum(length, castagnoli), castagnoli, block) {
		return in.bad("bad checksum of what ends", nil)
	}
	return nil
}

// appendRecords appends the records of block.
func appendRecords[K comparable, V any](records []record[K, V], block []byte, codec cache.Codec[K, V]) ([]record[K, V], error) {
	for len(block) > 0 {
		one, rest, err := cut(block, 0)
		if err != nil {
			return nil, fmt.Errorf("%w: length: %w", errBadRecord, err)
		}
		block = rest
		var r record[K, V]
		var n int
		if r.deadline, n = binary.Varint(one); n <= 0 {
			return nil, fmt.Errorf("%w: deadline", errBadRecord)
		}
		one = one[n:]
		if r.weight, n = binary.Uvarint(one); n <= 0 {
			return nil, fmt.Errorf("%w: weight", errBadRecord)
		}
		if r.key, r.value, err = codec.Decode(one[n:]); err != nil {
			return nil, fmt.Errorf("%w %d: %w", errBadRecord, len(records), err)
		}
		records = append(records, r)
	}
	return records, nil
}
