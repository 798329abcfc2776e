// Command storage measures the packages of ashlar that keep data on disk, and
// their peers. It is run by the command benchmarks, with the same flags:
//
//	go run ./benchmarks kvstore commitlog
//
// # Processes
//
// Every implementation does its work in processes of its own, one after the
// other within a round and in another order in the next: memory, goroutines left
// behind, descriptors and page faults are then its own. A process gets
// the phases that it shall go through, one after the other on the same
// directory, and prints what each of them took. Times are elapsed times on a
// machine that should have nothing else to do; where a row says CPU, they are processor
// time, with what the implementation goes on to do in the background when the
// phase is over.
//
// The directories are below TMPDIR. It should be on a disk: in memory, a sync
// takes no time. All is read from the page cache. With ASHLAR_PROFILE set to a
// directory, every process leaves profiles of its phases there.
package main

import (
	"github.com/ashlar-go/ashlar/benchmarks/internal/command"
)

func main() {
	if !work() {
		command.Main()
	}
}
