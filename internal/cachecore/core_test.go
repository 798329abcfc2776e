package cachecore

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/stretchr/testify/require"
)

// fifo is the least policy: first in, first out.
type fifo struct{ Lists }

func newFIFO(int64) Policy { return &fifo{NewLists(1)} }

func (p *fifo) Insert(slot uint32, _ uint64, _ int64) { p.PushFront(0, slot) }
func (p *fifo) Hit(uint32, uint64)                    {}
func (p *fifo) Update(uint32, uint64, int64)          {}
func (p *fifo) Victim(uint64, int64) uint32           { return p.Back(0) }
func (p *fifo) Resize(int64)                          {}
func (p *fifo) Ascend(visit func(uint32) bool)        { p.Backward(0, visit) }
func (p *fifo) Descend(visit func(uint32) bool)       { p.Forward(0, visit) }

// FuzzInvariants makes operations of bytes and looks into the engine after
// each: slots, table, lists, sums and counts must agree.
func FuzzInvariants(f *testing.F) {
	f.Add(uint8(10), false, []byte("a0b1c2d3e4f5g6h7i8j9"))
	f.Add(uint8(3), true, []byte("\x00\x01\x10\x02\x20\x03\x30\x04\x40\x05\x50\x06\x60\x07\x70\x08\x80"))
	f.Fuzz(func(t *testing.T, size uint8, weighted bool, ops []byte) {
		now := time.Unix(1000, 0)
		opts := &cache.Options[int, int]{Shards: 1 + int(size)%4, Now: func() time.Time { return now }, OnRemoval: func(int, int, cache.Reason) {}}
		if weighted {
			opts.Cost = func(_, value int) int64 { return int64(value % 7) }
		}
		c := New("test", 1+int(size), opts, newFIFO)
		for i := 0; i+1 < len(ops); i += 2 {
			key, arg := int(ops[i])%64, int(ops[i+1])
			switch ops[i] / 32 {
			case 0, 1:
				c.Put(key, arg)
			case 2:
				c.PutTTL(key, arg, time.Duration(arg+1)*time.Second)
			case 3:
				c.Get(key)
			case 4:
				c.Delete(key)
			case 5:
				c.SetTTL(key, time.Duration(arg)*time.Second)
			case 6:
				now = now.Add(time.Duration(arg) * time.Second)
				if arg%8 == 0 {
					c.DeleteExpired()
				}
			case 7:
				switch {
				case arg < 8:
					c.Clear()
				case arg >= c.Shards():
					c.Resize(arg)
				}
			}
			if err := c.CheckInvariants(); err != nil {
				t.Fatalf("after operation %d (%d %d): %v", i/2, ops[i], arg, err)
			}
		}
	})
}

// A table that has been in use for long has its entries far from home. A
// search must end all the same, also where every chunk has spilled.
func TestSearchEndsInATableThatHasChurned(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	c := New[uint64, int]("test", 300, nil, newFIFO)
	for range 200_000 {
		key := r.Uint64N(1000)
		if _, ok := c.Get(key); !ok {
			c.Put(key, 0)
		}
	}
	require.NoError(t, c.CheckInvariants())
	for i := range c.shards[0].table.chunks {
		c.shards[0].table.chunks[i].spilled = 1<<32 - 1 // as if much had passed everywhere
	}
	_, ok := c.Get(5000)
	require.False(t, ok)
}

// Values that leave must not be kept alive by an empty slot.
func TestRemovedValuesAreFreed(t *testing.T) {
	c := New[int, *[1 << 10]byte]("test", 4, nil, newFIFO)
	freed := make(chan int, 10)
	for i := range 10 {
		v := new([1 << 10]byte)
		runtime.AddCleanup(v, func(i int) { freed <- i }, i)
		c.Put(i, v)
	}
	c.Delete(9)
	c.Resize(2)
	for range 8 {
		runtime.GC()
		<-freed
	}
	require.Equal(t, 2, c.Len())
	runtime.KeepAlive(c)
}

