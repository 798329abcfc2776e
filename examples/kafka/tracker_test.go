package kafka

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// reread returns the tracker that has read a whole log.
func reread(t *testing.T, p *partition) *tracker {
	t.Helper()
	fresh := &partition{log: p.log, tracker: newTracker(p.log.Start())}
	require.NoError(t, fresh.catchUp())
	return fresh.tracker
}

// unread makes the segments of a log fail that begin before an offset.
func unread(disk *vfs.Mem, before int64) {
	disk.Hook(vfs.When(func(c vfs.Call) bool {
		name, _, _ := strings.Cut(c.Path, ".")
		base, err := strconv.ParseInt(name, 10, 64)
		return c.Op == vfs.OpRead && (err != nil || base < before)
	}, syscall.EIO))
}

// Whatever a replica forgets, its tracker is the one that would read all that is
// left, and goes on from the last snapshot that tells of nothing else: one
// below the high watermark serves also if there is one above.
func TestATruncationGoesOnFromASnapshot(t *testing.T) {
	// From which record on the log is read; the log itself reads the one before to.
	for to, read := range map[int64]int64{20: 15, 17: 15, 15: 14, 14: 10, 10: 9, 9: 0, 3: 0, 0: 0} {
		t.Run(fmt.Sprint("to ", to), func(t *testing.T) {
			var disks sync.Map
			b := startBroker(t, onMem(&disks))
			p := b.partition(partitionKey{newTopic(t, b, "t", small(nil)), 0})
			put := func(from, end int32) {
				for i := from; i < end; i++ { // one in each segment
					batch := commitlog.Record{Value: make([]byte, 10_000)}
					require.Nil(t, p.append(t.Context(), newBatch(t, int64(i%3), 0, i/3, batch), false).err)
				}
				require.Nil(t, p.syncLog(t.Context()))
			}
			assign(p, 1, 5)
			put(0, 7)
			assign(p, 1, 6)
			put(7, 10)
			require.NoError(t, p.checkpoint(t.Context()))
			p.adopt(assignment{Leader: 1, Epoch: 7, Version: 7, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}, p.settings)
			put(10, 15)
			require.EqualValues(t, 10, p.state().high)
			require.NoError(t, p.checkpoint(t.Context()))
			put(15, 20)

			assign(p, 2, 8)
			unread(theDisk(t, &disks), read)
			p.mu.Lock()
			err := p.truncate(to)
			p.mu.Unlock()
			theDisk(t, &disks).Hook()
			require.NoError(t, err)
			require.Equal(t, to, p.log.End())
			whole := reread(t, p)
			require.Equal(t, whole.Producers, p.tracker.Producers)
			require.Equal(t, whole.Epochs, p.tracker.Epochs)
			require.Equal(t, whole.End, p.tracker.End)

			after := &partition{log: p.log, file: p.file} // as after a crash, and other records
			require.NoError(t, after.recall(p.log.End()))
			require.LessOrEqual(t, after.tracker.End, to)
			require.NoError(t, after.catchUp())
			require.Equal(t, whole.Producers, after.tracker.Producers)
		})
	}
}

// A snapshot is written while records come in, which are never all on the disk.
func TestACheckpointUnderLoad(t *testing.T) {
	_, p := aReplica(t)
	assign(p, 1, 5)
	require.Nil(t, p.append(t.Context(), newBatch(t, 7, 0, 0, values("a")...), false).err)
	require.Zero(t, p.log.Durable())
	require.NoError(t, p.checkpoint(t.Context()))
	require.EqualValues(t, 1, p.log.Durable(), "it tells of nothing that a crash takes back")
	found, err := loadTracker(p.file, 0, 1)
	require.NoError(t, err)
	require.EqualValues(t, 1, found.End)
	require.Len(t, found.Producers, 1)
}

// A replica that cannot read what a truncation has left takes no more and says
// nothing to its leader, which would take the unknown for the same.
func TestATruncationThatCannotBeRead(t *testing.T) {
	var disks sync.Map
	b := startBroker(t, onMem(&disks))
	p := b.partition(partitionKey{newTopic(t, b, "t", small(nil)), 0})
	assign(p, 1, 5)
	for i := range int32(6) {
		batch := commitlog.Record{Value: make([]byte, 10_000)}
		require.Nil(t, p.append(t.Context(), newBatch(t, 7, 0, i, batch), false).err)
	}
	require.Nil(t, p.syncLog(t.Context()))
	require.NoError(t, p.checkpoint(t.Context()))
	assign(p, 2, 6)
	unread(theDisk(t, &disks), 3)
	p.mu.Lock()
	err := p.truncate(4)
	p.mu.Unlock()
	require.ErrorIs(t, err, syscall.EIO)
	_, ok := p.following(2)
	require.False(t, ok)
	require.ErrorIs(t, b.check(), syscall.EIO)
	theDisk(t, &disks).Hook()
}

