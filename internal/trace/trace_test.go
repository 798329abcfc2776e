package trace

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// h is the key that stands for a word.
func h(word string) uint64 { return KeyOf([]byte(word)) }

func TestRead(t *testing.T) {
	for _, test := range []struct {
		name   string
		in     string
		opts   Options
		format Format
		keys   []uint64
		sizes  []uint32
	}{
		{"numbers", "3\n1\n3\n", Options{}, Keys, []uint64{3, 1, 3}, nil},
		{"no line break at the end", "3\n1", Options{}, Keys, []uint64{3, 1}, nil},
		{"blank lines and CRLF", "\r\n3\r\n\r\n 1 \r\n", Options{}, Keys, []uint64{3, 1}, nil},
		{"the largest number", "18446744073709551615\n", Options{}, Keys, []uint64{1<<64 - 1}, nil},
		{"words", "user:1\nuser:2\nuser:1\n", Options{}, Keys, []uint64{h("user:1"), h("user:2"), h("user:1")}, nil},
		{"a line with spaces is a key if told so", "GET /a 1\nGET /b\n", Options{Format: Keys}, Keys, []uint64{h("GET /a 1"), h("GET /b")}, nil},
		{"sizes after a space", "7 100\n8 200\n", Options{}, Sizes, []uint64{7, 8}, []uint32{100, 200}},
		{"sizes after a tab", "a\t100\nb\t200\n", Options{}, Sizes, []uint64{h("a"), h("b")}, []uint32{100, 200}},
		{"sizes after a comma", "7,100\n8, 200\n", Options{}, Sizes, []uint64{7, 8}, []uint32{100, 200}},
		{"a size beyond 32 bits", "7 99999999999\n", Options{}, Sizes, []uint64{7}, []uint32{1<<32 - 1}},
		{"arc", "10 3 0 1\n10 1 0 2\n5 0 0 3\n", Options{}, ARC, []uint64{10, 11, 12, 10}, nil},
		{"lirs", "4\n*\n5\n* comment\n4\n", Options{}, LIRS, []uint64{4, 5, 4}, nil},
		{"csv with names", "time,key,size\n1,a,10\n2,b,20\n", Options{}, CSV, []uint64{h("a"), h("b")}, []uint32{10, 20}},
		{"csv without a size", "time,URL\n1,/x\n2,/y\n", Options{}, CSV, []uint64{h("/x"), h("/y")}, nil},
		{"csv, columns by name", "who,what,when\n1,7,2\n1,8,3\n", Options{Key: "What", Size: "when"}, CSV, []uint64{7, 8}, []uint32{2, 3}},
		{"csv, columns by number", "1,7,20\n2,8,30\n", Options{Key: "2", Size: "3"}, CSV, []uint64{7, 8}, []uint32{20, 30}},
		{"csv with semicolons", "id;n\nx;1\n", Options{}, CSV, []uint64{h("x")}, nil},
		{"csv with tabs", "id\tn\tm\nx y\t1\t2\n", Options{}, CSV, []uint64{h("x y")}, nil},
		{"columns of spaces", "1  7   20\n20 8   3\n", Options{Key: "2", Size: "3"}, CSV, []uint64{7, 8}, []uint32{20, 3}},
		{"quoted text", "key,size\n\"a,b\",1\n\"c\",2\n", Options{}, CSV, []uint64{h("a,b"), h("c")}, []uint32{1, 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Read(strings.NewReader(test.in), &test.opts)
			require.NoError(t, err)
			require.Equal(t, test.format, got.Format)
			require.NotEmpty(t, got.Why)
			require.Equal(t, test.keys, got.Keys)
			require.Equal(t, test.sizes, got.Sizes)

			// The same bytes, compressed, and coming in one at a time.
			var packed bytes.Buffer
			w := gzip.NewWriter(&packed)
			_, err = io.WriteString(w, test.in)
			require.NoError(t, err)
			require.NoError(t, w.Close())
			again, err := Read(iotest.OneByteReader(&packed), &test.opts)
			require.NoError(t, err)
			require.Equal(t, got, again)
		})
	}
}

