// Package tail follows files that other programs write, as logs are, through
// everything that happens to them, and loses no line that is on the disk when
// it looks.
//
// # What it is for
//
// A Tailer finds the files of some patterns while it runs, cuts them into
// events (lines, or lines joined to a stack trace), gives batches of these to
// a sink, and remembers how far the sink has taken them. It is the collecting
// half of an agent; where the events go is the sink's business. Programs that
// can log to a socket or an API need no tailer.
//
// # Model
//
// The names that a log has in its life are a family: the base name, which a
// pattern matches, and the names that rotation makes of it, app.log.1,
// app.log-20261128, app-2026-11-28.log, each also with .gz, .zst or .bz2.
// A file is known by device and inode as long as its content agrees: a mark
// is the offset up to which events were taken, with the hashes of the first
// 1024 and the last 256 bytes before it, or fewer if there are not so many.
//
//	          rename             copytruncate              create, compress
//	app.log   A ──► app.log.1    A ──copy──► C app.log.1    B app.log  Z app.log.1.gz
//	          │ same inode:      │ content of A is gone     │ new inode: │ content begins as
//	          │ goes on at the   │ C holds it: C goes on    │ from the   │ a mark says: goes on
//	          │ mark             │ at A's mark, A from 0    │ beginning  │ there, or has been read
//
// Poll does one round: look at the files that are open, list the directories,
// decide what new names are, read. Run polls at an interval and, where the
// system tells of changes, at once.
//
// # Guarantees
//
//  1. An event is given to the sink at least once, if it is in a file of the
//     family at the time of a round. An event is marked as taken only after the
//     sink has returned nil for its batch. After a restart with the last State
//     of before nothing is lost, and what the sink took after that State was
//     saved comes again.
//  2. Rename, with or without late writes to the old name: the descriptor is
//     read to its end, until nothing has come for the grace period, and again
//     whenever the file grows. Removal: the same, the descriptor being open.
//  3. Copytruncate: a file that has shrunk, or whose bytes before the mark have
//     changed, was truncated. What was read before is kept; what was not is
//     read from the copy. What a program writes after the copy was made and
//     before the truncation is in no file at any later time, and no tailer can
//     get it unless it reads in between.
//  4. Several rotations between two rounds lose nothing, as long as the rotated
//     files are there.
//  5. A rotated file that was compressed is not read again, but what was not
//     read of it before is.
//  6. An inode that is used again for another file begins at 0.
//  7. A line is not given away before its line break, until nothing has come
//     for the partial timeout. A line longer than MaxLine comes in pieces.
//  8. If the sink is full, nothing is read, and rounds go on: files that are
//     rotated or removed meanwhile are kept open.
//
// What cannot be told apart by content is taken for the same: a truncated file
// that grows again past the mark with the same 256 bytes in front of it.
//
// # Cost
//
// A round takes a directory listing for each directory, a stat for each file of
// a family, and for each file that has grown two small reads beside its bytes.
// Memory is bounded by MaxFiles times what a file holds between rounds, which
// is an event that is not yet complete, and by one batch.
package tail
