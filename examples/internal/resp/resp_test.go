package resp

import (
	"bufio"
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/internal/budget"
)

// FuzzReader gives the parser whatever comes. It must not hold more than its
// limits, and what it takes for a command must be parts of the input.
func FuzzReader(f *testing.F) {
	f.Add([]byte("*2\r\n$3\r\nGET\r\n$1\r\na\r\nSET \"a b\" 'c\\'d' \\x41\r\n"))
	f.Add([]byte("*1000\r\n$100000\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		b := budget.New(90_000, 0) // less than a command may take
		r := NewReader(t.Context(), bufio.NewReaderSize(bytes.NewReader(data), 4096), &Limits{Args: 64, Inline: 4000, Command: 100_000}, b.Claim())
		for {
			args, err := r.Next()
			if err != nil && err != ErrFlood {
				break
			}
			total := 0
			for _, arg := range args {
				total += len(arg)
			}
			if total > len(data) || total > 100_000 || len(args) > 4000 {
				t.Fatalf("%d arguments of %d bytes from %d bytes", len(args), total, len(data))
			}
			r.Claim.Release()
			r.Claim = b.Claim()
		}
		r.Claim.Release()
		if b.Used() != 0 {
			t.Fatalf("%d bytes stay counted", b.Used())
		}
	})
}

// A command for which there is no room is read to its end and refused, and the next
// one is read as if it had not been.
func TestReaderGoesOnBehindWhatHasNoRoom(t *testing.T) {
	large := strings.Repeat("v", 100_000)
	text := "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100000\r\n" + large + "\r\n*5\r\n$4\r\nMSET\r\n$1\r\na\r\n$100000\r\n" + large + "\r\n$1\r\nb\r\n$1\r\nx\r\n*1\r\n$4\r\nPING\r\n"
	b := budget.New(150_000, 0)
	other := b.Claim()
	require.NoError(t, other.Take(t.Context(), 100_000))
	r := NewReader(t.Context(), bufio.NewReader(strings.NewReader(text)), &Limits{Args: 64, Inline: 4000, Command: 200_000}, b.Claim())
	for range 2 {
		_, err := r.Next()
		require.ErrorIs(t, err, ErrFlood)
	}
	args, err := r.Next()
	require.NoError(t, err)
	require.Equal(t, "PING", string(args[0]))
	require.EqualValues(t, 100_000, b.Used())
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
		if got := Glob([]byte(test.pattern), test.text); got != test.want {
			t.Errorf("Glob(%q, %q) = %v, want %v", test.pattern, test.text, got, test.want)
		}
	}
}

// What an Outbox sends is what was put into it, in order, and large values are
// not copied.
func TestOutbox(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	large := make([]byte, 10_000)
	for i := range large {
		large[i] = byte(i % 251)
	}
	var got, want bytes.Buffer
	o := NewOutbox(&got)
	for range 2000 {
		b := large[:rng.IntN([]int{10, 100, 10_000}[rng.IntN(3)])]
		switch rng.IntN(5) {
		case 0:
			o.WriteByte('!')
			b = []byte("!")
		case 1:
			o.WriteString(string(b))
		case 2:
			o.Write(b)
		default:
			o.Refer(b)
		}
		want.Write(b)
		if rng.IntN(100) == 0 {
			require.NoError(t, o.Flush())
		}
	}
	require.NoError(t, o.Flush())
	require.True(t, bytes.Equal(want.Bytes(), got.Bytes()))
	for range 100_000 {
		o.Refer(large)
	}
	require.Equal(t, 1_000_000_000, o.Size())
	require.Less(t, cap(o.tail), 200_000)
}
