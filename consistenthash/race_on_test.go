//go:build race

package consistenthash

const race = true
