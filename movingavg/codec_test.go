package movingavg

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// some returns one of each type, with values, and an empty one with the same
// settings.
func some() map[string][2]codec {
	m, e := NewSimple[float64](7), NewSimple[float64](7)
	k, l := NewSimple[int8](7), NewSimple[int8](7)
	u := NewSimple[uint64](7)
	x := NewExp(.1)
	x2 := NewTimedExp(time.Second, nil)
	w := NewWindow(time.Second, nil)
	for i := range 20 {
		m.Add(float64(i))
		k.Add(int8(-i))
		u.Add(^uint64(i))
		x.Add(float64(i))
		x2.AddAt(at(float64(i)), float64(i))
		w.AddAt(at(float64(i)/8), float64(i))
	}
	return map[string][2]codec{
		"floats": {m, e}, "ints": {k, l}, "uints": {u, NewSimple[uint64](7)}, "exp": {x, NewExp(.1)},
		"timed": {x2, NewTimedExp(time.Second, nil)}, "window": {w, NewWindow(time.Second, nil)},
	}
}

// Every bit that is flipped, every byte that is missing or too much, is an
// error, after which the average is as it was.
func TestDamageIsFound(t *testing.T) {
	for name, pair := range some() {
		t.Run(name, func(t *testing.T) {
			good, err := pair[0].MarshalBinary()
			require.NoError(t, err)
			empty, err := pair[1].MarshalBinary()
			require.NoError(t, err)
			refuse := func(data []byte) {
				t.Helper()
				require.ErrorIs(t, pair[1].UnmarshalBinary(data), ErrBadEncoding)
			}
			for i := range good {
				refuse(good[:i])
				for bit := range 8 {
					bad := slices.Clone(good)
					bad[i] ^= 1 << bit
					refuse(bad)
				}
			}
			refuse(append(slices.Clone(good), 0))
			now, err := pair[1].MarshalBinary()
			require.NoError(t, err)
			require.Equal(t, empty, now)
			require.NoError(t, pair[1].UnmarshalBinary(good))
			now, err = pair[1].MarshalBinary()
			require.NoError(t, err)
			require.Equal(t, good, now)
		})
	}
}

// sealed gives bytes a good checksum.
func sealed(b []byte) []byte {
	b = b[:len(b)-4]
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// Bytes with a good checksum that say what cannot be.
func TestNonsenseIsFound(t *testing.T) {
	for name, pair := range some() {
		t.Run(name, func(t *testing.T) {
			good, err := pair[0].MarshalBinary()
			require.NoError(t, err)
			r := rand.New(rand.NewPCG(1, 1))
			for range 20_000 {
				bad := slices.Clone(good)
				i := 6 + 8*r.IntN((len(good)-10)/8)
				binary.LittleEndian.PutUint64(bad[i:], r.Uint64()>>r.IntN(64))
				if r.IntN(4) == 0 {
					bad = bad[:i]
					bad = append(bad, 0, 0, 0, 0)
				}
				if pair[1].UnmarshalBinary(sealed(bad)) == nil {
					// It may be nonsense, but it must be of use.
					switch a := pair[1].(type) {
					case *Simple[float64]:
						a.floats.checkInvariants(t)
						for range 20 {
							a.Add(1)
						}
						a.floats.checkInvariants(t)
					case *Simple[int8]:
						for range 20 {
							a.Add(1)
						}
						got, _ := a.Value()
						require.Equal(t, 1.0, got)
					case *Window:
						a.checkInvariants(t)
						a.Add(1)
						_ = a.Summary()
					}
				}
			}
			for other := range some() {
				if b, _ := some()[other][0].MarshalBinary(); other != name {
					require.ErrorIs(t, pair[1].UnmarshalBinary(b), ErrMismatch)
				}
			}
		})
	}
}

func TestOtherSettings(t *testing.T) {
	all := some()
	for name, other := range map[string]codec{
		"floats": NewSimple[float64](8), "ints": NewSimple[int8](8), "exp": NewExp(.2),
		"timed": NewTimedExp(time.Minute, nil), "window": NewWindow(time.Minute, nil),
	} {
		b, err := all[name][0].MarshalBinary()
		require.NoError(t, err)
		require.ErrorIs(t, other.UnmarshalBinary(b), ErrMismatch, name)
	}
	b, _ := all["window"][0].MarshalBinary()
	require.ErrorIs(t, NewWindow(time.Second, &TimedOptions{Resolution: time.Second}).UnmarshalBinary(b), ErrMismatch)
	wide := NewSimple[int64](7)
	wide.Add(1000)
	b, _ = wide.MarshalBinary()
	require.ErrorIs(t, NewSimple[int8](7).UnmarshalBinary(b), ErrBadEncoding, "1000 is no int8")
}

func FuzzUnmarshal(f *testing.F) {
	for _, pair := range some() {
		b, _ := pair[0].MarshalBinary()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 4 {
			return
		}
		for _, seal := range []bool{false, true} {
			b := slices.Clone(data)
			if seal {
				b = sealed(b)
			}
			for _, pair := range some() {
				if pair[1].UnmarshalBinary(b) != nil {
					continue
				}
				again, err := pair[1].MarshalBinary()
				if err != nil || !slices.Equal(again, b) {
					t.Fatalf("%x was read and is written as %x", b, again)
				}
			}
		}
	})
}

func TestLockedConcurrentSafe(t *testing.T) {
	simple := NewLocked[int](NewSimple[int](100))
	window := NewLocked[float64](NewWindow(time.Hour, nil))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				simple.Add(3)
				window.Add(3)
				if got, ok := simple.Value(); !ok || got != 3 {
					t.Errorf("mean %v", got)
				}
				_, _ = window.Value()
			}
		})
	}
	wg.Wait()
	window.Do(func(w *Window) {
		if n := w.Summary().Count; n != 2000 {
			t.Errorf("%d values", n)
		}
	})
	simple.Clear()
	_, ok := simple.Value()
	require.False(t, ok)
}
