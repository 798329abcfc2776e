// Package cache holds what every cache of ashlar shares.
package cache
