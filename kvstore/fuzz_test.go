package kvstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// FuzzStore turns bytes into operations, each checked against a map.
func FuzzStore(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 200, 250, 254, 255}, uint8(0))
	f.Add(bytes.Repeat([]byte{3, 50, 94, 95, 10, 97}, 30), uint8(2))
	f.Fuzz(func(t *testing.T, ops []byte, options uint8) {
		if len(ops) > 400 {
			return
		}
		m := newModel(t, metamorphic[int(options)%len(metamorphic)])
		for i := 0; i+2 <= len(ops); i += 2 {
			rng := rand.New(rand.NewPCG(uint64(ops[i]), uint64(ops[i+1])))
			m.step(rng, keyMaker(int(options>>4)%4, rng))
		}
		m.check()
		m.close()
		m.open()
		m.check()
		m.close()
	})
}

// FuzzTree holds the directory against a map.
func FuzzTree(f *testing.F) {
	f.Add([]byte("\x00a\x01b\x02ab"))
	f.Fuzz(func(t *testing.T, ops []byte) {
		tr, model := newTree(), map[string]place{}
		for n := 1; len(ops) > 1; n++ {
			size := min(int(ops[0]>>2), len(ops)-1)
			key := ops[1 : 1+size]
			want, had := model[string(key)]
			switch ops[0] & 3 {
			case 0, 1:
				if old, _, ok := tr.put(key, place(n), 1); ok != had || old != want {
					t.Fatalf("put(%q) = %d, %v", key, old, ok)
				}
				model[string(key)] = place(n)
			case 2:
				if old, _, ok := tr.delete(key); ok != had || old != want {
					t.Fatalf("delete(%q) = %d, %v", key, old, ok)
				}
				delete(model, string(key))
			case 3:
				tr.freeze()
			}
			if got, _, ok := tr.get(key); got != model[string(key)] || ok != (got != 0) {
				t.Fatalf("get(%q) = %d, %v", key, got, ok)
			}
			ops = ops[1+size:]
		}
		checkTree(t, tr)
		require.Len(t, treeKeys(tr.freeze()), len(model))
	})
}

// FuzzLZ4 packs and unpacks, and unpacks what was never packed.
func FuzzLZ4(f *testing.F) {
	f.Add([]byte(""))
	f.Add(bytes.Repeat([]byte("abcd"), 100))
	f.Add([]byte("\xf0\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		packed := LZ4.Append([]byte("before"), data)
		got, err := LZ4.Decode([]byte("ahead"), packed[6:], len(data))
		if err != nil || string(got) != "ahead"+string(data) {
			t.Fatalf("%d bytes come back as %d, %v", len(data), len(got)-5, err)
		}
		for _, n := range []int{0, 1, len(data), 1000} {
			if got, err := LZ4.Decode(nil, data, n); err == nil && len(got) > n {
				t.Fatalf("%d bytes in place of at most %d", len(got), n)
			}
		}
	})
}

// FuzzSegment opens a store whose log has any bytes at all; the header is
// right.
func FuzzSegment(f *testing.F) {
	m := vfs.NewMem()
	sample(f, m, Options{})
	data, err := m.ReadFile("0000000000000002.log")
	require.NoError(f, err)
	f.Add(data[headerBytes:])
	f.Fuzz(func(t *testing.T, records []byte) {
		m := vfs.NewMem()
		require.NoError(t, m.WriteFile("0000000000000002.log", slices.Concat(data[:headerBytes], records)))
		require.NoError(t, (&manifest{next: 3, log: 2}).store(m))
		s, err := Open("", &Options{FS: m})
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if err := errors.Join(s.Verify(background), s.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := Repair("", &Options{FS: m}); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzHint opens a store with a hint of any bytes, with and without right
// checksums.
func FuzzHint(f *testing.F) {
	seed := vfs.NewMem()
	want := sample(f, seed, Options{})
	data, err := seed.ReadFile("0000000000000003.hint")
	require.NoError(f, err)
	f.Add(data, []byte{})
	f.Add(data, []byte{10, 1, 70, 255})
	f.Fuzz(func(t *testing.T, data, changes []byte) {
		for i := 0; i+2 <= len(changes) && len(data) > 0; i += 2 {
			data[int(changes[i])%len(data)] ^= changes[i+1]
		}
		m, err := vfs.Load(fsOf(t, seed))
		require.NoError(t, err)
		require.NoError(t, m.WriteFile("0000000000000003.hint", data))
		if reported, err := sound(m, Options{}, want); err != nil || reported {
			t.Fatal(reported, err)
		}
	})
}

// FuzzHintEntries decodes entries whose checksum is right whatever they are.
func FuzzHintEntries(f *testing.F) {
	f.Add([]byte("\x00\x01\x01\x80\x01\x10a\x01\x01\x02\x00\x10b"))
	f.Fuzz(func(t *testing.T, entries []byte) {
		g := &segment{id: 1, kind: logSegment, base: 1, salt: 7, noMap: true}
		w := newHintWriter(g)
		w.blocks = append(w.blocks, headerBytes)
		w.index = append(binary.AppendUvarint(w.index, headerBytes), 0)
		w.buf = append(w.buf, entries...)
		if len(entries) == 0 {
			return
		}
		m := vfs.NewMem()
		require.NoError(t, m.WriteFile(hintName(1), w.finish(1000)))
		h, err := openHint(m, g)
		require.NoError(t, err)
		defer h.close()
		var c hintCursor
		n := 0
		for err = c.first(h); err == nil && c.valid(); err = c.next() {
			if n++; n > len(entries) {
				t.Fatal("more entries than bytes")
			}
		}
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
	})
}

// fsOf returns what is in a file system in memory.
func fsOf(t testing.TB, m *vfs.Mem) fs.FS {
	t.Helper()
	all := memFS{}
	for _, path := range m.Paths() {
		data, err := m.ReadFile(path)
		require.NoError(t, err)
		all[path] = data
	}
	return all.fs()
}

func FuzzManifest(f *testing.F) {
	m := manifest{next: 7, log: 6, durable: 99, segments: []manifestSegment{{logSegment, 3, 1000}, {tableSegment, 5, 64}}}
	f.Add(string(m.encode()))
	f.Fuzz(func(t *testing.T, data string) {
		got, err := parseManifest(data)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		again, err := parseManifest(string(got.encode()))
		require.NoError(t, err)
		require.Equal(t, got, again)
	})
}
