package vfs

import (
	"bytes"
	"maps"
	"math/bits"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	sectorSize = 512 // what a disk writes as a whole or not at all
	pageSize   = 8 * sectorSize

	maxSizes = 64 // how many sizes since the last sync are remembered
	poison   = 0xDB
)

// page is a part of a file. It is shared between states and file systems, and
// changed only by the slot that owns it.
type page [pageSize]byte

func (p *page) sector(i int) []byte { return p[i*sectorSize : (i+1)*sectorSize] }

// slot is the place of a page in a file. A nil page is zeros. Bit i of the sets is
// sector i.
//
//	bit in    dirty   written or cut off since the last sync
//	          lost    dirty when a sync failed; no later sync helps, only
//	                  writing it again
//	          held    takes up space on the disk
//
// Where neither dirty nor lost is set, current and durable are equal.
type slot struct {
	current, durable  *page
	owned             bool // current is nobody else's
	dirty, lost, held uint8
}

// inode is the content of a file: what was written, and what of it is durable.
type inode struct {
	size     int64
	durable  int64   // the size at the last sync
	sizes    []int64 // some of the sizes since then
	resized  int     // how often it changed since then
	slots    []slot
	older    map[int]*[sectorSize]byte // of dirty sectors that were written twice: the content before
	modified time.Time
	views    []*view
	links    int
	handles  int
}

// view is a mapping of a file: a copy that every write goes to as well.
type view struct{ data []byte }

// grow makes room for size bytes.
func (n *inode) grow(size int64) {
	if need := int((size + pageSize - 1) / pageSize); need > len(n.slots) {
		n.slots = append(n.slots, make([]slot, need-len(n.slots))...)
	}
}

// resize sets the size. The bytes that are cut off or added are zeros already.
func (n *inode) resize(size int64) {
	if size == n.size {
		return
	}
	n.size = size
	if len(n.sizes) < maxSizes {
		n.sizes = append(n.sizes, size)
	} else {
		n.sizes[n.resized%maxSizes] = size
	}
	n.resized++
}

// writable returns the page of slot i for changes to the sectors of the set.
func (n *inode) writable(i int, sectors uint8) *page {
	s := &n.slots[i]
	if !s.owned {
		fresh := new(page)
		if s.current != nil {
			*fresh = *s.current
		}
		s.current, s.owned = fresh, true
	}
	for again := s.dirty & sectors; again != 0; again &= again - 1 {
		at := bits.TrailingZeros8(again)
		if n.older == nil {
			n.older = map[int]*[sectorSize]byte{}
		}
		n.older[8*i+at] = (*[sectorSize]byte)(bytes.Clone(s.current.sector(at)))
	}
	s.dirty |= sectors
	return s.current
}

// span calls visit for the part of every page that [off, off+length) covers,
// with the set of sectors it touches.
func span(off, length int64, visit func(i, from, to int, sectors uint8)) {
	for end := off + length; off < end; {
		i, from := int(off/pageSize), int(off%pageSize)
		to := int(min(pageSize, int64(from)+end-off))
		first, last := from/sectorSize, (to-1)/sectorSize
		visit(i, from, to, uint8(0xFF)<<first&(uint8(0xFF)>>(7-last)))
		off += int64(to - from)
	}
}

// unheld returns how many bytes of disk space writing there would take.
func (n *inode) unheld(off, length int64) (need int64) {
	span(off, length, func(i, _, _ int, sectors uint8) {
		if i < len(n.slots) {
			sectors &^= n.slots[i].held
		}
		need += sectorSize * int64(bits.OnesCount8(sectors))
	})
	return need
}

// hold takes up the disk space of a range.
func (n *inode) hold(off, length int64) {
	n.grow(off + length)
	span(off, length, func(i, _, _ int, sectors uint8) { n.slots[i].held |= sectors })
}

// held returns how many bytes of disk space the file takes up.
func (n *inode) held() (total int64) {
	for i := range n.slots {
		total += sectorSize * int64(bits.OnesCount8(n.slots[i].held))
	}
	return total
}

func (n *inode) write(p []byte, off int64) {
	n.grow(off + int64(len(p)))
	for _, v := range n.views {
		if off < int64(len(v.data)) {
			copy(v.data[off:], p)
		}
	}
	rest := p
	span(off, int64(len(p)), func(i, from, to int, sectors uint8) {
		rest = rest[copy(n.writable(i, sectors)[from:to], rest):]
	})
	n.resize(max(n.size, off+int64(len(p))))
	n.modified = time.Now()
}

// read fills p, which ends at the size or before.
func (n *inode) read(p []byte, off int64) {
	span(off, int64(len(p)), func(i, from, to int, _ uint8) {
		part := p[:to-from]
		if current := n.slots[i].current; current != nil {
			copy(part, current[from:to])
		} else {
			clear(part)
		}
		p = p[to-from:]
	})
}

