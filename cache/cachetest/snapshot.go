package cachetest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"testing"
	"testing/iotest"
	"time"

	"github.com/ashlar-go/ashlar/cache"
)

// saves is a cache that has snapshots.
type saves interface {
	cache.Cache[int, int]
	saver
	loader
}

func (s *suite) snapshot(t *testing.T, c ints, codec cache.Codec[int, int]) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := need[saves](t, s, c).Save(&buf, codec); err != nil {
		t.Fatalf("Save: %v", err)
	}
	return buf.Bytes()
}

// plain encodes an entry in sixteen bytes.
type plain struct{}

func (plain) Append(dst []byte, key, value int) ([]byte, error) {
	dst = binary.BigEndian.AppendUint64(dst, uint64(key))
	return binary.BigEndian.AppendUint64(dst, uint64(value)), nil
}

var errPlain = errors.New("not sixteen bytes")

func (plain) Decode(src []byte) (key, value int, err error) {
	if len(src) != 16 {
		return 0, 0, errPlain
	}
	return int(binary.BigEndian.Uint64(src)), int(binary.BigEndian.Uint64(src[8:])), nil
}

func (s *suite) testSnapshot(t *testing.T) {
	for name, codec := range map[string]cache.Codec[int, int]{"built-in": nil, "own": plain{}} {
		for _, n := range []int{0, 1, 300} {
			c := s.cache(roomy, options{})
			want := map[int]int{}
			for i := range n {
				c.Put(i*i*i-1000, math.MaxInt-i)
				want[i*i*i-1000] = math.MaxInt - i
			}
			data := s.snapshot(t, c, codec)
			same(t, "the saved cache", contents(t, c), want)

			fresh := s.cache(roomy, options{})
			fresh.Put(1<<30, 1) // to be replaced
			got, err := need[saves](t, s, fresh).Load(iotest.OneByteReader(bytes.NewReader(data)), codec)
			if err != nil || got != n {
				t.Errorf("%s codec: Load = %d, %v, want %d", name, got, err, n)
			}
			same(t, "the loaded cache", contents(t, fresh), want)
			wantLen(t, fresh, n)
			if has, ok := fresh.(stater); ok {
				wantSum(t, fresh, has.Stats())
			}
			for k, v := range want {
				wantGet(t, fresh, k, v, true)
			}

			small := s.cache(10, options{})
			if got, err := need[saves](t, s, small).Load(bytes.NewReader(data), codec); err != nil || got != small.Len() || got > 10 || got == 0 && n > 0 {
				t.Errorf("%s codec: Load of %d entries into a cache of 10 = %d, %v, with Len() = %d", name, n, got, err, small.Len())
			}
			for k, v := range contents(t, small) {
				if want[k] != v {
					t.Errorf("%s codec: %d = %d after Load, want %d", name, k, v, want[k])
				}
			}
		}
	}
	c := s.cache(8, options{})
	c.Put(1, 1)
	cause := errors.New("disk full")
	if err := need[saves](t, s, c).Save(&failing{err: cause}, nil); !errors.Is(err, cause) {
		t.Errorf("Save to a failing writer = %v, want %v", err, cause)
	}
	if _, err := need[saves](t, s, c).Load(iotest.ErrReader(cause), nil); !errors.Is(err, cause) {
		t.Errorf("Load from a failing reader = %v, want %v", err, cause)
	}
	wantGet(t, c, 1, 1, true)
}

type failing struct{ err error }

func (f *failing) Write([]byte) (int, error) { return 0, f.err }

