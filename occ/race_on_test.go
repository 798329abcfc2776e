//go:build race

package occ_test

const raceEnabled = true
