// Package kvstore is an embedded, ordered key-value store on disk, made for
// many small reads and writes of single keys: a log with a directory of all keys
// in memory.
//
// # When to use it
//
// Use it where the keys fit into memory, values are read and written one at a
// time or in batches, and it must be clear what survives a crash: metadata,
// sessions, queues, indexes, the state of a node. A put costs a copy into a
// buffer, a get one look at the disk's cache.
//
// Use a B+tree (bbolt) where most of the work is reading long ranges, or where a
// store must be open in a millisecond: its values lie in the order of the keys, here
// only what merges have written does. Use an LSM tree (pebble) where there are far
// more keys than memory, or where ranges are deleted at once.
//
// # Model
//
//	Put ─► log  ┌─────────┐┌─────────┐┌────────┄┄┐   segments, in the order of writing,
//	            │ a c b a ││ d c e x ││ b f a    │   full ones mapped into memory
//	            └─────────┘└─────────┘└────────┄┄┘
//	                  │         ▲           ▲
//	                  │ merge   │           │
//	                  ▼         │           │
//	     tables ┌─────────┐   ┌─┴───────────┴──────────┐
//	            │ a b c d │◄──┤ directory: key ─► place │◄─ Get, Scan
//	            └─────────┘   └────────────────────────┘
//
// A write is appended to the log, in a buffer that many writers share, and the
// directory then points to its record. A full segment is synced and gets a hint
// file: its keys in order and where their records are, so that Open reads hints in
// place of segments. When enough of the records are dead, a goroutine merges
// segments: it copies what is live to a table, in the order of the keys,
// compressed if Options.Codec says so, and removes them. It runs while there is
// something to do.
//
// # Guarantees
//
//  1. A write waits for what its [Durability] says: Synced survives a power
//     loss, Written the end of the process, Buffered neither, until it is written a
//     moment later. No write is acknowledged as Synced before the bytes, and
//     the entry of their file in the directory, are synced.
//  2. After a crash the store has a prefix of the writes in their order: every
//     durable one, and of the others none that comes after one that is missing. A
//     batch is there as a whole or not at all.
//  3. Every read verifies a checksum. What is not what was written is a
//     [*CorruptError] that says where, never a wrong value and never a key that
//     is silently gone. A record that was cut off by a crash is dropped; damage
//     below what is known to have been durable makes Open fail, and [Repair] says
//     what it gave up.
//  4. A write can be read as soon as it is acknowledged, by Buffered
//     ones too; by others it may be seen a moment before. Readers see a batch as a
//     whole. An iteration and a [Snapshot] show one moment.
//  5. Reads never wait for other reads, for merges or for the disk's syncs; nor
//     do writes wait for reads.
//  6. Beside live records and the hints of segments the disk holds at most a third as
//     much again, or 8 MiB, and the segments that are being written, without anybody
//     asking for it: writers wait for merges if need be. What has expired counts as
//     live until a merge has seen it; what only a snapshot needs comes on top.
//  7. A failed write or sync of the log ends all writing, until the store is
//     opened again. A full disk does not: such a write fails with [ErrFull], and
//     deletes, which find space in reserve, and merges give some back.
//  8. A merge can be interrupted at every step, by anything, without loss.
//  9. One process has a directory open at a time; there is no goroutine, and no
//     timer, when there is nothing to do; Close waits for all.
//
// What has expired is not seen from that moment on, and is given back when
// segments are merged.
//
// # Complexity
//
// Put, Get and Delete take the time of the logarithm of the number of keys, in
// memory, and one access to the disk. A batch of n takes n times that. A snapshot
// takes constant time, after which a write that is the first to change a leaf of the
// directory copies it (1.5 KiB). Open reads all hints.
//
// A key takes 24 bytes of the directory and what of it, after the first bytes that it
// shares with its neighbours and 8 more, is left; leaves are filled to two thirds by
// keys in random order: about 40 bytes and the key, of which what is beyond 16
// bytes may take a third more. Mapped segments are the page cache's memory. With Options.DirectoryKeys the directory is emptied of the keys in
// full segments when it has more than that: these keys take a filter of 10 bits each and
// one in two hundred of them, in memory that is mapped or not, and a get that does not find
// its key in the directory looks into the hints of these segments, the filters first.
// On disk a record takes 7 to 13 bytes besides key and value, 8 more if it
// expires, and 8 more once it is in a table; its hint takes about 10 and a part of the
// key.
//
// # Sources
//
// The structure is that of Bitcask (Sheehy and Smith, "A Log-Structured Hash
// Table for Fast Key/Value Data", 2010), with an ordered directory, tables, and a
// manifest; merging by the part that is dead follows Rosenblum and Ousterhout, "The
// Design and Implementation of a Log-Structured File System" (1992). That the log
// says how far it was durable, so that damage is told from a torn end, is taken from
// pebble's log and carried through to the byte. Leaves compare 8 bytes of each key as
// a number, as in Graefe and Larson, "B-Tree Indexes and CPU Caches" (2001).
package kvstore
