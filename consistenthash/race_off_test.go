//go:build !race

package consistenthash

const race = false
