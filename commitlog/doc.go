// Package commitlog is an append-only log of records on disk: the storage of
// a message broker, of a queue, of the hints and changes that another process
// will pick up later.
//
// Records have a key, a value, headers and a timestamp, and get consecutive
// offsets. They are stored in batches that are, byte for byte, record batches
// of Kafka's format v2, so that a broker can take them from clients, store
// them, and serve them without decoding them. A [Topic] is several logs.
//
// Use something else if you need to find records by key (package kvstore), to
// change them, or to have several processes write one log.
//
// # Model
//
//	Append ──► buffer ──► segment that is written ──► sealed segments ──► gone
//	             │  group commit   │  full, or old           │ retention
//	             ▼                 ▼                         ▼ compaction
//	        acknowledged     index behind it            fewer records
//
//	offset   0          41         87              End
//	         ┌──────────┬──────────┬───────────────┐
//	         │ 00…0.log │ 00…41.log│ 00…87.log     │ ─► Append
//	         └──────────┴──────────┴───────────────┘
//	         Start                        Durable
//
// Goroutines that append at the same time share writes and syncs: the first
// that finds nobody at work writes what has gathered and syncs once for all.
// [SyncPolicy] says when an append is acknowledged and what that means.
//
// # Guarantees
//
//  1. No append is acknowledged before what its policy promises: with SyncEach
//     its bytes, and the entry of its file in the directory, are synced.
//  2. After a crash the log is a prefix of what was appended, and all that was
//     acknowledged as synced is in it, in order, with the same offsets. Records
//     of one Append are there together or not at all.
//  3. Every read verifies checksums over every byte that it returns. What was
//     damaged is an error that says where ([CorruptError]), never a wrong record.
//  4. A torn tail is cut off on Open. Damage to what was durable is not taken
//     for a torn tail: Open returns a [CorruptError], and [Repair] takes the
//     damage out and reports it.
//  5. The first write or sync that fails ends all writing ([ErrPoisoned]). The
//     log can be read on, closed, and opened again. A disk that is full is an
//     error before anything is written ([ErrFull]), and no end.
//  6. TruncateFrom, DeleteBefore, retention and compaction happen in one step,
//     or, if there is a crash, on the next Open.
//  7. Readers with ReaderOptions.Durable see a record only when it is synced,
//     and all readers see a prefix.
//  8. Sizes that come from outside are checked before memory is reserved.
//
// They hold if the disk does what raft-wal calls powersafe overwrite: a write
// that is interrupted changes no byte outside of its range; what is written
// and not synced may be there or not, by sectors of 512 bytes; what is synced
// stays. If the disk breaks the last, 3 and 4 still hold.
//
// # Format
//
// The file of a segment, named by its base offset in 20 digits:
//
//	byte    0  header        magic 8 │ checksum 4 │ version 4 │ base offset 8 │ salt 8 │ created 8
//	      512  checkpoint A  checksum 4 │ version 4 │ base 8 │ salt 8 │ created 8 │
//	     1024  checkpoint B  │ sequence 8 │ position 8 │ next offset 8 │ latest timestamp 8 │ start 8 │ index size 8
//	     1536  zeros
//	     4096  frames
//	position   index         checksum 4 │ 0 4 │ entries 8 │ { offset 8 │ position 8 │ latest timestamp 8 } …
//
// A frame is a batch or a durable mark, behind a check of its own:
//
//	┌─────────┬─────────────────────────┐  ┌─────────┬──────┬────────────┬──────────┐
//	│ check 4 │ record batch, see Batch │  │ check 4 │ -1 8 │ position 8 │ offset 8 │
//	└─────────┴─────────────────────────┘  └─────────┴──────┴────────────┴──────────┘
//
// The check is the CRC-32C of the salt, the position in the file, and the
// first 21 bytes of the batch, or the 24 of the mark. With the checksum of the
// batch, which covers the bytes from 21 on, every byte is covered; Kafka's
// own leaves out the offset. Salt and position make sure that bytes which were
// a frame elsewhere are not taken for one here.
//
// Each write that follows a sync carries a mark: up to here, where this offset
// comes next, this file was durable before this write began. So whoever finds the mark knows that bad
// bytes before that position are not a torn write. Checkpoints, written into
// two sectors in turn after every MiB that was synced and by Close, say the
// same and where to begin to look. The file is reserved in advance, and
// reads as zeros behind the last frame. Numbers are big-endian.
//
// A file truncate-OFFSET is there while a truncation is under way; files that
// end in .tmp are not finished; .damaged files were set aside by Repair.
//
// # Recovery
//
// Open looks at the headers of all segments and at the bytes of the last one
// behind its checkpoint. It finds one or more of these cases, each of which has
// a test of its number (TestRecoveryCases):
//
//	 0  The last file ends where its checkpoint says. Nothing to do.
//	 1  The directory has no segment. The first is made.
//	 2  There are temporary files of a log. They are removed.
//	 3  There are segments before the start of the log: a removal was
//	    interrupted. They are removed.
//	 4  A sealed segment lies within the one before: a compaction that merges
//	    was interrupted. It is removed.
//	 5  There is a file that says that the log is to be truncated. It is.
//	 6  A segment that is not the last is not sealed. It is read and sealed. If
//	    it ends early, by the rules of 8 and 12, and no mark or checkpoint says
//	    that something of a later one was durable, the later ones are removed.
//	 7  Good frames follow the checkpoint. They are kept, written once more and
//	    synced: the process may have been killed before its sync, or the sync
//	    may have failed, after which the system does not try again by itself.
//	 8  A frame behind all marks is not good, and it is a torn write: nothing
//	    good follows, or a whole sector of it is zero. What is before it is
//	    copied into a new file. Zeros up to the end of the file are reserved
//	    space.
//	 9  A file is shorter than its checkpoint says. CorruptError.
//	10  Neither header nor checkpoints can be read, or they are of another
//	    segment. CorruptError. If only the header or one checkpoint is damaged,
//	    the others replace it.
//	11  A segment is missing: one ends before the next begins, or the last is
//	    sealed, which happens only when there is a next. CorruptError.
//	12  A frame before a mark is not good, or one behind all marks whose sectors
//	    are all there and that good batches follow. CorruptError.
//	13  A header has a later version. ErrVersion.
//
// Sealed segments are not read on Open; damage in them is found by readers and
// by [Log.Verify]. What no log can know: if the last write was acknowledged,
// nothing was written after it, and the process ended without Close, then
// damage to just these bytes, or to all from some byte on, looks like a torn
// write. And a directory that has lost all segments looks like a new one.
//
// # Complexity and memory
//
// Append copies the record once and takes constant time besides; without a Codec
// it allocates nothing. [Log.Scan] reads without allocating for each record. To find an offset or a time takes a binary search over the segments
// and over one index, and a look at up to IndexBytes of the file. Open takes
// constant time per segment and reads at most what was written since the last
// checkpoint. A log has two buffers of BufferBytes, 24 bytes of index for each
// IndexBytes of those segments that were read or written, and an open file for
// each segment. Compact holds 40 bytes for each key and each producer, of CompactKeys at most.
//
// The files are read with ordinary reads and not mapped into memory: so a
// sector that cannot be read is an error and not the end of the process.
//
// # Source
//
// The log of segments and offsets is that of Kreps, Narkhede and Rao, Kafka:
// a Distributed Messaging System for Log Processing (NetDB 2011); the batch is
// documented by the Kafka protocol guide. Compaction with a delete horizon is
// KIP-534. Deviations: frames are batches behind a check of four bytes;
// indexes are behind the frames and not in files of their own; appends that
// wait for the same write share a batch; an append is synced before it is
// acknowledged, where Kafka relies on replicas; sequence numbers are the broker's
// affair, but for the last batch of each producer, which compaction leaves to it.
package commitlog
