// Package vfs is the disk as the packages that keep files see it: one directory of
// files that are read and written at offsets, with exactly the calls whose
// durability can be stated. [Dir] is the disk; [Mem] is a file system in
// memory for tests, which knows what a crash would leave.
//
// It is for this module. A program that reads or writes whole files wants
// package os.
//
// # Model
//
//	           WriteAt, Truncate, Allocate          Sync
//	bytes      ────────────► written ──────────────────────► durable
//
//	           OpenFile, Rename, Remove, RemoveAll  SyncDir
//	names      ────────────► visible ──────────────────────► durable
//
// A killed process loses nothing that was written. A power loss loses some of what is not
// durable, not necessarily what came last: of two writes either may survive,
// and of one write the sectors that it consists of. Bytes and names are apart: a
// synced file without a synced name is lost, and so is the content under a
// synced name that was not.
//
// What a process finds when it opens its files may have been written by one that was
// killed before it came to the sync. Whoever builds on what was found there
// syncs it first.
//
// # Guarantees
//
//  1. Sync returns nil only if all bytes written to the file before the call, and its
//     size, are durable; SyncDir, if all changes of names in the directory are.
//  2. After a Sync that failed, nothing is known of what was not durable before, and
//     a later Sync that succeeds does not tell. Neither implementation tries again.
//  3. A rename is one step, also in a crash: there is the old file or the new one.
//  4. Dir and Sub make the directory that they open durable.
//  5. No name leads out of the directory, nor does a symbolic link.
//  6. A lock excludes other processes and other handles in this one, and ends
//     with the process.
//
// On the disk, 1 is as true as what the disk says to fdatasync (Linux) or fsync.
// On Windows directories have no sync, and SyncDir relies on the journal of
// the file system. Where there are neither flock nor LockFileEx (Solaris, AIX,
// Plan 9, WebAssembly), 6 holds within a process only.
//
// # Crashes
//
// Mem keeps each file twice, as written and as synced, in pages of 4 KiB that
// both share while they are equal, and for each directory its synced names and the
// changes since. [Mem.Crash] draws a file system that a power loss may leave,
// as [Mem.Kill] gives the one that a killed process leaves, both while the
// original goes on. A [Hook] before each call is the place to take them, or to
// let the call fail; package crashtest does so at all of them.
//
// Crash is harsher than the file systems in use: it drops any subset of the changes
// in a directory, where journals keep their order. In two ways it is milder: a
// sector is never torn, and durable bytes do not rot; crashtest.Damages
// is for the latter.
//
// # Complexity and memory
//
// Calls on Dir are the system's. Mem reads and writes in time linear in
// the bytes; Sync and Crash take time linear in the pages of the file; SyncDir in the
// entries of the directory. A Mem holds what was written, rounded up to pages,
// again what of it differs from what was synced, and a copy for each mapping; space that was
// only allocated costs 24 bytes a page.
//
// # Source
//
// That a file system in tests should keep synced and unsynced state apart, and
// clone itself as a crash would, is the idea of MemFS in Pebble, which in turn follows
// LevelDB's fault injection; what Linux leaves of pages that could
// not be written is described by Rebello et al., "Can Applications Recover from fsync
// Failures?", USENIX ATC 2020.
package vfs
