//go:build !unix

package harness

import "time"

var started = time.Now()

// cpuTime returns elapsed time, where processor time is not to be had.
func cpuTime() time.Duration { return time.Since(started) }
