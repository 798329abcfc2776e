package kvstore

import "sync/atomic"

// counters are what Stats adds up.
type counters struct {
	hits, misses, writes, logBytes, merges, mergedBytes, waits atomic.Int64
	cacheHits, cacheMisses, rawBytes, packedBytes              atomic.Int64
}

// Stats says how a store is and what it has done. A Stats is a value and so safe
// for concurrent use by multiple goroutines.
type Stats struct {
	// How it is.
	Keys      int64 // with those that have expired and were not yet merged away
	Segments  int64 // files of records, with those that only snapshots need
	LiveBytes int64 // of records that a key has
	DeadBytes int64 // of other records
	HintBytes int64
	HintOnly  int64 // segments whose keys are not in memory; see Options.DirectoryKeys

	// What it has done since it was opened.
	Hits        int64 // of Get and AppendGet
	Misses      int64
	Writes      int64 // records
	LogBytes    int64 // written to the log
	Merges      int64
	MergedBytes int64 // of segments that were merged away
	Waits       int64 // writes that had to wait for a merge
	CacheHits   int64 // blocks, and records where nothing is mapped, that were in the cache
	CacheMisses int64 // those that had to be decompressed or read
	RawBytes    int64 // of records that merges have put into blocks
	PackedBytes int64 // of these blocks
}

// Sub returns what was done since an earlier Stats, and how it is now.
func (s Stats) Sub(earlier Stats) Stats {
	s.Hits -= earlier.Hits
	s.Misses -= earlier.Misses
	s.Writes -= earlier.Writes
	s.LogBytes -= earlier.LogBytes
	s.Merges -= earlier.Merges
	s.MergedBytes -= earlier.MergedBytes
	s.Waits -= earlier.Waits
	s.CacheHits -= earlier.CacheHits
	s.CacheMisses -= earlier.CacheMisses
	s.RawBytes -= earlier.RawBytes
	s.PackedBytes -= earlier.PackedBytes
	return s
}

// Stats returns the present numbers. They may be of slightly different moments.
func (s *Store) Stats() Stats {
	c := &s.counters
	stats := Stats{
		Keys:        s.keys.Load(),
		LiveBytes:   s.liveBytes.Load(),
		Hits:        c.hits.Load(),
		Misses:      c.misses.Load(),
		Writes:      c.writes.Load(),
		LogBytes:    c.logBytes.Load(),
		Merges:      c.merges.Load(),
		MergedBytes: c.mergedBytes.Load(),
		Waits:       c.waits.Load(),
		CacheHits:   c.cacheHits.Load(),
		CacheMisses: c.cacheMisses.Load(),
		RawBytes:    c.rawBytes.Load(),
		PackedBytes: c.packedBytes.Load(),
	}
	stats.DeadBytes = max(s.used.Load()-stats.LiveBytes, 0)
	for _, g := range *s.slots.Load() {
		if g == nil {
			continue
		}
		stats.Segments++
		stats.HintBytes += g.hintBytes.Load()
		if g.cold.Load() {
			stats.HintOnly++
		}
	}
	return stats
}
