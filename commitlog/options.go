package commitlog

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A SyncPolicy says when an append is acknowledged and what survives what.
//
//	policy        Append returns when            a killed process loses    a power loss loses
//	SyncEach      its records are synced         nothing acknowledged      nothing acknowledged
//	SyncInterval  its records have their place   the last 50 ms (*)        the last Options.SyncInterval
//	SyncBytes     less than Options.SyncBytes    the last 50 ms (*)        the last Options.SyncBytes
//	              are not synced
//	SyncNever     its records have their place   the last 50 ms (*)        what was not synced by Sync, by
//	                                                                       Close, or as a segment was full
//
// (*) Records that have their place are in a buffer of the process, for which
// space on the disk is reserved. It is written when it is full, when somebody
// reads or waits for what is in it, and after 50 ms. With Options.WriteThrough it is
// written before Append returns, and a killed process loses nothing.
//
// Whatever the policy, Log.Sync returns when all that was appended before is
// synced. What survives is always a prefix of what was appended.
type SyncPolicy int

// The policies.
const (
	SyncEach SyncPolicy = iota
	SyncInterval
	SyncBytes
	SyncNever
)

// writeDelay is how long an acknowledged record may be in memory only.
const writeDelay = 50 * time.Millisecond

// Options are the settings of a log. Nil and zero fields mean the defaults.
// Options are safe for concurrent use as long as nobody changes them.
type Options struct {
	// SegmentBytes is the size of a segment's file; the default is 64 MiB, the
	// least 8 KiB. A batch that does not fit gets a larger segment for itself.
	SegmentBytes int64

	// SegmentAge is the age at which Retain begins a new segment, so that
	// retention and compaction get at the records; 0 means never.
	SegmentAge time.Duration

	// IndexBytes is the distance of the entries of the sparse index, and up to
	// this size records of separate appends that wait for the same write share
	// a batch. The default is 4 KiB, the most 1 GiB.
	IndexBytes int

	// Sync says when an append is acknowledged; the default is SyncEach.
	Sync SyncPolicy

	// SyncInterval is for the policy of that name; the default is one second.
	SyncInterval time.Duration

	// SyncBytes is for the policy of that name; the default is 1 MiB.
	SyncBytes int64

	// WriteThrough makes an append that does not wait for a sync at least wait
	// until the operating system has its records.
	WriteThrough bool

	// BufferBytes is the size at which the buffer is written and appends wait
	// for it; there are two. The default is 256 KiB. A batch of AppendBatch or
	// AppendReplica that is not smaller is written at once, without a copy.
	BufferBytes int

	// Codec compresses the records of each Append; nil does not. Batches are
	// then not shared between appends.
	Codec Codec

	// Codecs decompress batches that others have made, for Reader, Compact
	// and TruncateFrom. Codec and Gzip need not be given.
	Codecs []Codec

	// MaxBatchBytes is the size that a batch of Append and AppendBatch may
	// have; the default is 4 MiB, the most 1 GiB. Append counts 20 bytes for
	// each record besides its key, value and headers, most often too many.
	MaxBatchBytes int

	// MaxDecompressed is the size that the records of a batch may have when
	// they are decompressed; the default is 64 MiB.
	MaxDecompressed int

	// RetainAge and RetainBytes say when whole segments at the beginning are
	// deleted: when their last record is older, or compaction has left none, and as
	// long as the rest of the log is that large without them. 0 keeps them. They are applied when a
	// segment is full and by Retain.
	RetainAge   time.Duration
	RetainBytes int64

	// RetainFrom says from which offset on RetainAge and RetainBytes keep
	// everything, as a leader does with what its followers may not have yet; nil
	// means nothing. It is called with no lock held, by all that changes what
	// segments there are, and so by whoever appends, truncates or closes.
	RetainFrom func() int64

	// TombstoneGrace is how long a tombstone is kept after the compaction that
	// has met it first, so that readers see it, and how long the last batch of a
	// producer once it is empty, see Compact; the default is 24 hours.
	TombstoneGrace time.Duration

	// CompactKeys is the number of different keys and producers that Compact holds
	// in memory at a time, 40 bytes each; the default is one million. If there are
	// more, it goes over the log several times.
	CompactKeys int

	// Now is the clock for timestamps, ages and horizons; the default is
	// time.Now. It is called with no lock held.
	Now func() time.Time

	// Logger hears of recoveries, removals and failures in the background; nil
	// discards. It is called with no lock held and may call the log, but not
	// Close, which may wait for it.
	Logger *slog.Logger

	// FS replaces the directory in tests of this module.
	FS vfs.FS
}

// withDefaults returns a copy with all fields set.
func (o *Options) withDefaults() (Options, error) {
	var s Options
	if o != nil {
		s = *o
	}
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"SegmentBytes", s.SegmentBytes}, {"SegmentAge", int64(s.SegmentAge)}, {"IndexBytes", int64(s.IndexBytes)},
		{"SyncInterval", int64(s.SyncInterval)}, {"SyncBytes", s.SyncBytes}, {"BufferBytes", int64(s.BufferBytes)},
		{"MaxBatchBytes", int64(s.MaxBatchBytes)}, {"MaxDecompressed", int64(s.MaxDecompressed)},
		{"RetainAge", int64(s.RetainAge)}, {"RetainBytes", s.RetainBytes},
		{"TombstoneGrace", int64(s.TombstoneGrace)}, {"CompactKeys", int64(s.CompactKeys)},
	} {
		if n.value < 0 {
			return s, fmt.Errorf("commitlog: Options.%s is negative: %d", n.name, n.value)
		}
	}
	if s.Sync < SyncEach || s.Sync > SyncNever {
		return s, fmt.Errorf("commitlog: Options.Sync is no policy: %d", s.Sync)
	}
	if s.MaxBatchBytes > 1<<30 {
		return s, fmt.Errorf("commitlog: Options.MaxBatchBytes is more than 1 GiB: %d", s.MaxBatchBytes)
	}
	if s.IndexBytes > 1<<30 {
		return s, fmt.Errorf("commitlog: Options.IndexBytes is more than 1 GiB: %d", s.IndexBytes)
	}
	s.SegmentBytes = max(orDefault(s.SegmentBytes, 64<<20), 2*headerSize)
	s.IndexBytes = orDefault(s.IndexBytes, 4<<10)
	s.SyncInterval = orDefault(s.SyncInterval, time.Second)
	s.SyncBytes = orDefault(s.SyncBytes, 1<<20)
	s.BufferBytes = orDefault(s.BufferBytes, 256<<10)
	s.MaxBatchBytes = orDefault(s.MaxBatchBytes, 4<<20)
	s.MaxDecompressed = orDefault(s.MaxDecompressed, defaultDecompressed)
	s.TombstoneGrace = orDefault(s.TombstoneGrace, 24*time.Hour)
	s.CompactKeys = orDefault(s.CompactKeys, 1<<20)
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

func orDefault[T int | int64 | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}
