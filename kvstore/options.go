package kvstore

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// Limits of what a store takes.
const (
	MaxKeyBytes   = 32 << 10
	MaxValueBytes = 256 << 20
	MaxBatchBytes = 1 << 30 // of the records of a batch
)

// A Durability says what a write survives once it is acknowledged.
type Durability uint8

const (
	// Default is the durability in the options of the store.
	Default Durability = iota

	// Synced writes are on the disk: they survive a power loss, as far as the
	// disk keeps what it has confirmed. Writers that wait at the same time share
	// one sync.
	Synced

	// Written writes are with the operating system: they survive the end of the
	// process, however it ends, and not a power loss.
	Written

	// Buffered writes are in the memory of the process. They are written after
	// Options.FlushAfter at the latest, or when a quarter of a mebibyte has
	// gathered, and by Sync and Close. Until then they survive nothing. Their
	// space on the disk is reserved, so a full disk does not lose them.
	Buffered
)

// String returns the name of the constant.
func (d Durability) String() string {
	switch d {
	case Default:
		return "Default"
	case Synced:
		return "Synced"
	case Written:
		return "Written"
	case Buffered:
		return "Buffered"
	}
	return fmt.Sprintf("Durability(%d)", uint8(d))
}

// WriteOptions are the settings of one write; nil means the defaults.
type WriteOptions struct {
	// Durability is what the write waits for.
	Durability Durability

	// TTL is how long the key lives, in milliseconds rounded up; zero means
	// forever, and less makes a key that nobody sees. In [Store.Apply] it is for
	// the puts of the batch that have none of their own.
	TTL time.Duration

	// Expires is when the key ends, if it is not zero; it comes before TTL. A
	// time in the past makes a key that nobody sees.
	Expires time.Time
}

// Options are the settings of a store; nil and zero fields mean the defaults.
type Options struct {
	// SegmentBytes is the size of a segment at which the next is begun; the
	// default is 64 MiB, the range 4 KiB to 2 GiB. Small stores use smaller ones:
	// an eighth of their live data, but no less than 2 MiB.
	SegmentBytes int64

	// Durability is that of writes which do not say; the default is Synced.
	Durability Durability

	// FlushAfter is how long a Buffered write may stay in memory; the default
	// is 100 milliseconds.
	FlushAfter time.Duration

	// Codec compresses what merges write; the default is none. Segments that
	// are full are then merged at once. Blocks say which codec they have, so
	// that it may change from one Open to the next.
	Codec Codec

	// Codecs are further ones that blocks on disk may have. LZ4 is known.
	Codecs []Codec

	// RawBytes is the size of a value from which on it is stored alone and not
	// compressed; the default is 16 KiB, at most 256 KiB. Smaller ones are gathered
	// in blocks of 8 KiB or little more.
	RawBytes int

	// CacheBytes is the size of a cache for blocks and, where there are no
	// mappings, records; the default is none. With a codec it saves decompression.
	CacheBytes int64

	// DirectoryKeys is the number of keys above which the directory in memory
	// is emptied of those in full segments, which are then found by searching
	// their indexes on disk; the default is no limit. See the package comment.
	DirectoryKeys int

	// ManualMerge leaves merging to [Store.Merge]; the default is that the
	// store merges as it finds fit.
	ManualMerge bool

	// MergeRate bounds what background merging reads and writes, in bytes per
	// second; the default is no bound. It is ignored while writers wait for space.
	MergeRate int64

	// NoMap makes the store read files where it would map them into memory. Then
	// a sector that the disk cannot read is an error of the call. So it is with a
	// mapping, and with one whose file somebody has truncated, in reads, iterations,
	// Verify and merges, and a write that looks into such a hint goes on; elsewhere,
	// as in Open, it ends the process with SIGBUS.
	NoMap bool

	// Now is the time that expiry is judged by; the default is time.Now. It is
	// called by several goroutines.
	Now func() time.Time

	// Logger hears of recovery and of failures in the background; nil discards.
	Logger *slog.Logger

	// FS replaces the directory in tests of this module; nil is the disk.
	FS vfs.FS
}

const (
	defaultSegment = 64 << 20
	minSegment     = 4 << 10
	maxSegment     = 2 << 30
	startSegment   = 2 << 20
	bufferLimit    = 256 << 10
)

// withDefaults returns the options with every field set, or what is wrong.
func (o *Options) withDefaults() (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.SegmentBytes == 0 {
		opts.SegmentBytes = defaultSegment
	}
	if opts.SegmentBytes < minSegment || opts.SegmentBytes > maxSegment {
		return opts, fmt.Errorf("kvstore: SegmentBytes of %d is not from %d to %d", opts.SegmentBytes, minSegment, int64(maxSegment))
	}
	if opts.Durability == Default {
		opts.Durability = Synced
	}
	if opts.Durability > Buffered {
		return opts, fmt.Errorf("kvstore: unknown %v", opts.Durability)
	}
	if opts.FlushAfter == 0 {
		opts.FlushAfter = 100 * time.Millisecond
	}
	if opts.RawBytes == 0 {
		opts.RawBytes = 16 << 10
	}
	if opts.FlushAfter < 0 || opts.RawBytes < 0 || opts.CacheBytes < 0 || opts.DirectoryKeys < 0 || opts.MergeRate < 0 {
		return opts, fmt.Errorf("kvstore: negative FlushAfter, RawBytes, CacheBytes, DirectoryKeys or MergeRate")
	}
	if opts.RawBytes > maxBlock {
		return opts, fmt.Errorf("kvstore: RawBytes of %d is above %d", opts.RawBytes, maxBlock)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return opts, nil
}