// Retention may delete what a tracker has not yet seen.
func TestATrackerOfWhatIsDeleted(t *testing.T) {
	_, p := aReplica(t)
	assign(p, 1, 5)
	for i := range int32(5) {
		require.Nil(t, p.append(t.Context(), newBatch(t, int64(i%2), 0, i/2, values("a")...), false).err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tracker = newTracker(1)
	require.NoError(t, p.log.DeleteBefore(3))
	require.NoError(t, p.catchUp())
	require.Equal(t, reread(t, p).Producers, p.tracker.Producers)
	require.EqualValues(t, 5, p.tracker.End)
}

// Compaction may remove all that a producer wrote last. It is in a snapshot by
// then, in the one that a crash leaves and in the one that a truncation does, and
// in an empty batch, for a replica that begins with the log alone.
func TestCompactionForgetsNoProducer(t *testing.T) {
	for name, cut := range map[string]bool{"crash": false, "truncation": true} {
		t.Run(name, func(t *testing.T) {
			var disks sync.Map
			b := startBroker(t, onMem(&disks))
			p := b.partition(partitionKey{newTopic(t, b, "t", small(map[string]string{"cleanup.policy": "compact"})), 0})
			assign(p, 1, 5)
			put := func(id int64, sequence int32, key string) { // one in each segment
				record := commitlog.Record{Key: []byte(key), Value: make([]byte, 10_000)}
				require.Nil(t, p.append(t.Context(), newBatch(t, id, 0, sequence, record), false).err)
			}
			put(7, 0, "a")
			require.Nil(t, p.syncLog(t.Context()))
			require.NoError(t, p.checkpoint(t.Context()))
			put(7, 1, "b")
			put(8, 0, "b")
			put(8, 1, "c")
			require.Nil(t, p.syncLog(t.Context()))
			end := p.log.End()
			if cut { // of which nobody else has the last
				p.adopt(assignment{Leader: 1, Epoch: 6, Version: 6, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}, p.settings)
				put(8, 2, "d")
				put(8, 3, "e")
				require.Nil(t, p.syncLog(t.Context()))
				require.Equal(t, end, p.state().high)
			}
			require.NoError(t, p.retain(t.Context()))
			require.NoError(t, p.retain(t.Context()))
			if cut {
				assign(p, 2, 7)
				p.mu.Lock()
				require.NoError(t, p.truncate(end))
				p.mu.Unlock()
			}
			after := &partition{log: p.log, file: p.file}
			require.NoError(t, after.recall(p.log.End()))
			require.NoError(t, after.catchUp())
			for _, tracker := range []*tracker{p.tracker, after.tracker, reread(t, p)} {
				require.Contains(t, tracker.Producers, int64(7))
				recent := tracker.Producers[7].Recent
				require.EqualValues(t, 1, recent[len(recent)-1].Last)
				_, refused := tracker.check(commitlog.Batch(newBatch(t, 7, 0, 2, commitlog.Record{Key: []byte("a")})))
				require.Nil(t, refused)
			}
		})
	}
}

// Whatever of two snapshots a crash leaves, and however, the tracker is the one
// of the log.
func TestACrashBetweenSnapshots(t *testing.T) {
	_, p := aReplica(t)
	assign(p, 1, 5)
	for i := range int32(6) {
		require.Nil(t, p.append(t.Context(), newBatch(t, 7, 0, i, values("a")...), false).err)
		if require.Nil(t, p.syncLog(t.Context())); i%2 == 1 {
			require.NoError(t, p.checkpoint(t.Context()))
		}
	}
	files := p.snapshots()
	last, err := os.ReadFile(files[0])
	require.NoError(t, err)
	before, err := os.ReadFile(files[1])
	require.NoError(t, err)
	require.NotEqual(t, last, before)
	want := reread(t, p)
	damaged := append([]byte(nil), last...)
	damaged[len(damaged)/2] ^= 1
	for name, left := range map[string][2][]byte{
		"both": {last, before}, "the rename": {nil, before}, "the new one": {last, nil}, "none": {nil, nil}, "the same": {before, before},
		"turned round": {before, last}, "half of one": {last[:len(last)/2], before}, "an empty one": {{}, before}, "a damaged one": {damaged, before},
		"two damaged": {damaged, damaged},
	} {
		t.Run(name, func(t *testing.T) {
			for i, data := range left {
				if data == nil {
					require.NoError(t, removeFile(files[i]))
				} else {
					require.NoError(t, os.WriteFile(files[i], data, 0o600))
				}
			}
			for to := p.log.End(); to > 3; to-- {
				after := &partition{log: p.log, file: p.file}
				require.NoError(t, after.recall(to))
				require.LessOrEqual(t, after.tracker.End, to)
				require.NoError(t, after.catchUp())
				require.Equal(t, want.Producers, after.tracker.Producers)
				require.Equal(t, want.Epochs, after.tracker.Epochs)
			}
		})
	}
}
