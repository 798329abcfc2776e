//go:build race

package movingavg

const raceEnabled = true
