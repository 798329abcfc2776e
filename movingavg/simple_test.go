package movingavg

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// exactMean returns the mean of values in a precision that loses nothing, and
// the mean of their magnitudes.
func exactMean(values []float64) (mean *big.Float, magnitude float64) {
	sum, abs := new(big.Float).SetPrec(4000), new(big.Float).SetPrec(4000)
	for _, v := range values {
		sum.Add(sum, big.NewFloat(v))
		abs.Add(abs, big.NewFloat(math.Abs(v)))
	}
	n := new(big.Float).SetPrec(4000).SetInt64(int64(len(values)))
	magnitude, _ = abs.Quo(abs, n).Float64()
	return sum.Quo(sum, n), magnitude
}

// checkMean holds a mean against guarantee 2.
func checkMean(t *testing.T, got float64, values []float64) {
	t.Helper()
	want, magnitude := exactMean(values)
	off, _ := new(big.Float).Sub(new(big.Float).SetPrec(4000).SetFloat64(got), want).Float64()
	if math.Abs(off) > magnitude*0x1p-48 {
		t.Fatalf("mean of %d values is %v, off by %v of magnitudes of %v", len(values), got, off, magnitude)
	}
}

// checkInvariants holds f against the sentences at its declaration, with the
// values that came, of which there are finite ones only.
func (f *floats) checkInvariants(t *testing.T) {
	t.Helper()
	if f.window <= few {
		if f.next >= f.window || f.stop != f.window || len(f.ring) != f.window {
			t.Fatalf("next %d of %d, %d places", f.next, f.window, len(f.ring))
		}
		return
	}
	start := f.start()
	end := start + f.half()
	if f.next < start || f.next >= f.stop || f.stop > end || (f.stop != end && (f.stop-start)%chunk != 0) {
		t.Fatalf("next %d, stop %d in the block from %d to %d", f.next, f.stop, start, end)
	}
	if len(f.ring) < f.stop || f.count > 0 && len(f.ring) != 2*(f.half()+f.odd) {
		t.Fatalf("%d places, stop %d", len(f.ring), f.stop)
	}
	if f.odd > 0 {
		for _, last := range []int{f.half(), 2*f.half() + 1} {
			if last < len(f.ring) && f.ring[last] != 0 {
				t.Fatalf("place %d behind a block holds %v", last, f.ring[last])
			}
		}
	}
}

func TestSimpleOfFloats(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, window := range []int{1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 34, 63, 64, 65, 100, 257} {
		m := NewSimple[float64](window)
		_, ok := m.Value()
		require.False(t, ok)
		require.Equal(t, window, m.Window())
		var all []float64
		for i := range 4*window + 70 {
			v := r.NormFloat64() * math.Exp(r.NormFloat64()*10)
			all = append(all, v)
			m.Add(v)
			got, ok := m.Value()
			require.True(t, ok)
			require.Equal(t, min(i+1, window), m.Len())
			checkMean(t, got, all[max(0, len(all)-window):])
			m.floats.checkInvariants(t)
		}
		m.Clear()
		_, ok = m.Value()
		require.False(t, ok)
		m.Add(0)
		got, ok := m.Value()
		require.True(t, ok, "zero is a value")
		require.Zero(t, got)
	}
}

func TestSimpleOfIntegers(t *testing.T) {
	t.Run("int8", testIntegers[int8])
	t.Run("uint8", testIntegers[uint8])
	t.Run("int64", testIntegers[int64])
	t.Run("uint64", testIntegers[uint64])
	type named uint32
	t.Run("named", testIntegers[named])
}

