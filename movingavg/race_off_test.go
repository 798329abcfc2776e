//go:build !race

package movingavg

const raceEnabled = false
