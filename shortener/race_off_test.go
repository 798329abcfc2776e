//go:build !race

package shortener

const raceEnabled = false
