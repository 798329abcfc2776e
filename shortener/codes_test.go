package shortener

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var key = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

func TestAlphabet(t *testing.T) {
	require.Equal(t, 62, Base62.Len())
	require.Equal(t, 57, Legible.Len())
	require.False(t, strings.ContainsAny(Legible.String(), "0O1lI"))
	require.Equal(t, "0000000", string(Base62.Append(nil, 0, 7)))
	require.Equal(t, "x10", string(Base62.Append([]byte("x"), 62, 2)))
	require.Equal(t, "00", string(Base62.Append(nil, 62*62, 2)), "digits too many are left out")
	require.Empty(t, Base62.Append(nil, 5, 0))
	for _, n := range []uint64{0, 1, 61, 62, 3844, 1e12, math.MaxUint64} {
		for _, a := range []*Alphabet{Base62, Legible, NewAlphabet("01")} {
			got, ok := a.Parse(string(a.Append(nil, n, 64)))
			require.True(t, ok)
			require.Equal(t, n, got)
		}
	}
	for _, code := range []string{"", "a b", "-", "é", strings.Repeat("Z", 11), "Zzzzzzzzzzzz"} {
		_, ok := Base62.Parse(code)
		require.False(t, ok, code)
	}
	require.True(t, Base62.Has("aZ9"))
	require.False(t, Base62.Has("a-"))
	require.False(t, Base62.Has("é"))
	space, ok := Base62.Space(7)
	require.True(t, ok)
	require.Equal(t, uint64(3521614606208), space)
	_, ok = Base62.Space(11)
	require.False(t, ok)
	for _, bad := range []string{"", "a", "aa", "ab/", "ab%", "abé", "ab c"} {
		require.Panics(t, func() { NewAlphabet(bad) }, bad)
	}
}

func TestBadCodeOptions(t *testing.T) {
	for _, opts := range []*CodeOptions{{Length: -1}, {Length: 11}} {
		require.Panics(t, func() { NewRandom(opts) })
		require.Panics(t, func() { NewSalted(opts) })
		require.Panics(t, func() { NewHashed(nil, opts) })
		require.Panics(t, func() { NewPermuted(key, nil, opts) })
	}
	require.Panics(t, func() { NewPermuted(key, nil, &CodeOptions{Alphabet: NewAlphabet("01"), Length: 63}) })
}

// Every number of a space has one code, and every code of it one number.
func TestPermutationIsOne(t *testing.T) {
	for base := 2; base <= 62; base++ {
		alphabet := NewAlphabet(Base62.String()[:base])
		for length := 1; length <= 4; length++ {
			space, _ := alphabet.Space(length)
			if space > 40_000 {
				break
			}
			for _, key := range [][16]byte{{}, key} {
				c := NewPermuted(key, nil, &CodeOptions{Alphabet: alphabet, Length: length})
				seen := make(map[string]bool, space)
				for n := range space {
					code, err := c.AppendNumber(nil, n)
					if err != nil || len(code) != length || seen[string(code)] {
						t.Fatalf("base %d, length %d: %d becomes %q, %v", base, length, n, code, err)
					}
					seen[string(code)] = true
					if back, ok := c.Number(string(code)); !ok || back != n {
						t.Fatalf("base %d, length %d: %q becomes %d, not %d", base, length, code, back, n)
					}
				}
				_, err := c.AppendNumber(nil, space)
				require.ErrorIs(t, err, ErrNoCodes)
			}
		}
	}
}

// The largest spaces, in samples.
func TestPermutationOfLargeSpaces(t *testing.T) {
	for _, space := range []uint64{1 << 62, 1<<62 - 1, 1<<61 + 1, 839299365868340224 /* 62^10 */, 3521614606208} {
		p := newPermutation(key, space)
		for i := range uint64(5000) {
			for _, n := range []uint64{i, space - 1 - i, i * (space / 5000)} {
				out := p.of(n)
				if out >= space || p.inverse(out) != n {
					t.Fatalf("space %d: %d becomes %d, and that %d", space, n, out, p.inverse(out))
				}
			}
		}
	}
}

