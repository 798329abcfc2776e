//go:build race

package cart

const raceEnabled = true
