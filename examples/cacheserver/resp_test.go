package cacheserver

import (
	"bufio"
	"bytes"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzReader gives the parser whatever comes. It must not hold more than its
// limits, and what it takes for a command must be parts of the input.
func FuzzReader(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$1\r\na\r\nSET \"a b\" 'c\\'d' \\x41\r\n"))
	f.Add([]byte("*1000\r\n$100000\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		flood := new(atomic.Int64)
		r := reader{in: bufio.NewReaderSize(bytes.NewReader(data), 4096), flood: flood, limits: &limits{args: 64, inline: 4000, command: 100_000, inFlight: 1 << 20}}
		for {
			args, err := r.next()
			if err != nil {
				break
			}
			total := 0
			for _, arg := range args {
				total += len(arg)
			}
			if total > len(data) || total > 100_000 || len(args) > 4000 {
				t.Fatalf("%d arguments of %d bytes from %d bytes", len(args), total, len(data))
			}
		}
		r.release()
		if flood.Load() != 0 {
			t.Fatalf("%d bytes stay counted", flood.Load())
		}
	})
}

func TestGlob(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "", true}, {"", "", true}, {"", "a", false}, {"a*c", "abbbc", true}, {"a*c", "abbb", false}, {"?", "", false}, {"h?llo", "hello", true},
		{"[a-c]x", "bx", true}, {"[^a-c]x", "bx", false}, {"[c-a]x", "bx", true}, {"\\*", "*", true}, {"\\*", "a", false}, {"[\\]]", "]", true},
		{"[", "[", false}, {"**a**", "xa", true}, {"a\\", "a\\", true}, {"*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
	} {
		if got := glob([]byte(test.pattern), test.text); got != test.want {
			t.Errorf("glob(%q, %q) = %v, want %v", test.pattern, test.text, got, test.want)
		}
	}
}

// What an entry is said to cost must be near what it takes.
func TestCostIsMeasured(t *testing.T) {
	const entries = 100_000
	for _, policy := range policies {
		k, err := newKeyspace(policy, 0, 1<<30)
		require.NoError(t, err)
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for i := range entries {
			require.NoError(t, k.put(t.Context(), fmt.Sprintf("key:%010d", i), value{data: make([]byte, 100)}))
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		real, said := float64(after.HeapAlloc-before.HeapAlloc)/entries, float64(k.cache().Cost())/entries
		t.Logf("%s: %.0f bytes an entry, said to cost %.0f", policy, real, said)
		if real < said/1.6 || real > said*1.6 {
			t.Errorf("%s: an entry takes %.0f bytes and is said to cost %.0f", policy, real, said)
		}
		runtime.KeepAlive(k)
	}
}