// Codes of numbers in a row look like any others: each character is about as
// frequent as any at each place, and the next code does not follow from the
// last two.
func TestPermutedLooksRandom(t *testing.T) {
	c := NewPermuted(key, nil, nil)
	const n = 62 * 2000
	var counts [7][62]int
	var last, difference uint64
	same := map[uint64]int{}
	for i := range uint64(n) {
		code, err := c.AppendNumber(nil, i)
		require.NoError(t, err)
		for place, ch := range code {
			counts[place][strings.IndexByte(Base62.String(), ch)]++
		}
		number, _ := Base62.Parse(string(code))
		difference, last = number-last, number
		same[difference]++
	}
	for place := range counts {
		for ch, count := range counts[place] {
			if math.Abs(float64(count)-2000) > 6*math.Sqrt(2000) {
				t.Errorf("character %d at place %d: %d times of %d", ch, place, count, n)
			}
		}
	}
	for d, count := range same {
		if count > 2 {
			t.Errorf("a difference of %d: %d times", d, count)
		}
	}
	a, _ := NewPermuted([16]byte{1}, nil, nil).AppendNumber(nil, 1)
	b, _ := NewPermuted([16]byte{2}, nil, nil).AppendNumber(nil, 1)
	require.NotEqual(t, string(a), string(b), "another key")
}

// The collision laws: of 4 million codes in a space of 62^7 about 2.3 collide,
// of 500,000 in one of 62^5 about 136.
func TestCollisionLaws(t *testing.T) {
	n := 4_000_000
	if testing.Short() || raceEnabled {
		n = 200_000
	}
	ctx := t.Context()
	for _, length := range []int{7, 5} {
		n := n
		if length == 5 {
			n = 500_000
		}
		opts := &CodeOptions{Length: length}
		space, _ := Base62.Space(length)
		expected := float64(n) / 2 * float64(n) / float64(space)
		for name, codes := range map[string]Codes{
			"salted": NewSalted(opts), "random": NewRandom(opts), "hashed": NewHashed([]byte("key"), opts), "permuted": NewPermuted(key, nil, opts),
		} {
			seen := make(map[uint64]struct{}, n)
			var room [80]byte
			collisions := 0
			for i := range n {
				url := fmt.Appendf(room[:0], "https://example.com/%d", i)
				code, err := codes.AppendCode(ctx, room[40:40], string(url), 0)
				if err != nil {
					t.Fatal(err)
				}
				number, ok := Base62.Parse(string(code))
				if !ok || len(code) != length {
					t.Fatalf("code %q", code)
				}
				if _, there := seen[number]; there {
					collisions++
				}
				seen[number] = struct{}{}
			}
			t.Logf("%s, %d characters: %d of %d collide, by the law %.1f", name, length, collisions, n, expected)
			if name == "permuted" {
				require.Zero(t, collisions)
			} else if math.Abs(float64(collisions)-expected) > 6*math.Sqrt(expected)+5 {
				t.Errorf("%s, %d characters: %d of %d collide, by the law %.1f", name, length, collisions, n, expected)
			}
		}
	}
}

func TestHashedIsOfTheContent(t *testing.T) {
	ctx := t.Context()
	code := func(key, url string, attempt int) string {
		code, err := NewHashed([]byte(key), nil).AppendCode(ctx, nil, url, attempt)
		require.NoError(t, err)
		return string(code)
	}
	require.Equal(t, code("k", "u", 0), code("k", "u", 0))
	all := map[string]bool{code("k", "u", 0): true, code("k", "u", 1): true, code("k2", "u", 0): true, code("k", "u2", 0): true, code("ku", "", 0): true, code("", "ku", 0): true}
	require.Len(t, all, 6)
	require.Equal(t, "kjxPiTM", code("key", "https://example.com/", 0), "the same in every release")
}

