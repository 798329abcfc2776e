package consistenthash

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// active returns which buckets below 2^width are active for a folded hash, as
// the comment of JumpBackHash defines them.
func active(x uint64, width int) []bool {
	active := make([]bool, 1<<width)
	active[0] = true
	for w := 1; w <= width; w++ {
		q := uint64(1) << (w - 1)
		random := draw(x, q)
		drawn := []uint64{x&q | random&(q-1)}
		if w <= 16 {
			drawn = append(drawn, random>>16%(2*q), random>>32%(2*q), random>>48%(2*q))
		}
		last := 2 * q
		for i := 0; ; i++ {
			if i == len(drawn) {
				random = mix(random + golden)
				drawn = append(drawn, random%(2*q))
			}
			if drawn[i] < q {
				break
			}
			if drawn[i] < last {
				last = drawn[i]
				active[last] = true
			}
		}
	}
	return active
}

func TestJumpBackHash(t *testing.T) {
	for i := range uint64(300) {
		h := i * i * golden
		active := active(fold(h^jumpSalt), 11)
		want := 0
		for n := 1; n <= len(active); n++ {
			if active[n-1] {
				want = n - 1
			}
			if got := JumpBackHash(h, n); got != want {
				t.Fatalf("JumpBackHash(%#x, %d) = %d, want %d", h, n, got, want)
			}
		}
	}
}

// From n to n+1 buckets, keys move to the new one only, and as many as it
// needs.
func TestJumpsMoveToTheNewBucket(t *testing.T) {
	for name, hash := range map[string]func(uint64, int) int{"jump": JumpHash, "jumpback": JumpBackHash} {
		const keys = 4000
		for _, from := range []int{1, 250, 65530} { // small, and on both sides of where draws are cut
			at := make([]int, keys)
			for n := from; n < from+20; n++ {
				moved := 0
				for i := range at {
					bucket := hash(mix(uint64(i)), n)
					if bucket < 0 || bucket >= n {
						t.Fatalf("%s of %d buckets: %d", name, n, bucket)
					}
					if n > from && bucket != at[i] {
						if bucket != n-1 {
							t.Fatalf("%s: with bucket %d, a key moved from %d to %d", name, n-1, at[i], bucket)
						}
						moved++
					}
					at[i] = bucket
				}
				want := float64(keys) / float64(n)
				if n > from && math.Abs(float64(moved)-want) > 5*math.Sqrt(want)+2 {
					t.Errorf("%s: %d of %d keys moved to bucket %d", name, moved, keys, n-1)
				}
			}
		}
	}
}

func TestJumpsOfHugeNumbers(t *testing.T) {
	for _, n := range []int{1<<16 - 1, 1 << 16, 1<<16 + 1, 1 << 20, 1<<31 - 1, math.MaxInt} {
		sum, back := 0.0, 0.0
		for i := range uint64(2000) {
			h := mix(i)
			b := JumpBackHash(h, n)
			if b < 0 || b >= n {
				t.Fatalf("JumpBackHash(%d, %d) = %d", h, n, b)
			}
			back += float64(b) / float64(n)
			if n <= math.MaxInt32 {
				b = JumpHash(h, n)
				if b < 0 || b >= n {
					t.Fatalf("JumpHash(%d, %d) = %d", h, n, b)
				}
			}
			sum += float64(b) / float64(n)
		}
		require.InDelta(t, .5, sum/2000, .03, n)
		require.InDelta(t, .5, back/2000, .03, n)
	}
}

// What the program in the paper of Lamping and Veach finds for 1, 2, ...
// buckets.
func TestJumpHashIsTheOneOfThePaper(t *testing.T) {
	for h, want := range map[uint64][]int{
		0:                  {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
		1:                  {0, 0, 0, 0, 0, 0, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 17, 17},
		0xdeadbeef:         {0, 1, 2, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 16, 16, 16},
		0x0ddc0ffeebadf00d: {0, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 15, 15, 15, 15},
	} {
		for i, want := range want {
			if got := JumpHash(h, i+1); got != want {
				t.Errorf("JumpHash(%#x, %d) = %d, want %d", h, i+1, got, want)
			}
		}
	}
	j := must(NewJump(names(19), nil))
	node, _ := j.OwnerHash(1)
	require.Equal(t, "node-17", node)
}

func TestJumpsPanic(t *testing.T) {
	require.PanicsWithValue(t, "consistenthash: JumpHash of 0 buckets", func() { JumpHash(1, 0) })
	require.PanicsWithValue(t, "consistenthash: JumpBackHash of -1 buckets", func() { JumpBackHash(1, -1) })
	if math.MaxInt > math.MaxInt32 {
		require.Panics(t, func() { JumpHash(1, math.MaxInt) })
	}
}
