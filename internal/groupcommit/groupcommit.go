// Package groupcommit lets many goroutines share the writes and the syncs of
// one file.
//
// A goroutine appends its frame to a buffer in memory and then asks for it to
// be durable. The first that asks while nobody is at work leads: it takes the
// buffer, writes it with one call, syncs once, and wakes all whose frames were
// in it. The others follow. While a leader is at work frames gather in the
// second buffer, so groups are as large as the disk is slow, without a timer.
//
//	Append ─► open   ┌──────┬──────┬───┐      appended ▲
//	                 │ f6   │ f7   │ f8│
//	                 └──────┴──────┴───┘
//	leader ─► taken  ┌────┬─────────┬────┐    written  ▲
//	                 │ f3 │ f4      │ f5 │
//	                 └────┴─────────┴────┘
//	file      … f1 │ f2 │                     durable  ▲
//
// What it promises:
//
//  1. durable ≤ written ≤ appended. Commit returns nil only after a Sync that
//     began after the Write of the frame had returned.
//  2. Writes are in the order of the appends, without gaps, one at a time;
//     syncs are one at a time. A Write may run while a Sync does.
//  3. The first Write or Sync that fails poisons the Committer: every later
//     call returns that error, and nothing more is written. After a failed
//     sync nobody knows what the disk holds, so it is never tried again.
//
// The scheme is the group commit of DeWitt et al., Implementation Techniques
// for Main Memory Database Systems (1984).
package groupcommit

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
)

// ErrClosed is returned after Close.
var ErrClosed = errors.New("groupcommit: closed")

// A Sink is the file that a Committer writes. Its methods are called without
// a lock held; there is never more than one Write and one Sync at a time.
type Sink interface {
	// Write stores buf, which is the sink's until Write returns. It begins
	// where the last one ended; at is that position in the stream.
	Write(buf []byte, at int64) error

	// Sync returns when all that was written before is durable.
	Sync() error
}

// A Mark is a place in the stream: its position in bytes, and the number that
// the caller gave to what ends there.
type Mark struct{ Pos, Seq int64 }

// Options are the settings of a Committer. The zero value is the default.
// The functions are called with the Committer locked: they must be short and
// must not call it.
type Options struct {
	// Limit is the number of bytes in the open buffer from which on Append
	// writes them before it adds more; the default is 1 MiB.
	Limit int

	// Seal finishes a buffer that is about to be written, which begins at the
	// position at. It may append to it.
	Seal func(buf []byte, at int64, durable Mark) []byte

	// Written and Synced hear of progress, Failed of the error that ends it.
	Written, Synced func(Mark)
	Failed          func(error)
}

// A Committer gathers frames and commits them in groups. Create one with New.
//
// A Committer is safe for concurrent use by multiple goroutines.
type Committer struct {
	sink Sink
	opts Options

	mu     sync.Mutex
	wrote  sync.Cond // a Write ended, or a rotation
	synced sync.Cond // a Sync ended

	open  []byte // appended, not yet taken
	spare []byte // the other buffer; nil while it is written

	appended, written, durable Mark

	frames   int  // in open
	group    int  // frames of the last group that was synced
	waiting  int  // goroutines in Commit
	next     int  // goroutines that write before an Append does, which could do so for ever
	writing  bool // a Write runs
	syncing  bool // somebody leads: a Sync runs or is about to
	rotating bool // Append waits
	err      error
	failed   atomic.Pointer[error]
}

// New returns a Committer whose first frame has the position of at, up to
// which the sink is durable.
func New(sink Sink, at Mark, opts *Options) *Committer {
	c := &Committer{sink: sink, appended: at, written: at, durable: at}
	if opts != nil {
		c.opts = *opts
	}
	if c.opts.Limit <= 0 {
		c.opts.Limit = 1 << 20
	}
	c.wrote.L, c.synced.L = &c.mu, &c.mu
	return c
}