func TestPermutedUsesItsSequence(t *testing.T) {
	failed := errors.New("failed")
	n := uint64(5)
	c := NewPermuted(key, func(context.Context) (uint64, error) {
		if n > 6 {
			return 0, failed
		}
		n++
		return n - 1, nil
	}, nil)
	for want := range uint64(2) {
		code, err := c.AppendCode(t.Context(), nil, "", 0)
		require.NoError(t, err)
		got, ok := c.Number(string(code))
		require.True(t, ok)
		require.Equal(t, want+5, got)
	}
	_, err := c.AppendCode(t.Context(), nil, "", 0)
	require.ErrorIs(t, err, failed)
	for _, code := range []string{"", "short", "12345678", "-------"} {
		_, ok := c.Number(code)
		require.False(t, ok)
	}
	first, err := NewPermuted(key, nil, nil).AppendCode(t.Context(), nil, "", 0)
	require.NoError(t, err)
	require.Equal(t, "GxquOkN", string(first), "the same in every release")
}

func TestCodesAllocateNothing(t *testing.T) {
	ctx := t.Context()
	var room [16]byte
	for _, codes := range []Codes{NewPermuted(key, nil, nil), NewRandom(nil), NewSalted(nil), NewHashed(nil, nil)} {
		allocs := testing.AllocsPerRun(100, func() {
			if _, err := codes.AppendCode(ctx, room[:0], "https://example.com/", 0); err != nil {
				t.Fatal(err)
			}
		})
		if allocs > 0 && !raceEnabled {
			t.Errorf("%T: %v allocations", codes, allocs)
		}
	}
}

func TestWords(t *testing.T) {
	w := DefaultWords()
	for _, code := range []string{"api", "API", "Login", "well-known"} {
		require.True(t, w.Reserved(code), code)
	}
	for _, code := range []string{"apis", "xapi", ""} {
		require.False(t, w.Reserved(code), code)
	}
	for _, code := range []string{"fuck", "FuCk", "xfuckx", "fVck", "sh1t", "5hit", "SH17xx", "f-u_c~k", "p0rn", "a$$anal"} {
		require.Equal(t, code != "fVck", w.Foul(code), code)
	}
	for _, code := range []string{"abc1234", "xkcd", "", "9999999"} {
		require.False(t, w.Foul(code), code)
	}
	var none *Words
	require.False(t, none.Foul("fuck") || none.Reserved("api"))
	require.False(t, new(Words).Foul("fuck") || new(Words).Reserved("api"))
	own := NewWords([]string{"Brand"}, []string{"B4D", "--"})
	require.True(t, own.Reserved("bRAND") && own.Foul("xBad") && own.Foul("84d"))
	require.False(t, own.Foul("fuck") || own.Foul("anything"))
}

// FuzzAlphabet holds codes against numbers, in any alphabet.
func FuzzAlphabet(f *testing.F) {
	f.Add(uint64(1234567), uint8(62), uint8(7), "0aZ")
	f.Add(uint64(math.MaxUint64), uint8(2), uint8(64), "1111")
	f.Fuzz(func(t *testing.T, n uint64, base, length uint8, code string) {
		a := NewAlphabet((Base62.String() + "-_~")[:2+int(base)%64])
		l := int(length) % 70
		text := string(a.Append(nil, n, l))
		space, fits := a.Space(l)
		if len(text) != l || !a.Has(text) {
			t.Fatalf("%d becomes %q", n, text)
		}
		want := n
		if fits {
			want %= space
		}
		if got, ok := a.Parse(text); l > 0 && (!ok || got != want) {
			t.Fatalf("%q becomes %d, %t, want %d", text, got, ok, want)
		}
		if n, ok := a.Parse(code); ok && string(a.Append(nil, n, len(code))) != code {
			t.Fatalf("%q becomes %d, and that another code", code, n)
		}
	})
}
