package kvstore

import (
	"bytes"
	"encoding/binary"
	"sort"
)

// A hintCursor walks through a hint. It is invalid at its end.
type hintCursor struct {
	entry
	key   []byte
	h     *hint
	block int
	rest  []byte // of the block
	ended bool
	space []byte
	end   int64
}

func (c *hintCursor) valid() bool { return !c.ended }

// open goes to before the first entry of a block.
func (c *hintCursor) open(block int) error {
	h := c.h
	c.block, c.end, c.rest = block, 0, nil
	if block < 0 || block >= len(h.firsts) {
		c.ended = true
		return nil
	}
	c.ended = false
	var err error
	c.rest, err = h.checked(h.blocks[block], h.blocks[block+1], &c.space)
	return err
}

// first goes to the first entry.
func (c *hintCursor) first(h *hint) error {
	c.h = h
	if err := c.open(0); err != nil || c.ended {
		return err
	}
	return c.next()
}

// seek goes to the first entry that is not below key.
func (c *hintCursor) seek(h *hint, key []byte) error {
	c.h = h
	block := sort.Search(len(h.firsts), func(i int) bool { return bytes.Compare(h.firsts[i], key) > 0 })
	if err := c.open(max(block-1, 0)); err != nil || c.ended {
		return err
	}
	for {
		if err := c.next(); err != nil || c.ended || bytes.Compare(c.key, key) >= 0 {
			return err
		}
	}
}

// next goes to the next entry.
func (c *hintCursor) next() error {
	for len(c.rest) == 0 {
		if err := c.open(c.block + 1); err != nil || c.ended {
			return err
		}
	}
	return c.decode()
}

// uvarint reads a number at b[at:]. It returns a position beyond b if there
// is none.
func uvarint(b []byte, at int) (uint64, int) {
	if at < len(b) && b[at] < 0x80 {
		return uint64(b[at]), at + 1
	}
	if at >= len(b) {
		return 0, len(b) + 1
	}
	v, n := binary.Uvarint(b[at:])
	if n <= 0 {
		return 0, len(b) + 1
	}
	return v, at + n
}

// decode reads the entry at the start of rest.
func (c *hintCursor) decode() error {
	b := c.rest
	shared, at := uvarint(b, 0)
	length, at := uvarint(b, at)
	if at >= len(b) || shared > uint64(len(c.key)) || shared+length > MaxKeyBytes {
		return c.bad()
	}
	flags := b[at]
	delta, at := uvarint(b, at+1)
	c.kind, c.index, c.expires = flags&kindMask, 0, 0
	c.offset = c.end + (int64(delta>>1) ^ -int64(delta&1))
	var v uint64
	if flags&flagIndex != 0 {
		v, at = uvarint(b, at)
		c.index = int(min(v, maxInBlock))
	}
	v, at = uvarint(b, at)
	c.size = uint32(v)
	if flags&flagExpires != 0 {
		v, at = uvarint(b, at)
		c.expires = int64(v)
	}
	if c.h.g.kind == tableSegment {
		v, at = uvarint(b, at)
		c.lsn = int64(v)
	} else {
		c.lsn = c.h.g.lsn(c.offset)
	}
	if at > len(b) || uint64(len(b)-at) < length || c.offset < headerBytes || c.offset >= c.h.covers ||
		c.index >= maxInBlock || c.size == 0 || c.kind != kindPut && c.kind != kindDelete {
		return c.bad()
	}
	c.key = append(c.key[:shared], b[at:at+int(length)]...)
	c.rest = b[at+int(length):]
	c.end = c.offset + int64(c.size)
	return nil
}

func (c *hintCursor) bad() error {
	return c.h.corrupt(c.h.blocks[c.block+1]-int64(len(c.rest))-4, "bad entry")
}
