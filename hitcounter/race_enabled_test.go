//go:build race

package hitcounter

// With the race detector, pools lose what they are given at random.
const raceEnabled = true