// A key that is not equal to itself can never be found again, so it is not
// stored; in a table of hashes it could not even be removed.
func TestNaNIsRejected(t *testing.T) {
	var reasons []cache.Reason
	c := New("test", 2, &cache.Options[float64, int]{OnRemoval: func(_ float64, _ int, r cache.Reason) { reasons = append(reasons, r) }}, newFIFO)
	nan := 0.0
	nan /= nan
	for range 10 {
		c.Put(nan, 1)
	}
	require.Zero(t, c.Len())
	require.Len(t, reasons, 10)
	require.Equal(t, cache.Rejected, reasons[0])
	require.NoError(t, c.CheckInvariants())
}

func TestNewPanics(t *testing.T) {
	for name, make := range map[string]func(){
		"x: capacity 0 is not positive":                     func() { New[int, int]("x", 0, nil, newFIFO) },
		"x: Options.TTL -1ns is negative":                   func() { New("x", 1, &cache.Options[int, int]{TTL: -1}, newFIFO) },
		"x: Options.Jitter 1 is not in [0, 1)":              func() { New("x", 1, &cache.Options[int, int]{Jitter: 1}, newFIFO) },
		"x: Options.Shards -1 is negative":                  func() { New("x", 1, &cache.Options[int, int]{Shards: -1}, newFIFO) },
		"x: Options.Objective 9 is unknown":                 func() { New("x", 1, &cache.Options[int, int]{Objective: 9}, newFIFO) },
		"x: capacity 1073741825 is over 1073741824 entries": func() { New[int, int]("x", 1<<30+1, nil, newFIFO) },
	} {
		require.PanicsWithValue(t, name, make)
	}
}

func TestSharesAddUp(t *testing.T) {
	for _, capacity := range []int{1, 2, 3, 7, 100, 4095, 4096, 9999, 100_003} {
		for _, shards := range []int{0, 1, 3, 16, 5000, math.MaxInt} {
			c := New("test", capacity, &cache.Options[int, int]{Shards: shards}, newFIFO)
			require.NoError(t, c.CheckInvariants(), "capacity %d, shards %d", capacity, shards)
			for i := range 2 * capacity {
				c.Put(i, i)
			}
			if c.Len() > capacity {
				t.Errorf("capacity %d, shards %d: Len() = %d", capacity, shards, c.Len())
			}
		}
	}
}

// The plain codec must bring every kind of key and value back.
func TestPlainCodec(t *testing.T) {
	type point struct{ X, Y int }
	roundTrip(t, 1, "text")
	roundTrip(t, int8(-5), []byte{1, 2, 3})
	roundTrip(t, "key", []byte(nil))
	roundTrip(t, "", 3.25)
	roundTrip(t, uint64(1<<63), true)
	roundTrip(t, [2]int{1, 2}, point{3, 4})
	roundTrip(t, 'x', map[string]int{"a": 1})
	roundTrip(t, 1, struct{}{})
	roundTrip(t, 1, 3i)
	roundTrip(t, 1, time.Unix(5, 6).UTC())
	// What an interface holds must come back as the same type.
	roundTrip[string, any](t, "a", 300)
	roundTrip[string, any](t, "a", "text")
	roundTrip[any, any](t, 5, true)
	// Pointers, and all that may be nil.
	roundTrip(t, "a", &point{1, 2})
	roundTrip(t, "a", new(int))
	roundTrip(t, "a", (*point)(nil))
	roundTrip[string, any](t, "a", nil)
	roundTrip[string, error](t, "a", nil)
	roundTrip(t, "a", map[string]int(nil))
	roundTrip(t, "a", []int(nil))
}

func roundTrip[K comparable, V any](t *testing.T, key K, value V) {
	t.Helper()
	c := New[K, V]("test", 10, nil, newFIFO)
	c.Put(key, value)
	var file bytes.Buffer
	require.NoError(t, c.Save(&file, nil))
	c.Clear()
	n, err := c.Load(&file, nil)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	got, ok := c.Get(key)
	require.True(t, ok)
	require.Equal(t, value, got)
}

