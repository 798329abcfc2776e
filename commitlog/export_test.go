package commitlog

import "hash/crc32"

// Checksum is the checksum of headers and checkpoints.
func Checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// Murmur2 is the hash of HashByKey.
var Murmur2 = murmur2

// CheckRecords is how a batch that is not compressed is checked and its latest
// timestamp found.
var CheckRecords = checkRecords