// Integers are compared with the exact quotient, rounded once.
func testIntegers[T Integer](t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	for _, window := range []int{1, 2, 3, 7, 10, 64, 1000} {
		m := NewSimple[T](window)
		var all []T
		for range 3*window + 50 {
			v := T(r.Uint64() >> r.IntN(64))
			if r.IntN(3) == 0 {
				v = 0 - v
			}
			all = append(all, v)
			m.Add(v)
			last := all[max(0, len(all)-window):]
			sum := new(big.Int)
			for _, v := range last {
				if T(0)-1 < 0 {
					sum.Add(sum, big.NewInt(int64(v)))
				} else {
					sum.Add(sum, new(big.Int).SetUint64(uint64(v)))
				}
			}
			want, _ := new(big.Rat).SetFrac(sum, big.NewInt(int64(len(last)))).Float64()
			if got, ok := m.Value(); !ok || got != want {
				t.Fatalf("window %d after %d values: %v, want %v", window, len(all), got, want)
			}
		}
		require.Equal(t, window, m.Len())
		m.Clear()
		require.Zero(t, m.Len())
		m.Add(7)
		got, _ := m.Value()
		require.EqualValues(t, 7, got)
	}
}

// Sums that do not fit into 64 bits, nor into 64 bits and a sign.
func TestSimpleBeyond64Bits(t *testing.T) {
	m := NewSimple[uint64](1000)
	for range 1500 {
		m.Add(math.MaxUint64)
	}
	got, _ := m.Value()
	require.Equal(t, float64(math.MaxUint64), got)
	k := NewSimple[int64](1000)
	for range 1500 {
		k.Add(math.MinInt64)
	}
	got, _ = k.Value()
	require.Equal(t, float64(math.MinInt64), got)
}

func TestSimpleHeals(t *testing.T) {
	for _, poison := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64} {
		for _, window := range []int{1, 2, 5, 32, 33, 100} {
			for at := range 2*window + 40 {
				m := NewSimple[float64](window)
				for range at {
					m.Add(1)
				}
				m.Add(poison)
				m.Add(poison) // the sum of two of them is no float64
				got, _ := m.Value()
				require.False(t, got >= -1e308 && got < 1e308, "%v shows", poison)
				for range window {
					m.Add(1)
				}
				got, _ = m.Value()
				require.Equal(t, 1.0, got, "%v in a window of %d after %d values", poison, window, at)
			}
		}
	}
}

// The drift that running sums have. One in ten thousand values is a billion
// times as large as the others.
func TestSimpleDoesNotDrift(t *testing.T) {
	n := 3_000_000
	if testing.Short() || raceEnabled {
		n = 200_000
	}
	const window = 1000
	for name, draw := range map[string]func(r *rand.Rand) float64{
		"uniform":   func(r *rand.Rand) float64 { return r.Float64() },
		"lognormal": func(r *rand.Rand) float64 { return math.Exp(r.NormFloat64() * 3) },
		"spikes": func(r *rand.Rand) float64 {
			if r.IntN(10_000) == 0 {
				return 1e9
			}
			return r.Float64()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(3, 3))
			m := NewSimple[float64](window)
			last := make([]float64, window)
			for i := range n {
				v := draw(r)
				last[i%window] = v
				m.Add(v)
			}
			got, _ := m.Value()
			checkMean(t, got, last)
		})
	}
	m := NewSimple[float64](4)
	for _, v := range []float64{1e17, 1, 1, 1, 1} {
		m.Add(v)
	}
	got, _ := m.Value()
	require.Equal(t, 1.0, got)
}

func TestFloat32(t *testing.T) {
	m := NewSimple[float32](3)
	for _, v := range []float32{1, 2, 3, 16777216} {
		m.Add(v)
	}
	got, _ := m.Value()
	require.Equal(t, 16777221.0/3, got)
}

func TestSimpleAllocates(t *testing.T) {
	m, k := NewSimple[float64](100), NewSimple[int64](100)
	for i := range 200 {
		m.Add(float64(i))
		k.Add(int64(i))
	}
	require.Zero(t, testing.AllocsPerRun(1000, func() { m.Add(1); _, _ = m.Value(); k.Add(1); _, _ = k.Value() }))
	big := NewSimple[float64](maxWindow) // takes no memory before there are values
	big.Add(1)
	got, _ := big.Value()
	require.Equal(t, 1.0, got)
	require.Less(t, cap(big.floats.ring), 1000)
}

