//go:build !race

package hitcounter

const raceEnabled = false
