package kafka

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/internal/vfs"
)

// A history is what happens to one replica, which loses power now and then.
type history struct {
	t     *testing.T
	rng   *rand.Rand
	disk  *vfs.Mem
	file  string
	topic *topic
	p     *partition
	sure  int64 // the largest high watermark: the follower has all before it
	epoch int32
	next  map[int64]int32 // sequence number of each producer
}

func (h *history) open() {
	high := new(atomic.Int64)
	settings := h.topic.settings()
	log, err := commitlog.Open("", &commitlog.Options{
		Sync: commitlog.SyncNever, SegmentBytes: settings.segment, RetainBytes: settings.retainBytes, RetainFrom: high.Load, FS: h.disk,
	})
	require.NoError(h.t, err)
	h.p, err = newPartition(h.topic, 0, 1, log, high, h.file, syncEach, slog.New(slog.DiscardHandler))
	require.NoError(h.t, err)
}

// lead begins an epoch of this replica, or of another one, with a follower that
// is in sync up to the high watermark.
func (h *history) lead(leader int32) {
	h.epoch++
	h.p.adopt(assignment{Leader: leader, Epoch: h.epoch, Version: h.epoch, Replicas: []int32{1, 2}, ISR: []int32{1, 2}}, h.p.settings)
}

func (h *history) append() {
	id := h.rng.Int64N(4)
	record := commitlog.Record{Key: []byte{byte(h.rng.IntN(5))}, Value: make([]byte, h.rng.IntN(9000))}
	got := h.p.append(h.t.Context(), newBatch(h.t, id, 0, h.next[id], record), false)
	require.Nil(h.t, got.err, "producer %d, sequence %d", id, h.next[id])
	h.next[id]++
}

// between returns an offset up to which both replicas may have all.
func (h *history) between() int64 { return h.sure + h.rng.Int64N(h.p.log.End()-h.sure+1) }

// replicate moves the high watermark, as the follower's next fetch would.
func (h *history) replicate() {
	require.Nil(h.t, h.p.syncLog(h.t.Context()))
	h.p.mu.Lock()
	defer h.p.mu.Unlock()
	h.p.followers[2].end = h.between()
	h.p.advance()
}

// forget has the replica follow one that has no more than was to be seen.
func (h *history) forget() {
	h.lead(2)
	h.p.mu.Lock()
	require.NoError(h.t, h.p.truncate(h.between()))
	h.p.mu.Unlock()
}

// resend has the producers go on from what is left, as they would when they
// have got no answer.
func (h *history) resend() {
	for id := range h.next {
		h.next[id] = 0
		if p := h.p.tracker.Producers[id]; p != nil {
			h.next[id] = p.Recent[len(p.Recent)-1].Last + 1
		}
	}
}

// Whatever happens to a replica, it loses nothing that consumers have seen, and
// its tracker is the one of its log: of each producer it knows at least the
// last that the log has, and of what lies below the high watermark it forgets
// nothing that is not deleted, though it be compacted.
func TestHistoriesOfAReplica(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			config := map[string]string{"retention.ms": "-1", "segment.bytes": "16384"}
			if seed%2 == 0 {
				config["retention.bytes"] = "60000"
			} else {
				config["cleanup.policy"] = "compact"
			}
			h := &history{t: t, rng: rand.New(rand.NewPCG(seed, 1)), disk: vfs.NewMem(), file: filepath.Join(t.TempDir(), "0.state"),
				topic: &topic{Name: "t", Config: config},
				next:  map[int64]int32{}}
			h.open()
			h.lead(1)
			for range 150 {
				seen := map[int64]written{} // what no crash may take
				for id, p := range h.p.tracker.Producers {
					for _, w := range p.Recent {
						if w.Next <= h.sure {
							seen[id] = w
						}
					}
				}
				switch op := h.rng.IntN(20); {
				case op < 10:
					h.append()
				case op < 13:
					h.replicate()
				case op < 15:
					require.NoError(t, h.p.checkpoint(t.Context()))
				case op < 17:
					require.NoError(t, h.p.retain(t.Context()))
				case op < 18:
					h.forget()
					h.lead(1)
					h.resend()
				default:
					h.disk = h.disk.Crash(h.rng)
					h.open()
					h.lead(1)
					h.resend()
				}
				st := h.p.state()
				h.sure = max(h.sure, st.high)
				require.GreaterOrEqual(t, st.end, h.sure)
				require.LessOrEqual(t, st.start, h.sure)
				require.Equal(t, st.end, h.p.tracker.End)
				for id, p := range reread(t, h.p).Producers {
					require.Contains(t, h.p.tracker.Producers, id)
					recent := h.p.tracker.Producers[id].Recent
					require.GreaterOrEqual(t, recent[len(recent)-1].Last, p.Recent[len(p.Recent)-1].Last)
				}
				for id, w := range seen {
					if w.Base < st.start {
						continue
					}
					require.Contains(t, h.p.tracker.Producers, id)
					recent := h.p.tracker.Producers[id].Recent
					require.GreaterOrEqual(t, recent[len(recent)-1].Last, w.Last, "producer %d", id)
				}
			}
		})
	}
}
