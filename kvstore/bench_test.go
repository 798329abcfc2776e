package kvstore

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
)

// benchKey returns a key of 16 bytes, spread over the whole space.
func benchKey(dst []byte, i int) []byte {
	dst = binary.BigEndian.AppendUint64(dst[:0], uint64(i)*0x9e3779b97f4a7c15)
	return binary.BigEndian.AppendUint64(dst, uint64(i))
}

func benchStore(b *testing.B, opts *Options) *Store {
	b.Helper()
	s, err := Open(b.TempDir(), opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	return s
}

var buffered = &WriteOptions{Durability: Buffered}

// benchFill stores n keys with values of size bytes.
func benchFill(b *testing.B, s *Store, n, size int) {
	b.Helper()
	var key []byte
	value := benchValue(size)
	for i := range n {
		key = benchKey(key, i)
		if err := s.Put(key, value, buffered); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Sync(); err != nil {
		b.Fatal(err)
	}
}

// benchValue returns bytes that compress to about a half.
func benchValue(size int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, size)
	for i := range size / 2 {
		value[i] = byte(rng.Uint32())
	}
	return value
}

const benchKeys = 1_000_000

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{100, 1000} {
		for _, d := range []Durability{Buffered, Written, Synced} {
			b.Run(fmt.Sprintf("impl=ashlar/size=%d/%v", size, d), func(b *testing.B) {
				s := benchStore(b, nil)
				value, opts := benchValue(size), &WriteOptions{Durability: d}
				var key []byte
				i := 0
				b.ReportAllocs()
				for b.Loop() {
					key = benchKey(key, i%1_000_000)
					i++
					if err := s.Put(key, value, opts); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkPutParallel(b *testing.B) {
	for _, size := range []int{100, 1000} {
		b.Run(fmt.Sprintf("impl=ashlar/size=%d/writers=64/Synced", size), func(b *testing.B) {
			s := benchStore(b, nil)
			value := benchValue(size)
			var next atomic.Int64
			b.SetParallelism(64 / runtime.GOMAXPROCS(0))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				var key []byte
				for pb.Next() {
					key = benchKey(key, int(next.Add(1)))
					if err := s.Put(key, value, nil); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func BenchmarkGet(b *testing.B) {
	for _, codec := range []Codec{nil, LZ4} {
		name := "none"
		if codec != nil {
			name = "lz4"
		}
		s := benchStore(b, &Options{Codec: codec, CacheBytes: 1 << 20})
		benchFill(b, s, benchKeys, 100)
		if codec != nil {
			if err := s.Merge(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		for _, hit := range []string{"hit", "miss"} {
			first := 0
			if hit == "miss" {
				first = 1 << 30
			}
			b.Run(fmt.Sprintf("impl=ashlar/codec=%s/%s", name, hit), func(b *testing.B) {
				rng := rand.New(rand.NewPCG(3, 4))
				var key, value []byte
				b.ReportAllocs()
				for b.Loop() {
					key = benchKey(key, first+rng.IntN(benchKeys))
					var ok bool
					var err error
					if value, ok, err = s.AppendGet(value[:0], key); err != nil || ok != (first == 0) {
						b.Fatal(ok, err)
					}
				}
			})
			b.Run(fmt.Sprintf("impl=ashlar/codec=%s/%s/readers=8", name, hit), func(b *testing.B) {
				b.SetParallelism(8 / runtime.GOMAXPROCS(0))
				b.RunParallel(func(pb *testing.PB) {
					rng := rand.New(rand.NewPCG(rand.Uint64(), 4))
					var key, value []byte
					for pb.Next() {
						key = benchKey(key, first+rng.IntN(benchKeys))
						var ok bool
						var err error
						if value, ok, err = s.AppendGet(value[:0], key); err != nil || ok != (first == 0) {
							b.Error(ok, err)
						}
					}
				})
			})
		}
	}
}

func BenchmarkScan(b *testing.B) {
	s := benchStore(b, nil)
	benchFill(b, s, benchKeys, 100)
	for _, state := range []string{"log", "merged"} {
		if state == "merged" {
			for i := range benchKeys / 2 {
				if err := s.Put(benchKey(nil, i), benchValue(100), buffered); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Merge(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		b.Run("impl=ashlar/"+state, func(b *testing.B) {
			n := 0
			for b.Loop() {
				for _, err := range s.All() {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/key")
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s, err := Open(dir, nil)
	if err != nil {
		b.Fatal(err)
	}
	benchFill(b, s, benchKeys, 100)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run(fmt.Sprintf("impl=ashlar/keys=%d", benchKeys), func(b *testing.B) {
		for b.Loop() {
			s, err := Open(dir, nil)
			if err != nil {
				b.Fatal(err)
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchKeys, "ns/key")
	})
}

// BenchmarkMemory reports the heap that a key takes.
func BenchmarkMemory(b *testing.B) {
	for _, order := range []string{"ascending", "random"} {
		b.Run("impl=ashlar/"+order, func(b *testing.B) {
			for b.Loop() {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				tr := newTree()
				var key []byte
				for i := range benchKeys {
					if order == "random" {
						key = benchKey(key, i)
					} else {
						key = fmt.Appendf(key[:0], "key-%012d", i)
					}
					tr.put(key, place(i), 100)
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/benchKeys, "B/key")
				runtime.KeepAlive(tr)
			}
		})
	}
}

// BenchmarkOverwrite reports the largest size on disk, in multiples of the live
// data, while keys are overwritten at random.
func BenchmarkOverwrite(b *testing.B) {
	s := benchStore(b, nil)
	const keys, size = 50_000, 400
	benchFill(b, s, keys, size)
	rng := rand.New(rand.NewPCG(5, 6))
	value := benchValue(size)
	var key []byte
	largest, i := 0.0, 0
	for b.Loop() {
		key = benchKey(key, rng.IntN(keys))
		if err := s.Put(key, value, buffered); err != nil {
			b.Fatal(err)
		}
		if i++; i%1000 == 0 {
			largest = max(largest, float64(s.used.Load())/(keys*(size+16)))
		}
	}
	b.ReportMetric(largest, "disk/live")
}
