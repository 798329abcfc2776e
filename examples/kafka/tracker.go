package kafka

import (
	"cmp"
	"math"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/ashlar-go/ashlar/commitlog"
)

// A tracker remembers of a log what the headers of its batches say about their
// history: which producer wrote which sequence numbers last, at which offset
// each leader began, and how late a record may be. All of it can be found
// again by reading the log; a snapshot says up to where that is done.
//
// Invariant: a tracker that has seen a log up to End depends on nothing but
// the batches below End.
type tracker struct {
	End       int64               `json:"end"`  // behind the last batch seen
	High      int64               `json:"high"` // what consumers could see when the snapshot was made
	Producers map[int64]*producer `json:"producers,omitempty"`
	Epochs    []epochStart        `json:"epochs,omitempty"` // ascending in both fields
	MaxTime   int64               `json:"maxTime"`          // greatest timestamp of a batch, -1 for none
}

// A producer is an idempotent producer as one partition knows it.
type producer struct {
	Epoch  int16     `json:"epoch"`
	Behind int64     `json:"behind"` // offset behind its last batch
	Recent []written `json:"recent"`
}

// written is a batch that a producer wrote.
type written struct {
	First int32 `json:"first"` // sequence numbers
	Last  int32 `json:"last"`
	Base  int64 `json:"base"` // offsets
	Next  int64 `json:"next"`
	Time  int64 `json:"time"`
}

type epochStart struct {
	Epoch int32 `json:"epoch"`
	Start int64 `json:"start"`
}

const (
	recentBatches = 5    // of a producer, as many as it may have in flight
	mostProducers = 5000 // per partition; beyond it the one that was silent longest is forgotten
)

// newTracker returns one that has seen nothing, of a log that begins at start.
func newTracker(start int64) *tracker {
	return &tracker{End: start, Producers: map[int64]*producer{}, MaxTime: -1}
}

// check tells whether a batch from an idempotent producer is the next of its
// sequence (nil, nil), one that is stored already (the batch, nil), or neither.
func (t *tracker) check(b commitlog.Batch) (*written, *kerr.Error) {
	id, epoch, first := b.ProducerID(), b.ProducerEpoch(), b.BaseSequence()
	if id < 0 {
		return nil, nil
	}
	p := t.Producers[id]
	switch {
	case p == nil && first != 0 && t.End == 0:
		// Where nothing was ever stored nothing can have been forgotten: the
		// batch before this one is still under way.
		return nil, kerr.OutOfOrderSequenceNumber
	case p == nil:
		return nil, nil
	case epoch < p.Epoch:
		return nil, kerr.InvalidProducerEpoch
	case epoch > p.Epoch && first != 0:
		return nil, kerr.OutOfOrderSequenceNumber
	case epoch > p.Epoch:
		return nil, nil
	}
	last := lastSequence(first, lastDelta(b))
	for i := range p.Recent {
		if w := &p.Recent[i]; w.First == first && w.Last == last {
			return w, nil
		}
	}
	if n := len(p.Recent); n > 0 && first != lastSequence(p.Recent[n-1].Last, 1) {
		return nil, kerr.OutOfOrderSequenceNumber
	}
	return nil, nil
}

// lastSequence is first + delta, where the number after the largest is 0.
func lastSequence(first, delta int32) int32 {
	return int32((int64(first) + int64(delta)) & math.MaxInt32)
}

// lastDelta is how many offsets the last record is behind the first.
func lastDelta(b commitlog.Batch) int32 { return int32(b.LastOffset() - b.BaseOffset()) }

// see takes in a batch that was stored.
func (t *tracker) see(b commitlog.Batch) {
	at := b.MaxTimestamp().UnixMilli()
	t.End = b.LastOffset() + 1
	t.MaxTime = max(t.MaxTime, at)
	if n := len(t.Epochs); n == 0 || b.LeaderEpoch() > t.Epochs[n-1].Epoch {
		t.Epochs = append(t.Epochs, epochStart{b.LeaderEpoch(), b.BaseOffset()})
	}
	if b.ProducerID() < 0 {
		return
	}
	p := t.Producers[b.ProducerID()]
	if p == nil {
		t.makeRoom()
		p = &producer{}
		t.Producers[b.ProducerID()] = p
	}
	if p.Epoch != b.ProducerEpoch() {
		p.Epoch, p.Recent = b.ProducerEpoch(), nil
	}
	if len(p.Recent) == recentBatches {
		p.Recent = slices.Delete(p.Recent, 0, 1)
	}
	first := b.BaseSequence()
	p.Behind = t.End
	p.Recent = append(p.Recent, written{first, lastSequence(first, lastDelta(b)), b.BaseOffset(), t.End, at})
}

// makeRoom forgets a tenth of the producers, those silent longest, once there
// are too many. Offsets tell who that is: the time in a batch is what its
// producer says, which may copy records of another year.
func (t *tracker) makeRoom() {
	if len(t.Producers) < mostProducers {
		return
	}
	type silent struct{ id, behind int64 }
	list := make([]silent, 0, len(t.Producers))
	for id, p := range t.Producers {
		list = append(list, silent{id, p.Behind})
	}
	slices.SortFunc(list, func(a, b silent) int { return cmp.Compare(a.behind, b.behind) })
	for _, s := range list[:len(list)/10] {
		delete(t.Producers, s.id)
	}
}

// lead notes that a leader begins at the present end.
func (t *tracker) lead(epoch int32) {
	if n := len(t.Epochs); n > 0 && t.Epochs[n-1].Epoch >= epoch {
		return
	}
	if n := len(t.Epochs); n > 0 && t.Epochs[n-1].Start == t.End {
		t.Epochs[n-1].Epoch = epoch // the one before stored nothing
		return
	}
	t.Epochs = append(t.Epochs, epochStart{epoch, t.End})
}

// endOf returns the largest epoch that is not above epoch, and the offset
// behind the last record of its leader. Of one that is before all that are
// known no record is left, so it ended where they begin. The result is -1, -1 if
// none is known.
func (t *tracker) endOf(epoch int32) (int32, int64) {
	end := t.End
	for _, e := range slices.Backward(t.Epochs) {
		if e.Epoch <= epoch {
			return e.Epoch, end
		}
		end = e.Start
	}
	if len(t.Epochs) > 0 {
		return epoch, end
	}
	return -1, -1
}

// deletedBefore forgets where leaders began whose records are all gone.
func (t *tracker) deletedBefore(start int64) {
	for len(t.Epochs) > 1 && t.Epochs[1].Start <= start {
		t.Epochs = t.Epochs[1:]
	}
	if len(t.Epochs) > 0 {
		t.Epochs[0].Start = max(t.Epochs[0].Start, start)
	}
}
