// Package store keeps log entries in order of arrival, finds them by label,
// time and text, and forgets them when they are old.
//
//	Append ──► commitlog (zstd batches, synced) ──► indexer ──► head: the newest entries, in memory
//	              │ the truth                          │             │ 1 MiB or 8192 entries
//	              │                                    │             ▼
//	              │                                    │        blocks: offsets, times, streams, levels in kvstore,
//	              │                                    │        and a bloom filter of the words in each
//	              ▼                                    ▼
//	           archive (one zstd file a move)       observer.Stream: live tail
//
// # Data model
//
// A record of the log is a packet: some entries of one stream, see package
// entry. Its key is the hash of the stream's labels. A block is a run of
// records. What is known of a block tells in most cases that it need not be
// read: its times, its streams with their levels, and a filter of its words.
// Everything but the log is derived from it: what a crash takes of the index is
// made again.
//
// # Guarantees
//
//  1. When Append has returned nil, the entries are synced and can be found.
//  2. A packet with the sequence number of one that its source has sent before
//     is acknowledged and not stored again; also after a crash, and as long as a
//     packet of the source is kept, and it is among the MaxSources that have
//     sent last. A source that was forgotten and comes back loses nothing.
//  3. Search returns every entry that matches, the newest first, in the order
//     of time, then of arrival; a cursor goes on where a page ended, and neither
//     repeats nor skips what was there when the first page was read.
//  4. A search takes bounded memory: a page, of 16 MiB at most, a block, and 200
//     bytes or so for each block there is. If it is stopped by its budget, what it returns is
//     complete down to the cursor; what is damaged is left out, and up to 4 KiB
//     of the log behind it, and the result says so.
//  5. What is older than the retention and a sixteenth of it, or more than it,
//     is gone after Maintain and never found in part.
//  6. A damaged place in the log ends nothing: the indexer, Follow and searches
//     go on behind it, and Damages says where it is. The archive gets all good
//     entries of a damaged segment, those just behind the damage too.
//
// # Why this index
//
// An inverted index (word to entries) answers a rare word at once, and costs as
// much to write as the entries, or more: most of what is logged is never asked
// for. Labels alone are cheap, and leave a search for a word to read everything
// in the time range. The filters are in between: ten bits for each different
// word of a block, one word in a hundred is read for nothing, and a block whose
// words are not those of the query costs one look into the store. What they
// cannot help with, regular expressions and parts of words, reads all blocks of
// the time and the labels.
package store