// Append lets encode add a frame to the open buffer and returns the mark at
// its end. Encode gets the buffer and the position in the stream of its end,
// and returns the longer buffer and the number of what it added. It must not
// change what was in the buffer unless it knows it to be its own. If it
// returns an error, the buffer stays as it was, and Append returns the error.
// Frames have the order in which encode was called.
func (c *Committer) Append(encode func(buf []byte, at int64) (longer []byte, seq int64, err error)) (Mark, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && (c.rotating || len(c.open) >= c.opts.Limit) {
		if c.rotating || c.writing || c.next > 0 {
			c.wrote.Wait()
		} else {
			c.write()
		}
	}
	if c.err != nil {
		return Mark{}, c.err
	}
	longer, seq, err := encode(c.open, c.appended.Pos)
	if err != nil {
		return Mark{}, err
	}
	c.appended.Pos += int64(len(longer) - len(c.open))
	c.appended.Seq = seq
	c.open = longer
	c.frames++
	return c.appended, nil
}

// AppendLarge is Append for a frame so large that to copy it into the buffer
// would cost more than a call of the sink: encode adds only the head of the
// frame, and AppendLarge writes the buffer and then the tail, which stays the
// caller's and is not kept. Seal is not called, since nothing may come after
// the tail: encode finishes what the buffer holds, for which it gets the durable
// mark, too. The frame is written when AppendLarge returns.
func (c *Committer) AppendLarge(encode func(buf []byte, at int64, durable Mark) (longer, tail []byte, seq int64, err error)) (Mark, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.next++
	for c.err == nil && (c.rotating || c.writing) {
		c.wrote.Wait()
	}
	c.next--
	if c.err != nil {
		return Mark{}, c.err
	}
	longer, tail, seq, err := encode(c.open, c.appended.Pos, c.durable)
	if err != nil {
		c.wrote.Broadcast() // an Append may have waited for the write
		return Mark{}, err
	}
	c.appended.Pos += int64(len(longer) - len(c.open) + len(tail))
	c.appended.Seq = seq
	c.open = longer
	mark := c.appended
	c.put(tail)
	return mark, c.err
}

// Commit returns when the stream is durable up to pos, leading if nobody does.
func (c *Committer) Commit(pos int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting++
	defer func() { c.waiting-- }()
	for c.durable.Pos < pos {
		switch {
		case c.err != nil:
			return c.err
		case c.syncing:
			c.synced.Wait()
		default:
			c.lead()
		}
	}
	return nil
}

// Flush returns when the stream is written up to pos; it does not sync.
func (c *Committer) Flush(pos int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.written.Pos < pos {
		switch {
		case c.err != nil:
			return c.err
		case c.writing:
			c.wrote.Wait()
		default:
			c.write()
		}
	}
	return nil
}

// Rotate makes all that was appended durable and then calls next, during which
// there is no Append, Write or Sync: the time to exchange the file behind the
// sink. The error of next is returned and changes nothing.
func (c *Committer) Rotate(next func(end Mark) error) error {
	return c.rotate(func() bool { return c.durable.Pos < c.appended.Pos }, c.lead, next)
}

// RotateWritten is Rotate without the sync: all that was appended is written
// when next is called. If next exchanges the file, the next Sync of the sink
// must sync the old one before the new one.
func (c *Committer) RotateWritten(next func(end Mark) error) error {
	return c.rotate(func() bool { return c.written.Pos < c.appended.Pos }, c.write, next)
}

// rotate calls next when nothing is left to do and nobody is at work.
func (c *Committer) rotate(left func() bool, work func(), next func(end Mark) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.rotating {
		c.wrote.Wait()
	}
	c.rotating = true
	defer func() {
		c.rotating = false
		c.wrote.Broadcast()
	}()
	for c.err == nil && (c.writing || c.syncing || left()) {
		switch {
		case c.syncing:
			c.synced.Wait()
		case c.writing:
			c.wrote.Wait()
		default:
			work()
		}
	}
	if c.err != nil {
		return c.err
	}
	return next(c.appended)
}

