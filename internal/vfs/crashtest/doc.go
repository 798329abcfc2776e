// Package crashtest holds a store on disk against what crashes, failing calls
// and damage can do to its files. It knows nothing of the store: a test gives
// it functions that use the store on a [vfs.Mem] and functions that check what
// is found.
//
//	History   one run; at every call that changes files, a power loss and a
//	          killed process, also in the midst of the recovery from one
//	Faults    many runs; in each another call fails, once or from then on, is cut
//	          short, or the disk is full
//	Damages   copies of one file system, in each another byte, sector or length
//	          of a file is wrong
//
// A check states what the store promised: what was acknowledged is there, in
// order and unchanged; what is there beyond that was at least attempted; the
// store takes more. It should do so by opening the store with the same options as
// a program would, and it may go on to write, close and open again: the file
// system it is given is its own.
//
// # Acknowledged, and when
//
// With several goroutines, what counts as acknowledged has to be read before
// the crash, and what counts as attempted after it, or the check is wrong by what happens
// in between. History therefore calls promise, then takes the crash,
// then calls the check that promise returned:
//
//	promise := func() crashtest.Check {
//		acknowledged := model.acknowledged() // before the crash
//		return func(found *vfs.Mem, at crashtest.Point) error {
//			attempted := model.attempted() // after it
//			…
//		}
//	}
//
// Both run within a call of the store, so they must not call it, nor take a lock
// that is held while it is called.
package crashtest
