package kvstore

import (
	"bytes"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/tinylfu"
)

// A blockCache keeps decompressed blocks, and what was read from files that are
// not mapped. What is at a place never changes, and
// numbers of segments are not used again, so nothing is ever removed from it
// but for want of space.
type blockCache struct {
	lfu *tinylfu.Cache[blockKey, []byte]
}

type blockKey struct {
	segment uint64
	offset  int64
}

// newBlockCache returns a cache of so many bytes, or nil.
func newBlockCache(bytes int64) *blockCache {
	if bytes == 0 {
		return nil
	}
	// With a cost, capacity counts bytes.
	return &blockCache{tinylfu.New(int(min(bytes, 1<<31-1)), &cache.Options[blockKey, []byte]{
		Cost: func(_ blockKey, b []byte) int64 { return int64(cap(b)) + 64 },
	})}
}

func (c *blockCache) get(g *segment, offset int64) []byte {
	if c == nil {
		return nil
	}
	b, _ := c.lfu.Get(blockKey{g.id, offset})
	return b
}

func (c *blockCache) put(g *segment, offset int64, b []byte) {
	if c != nil {
		c.lfu.Put(blockKey{g.id, offset}, b)
	}
}

// fetch reads a record, or the beginning of a block, in the mapping, in the cache
// or in the file.
func (s *Store) fetch(g *segment, offset int64, n int, b *readBuffer) ([]byte, error) {
	if s.cache == nil || g.view.Load() != nil || int64(n) > s.opts.CacheBytes/8 {
		return g.bytes(offset, n, &b.raw)
	}
	const file = -1 // turns the offset into that of the bytes as they are in the file
	data := s.cache.get(g, file*offset)
	if len(data) >= n {
		s.counters.cacheHits.Add(1)
		return data, nil
	}
	s.counters.cacheMisses.Add(1)
	data, err := g.bytes(offset, n, &b.raw)
	if err == nil {
		s.cache.put(g, file*offset, bytes.Clone(data))
	}
	return data, err
}

// readBlock reads a record in a block, whose header is at the start of data.
func (s *Store) readBlock(g *segment, at place, data []byte, b *readBuffer) error {
	offset := at.offset()
	records := s.cache.get(g, offset)
	if records == nil && b.segment == g && b.offset == offset {
		records = b.block // the block of the read before
	}
	if records != nil {
		s.counters.cacheHits.Add(1)
	} else {
		s.counters.cacheMisses.Add(1)
		var err error
		if records, err = s.unpack(g, offset, data, b); err != nil {
			return err
		}
	}
	for index := 0; len(records) > 0; index++ {
		n, reason := parseBody(records, &b.rec)
		if reason != "" {
			return g.corrupt(offset, "bad block: "+reason)
		}
		if index == at.index() {
			return nil
		}
		records = records[n:]
	}
	return g.corrupt(offset, "no such record in the block")
}

// unpack verifies and decompresses the block at an offset.
func (s *Store) unpack(g *segment, offset int64, data []byte, b *readBuffer) ([]byte, error) {
	h, reason := parseBlockHeader(data)
	if reason != "" {
		return nil, g.corrupt(offset, reason)
	}
	data, err := g.bytes(offset, blockBytes+h.packed, &b.raw)
	if err != nil {
		return nil, err
	}
	h, packed, reason := parseBlock(data, g.salt, offset)
	if reason != "" {
		return nil, g.corrupt(offset, reason)
	}
	if s.cache != nil {
		records, err := s.codecs.decode(make([]byte, 0, h.length), h, packed)
		if err == nil {
			s.cache.put(g, offset, records)
		}
		return records, g.blockError(offset, err)
	}
	b.segment = nil
	b.block, err = s.codecs.decode(b.block[:0], h, packed)
	if err == nil {
		b.segment, b.offset = g, offset
	}
	return b.block, g.blockError(offset, err)
}