// Renumber sets the number of what was appended last. To be called by the
// function that Rotate calls.
func (c *Committer) Renumber(seq int64) {
	c.appended.Seq, c.written.Seq, c.durable.Seq = seq, seq, seq
}

// Buffered calls look with the open buffer, which begins at the position at.
// Look must not keep it.
func (c *Committer) Buffered(look func(open []byte, at int64)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	look(c.open, c.appended.Pos-int64(len(c.open)))
}

// Appended returns the end of what was appended.
func (c *Committer) Appended() Mark {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.appended
}

// Written returns the end of what was written.
func (c *Committer) Written() Mark {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written
}

// Durable returns the end of what was synced.
func (c *Committer) Durable() Mark {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.durable
}

// Err returns the error that poisoned the Committer, or nil.
func (c *Committer) Err() error {
	if err := c.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Poison makes every later call return err, unless there was an error before.
func (c *Committer) Poison(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.poison(err)
}

// Close commits what was appended, waits for those at work, and makes every
// later call return ErrClosed. It returns the error that the Committer was
// poisoned with, if any.
func (c *Committer) Close() error {
	err := c.Rotate(func(Mark) error {
		c.poison(ErrClosed)
		return nil
	})
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.writing || c.syncing { // after a failure there may be one
		if c.writing {
			c.wrote.Wait()
		} else {
			c.synced.Wait()
		}
	}
	c.open, c.spare = nil, nil
	return err
}

func (c *Committer) poison(err error) {
	if c.err == nil {
		c.err = err
		c.failed.Store(&err)
		if c.opts.Failed != nil {
			c.opts.Failed(err)
		}
	}
	c.wrote.Broadcast()
	c.synced.Broadcast()
}

// lead writes what was appended and syncs. The lock is held at both ends.
func (c *Committer) lead() {
	c.syncing = true
	c.gather()
	c.next++
	for c.writing {
		c.wrote.Wait()
	}
	c.next--
	c.group = c.frames
	if len(c.open) > 0 && c.err == nil {
		c.write()
	}
	target := c.written
	if c.err == nil {
		c.mu.Unlock()
		err := c.sink.Sync()
		c.mu.Lock()
		if err != nil {
			c.poison(err)
		} else if c.err == nil {
			c.durable = target
			if c.opts.Synced != nil {
				c.opts.Synced(target)
			}
		}
	}
	c.syncing = false
	c.synced.Broadcast()
}

// gather lets goroutines run that the last sync has woken, as long as they
// add frames and there are fewer than last time: else the first of them would
// lead a group of one, and all others would wait two syncs.
func (c *Committer) gather() {
	for c.frames < c.group && c.err == nil {
		before := c.frames
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
		if c.frames == before {
			return
		}
	}
}

// write finishes the open buffer and writes it. The lock is held at both ends.
func (c *Committer) write() {
	if c.opts.Seal != nil {
		at := c.written.Pos
		c.open = c.opts.Seal(c.open, at, c.durable)
		c.appended.Pos = at + int64(len(c.open))
	}
	c.put(nil)
}

// put takes the open buffer and writes it and then tail. The lock is held at
// both ends.
func (c *Committer) put(tail []byte) {
	c.writing = true
	at, buf, target := c.written.Pos, c.open, c.appended
	c.open, c.spare, c.frames = c.spare[:0], nil, 0
	c.mu.Unlock()
	err := c.sink.Write(buf, at)
	if err == nil && len(tail) > 0 {
		err = c.sink.Write(tail, at+int64(len(buf)))
	}
	c.mu.Lock()
	c.writing = false
	if cap(buf) <= 4*c.opts.Limit { // one that a giant frame has stretched goes
		c.spare = buf[:0]
	}
	if err != nil {
		c.poison(err)
	} else if c.err == nil {
		c.written = target
		if c.opts.Written != nil {
			c.opts.Written(target)
		}
	}
	c.wrote.Broadcast()
}