func (s *suite) testSnapshotLifetimes(t *testing.T) {
	clock := &clock{}
	c := s.cache(roomy, options{Now: clock.now})
	c.Put(1, 11)
	c.PutTTL(2, 22, time.Minute)
	c.PutTTL(3, 33, time.Hour)
	c.PutTTL(4, 44, math.MaxInt64)
	c.PutTTL(5, 55, time.Second)
	clock.advance(time.Second)
	data := s.snapshot(t, c, nil)

	clock.advance(59 * time.Second) // between Save and Load
	// The cache that loads has a default lifetime, which entries that had
	// none of their own do not take on.
	fresh := s.cache(roomy, options{TTL: time.Second, Now: clock.now})
	if n, err := need[saves](t, s, fresh).Load(bytes.NewReader(data), nil); n != 3 || err != nil {
		t.Errorf("Load = %d, %v, want 3", n, err)
	}
	same(t, "the loaded cache", contents(t, fresh), map[int]int{1: 11, 3: 33, 4: 44})
	clock.advance(59*time.Minute - 1)
	wantGet(t, fresh, 3, 33, true)
	clock.advance(1)
	wantGet(t, fresh, 3, 0, false)
	clock.advance(365 * 24 * time.Hour)
	wantGet(t, fresh, 1, 11, true)
	wantGet(t, fresh, 4, 44, true)
}

// testSnapshotDamaged cuts a snapshot at every byte and damages every byte in
// four ways.
func (s *suite) testSnapshotDamaged(t *testing.T) {
	clock := &clock{}
	c := s.cache(roomy, options{Now: clock.now})
	want := map[int]int{}
	for i := range 40 {
		c.PutTTL(i*1000, i, time.Duration(i)*time.Hour)
		want[i*1000] = i
	}
	data := s.snapshot(t, c, nil)
	victim := need[saves](t, s, s.cache(roomy, options{Now: clock.now}))
	kept := map[int]int{-1: -11, -2: -22}
	refuse := func(what string, at int, damaged []byte) {
		for k, v := range kept {
			victim.Put(k, v)
		}
		n, err := victim.Load(bytes.NewReader(damaged), nil)
		switch {
		case err == nil:
			t.Errorf("Load of a snapshot %s byte %d of %d = %d, want an error", what, at, len(data), n)
		case !errors.Is(err, cache.ErrBadSnapshot):
			t.Errorf("Load of a snapshot %s byte %d: %v, want ErrBadSnapshot", what, at, err)
		default:
			same(t, "the cache that refused a snapshot", contents(t, victim), kept)
		}
	}
	for i := range data {
		refuse("cut before", i, data[:i])
		for _, x := range []byte{1, 0x80, 0x55, 0xff} {
			damaged := slices.Clone(data)
			damaged[i] ^= x
			refuse("damaged in", i, damaged)
		}
		if t.Failed() {
			return
		}
	}
	refuse("with a byte more than", len(data), append(slices.Clone(data), 0))
	refuse("twice, with", len(data), append(slices.Clone(data), data...))
	if n, err := victim.Load(bytes.NewReader(data), nil); n != len(want) || err != nil {
		t.Errorf("Load of the intact snapshot = %d, %v", n, err)
	}
	same(t, "the loaded cache", contents(t, victim), want)
}

// testSnapshotForeign loads what is none, or none of this codec.
func (s *suite) testSnapshotForeign(t *testing.T) {
	c := need[saves](t, s, s.cache(roomy, options{}))
	c.Put(1, 11)
	for _, foreign := range [][]byte{
		nil,
		{0},
		[]byte("GIF89a"),
		[]byte("{\"key\": 1}"),
		bytes.Repeat([]byte{0}, 1000),
		bytes.Repeat([]byte{0xff}, 1000),
	} {
		if n, err := c.Load(bytes.NewReader(foreign), nil); n != 0 || !errors.Is(err, cache.ErrBadSnapshot) {
			t.Errorf("Load(%.10q…) = %d, %v, want ErrBadSnapshot", foreign, n, err)
		}
	}
	// An intact snapshot whose entries the codec refuses.
	if n, err := c.Load(bytes.NewReader(s.snapshot(t, c, nil)), plain{}); n != 0 || !errors.Is(err, cache.ErrBadSnapshot) {
		t.Errorf("Load with another codec = %d, %v, want ErrBadSnapshot", n, err)
	}
	if n, err := c.Load(io.LimitReader(bytes.NewReader(nil), 0), nil); n != 0 || !errors.Is(err, cache.ErrBadSnapshot) {
		t.Errorf("Load of nothing = %d, %v, want ErrBadSnapshot", n, err)
	}
	wantGet(t, c, 1, 11, true)
	wantLen(t, c, 1)
}