func TestBadArguments(t *testing.T) {
	for name, f := range map[string]func(){
		"window of 0":      func() { NewSimple[int](0) },
		"negative window":  func() { NewSimple[float64](-1) },
		"too large":        func() { NewSimple[float64](maxWindow + 1) },
		"alpha of 0":       func() { NewExp(0) },
		"alpha above 1":    func() { NewExp(1.1) },
		"alpha NaN":        func() { NewExp(math.NaN()) },
		"span below 1":     func() { Span(.5) },
		"half-life of 0":   func() { HalfLife(0) },
		"timed of 0":       func() { NewTimedExp(0, nil) },
		"length of 0":      func() { NewWindow(0, nil) },
		"length too large": func() { NewWindow(math.MaxInt64, nil) },
		"resolution":       func() { NewWindow(10, &TimedOptions{Resolution: 11}) },
		"negative":         func() { NewWindow(10, &TimedOptions{Resolution: -1}) },
	} {
		t.Run(name, func(t *testing.T) { require.Panics(t, f) })
	}
}

// FuzzSimple holds a Simple against exact sums, with NaNs and infinities among
// the values, and with restarts from its encoding.
func FuzzSimple(f *testing.F) {
	f.Add(uint8(3), []byte("some values of eight bytes each, as they come"))
	f.Add(uint8(32), make([]byte, 800))
	f.Fuzz(func(t *testing.T, window uint8, data []byte) {
		m := NewSimple[float64](int(window) + 1)
		k := NewSimple[int32](int(window) + 1)
		var all []float64
		var ints []int32
		for i := 0; i+3 <= len(data); i += 3 {
			var v float64
			switch op := data[i]; {
			case op == 0:
				v = math.NaN()
			case op == 1:
				v = math.Inf(1)
			case op == 2:
				v = math.Inf(-1)
			case op == 3:
				restart(t, m, NewSimple[float64](m.Window()))
				restart(t, k, NewSimple[int32](m.Window()))
				continue
			default:
				v = math.Ldexp(float64(int16(binary.LittleEndian.Uint16(data[i+1:]))), int(op)-128)
			}
			k.Add(int32(data[i+1]) - int32(data[i+2]))
			ints = append(ints, int32(data[i+1])-int32(data[i+2]))
			m.Add(v)
			all = append(all, v)
			last := all[max(0, len(all)-m.Window()):]
			finite, plain := true, 0.
			for _, v := range last {
				plain += v
				finite = finite && v-v == 0
			}
			got, ok := m.Value()
			if !ok || m.Len() != len(last) {
				t.Fatal("no mean, or of another number of values")
			}
			if finite {
				checkMean(t, got, last)
			} else if math.IsNaN(got) != math.IsNaN(plain) || !math.IsNaN(got) && got != plain/float64(len(last)) {
				t.Fatalf("mean of %v is %v", last, got)
			}
			m.floats.checkInvariants(t)
			sum := 0
			for _, v := range ints[len(ints)-len(last):] {
				sum += int(v)
			}
			if got, _ := k.Value(); got != float64(sum)/float64(len(last)) {
				t.Fatalf("mean of integers is %v, want %d/%d", got, sum, len(last))
			}
		}
	})
}

// A codec is what all averages are besides.
type codec interface {
	AppendBinary([]byte) ([]byte, error)
	MarshalBinary() ([]byte, error)
	UnmarshalBinary([]byte) error
}

// restart replaces an average by what another makes of its encoding.
func restart[A any, P interface {
	*A
	codec
}](t *testing.T, average, fresh P) {
	t.Helper()
	b, err := average.MarshalBinary()
	require.NoError(t, err)
	require.NoError(t, fresh.UnmarshalBinary(b))
	again, err := fresh.AppendBinary([]byte("x"))
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintf("x%s", b), string(again))
	*average = *fresh
}
