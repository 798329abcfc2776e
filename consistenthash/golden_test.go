package consistenthash

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/golden.txt; placement must never change between releases")

// Owners, fingerprints and hashes are what they were in every release.
func TestGolden(t *testing.T) {
	const path = "testdata/golden.txt"
	var text bytes.Buffer
	writeGolden(&text)
	if *update {
		require.NoError(t, os.WriteFile(path, text.Bytes(), 0o666))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	got, was := bufio.NewScanner(&text), bufio.NewScanner(bytes.NewReader(bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n"))))
	for line := 1; ; line++ {
		more, had := got.Scan(), was.Scan()
		if more != had || got.Text() != was.Text() {
			t.Fatalf("line %d is %q, was %q", line, got.Text(), was.Text())
		}
		if !more {
			break
		}
	}
}

func writeGolden(text *bytes.Buffer) {
	for _, key := range []string{"", "a", "key-0", "https://example.com/a/rather/long/path?with=a&query=too", "\x00\xff"} {
		fmt.Fprintf(text, "Hash(%q) = %#016x\n", key, Hash(key))
		fmt.Fprintf(text, "Hash31(%q) = %#x\n", key, Hash31(key))
	}
	for _, n := range []int{1, 2, 3, 8, 9, 10, 100, 1000, 65535, 65536, 65537, 1 << 20, 1<<31 - 1} {
		fmt.Fprintf(text, "buckets of %d:", n)
		for i := range uint64(12) {
			h := mix(i)
			if i < 3 {
				h = []uint64{0, 1, math.MaxUint64}[i]
			}
			fmt.Fprintf(text, " %d/%d", JumpHash(h, n), JumpBackHash(h, n))
		}
		fmt.Fprintln(text)
	}
	for _, k := range []float64{0, 1, 1000, 1 << 30, 1 << 50, 1 << 51, 3 << 50, 1<<52 - 1} {
		fmt.Fprintf(text, "negLog %v: %x\n", k, negLog((k+.5)*scale))
	}
	weight := func(node string) float64 { return 1 + float64(node[len(node)-1]-'0')/4 }
	zone := func(node string) string { return fmt.Sprint(node[len(node)-1] % 3) }
	for _, f := range families {
		write := func(what string, p Placement[string]) {
			fmt.Fprintf(text, "%s %s %#016x\n", f.name, what, p.Fingerprint())
			for _, key := range keys(16) {
				fmt.Fprintf(text, " %v\n", slices.Collect(p.Owners(key))[:min(p.Len(), 10)])
			}
		}
		write("of 3", must(f.make(names(3), nil)))
		write("of 11", must(f.make(names(11), nil)))
		write("of 200", must(f.make(names(200), nil)))
		write("with a seed", must(f.make(names(11), &Options[string]{Seed: 12345})))
		write("with options", must(f.make(names(11), &Options[string]{Points: 7, TableSize: 1009, Capacity: 40})))
		write("with zones", must(f.make(names(11), &Options[string]{Zone: zone})))
		if f.weighted {
			write("with weights", must(f.make(names(11), &Options[string]{Weight: weight})))
		}
		p := must(f.make(names(11), &Options[string]{Capacity: 15}))
		p = must(must(p.Without("node-10", "node-9", "node-8")).With("x", "y"))
		if f.anyLeave {
			p = must(p.Without("node-0", "y"))
		}
		write("that changed", p)
	}
}
