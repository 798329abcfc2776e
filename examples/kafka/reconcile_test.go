package kafka

import (
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

const manyPartitions = 300

// manyOf creates a topic of many partitions, waits until the broker has this
// many of them, and returns its ID.
func manyOf(t *testing.T, b *broker, have int) topicID {
	t.Helper()
	r, err := b.create(t.Context(), createTopic{Name: "many", Partitions: manyPartitions, Replicas: 1})
	require.NoError(t, err)
	require.Zero(t, r.Code, r.Message)
	require.Eventually(t, func() bool { return len(b.all()) == have }, time.Minute, 5*time.Millisecond)
	return b.control.Image().Topics["many"].ID
}

// meet makes the first partition that is opened wait for another one.
func meet(t *testing.T) func(*brokerConfig) {
	var opened atomic.Int32
	another := make(chan struct{})
	return func(c *brokerConfig) {
		options := c.LogOptions
		c.LogOptions = func(dir string, o *commitlog.Options) {
			options(dir, o)
			switch opened.Add(1) {
			case 1:
				select {
				case <-another:
				case <-time.After(time.Minute):
					t.Error("no partition is opened while another one is")
				}
			case 2:
				close(another)
			}
		}
	}
}

// Partitions of a new topic, and those that a broker finds when it starts, are
// opened several at a time.
func TestPartitionsAreOpenedConcurrentSafe(t *testing.T) {
	var disks sync.Map
	dir := t.TempDir()
	b := startBroker(t, inDir(dir), onMem(&disks), meet(t))
	id := manyOf(t, b, manyPartitions)
	for _, p := range b.all() {
		require.True(t, p.state().leading)
		a := p.append(t.Context(), batchOf(t, p.file), true)
		require.Nil(t, a.err)
	}
	require.NoError(t, b.close())

	b = startBroker(t, inDir(dir), onMem(&disks), meet(t))
	require.Len(t, b.all(), manyPartitions, "they are there when it has started")
	for i, p := range b.all() {
		require.Equal(t, partitionKey{id, int32(i)}, partitionKey{p.id, p.index})
		require.True(t, p.state().leading)
		require.Equal(t, []string{p.file}, valuesOf(t, p))
	}
}

// A broker does not start without one of its partitions: it says which and
// where, and closes the others.
func TestABrokerWithAPartitionThatCannotBeOpened(t *testing.T) {
	var disks sync.Map
	dir := t.TempDir()
	b := startBroker(t, inDir(dir), onMem(&disks))
	id := manyOf(t, b, manyPartitions)
	require.NoError(t, b.close())
	ill := filepath.Join(dir, "logs", id.String(), "137")
	disk, _ := disks.Load(ill)
	disk.(*vfs.Mem).Hook(vfs.When(func(c vfs.Call) bool { return c.Op == vfs.OpOpen }, syscall.EIO))
	_, err := tryBroker(t, inDir(dir), onMem(&disks))
	require.ErrorIs(t, err, syscall.EIO)
	require.ErrorContains(t, err, "many partition 137 in "+ill+": ")

	disk.(*vfs.Mem).Hook()
	b = startBroker(t, inDir(dir), onMem(&disks)) // a log that is still open cannot be opened
	require.Len(t, b.all(), manyPartitions)
}

// A new partition that cannot be opened does not keep others from their work.
func TestAPartitionThatCannotBeOpened(t *testing.T) {
	b := startBroker(t, func(c *brokerConfig) {
		c.LogOptions = func(dir string, o *commitlog.Options) {
			disk := vfs.NewMem()
			if filepath.Base(dir) == "137" {
				disk.Hook(vfs.When(func(c vfs.Call) bool { return c.Op == vfs.OpOpen }, syscall.EIO))
			}
			o.FS = disk
		}
	})
	id := manyOf(t, b, manyPartitions-1)
	for _, p := range b.all() {
		require.True(t, p.state().leading)
	}
	_, _, err := b.find(b.control.Image(), "many", id, true, 137)
	require.Equal(t, kerr.LeaderNotAvailable, err)
}

// One that could not be opened is opened later, without anybody changing the
// cluster: the disk may have been full, or there were too many files.
func TestAPartitionIsOpenedLater(t *testing.T) {
	disk := vfs.NewMem()
	disk.Hook(vfs.When(func(c vfs.Call) bool { return c.Op == vfs.OpOpen }, syscall.EMFILE))
	b := startBroker(t, func(c *brokerConfig) { c.LogOptions = func(_ string, o *commitlog.Options) { o.FS = disk } })
	id := newTopic(t, b, "t", nil)
	w := dial(t, b)
	require.Equal(t, kerr.LeaderNotAvailable.Code, produceTo(w, id, -1, batchOf(t, "a")).ErrorCode)
	disk.Hook()
	require.Eventually(t, func() bool { return len(b.all()) == 1 }, time.Minute, 10*time.Millisecond)
	require.Eventually(t, func() bool { return produceTo(w, id, -1, batchOf(t, "a")).ErrorCode == 0 }, time.Minute, 10*time.Millisecond)
}
