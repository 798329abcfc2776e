package consistenthash

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// A key belongs to the first point at or behind its position.
func TestPointsAndPositionsTellTheOwner(t *testing.T) {
	r, err := NewRing([]string{"a", "b", "c", "d"}, &Options[string]{Points: 20})
	require.NoError(t, err)
	for i := range 2000 {
		key := fmt.Sprint("key", i)
		position, want, first := r.Position(key), "", ""
		for at, node := range r.Points() {
			if first == "" {
				first = node
			}
			if at >= position {
				want = node
				break
			}
		}
		if want == "" {
			want = first
		}
		if got, _ := r.Owner(key); got != want {
			t.Fatalf("%s at %d belongs to %s, its point is of %s", key, position, got, want)
		}
	}
}
