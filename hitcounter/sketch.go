package hitcounter

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/cespare/xxhash/v2"
)

// A Sketch estimates how many different visitors it was told of, in 2^precision
// bytes: a HyperLogLog. Create one with [NewSketch].
//
// A Sketch is not safe for concurrent use by multiple goroutines.
type Sketch struct {
	// Each visitor's hash chooses a register by its first bits, the precision,
	// and a rank by the zeros that follow, plus one:
	//
	//	hash   0110 1011 ... | 0001 ...      rank 4
	//	         register
	//
	// Invariants: a register is the highest rank that it was told of, 0 if of
	// none; counts[v] is the number of registers that are v.
	registers []uint8
	counts    [maxRank + 1]uint32
	precision uint8
}

const (
	minPrecision = 4
	maxPrecision = 18
	maxRank      = 64 - minPrecision + 1
)

// NewSketch returns an empty sketch. It panics if precision is not between 4
// and 18.
func NewSketch(precision int) *Sketch {
	checkPrecision("NewSketch", precision)
	s := makeSketch(make([]uint8, 1<<precision))
	return &s
}

func checkPrecision(name string, precision int) {
	if precision < minPrecision || precision > maxPrecision {
		panic(fmt.Sprintf("hitcounter: %s with a precision of %d", name, precision))
	}
}

func makeSketch(registers []uint8) Sketch {
	s := Sketch{registers: registers, precision: uint8(bits.TrailingZeros(uint(len(registers))))}
	s.counts[0] = uint32(len(registers))
	return s
}

// Add tells the sketch of a visitor.
func (s *Sketch) Add(visitor string) { s.AddHash(xxhash.Sum64String(visitor)) }

// AddHash tells the sketch of a visitor by a hash of 64 bits, all of which have
// to be random. Sketches that are merged need the same hash function; that of
// Add is xxHash, for which everybody can find visitors with equal hashes.
func (s *Sketch) AddHash(hash uint64) {
	register := &s.registers[hash>>(64-s.precision)]
	rank := uint8(bits.LeadingZeros64(hash<<s.precision|1<<(s.precision-1))) + 1
	if rank > *register {
		s.counts[*register]--
		s.counts[rank]++
		*register = rank
	}
}

// Count returns the estimate of the number of different visitors, in constant
// time. Its relative standard error is RelativeError.
func (s *Sketch) Count() int64 { return estimate(&s.counts, s.precision) }

// RelativeError returns the standard error of Count in proportion to the true
// number: 1.04 divided by the root of the number of registers.
func (s *Sketch) RelativeError() float64 { return relativeError(s.precision) }

func relativeError(precision uint8) float64 { return 1.04 / math.Sqrt(float64(uint(1)<<precision)) }

// Merge tells the sketch of all visitors that another was told of. It returns
// an error that wraps [ErrMismatch] if the precisions differ.
func (s *Sketch) Merge(other *Sketch) error {
	if s.precision != other.precision {
		return fmt.Errorf("%w: sketch of precision %d, want %d", ErrMismatch, other.precision, s.precision)
	}
	for i, rank := range other.registers {
		s.raise(i, rank)
	}
	return nil
}

func (s *Sketch) raise(i int, rank uint8) {
	if old := s.registers[i]; rank > old {
		s.counts[old]--
		s.counts[rank]++
		s.registers[i] = rank
	}
}

// Clear forgets all visitors.
func (s *Sketch) Clear() {
	clear(s.registers)
	*s = makeSketch(s.registers)
}

// estimate returns Ertl's improved estimate, from how many registers have each
// rank.
func estimate(counts *[maxRank + 1]uint32, precision uint8) int64 {
	registers := float64(uint64(1) << precision)
	top := 64 - int(precision) + 1
	z := registers * tau(1-float64(counts[top])/registers)
	for rank := top - 1; rank >= 1; rank-- {
		z = (z + float64(counts[rank])) / 2
	}
	z += registers * sigma(float64(counts[0])/registers)
	n := registers * registers / (2 * math.Ln2 * z)
	if n >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(n + .5)
}

// sigma returns x + sum of x^(2^k) * 2^(k-1) for k from 1 on.
func sigma(x float64) float64 {
	if x == 1 {
		return math.Inf(1)
	}
	sum, power := x, 1.
	for {
		x *= x
		before := sum
		sum += x * power
		power *= 2
		if sum == before {
			return sum
		}
	}
}

// tau returns (1 - x - sum of (1 - x^(2^-k))^2 * 2^-k for k from 1 on) / 3.
func tau(x float64) float64 {
	if x == 0 || x == 1 {
		return 0
	}
	sum, power := 1-x, 1.
	for {
		x = math.Sqrt(x)
		before := sum
		power /= 2
		sum -= (1 - x) * (1 - x) * power
		if sum == before {
			return sum / 3
		}
	}
}
