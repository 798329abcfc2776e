package trace

import (
	"bytes"
	"errors"
	"testing"
)

// Whatever the bytes are, Read returns a trace that keeps its promises or an
// error that blames the input.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		"1\n2\n1\n", "a 1\nb 2\n", "1 2 0 0\n", "1\n*\n2\n", "key,size\nx,1\n", "a;b;c\n1;2;3\n", "\"a,\"\"b\",2\n",
		"\x1f\x8b\x08", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x01\x02\x00\xfd\xff1\n", "9999999999999999999 9999999999999999999 1 1\n", ",\n,\n", " \t \n\"\n",
	} {
		f.Add([]byte(seed), uint8(0), "", "")
		f.Add([]byte(seed), uint8(CSV), "1", "2")
	}
	f.Fuzz(func(t *testing.T, data []byte, format uint8, key, size string) {
		const limit = 1000
		got, err := Read(bytes.NewReader(data), &Options{Format: Format(format % 6), Key: key, Size: size, Limit: limit, LineLimit: 200})
		if err != nil {
			if _, ok := errors.AsType[*SyntaxError](err); !ok {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		switch {
		case len(got.Keys) == 0 || len(got.Keys) > limit:
			t.Fatalf("%d accesses", len(got.Keys))
		case got.Sizes != nil && len(got.Sizes) != len(got.Keys):
			t.Fatalf("%d sizes for %d accesses", len(got.Sizes), len(got.Keys))
		case got.Trimmed && len(got.Keys) != limit:
			t.Fatalf("trimmed to %d", len(got.Keys))
		case got.Format == 0:
			t.Fatal("no format")
		}
	})
}

// The optimum of random accesses is that of a search through all decisions.
func FuzzOptimum(f *testing.F) {
	f.Add([]byte{1, 2, 3, 1, 2, 3, 1, 2}, uint8(2))
	f.Add([]byte{1, 1, 1, 2, 2, 3, 1}, uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, capacity uint8) {
		keys := make([]uint64, min(len(data), 12))
		for i := range keys {
			keys[i] = uint64(data[i] % 6)
		}
		c := int(capacity % 5)
		if got, want := Optimum(keys, c), bruteForce(keys, c); got != want {
			t.Fatalf("Optimum(%v, %d) = %d, want %d", keys, c, got, want)
		}
	})
}
