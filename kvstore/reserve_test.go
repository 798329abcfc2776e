package kvstore

import (
	"fmt"
	"testing"

	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/stretchr/testify/require"
)

// A disk that is full before the first segment is has room in reserve, too:
// whoever deletes and merges gets all of it back, with no space from elsewhere.
func TestADiskThatFillsWithTheFirstSegment(t *testing.T) {
	for _, manual := range []bool{true, false} {
		for _, limit := range []int64{120 << 10, 200 << 10, 500 << 10, 900 << 10, 1100 << 10, 1500 << 10, 2500 << 10} {
			t.Run(fmt.Sprintf("manual=%v/%dK", manual, limit>>10), func(t *testing.T) {
				m := vfs.NewMem()
				s, err := Open("", &Options{FS: m, ManualMerge: manual})
				require.NoError(t, err)
				defer func() { require.NoError(t, s.Close()) }()
				m.Limit(limit)
				n := 0
				for ; err == nil; n++ {
					err = s.Put(fmt.Appendf(nil, "%06d", n), make([]byte, 500), buffered)
				}
				require.ErrorIs(t, err, ErrFull)
				n-- // the last was refused
				deleted := 0
				for round := 0; deleted < n; round++ {
					require.Less(t, round, 30, "%d of %d deleted", deleted, n)
					for err = nil; err == nil && deleted < n; {
						if err = s.Delete(fmt.Appendf(nil, "%06d", deleted), buffered); err == nil {
							deleted++
						}
					}
					if err != nil {
						require.ErrorIs(t, err, ErrFull)
					}
					if err = s.Merge(t.Context()); err != nil {
						require.ErrorIs(t, err, ErrFull) // of what is left there is no room for a copy, yet
					}
				}
				require.NoError(t, s.Merge(t.Context()))
				require.Zero(t, s.Len())
				require.Less(t, m.Used()-s.ballast, int64(100<<10), "what was deleted is given back")
				for i := range 40 {
					require.NoError(t, s.Put(fmt.Appendf(nil, "again-%d", i), make([]byte, 500), nil))
				}
				require.NoError(t, s.Verify(t.Context()))
			})
		}
	}
}

// A disk that is too small even for a reserve: Merge says that it has done
// nothing, and what helps, and then it does.
func TestMergeWithoutAReserve(t *testing.T) {
	m := vfs.NewMem()
	s, err := Open("", &Options{FS: m})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	m.Limit(60 << 10)
	n := 0
	for ; err == nil; n++ {
		err = s.Put(fmt.Appendf(nil, "%06d", n), make([]byte, 500), buffered)
	}
	for i := range n - 1 {
		require.NoError(t, s.Delete(fmt.Appendf(nil, "%06d", i), buffered))
	}
	for range 3 {
		err = s.Merge(t.Context())
		require.ErrorIs(t, err, ErrFull)
		require.ErrorContains(t, err, "make some on the disk, and merge again")
	}
	m.Limit(100 << 10)
	require.NoError(t, s.Merge(t.Context()))
	require.Less(t, m.Used(), int64(60<<10))
	require.NoError(t, s.Put([]byte("again"), make([]byte, 500), nil))
}