// A simulation may begin its clock anywhere, also where the time in Unix
// nanoseconds is negative or does not fit 64 bits.
func TestSnapshotsKeepLifetimesWheneverItIs(t *testing.T) {
	for _, start := range []time.Time{
		{},
		time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Unix(-1, 0),
		time.Unix(0, 0),
		time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		t.Run(start.Format(time.DateOnly), func(t *testing.T) {
			now := start
			c := New("test", 10, &cache.Options[int, int]{Now: func() time.Time { return now }}, newFIFO)
			c.PutTTL(1, 1, time.Second)
			c.PutTTL(2, 2, time.Hour)
			c.PutTTL(3, 3, math.MaxInt64)
			var file bytes.Buffer
			require.NoError(t, c.Save(&file, nil))
			now = now.Add(2 * time.Second)
			n, err := c.Load(&file, nil)
			require.NoError(t, err)
			require.Equal(t, 2, n)
			left, ok := c.TTL(2)
			require.True(t, ok)
			require.Equal(t, time.Hour-2*time.Second, left)
			_, ok = c.Get(3)
			require.True(t, ok)
		})
	}
}

// FuzzLoad gives a Load whatever comes: it must refuse it or take it, never
// panic, and leave the cache alone when it refuses.
func FuzzLoad(f *testing.F) {
	c := New[string, int]("test", 10, nil, newFIFO)
	c.Put("a", 1)
	c.PutTTL("b", 2, time.Hour)
	var file bytes.Buffer
	require.NoError(f, c.Save(&file, nil))
	f.Add(file.Bytes())
	f.Add([]byte("ashlar\x00C\x01\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := New[string, int]("test", 10, nil, newFIFO)
		c.Put("old", 7)
		_, err := c.Load(bytes.NewReader(data), nil)
		if err == nil {
			return
		}
		if !errors.Is(err, cache.ErrBadSnapshot) {
			t.Errorf("Load returned %v, which does not wrap ErrBadSnapshot", err)
		}
		if v, ok := c.Get("old"); !ok || v != 7 || c.Len() != 1 {
			t.Errorf("a refused snapshot changed the cache: %v %v, %d entries", v, ok, c.Len())
		}
	})
}

type brokenReader struct{}

var errBroken = errors.New("broken")

func (brokenReader) Read([]byte) (int, error) { return 0, errBroken }

// A reader that fails is not a bad snapshot.
func TestLoadReportsTheReadersError(t *testing.T) {
	c := New[int, int]("test", 10, nil, newFIFO)
	_, err := c.Load(brokenReader{}, nil)
	require.ErrorIs(t, err, errBroken)
	require.NotErrorIs(t, err, cache.ErrBadSnapshot)
}

func TestListsMoveAndStayWhole(t *testing.T) {
	l := NewLists(2)
	l.Grow(6)
	for slot := uint32(1); slot <= 5; slot++ {
		l.PushFront(slot%2, slot)
	}
	order := func(list uint32) string {
		s := ""
		l.Forward(list, func(slot uint32) bool { s += fmt.Sprint(slot); return true })
		back := ""
		l.Backward(list, func(slot uint32) bool { back = fmt.Sprint(slot) + back; return true })
		require.Equal(t, s, back)
		return s
	}
	require.Equal(t, "531", order(1))
	require.Equal(t, "42", order(0))
	l.MoveToFront(1, 1)
	l.MoveToFront(1, 1)
	l.MoveToFront(0, 3)
	l.MoveToFront(0, 2)
	require.Equal(t, "15", order(1))
	require.Equal(t, "234", order(0))
	l.Remove(3)
	l.Move(4, 6)
	l.PushBack(0, 3)
	require.Equal(t, "263", order(0))
	require.EqualValues(t, 3, l.Back(0))
	require.EqualValues(t, 6, l.Next(2))
	require.EqualValues(t, 0, l.Prev(2))
}
