package kafka

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftbench "github.com/hashicorp/raft/bench"
	"github.com/stretchr/testify/require"
)

// TestRaftLogIsAsRaftsOwn does what raft does with its log, and compares each
// step, and what is there after opening again, with raft's store in memory.
func TestRaftLogIsAsRaftsOwn(t *testing.T) {
	dir := t.TempDir()
	ours, err := openRaftLog(dir, nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, ours.Close()) }()
	model := raft.NewInmemStore()
	r := rand.New(rand.NewPCG(1, 2))
	next, term := uint64(1), uint64(1)
	store := func(logs []*raft.Log) {
		require.NoError(t, ours.StoreLogs(logs))
		require.NoError(t, model.StoreLogs(logs))
		next = logs[len(logs)-1].Index + 1
	}
	for range 400 {
		first, _ := model.FirstIndex()
		last, _ := model.LastIndex()
		switch n := r.IntN(10); {
		case n < 6 || first == 0:
			var logs []*raft.Log
			for i := range uint64(1 + r.IntN(5)) {
				logs = append(logs, &raft.Log{Index: next + i, Term: term, Type: raft.LogType(r.IntN(3)), Data: make([]byte, r.IntN(50)), Extensions: make([]byte, r.IntN(3))})
			}
			store(logs)
		case n == 6: // a new leader has other entries
			from := first + r.Uint64N(last-first+1)
			require.NoError(t, ours.DeleteRange(from, last))
			require.NoError(t, model.DeleteRange(from, last))
			next, term = from, term+1
		case n == 7: // a snapshot holds the beginning
			to := first + r.Uint64N(last-first+1)
			if to == last {
				to = max(first, last-1)
			}
			if to < last {
				require.NoError(t, ours.DeleteRange(first, to))
				require.NoError(t, model.DeleteRange(first, to))
			}
		case n == 8: // a snapshot came from the leader, of entries that never were here
			require.NoError(t, ours.DeleteRange(first, last))
			require.NoError(t, model.DeleteRange(first, last))
			next += r.Uint64N(100)
			store([]*raft.Log{{Index: next, Term: term, AppendedAt: time.Unix(0, 5)}})
		default:
			require.NoError(t, ours.Close())
			ours, err = openRaftLog(dir, nil)
			require.NoError(t, err)
		}
		sameRaftLogs(t, model, ours)
	}
}

func sameRaftLogs(t *testing.T, model, ours raft.LogStore) {
	t.Helper()
	first, _ := model.FirstIndex()
	last, _ := model.LastIndex()
	gotFirst, err := ours.FirstIndex()
	require.NoError(t, err)
	gotLast, err := ours.LastIndex()
	require.NoError(t, err)
	require.Equal(t, []uint64{first, last}, []uint64{gotFirst, gotLast})
	for i := max(first, 1) - 1; i <= last+1; i++ {
		var want, got raft.Log
		err, err2 := model.GetLog(i, &want), ours.GetLog(i, &got)
		if errors.Is(err, raft.ErrLogNotFound) {
			require.ErrorIs(t, err2, raft.ErrLogNotFound)
			continue
		}
		require.NoError(t, err2)
		if len(want.Data) == 0 {
			want.Data = nil
		}
		if len(want.Extensions) == 0 {
			want.Extensions = nil
		}
		require.Equal(t, want, got)
	}
}

func TestRaftStable(t *testing.T) {
	dir := t.TempDir()
	s, err := openRaftStable(dir)
	require.NoError(t, err)
	v, err := s.Get([]byte("k"))
	require.NoError(t, err)
	require.Empty(t, v)
	n, err := s.GetUint64([]byte("n"))
	require.NoError(t, err)
	require.Zero(t, n)
	require.NoError(t, s.Set([]byte("k"), []byte("v")))
	require.NoError(t, s.SetUint64([]byte("n"), 7))
	require.NoError(t, s.Close())
	s, err = openRaftStable(dir)
	require.NoError(t, err)
	defer s.Close()
	v, err = s.Get([]byte("k"))
	require.NoError(t, err)
	require.Equal(t, "v", string(v))
	n, err = s.GetUint64([]byte("n"))
	require.NoError(t, err)
	require.EqualValues(t, 7, n)
	_, err = s.GetUint64([]byte("k"))
	require.Error(t, err)
}

// BenchmarkRaftStores are raft's own benchmarks for stores.
func BenchmarkRaftStores(b *testing.B) {
	log, stable, err := openRaftStores(b.TempDir())
	require.NoError(b, err)
	defer log.Close()
	defer stable.Close()
	for _, one := range []struct {
		name string
		run  func(*testing.B, raft.LogStore)
	}{
		{"FirstIndex", raftbench.FirstIndex}, {"LastIndex", raftbench.LastIndex}, {"GetLog", raftbench.GetLog},
		{"StoreLog", raftbench.StoreLog}, {"StoreLogs", raftbench.StoreLogs}, {"DeleteRange", raftbench.DeleteRange},
	} {
		b.Run(one.name+"/impl=ashlar", func(b *testing.B) {
			log, err := openRaftLog(b.TempDir(), nil)
			require.NoError(b, err)
			defer log.Close()
			one.run(b, log)
		})
	}
	b.Run("SetUint64/impl=ashlar", func(b *testing.B) { raftbench.SetUint64(b, stable) })
	b.Run("GetUint64/impl=ashlar", func(b *testing.B) { raftbench.GetUint64(b, stable) })
}
