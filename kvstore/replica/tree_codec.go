package replica

import "encoding/binary"

// The formats of what replicas say when they compare trees, with the words of
// those of objects:
//
//	probe    0x06 | level 1 | n | n numbers of nodes, each the distance from the one before
//	sums     0x07 | n | n sums of 8 bytes
//	leaves   0x08 | n | n numbers, each the distance from the one before
//	entries  0x09 | n | n times: key | digest 8
const (
	formatProbe   = 0x06
	formatSums    = 0x07
	formatLeaves  = 0x08
	formatEntries = 0x09
)

// AppendProbe appends the encoding of a probe, whose nodes are ascending, to
// dst.
func AppendProbe(dst []byte, p Probe) []byte {
	return appendAscending(append(dst, formatProbe, byte(p.Level)), p.Nodes)
}

// DecodeProbe decodes a probe that takes all of src. What AppendProbe does not
// make is a CorruptError.
func DecodeProbe(src []byte) (Probe, error) {
	d := decoder{what: "probe", src: src}
	d.tag(formatProbe)
	p := Probe{Level: int(d.byte())}
	p.Nodes = d.ascending()
	return p, d.end()
}

// AppendSums appends the encoding of sums to dst.
func AppendSums(dst []byte, s Sums) []byte {
	dst = binary.AppendUvarint(append(dst, formatSums), uint64(len(s)))
	for _, sum := range s {
		dst = binary.LittleEndian.AppendUint64(dst, sum)
	}
	return dst
}

// DecodeSums decodes sums that take all of src. What AppendSums does not make
// is a CorruptError.
func DecodeSums(src []byte) (Sums, error) {
	d := decoder{what: "sums", src: src}
	d.tag(formatSums)
	s := make(Sums, d.length(8))
	for i := range s {
		s[i] = d.uint64()
	}
	return s, d.end()
}

// AppendLeaves appends the encoding of numbers of leaves, which are ascending,
// to dst.
func AppendLeaves(dst []byte, leaves []uint32) []byte {
	return appendAscending(append(dst, formatLeaves), leaves)
}

// DecodeLeaves decodes the numbers of leaves at the beginning of src and
// returns the number of bytes they take. What AppendLeaves does not make is a
// CorruptError.
func DecodeLeaves(src []byte) (leaves []uint32, n int, err error) {
	d := decoder{what: "leaves", src: src}
	d.tag(formatLeaves)
	leaves = d.ascending()
	return leaves, d.at, d.err
}

// AppendEntries appends the encoding of entries to dst.
func AppendEntries(dst []byte, entries []Entry) []byte {
	dst = binary.AppendUvarint(append(dst, formatEntries), uint64(len(entries)))
	for _, e := range entries {
		dst = binary.LittleEndian.AppendUint64(appendBytes(dst, e.Key), e.Digest)
	}
	return dst
}

// DecodeEntries decodes entries that take all of src, and to which src belongs
// from then on. What AppendEntries does not make is a CorruptError.
func DecodeEntries(src []byte) ([]Entry, error) {
	d := decoder{what: "entries", src: src}
	d.tag(formatEntries)
	entries := make([]Entry, d.length(9))
	for i := range entries {
		entries[i] = Entry{Key: d.bytes(), Digest: d.uint64()}
		if d.err != nil {
			return nil, d.err
		}
	}
	return entries, d.end()
}

// appendAscending appends numbers that are ascending.
func appendAscending(dst []byte, numbers []uint32) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(numbers)))
	next := uint32(0) // the least that may follow
	for _, n := range numbers {
		dst = binary.AppendUvarint(dst, uint64(n-next))
		next = n + 1
	}
	return dst
}

// ascending reads what appendAscending writes.
func (d *decoder) ascending() []uint32 {
	numbers := make([]uint32, d.length(1))
	next := uint64(0)
	for i := range numbers {
		n := next + d.uvarint()
		if n > 1<<32-1 {
			d.fail("number too large")
		}
		if d.err != nil {
			return nil
		}
		numbers[i], next = uint32(n), n+1
	}
	return numbers
}
