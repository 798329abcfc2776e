// Package trace reads and generates access traces, the sequences of keys that
// caches are judged by, and knows what no cache can do better on them.
//
// # Formats
//
// A trace is text, one access a line, plain or compressed by gzip:
//
//	keys   one key a line: a decimal number, or any text, which is hashed
//	sizes  key and size in bytes, separated by spaces, a tab or a comma
//	arc    start, count and two ignored numbers: the traces of the ARC paper,
//	       each line standing for count consecutive blocks from start
//	lirs   one block number a line, where lines with * are marks: the traces
//	       of the LIRS paper
//	csv    columns separated by commas, semicolons, tabs or spaces, with or
//	       without a line of names, of which one is the key and perhaps one
//	       the size
//
// [Read] tells them apart by their first lines, or is told.
//
// # Bounds
//
// [Optimum] counts the hits of Belady's algorithm, which knows the future:
// no cache of that many entries has more. [Bound] is as much as can be said
// cheaply where entries have sizes, since the exact optimum is NP-hard then.
// [LRUHits] counts the hits of an LRU of every capacity in one pass.
package trace