func TestReadSaysWhatIsWrong(t *testing.T) {
	for _, test := range []struct {
		name string
		in   string
		opts Options
		want string
	}{
		{"nothing", "", Options{}, "trace: empty; expected one access a line"},
		{"blank lines only", "\n \n", Options{}, "trace: empty; expected one access a line"},
		{"marks only", "*\n*\n", Options{}, "trace: no accesses; expected one block number a line, or a mark that begins with *"},
		{"a sentence", "1\n2\nthree and a half\n", Options{}, `trace: line 3: "three and a half" does not go with the lines before it; expected one key a line`},
		{"one line of many words", "Dear Sir or Madam,\nplease find attached\n", Options{}, `trace: line 2: "please find attached" does not go with`},
		{"bytes that are no text", "\x00\x01\x02", Options{}, "trace: not text"},
		{"another compression", "\x28\xb5\x2f\xfdxxxx", Options{}, "trace: compressed by zstd; expected text, plain or compressed by gzip"},
		{"gzip cut short", "\x1f\x8b\x08\x00\x00", Options{}, "trace: damaged or cut short: unexpected EOF"},
		{"no size", "1 2\n3\n", Options{Format: Sizes}, `trace: line 2: "3"; expected a key and a size in bytes`},
		{"a size that is none", "1 2\n3 x\n", Options{Format: Sizes}, `trace: line 2: the size is "x"; expected a number of bytes`},
		{"a negative size", "1 -2\n", Options{Format: Sizes}, `trace: line 1: the size is "-2"; expected a number of bytes`},
		{"arc with three numbers", "1 2 0 0\n1 2 0\n", Options{Format: ARC}, `trace: line 2: "1 2 0"; expected four numbers`},
		{"arc with five", "1 2 0 0 0\n", Options{Format: ARC}, `trace: line 1: "1 2 0 0 0"; expected four numbers`},
		{"lirs with a word", "1\nx\n", Options{Format: LIRS}, `trace: line 2: "x"; expected a block number or *`},
		{"a number beyond 64 bits", "1\n18446744073709551616\n", Options{Format: LIRS}, `trace: line 2: "18446744073709551616"; expected a block number or *`},
		{"no column like a key", "a,b,c\n1,2,3\n", Options{}, "trace: line 1: no column that is named like a key (the columns are a, b, c); say which one is"},
		{"no names at all", "1,2,3\n4,5,6\n", Options{}, "trace: line 1: no column that is named like a key (the columns have no names); say which one is"},
		{"no such name", "a,b\nx,y\n", Options{Key: "c"}, `trace: line 1: no key column "c"; expected one of a, b, or a number from 1 to 2`},
		{"no such number", "a,b\nx,y\n", Options{Key: "3"}, "trace: line 1: no key column 3; expected a number from 1 to 2"},
		{"a name where there are none", "1,2\n3,4\n", Options{Size: "bytes", Key: "1"}, `trace: line 1: the columns have no names, so there is no size column "bytes"`},
		{"a line with too few columns", "key,size\na,1\nb\n", Options{Format: CSV}, "trace: line 3: 1 columns; expected at least 2, separated by commas"},
		{"a size column with a word", "key,size\na,1\nb,big\n", Options{}, `trace: line 3: the size, column 2, is "big"; expected a number of bytes`},
		{"a long line", "1\n" + strings.Repeat("x", 101) + "\n", Options{LineLimit: 100}, "trace: line 2: longer than 100 bytes"},
		{"a longer line", "1\n" + strings.Repeat("x", 1<<20), Options{}, "trace: line 2: longer than 65536 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Read(strings.NewReader(test.in), &test.opts)
			require.ErrorContains(t, err, test.want)
			_, isSyntax := errors.AsType[*SyntaxError](err)
			require.True(t, isSyntax, "%T blames the reader, not the input", err)
		})
	}
}

// What the reader is to blame for is no fault of the trace.
func TestReadPassesErrorsOn(t *testing.T) {
	broken := errors.New("the disk is gone")
	for name, r := range map[string]io.Reader{
		"at once": iotest.ErrReader(broken),
		"later":   io.MultiReader(strings.NewReader(strings.Repeat("1\n", 1<<19)), iotest.ErrReader(broken)),
	} {
		_, err := Read(r, nil)
		if !errors.Is(err, broken) {
			t.Errorf("%s: Read = %v, want %v", name, err, broken)
		}
	}
	_, err := Read(strings.NewReader("1\n"), &Options{Format: 99})
	require.ErrorContains(t, err, "unknown format")
}