func (n *inode) truncate(size int64) {
	n.modified = time.Now()
	if size >= n.size {
		n.grow(size)
		n.resize(size)
		return
	}
	for _, v := range n.views {
		if size < int64(len(v.data)) {
			fill(v.data[size:min(n.size, int64(len(v.data)))], poison)
		}
	}
	span(size, n.size-size, func(i, from, to int, sectors uint8) {
		s := &n.slots[i]
		var kept uint8 // a sector of which only the end is cut off
		if from%sectorSize != 0 {
			kept = 1 << (from / sectorSize)
		}
		s.held &^= sectors &^ kept
		if s.current != nil || s.durable != nil {
			clear(n.writable(i, sectors)[from:to])
		}
	})
	n.resize(size)
}

func fill(p []byte, b byte) {
	for i := range p {
		p[i] = b
	}
}

// sync makes the bytes and the size durable, but not what an earlier sync lost.
func (n *inode) sync() {
	for i := range n.slots {
		s := &n.slots[i]
		if s.dirty == 0 {
			continue
		}
		if s.lost &^= s.dirty; s.lost == 0 {
			s.durable, s.owned = s.current, false
		} else {
			mixed := new(page)
			if s.durable != nil {
				*mixed = *s.durable
			}
			for set := s.dirty; set != 0; set &= set - 1 {
				at := bits.TrailingZeros8(set)
				copy(mixed.sector(at), s.current.sector(at))
			}
			s.durable = mixed
		}
		s.dirty = 0
	}
	n.older = nil
	n.durable, n.sizes, n.resized = n.size, nil, 0
}

// syncFailed is what Linux does when it cannot write pages: it takes them for
// clean, so that the next sync succeeds without them.
func (n *inode) syncFailed() {
	for i := range n.slots {
		n.slots[i].lost |= n.slots[i].dirty
		n.slots[i].dirty = 0
	}
}

// view returns a mapping.
func (n *inode) view() *view {
	v := &view{data: make([]byte, n.size)}
	n.read(v.data, 0)
	n.views = append(n.views, v)
	return v
}

// forget ends a mapping.
func (n *inode) forget(v *view) {
	n.views = slices.DeleteFunc(n.views, func(other *view) bool { return other == v })
}

// clone returns the same state for another file system. Pages are shared.
func (n *inode) clone() *inode {
	c := &inode{size: n.size, durable: n.durable, resized: n.resized, modified: n.modified}
	c.sizes = append(c.sizes, n.sizes...)
	for i := range n.slots {
		n.slots[i].owned = false
	}
	c.slots = append(c.slots, n.slots...)
	if len(n.older) > 0 {
		c.older = maps.Clone(n.older) // the contents are never changed in place
	}
	return c
}

// crash returns what a power loss leaves; with a nil rng, what was synced.
func (n *inode) crash(rng *rand.Rand) *inode {
	c := n.clone()
	c.size = c.crashedSize(rng)
	for i := range c.slots {
		s := &c.slots[i]
		if unsure := s.dirty | s.lost; unsure == 0 {
			s.durable = s.current
		} else if rng != nil {
			s.durable = n.crashedPage(i, unsure, rng)
		}
		s.current, s.dirty, s.lost = s.durable, 0, 0
	}
	c.slots = c.slots[:min(len(c.slots), int((c.size+pageSize-1)/pageSize))]
	c.grow(c.size)
	if tail := int(c.size % pageSize); tail != 0 {
		if last := &c.slots[len(c.slots)-1]; last.current != nil {
			cut := *last.current
			clear(cut[tail:])
			last.current, last.durable = &cut, &cut
		}
	}
	c.durable, c.sizes, c.resized, c.older = c.size, nil, 0, nil
	for i := range c.slots {
		c.slots[i].held = 0
	}
	c.hold(0, c.size)
	return c
}

// crashedSize draws one of the sizes that the file had since the last sync, or one
// on the way to it.
func (n *inode) crashedSize(rng *rand.Rand) int64 {
	if rng == nil || len(n.sizes) == 0 {
		return n.durable
	}
	size := n.size
	switch rng.IntN(3) {
	case 0:
		size = n.durable
	case 1:
		size = n.sizes[rng.IntN(len(n.sizes))]
	}
	if size > n.durable && rng.IntN(4) == 0 {
		size = n.durable + 1 + rng.Int64N(size-n.durable)
	}
	return size
}

// crashedPage draws the fate of every sector that is not known to be durable.
// Disks write sectors as a whole: one that had durable content keeps that, or has
// one written later. One that had none may also hold what was there before.
func (n *inode) crashedPage(i int, unsure uint8, rng *rand.Rand) *page {
	s := &n.slots[i]
	found := new(page)
	if s.durable != nil {
		*found = *s.durable
	}
	written := s.current
	if written == nil {
		written = new(page)
	}
	for ; unsure != 0; unsure &= unsure - 1 {
		at := bits.TrailingZeros8(unsure)
		fresh := int64(i*pageSize+at*sectorSize) >= n.durable
		switch draw := rng.IntN(16); {
		case draw < 7:
			copy(found.sector(at), written.sector(at))
		case draw < 9 && n.older[8*i+at] != nil:
			copy(found.sector(at), n.older[8*i+at][:])
		case draw == 9 && fresh:
			for j := range found.sector(at) {
				found.sector(at)[j] = byte(rng.Uint32())
			}
		}
	}
	return found
}
