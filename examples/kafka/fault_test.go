package kafka

import (
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// onMem gives the logs of a broker file systems in memory.
func onMem(disks *sync.Map) func(*brokerConfig) {
	return func(c *brokerConfig) {
		c.LogOptions = func(dir string, o *commitlog.Options) {
			disk, _ := disks.LoadOrStore(dir, vfs.NewMem())
			o.FS = disk.(*vfs.Mem)
		}
	}
}

// theDisk returns the only one.
func theDisk(t *testing.T, disks *sync.Map) (disk *vfs.Mem) {
	t.Helper()
	disks.Range(func(_, v any) bool {
		require.Nil(t, disk)
		disk = v.(*vfs.Mem)
		return true
	})
	require.NotNil(t, disk)
	return disk
}

// What is acknowledged is on disk: a machine that loses power right after it
// has it, with acks=1 and acks=all.
func TestAcknowledgedIsSynced(t *testing.T) {
	var disks sync.Map
	b := startBroker(t, onMem(&disks))
	id := newTopic(t, b, "t", nil)
	w := dial(t, b)
	for i, acks := range []int16{1, -1, 1, -1} {
		got := produceTo(w, id, acks, newBatch(t, -1, -1, -1, values("a", "b", "c")...))
		require.Zero(t, got.ErrorCode)
		require.EqualValues(t, 3*i, got.BaseOffset)
		l, err := commitlog.Open("", &commitlog.Options{FS: theDisk(t, &disks).Crash(nil)}) // exactly what was synced
		require.NoError(t, err)
		require.EqualValues(t, 3*i+3, l.End())
		require.NoError(t, l.Close())
	}
}

// A disk that fails a sync gets no further acknowledgement, and its broker
// says that it is ill. Other partitions go on.
func TestFailingDisk(t *testing.T) {
	var disks sync.Map
	b := startBroker(t, onMem(&disks))
	id := newTopic(t, b, "ill", nil)
	disk := theDisk(t, &disks)
	well := newTopic(t, b, "well", nil)
	w := dial(t, b)
	send := func(topic topicID) *kerr.Error {
		code := produceTo(w, topic, -1, newBatch(t, -1, -1, -1, values("a")...)).ErrorCode
		err, _ := kerr.ErrorForCode(code).(*kerr.Error)
		return err
	}
	require.Nil(t, send(id))
	disk.Hook(vfs.When(func(c vfs.Call) bool { return c.Op == vfs.OpSync }, syscall.EIO))
	require.Equal(t, kerr.KafkaStorageError, send(id))
	disk.Hook() // the disk recovers, and nobody knows what it forgot
	require.Equal(t, kerr.KafkaStorageError, send(id))
	require.Nil(t, send(well))
	p := b.partition(partitionKey{id, 0})
	require.ErrorIs(t, p.state().failure, commitlog.ErrPoisoned)
	require.EqualValues(t, 1, p.state().high, "what was not acknowledged is not seen")
	require.ErrorIs(t, b.check(), commitlog.ErrPoisoned)
	disk.Hook()
	require.ErrorIs(t, b.close(), commitlog.ErrPoisoned)
}

// A disk that is full refuses records, and takes them again once there is
// room.
func TestFullDisk(t *testing.T) {
	var disks sync.Map
	b := startBroker(t, onMem(&disks))
	id := newTopic(t, b, "t", map[string]string{"segment.bytes": "65536", "retention.ms": "-1"})
	disk := theDisk(t, &disks)
	w := dial(t, b)
	send := func() int16 {
		return produceTo(w, id, -1, newBatch(t, -1, -1, -1, values(strings.Repeat("x", 8000))...)).ErrorCode
	}
	require.Zero(t, send())
	disk.Limit(disk.Used() + 100_000)
	taken := 1
	for ; taken < 100; taken++ {
		if code := send(); code != 0 {
			require.Equal(t, kerr.KafkaStorageError.Code, code)
			break
		}
	}
	require.Less(t, taken, 100)
	disk.Limit(-1)
	require.Zero(t, send())
	require.EqualValues(t, taken+1, b.partition(partitionKey{id, 0}).state().high)
}

// What is to be synced every second is synced also while a compaction goes on.
func TestSyncsDoNotWaitForCompaction(t *testing.T) {
	var disks sync.Map
	b := startBroker(t, onMem(&disks), func(c *brokerConfig) { c.Sync, c.RetainEvery = syncInterval, 10*time.Millisecond })
	id := newTopic(t, b, "table", map[string]string{"segment.bytes": "16384", "cleanup.policy": "compact"})
	compacting, going := make(chan struct{}), make(chan struct{})
	var once sync.Once
	theDisk(t, &disks).Hook(func(c vfs.Call) error {
		if c.Op == vfs.OpOpen && strings.Contains(c.Path, ".compact") {
			once.Do(func() { close(compacting) })
			<-going
		}
		return nil
	})
	end := sync.OnceFunc(func() { close(going) })
	t.Cleanup(end) // before the broker is closed
	w := dial(t, b)
	for i := range int64(4) {
		require.Zero(t, produceTo(w, id, -1, large(t, i)).ErrorCode)
	}
	<-compacting
	other := newTopic(t, b, "other", nil)
	require.Eventually(t, func() bool { return produceTo(w, other, -1, batchOf(t, "a")).ErrorCode == 0 }, time.Minute, time.Millisecond)
	p := b.partition(partitionKey{other, 0})
	require.Eventually(t, func() bool { return p.log.Durable() == p.log.End() }, time.Minute, 10*time.Millisecond)
}