func TestReadStopsAtTheLimit(t *testing.T) {
	for in, format := range map[string]Format{"1\n2\n3\n4\n5\n": Keys, "1 4000000000000 0 0\n": ARC} {
		got, err := Read(strings.NewReader(in), &Options{Limit: 4})
		require.NoError(t, err)
		if want := []uint64{1, 2, 3, 4}; got.Format != format || !slices.Equal(got.Keys, want) || !got.Trimmed {
			t.Errorf("%q: %v %v trimmed %v, want %v %v true", in, got.Format, got.Keys, got.Trimmed, format, want)
		}
	}
	got, err := Read(strings.NewReader("1\n2\n3\n"), &Options{Limit: 3})
	require.NoError(t, err)
	require.False(t, got.Trimmed, "all of it was read")
}

func TestReadReportsProgress(t *testing.T) {
	in := strings.Repeat("12345678\n", 1<<16)
	var seen []int64
	_, err := Read(strings.NewReader(in), &Options{Progress: func(n int64) { seen = append(seen, n) }})
	require.NoError(t, err)
	require.Greater(t, len(seen), 1)
	require.True(t, slices.IsSorted(seen))
	require.Equal(t, int64(len(in)), seen[len(seen)-1])
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shop.2024.csv")
	require.NoError(t, os.WriteFile(path, []byte("key,size\na,1\n"), 0o600))
	got, err := ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "shop.2024", got.Name)

	_, err = ReadFile(path + ".gz")
	require.ErrorIs(t, err, fs.ErrNotExist)

	require.NoError(t, os.WriteFile(path, []byte("key,size\na,b\n"), 0o600))
	_, err = ReadFile(path)
	require.ErrorContains(t, err, path+": trace: line 2: ")
}

func TestNameOf(t *testing.T) {
	for path, want := range map[string]string{
		"/x/arc-oltp.txt.gz": "arc-oltp", "web.CSV": "web", "P3.lis": "P3", ".gz": ".gz", "v1.2": "v1.2", "a": "a",
	} {
		if got := NameOf(path); got != want {
			t.Errorf("NameOf(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestParseFormat(t *testing.T) {
	for f := Keys; f <= CSV; f++ {
		got, err := ParseFormat(f.String())
		if got != f || err != nil {
			t.Errorf("ParseFormat(%q) = %v, %v, want %v", f, got, err, f)
		}
	}
	for _, name := range []string{"", "auto"} {
		got, err := ParseFormat(name)
		if got != 0 || err != nil {
			t.Errorf("ParseFormat(%q) = %v, %v, want 0", name, got, err)
		}
	}
	_, err := ParseFormat("xml")
	require.ErrorContains(t, err, `no format "xml"`)
	require.Equal(t, "generated unknown", fmt.Sprint(Format(0), " ", Format(77)))
}

func TestUniqueAndJoin(t *testing.T) {
	a := &Trace{Keys: []uint64{1, 2, 1}, Sizes: []uint32{10, 20, 30}}
	keys, size := a.Unique()
	require.Equal(t, 2, keys)
	require.Equal(t, int64(50), size, "the last size of each key")

	both := Join("both", a, a)
	require.Equal(t, []uint64{1, 2, 1, 1, 2, 1}, both.Keys)
	require.Len(t, both.Sizes, 6)
	require.Nil(t, Join("one without sizes", a, &Trace{Keys: []uint64{1}}).Sizes)
}

func TestSharedTraces(t *testing.T) {
	_, err := Load("no such trace")
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, ok := Data("../corda-vault")
	require.False(t, ok, "a name is no path")
	if len(Names()) == 0 {
		t.Skip("the shared traces are not there")
	}
	for name, want := range map[string]struct{ accesses, unique int }{
		"corda-vault": {135702, 90468}, "lirs-loop": {505500, 1011}, Composite: {2*135702 + 505500, 0},
		"webcdn-adaptsize.sizes": {66987, 36815},
	} {
		got, err := Load(name)
		require.NoError(t, err)
		if unique, _ := got.Unique(); len(got.Keys) != want.accesses || want.unique != 0 && unique != want.unique {
			t.Errorf("%s has %d accesses to %d keys, want %d to %d", name, len(got.Keys), unique, want.accesses, want.unique)
		}
		if sized := strings.HasSuffix(name, ".sizes"); sized != (got.Sizes != nil) {
			t.Errorf("%s: sizes %v", name, got.Sizes != nil)
		}
	}
	require.Contains(t, Names(), "corda-vault")
}
