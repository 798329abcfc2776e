package vfs

import "sync/atomic"

// A Prewriter writes zeros ahead of what is appended to a file in small synced
// groups, into space that is allocated. On the file systems that allocate by
// extents, the first bytes in a new block of such space change what is known of
// the block, so that a sync has to write a journal as well as the bytes; with
// zeros ahead most syncs find blocks that were written before.
//
//	├─ appended ─┼─ zeros that were written ─┼─ zeros that are allocated ─┤
//
// What the file holds does not change. The zero value is ready. Wrote is for one
// goroutine at a time; Synced may be called meanwhile.
type Prewriter struct {
	synced atomic.Bool // since the last write
	file   File
	to     int64 // offset up to which zeros were written
}

const (
	prewriteGroup = 64 << 10 // larger groups spread the cost by themselves
	prewriteBytes = 256 << 10
)

var prewritten [prewriteBytes]byte

// Synced says that the file was synced.
func (p *Prewriter) Synced() { p.synced.Store(true) }

// Wrote says that n bytes were written to f, the last before the offset end, and
// that space is allocated, and unused, from there to the offset room. To write
// zeros may fail, which costs only time.
func (p *Prewriter) Wrote(f File, n int, end, room int64) {
	if !p.synced.Swap(false) || n > prewriteGroup || f == p.file && end < p.to {
		return
	}
	zeros := min(room-end, prewriteBytes)
	if zeros <= 0 {
		return
	}
	p.file, p.to = f, end+zeros
	_, _ = f.WriteAt(prewritten[:zeros], end) // it would succeed or be found out by the next write or sync
}
