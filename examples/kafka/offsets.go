package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Timestamps with a meaning of their own in ListOffsets.
const (
	offsetLatest        = -1
	offsetEarliest      = -2
	offsetMaxTime       = -3
	offsetEarliestLocal = -4 // there is no tiered storage: all is local
	offsetLatestTiered  = -5
)

// offsetSince tells from which version of ListOffsets on they mean that.
var offsetSince = map[int64]int16{offsetLatest: 1, offsetEarliest: 1, offsetMaxTime: 7, offsetEarliestLocal: 8, offsetLatestTiered: 9}

// listOffsets finds offsets by time.
func (b *broker) listOffsets(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.ListOffsetsRequest)
	return func(context.Context) kmsg.Response { // it reads the logs
		resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
		m := b.control.Image()
		for _, t := range req.Topics {
			rt := kmsg.NewListOffsetsResponseTopic()
			rt.Topic = t.Topic
			for _, want := range t.Partitions {
				rp := kmsg.NewListOffsetsResponseTopicPartition()
				rp.Partition, rp.Offset, rp.Timestamp, rp.LeaderEpoch = want.Partition, -1, -1, -1
				p, _, err := b.find(m, t.Topic, topicID{}, false, want.Partition)
				if since, known := offsetSince[want.Timestamp]; err == nil && want.Timestamp < 0 && (!known || req.Version < since) {
					err = kerr.UnsupportedVersion
				}
				if err == nil {
					epoch := int32(-1)
					if req.Version >= 4 {
						epoch = want.CurrentLeaderEpoch
					}
					rp.Offset, rp.Timestamp, rp.LeaderEpoch, err = p.offsetAt(want.Timestamp, epoch, req.ReplicaID >= 0)
				}
				if err != nil {
					rp.ErrorCode = err.Code
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp
	}
}

// offsetAt returns the first offset of a record that is not older than a time
// in milliseconds, and that record's time; -1 if there is none. Negative times
// are the ones above. A replica sees all records, consumers those below the high
// watermark.
func (p *partition) offsetAt(at int64, epoch int32, replica bool) (offset, stamp int64, leaderEpoch int32, refused *kerr.Error) {
	p.mu.Lock()
	err := p.refusal(epoch)
	start, high, end := p.log.Start(), p.high, p.log.End()
	latest := p.tracker.MaxTime
	leaderEpoch = p.assigned.Epoch
	p.mu.Unlock()
	if err != nil {
		return -1, -1, -1, err
	}
	if replica {
		high = end
	}
	switch {
	case at == offsetLatest:
		return high, -1, leaderEpoch, nil
	case at == offsetEarliest, at == offsetEarliestLocal:
		return start, -1, p.epochAt(start), nil
	case at == offsetLatestTiered:
		return -1, -1, -1, nil
	}
	var failure error
	if at == offsetMaxTime {
		offset, at, failure = p.newest(high, latest)
	} else {
		offset, failure = p.visibleAt(at, high)
	}
	if failure == nil && offset >= 0 {
		offset, stamp, failure = p.firstAt(offset, at)
	}
	switch {
	case failure != nil:
		p.slog.Error("search by time", "topic", p.name, "partition", p.index, "error", failure)
		return -1, -1, -1, kerr.KafkaStorageError
	case offset < 0:
		return -1, -1, -1, nil
	}
	return offset, stamp, p.epochAt(offset), nil
}

// visibleAt returns the offset of the first record that is not older than a
// time, -1 if there is none below high.
func (p *partition) visibleAt(at, high int64) (int64, error) {
	offset, found, err := p.log.OffsetAt(time.UnixMilli(at))
	if err != nil || !found || offset >= high {
		return -1, err
	}
	return offset, nil
}

// newest returns the offset of the first record with the largest time of all
// below high, and that time; -1 if no record has one. None is later than
// latest, which may be the time of one that is gone by now, or not yet below
// high: then the time is searched for, by halves.
func (p *partition) newest(high, latest int64) (offset, at int64, err error) {
	offset, at = -1, -1
	for low, try := int64(0), latest; low <= latest; try = low + (latest-low)/2 {
		found, err := p.visibleAt(try, high)
		switch {
		case err != nil:
			return -1, -1, err
		case found < 0:
			latest = try - 1
		case try == latest: // behind which there may be no other number
			return found, try, nil
		default:
			offset, at, low = found, try, try+1
		}
	}
	return offset, at, nil
}

// firstAt returns the first record that is not before offset and not older
// than at. A batch of which records cannot be read stands for its first.
func (p *partition) firstAt(offset, at int64) (int64, int64, error) {
	data, err := p.log.ReadBatches(nil, offset, 1, false)
	if err != nil {
		return -1, -1, err
	}
	for b := range batches(data) {
		last := b.MaxTimestamp().UnixMilli()
		if b.Attributes()&attrLogAppendTime != 0 {
			return max(offset, b.BaseOffset()), last, nil
		}
		for r, err := range b.Records(codecs...) {
			if err != nil {
				return max(offset, b.BaseOffset()), last, nil
			}
			if stamp := r.Timestamp.UnixMilli(); r.Offset >= offset && stamp >= at {
				return r.Offset, stamp, nil
			}
		}
	}
	return offset, -1, nil
}

// epochAt returns in which leader's time an offset was written.
func (p *partition) epochAt(offset int64) int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	epoch := int32(-1)
	for _, e := range p.tracker.Epochs {
		if e.Start > offset {
			break
		}
		epoch = e.Epoch
	}
	return epoch
}

// offsetForEpoch tells how far a leader of the past came, so that who followed
// it knows what to forget.
func (b *broker) offsetForEpoch(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.OffsetForLeaderEpochRequest)
	resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	m := b.control.Image()
	for _, t := range req.Topics {
		rt := kmsg.NewOffsetForLeaderEpochResponseTopic()
		rt.Topic = t.Topic
		for _, want := range t.Partitions {
			rp := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			rp.Partition, rp.LeaderEpoch, rp.EndOffset = want.Partition, -1, -1
			p, _, err := b.find(m, t.Topic, topicID{}, false, want.Partition)
			if err == nil {
				p.mu.Lock()
				if err = p.refusal(want.CurrentLeaderEpoch); err == nil {
					rp.LeaderEpoch, rp.EndOffset = p.tracker.endOf(want.LeaderEpoch)
				}
				p.mu.Unlock()
			}
			if err != nil {
				rp.ErrorCode = err.Code
			}
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return now(resp)
}

// deleteRecords drops what lies before an offset.
func (b *broker) deleteRecords(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.DeleteRecordsRequest)
	return func(context.Context) kmsg.Response {
		resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
		m := b.control.Image()
		for _, t := range req.Topics {
			rt := kmsg.NewDeleteRecordsResponseTopic()
			rt.Topic = t.Topic
			for _, want := range t.Partitions {
				rp := kmsg.NewDeleteRecordsResponseTopicPartition()
				rp.Partition, rp.LowWatermark = want.Partition, -1
				p, topic, err := b.find(m, t.Topic, topicID{}, false, want.Partition)
				if err == nil && topic.Internal {
					err = kerr.InvalidTopicException
				}
				if err == nil && !topic.settings().deletes {
					err = kerr.PolicyViolation
				}
				if err == nil {
					rp.LowWatermark, err = p.deleteBefore(want.Offset)
				}
				if err != nil {
					rp.ErrorCode = err.Code
				}
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp
	}
}
