package kafka

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ashlar-go/ashlar/commitlog"
)

// A produced partition is what a produce request waits for.
type produced struct {
	p        *partition
	batch    appended
	response *kmsg.ProduceResponseTopicPartition
}

// produce stores batches. They are appended in the order of the requests; the
// answer waits until they are as safe as the producer asked.
func (b *broker) produce(ctx context.Context, c *conn, message kmsg.Request) answer {
	req := message.(*kmsg.ProduceRequest)
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	m := b.control.Image()
	acks, timeout := req.Acks, req.TimeoutMillis
	var waits []produced
	failed := false
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		rt.Partitions = make([]kmsg.ProduceResponseTopicPartition, len(t.Partitions))
		for i, part := range t.Partitions {
			rp := &rt.Partitions[i]
			*rp = kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.BaseOffset, rp.LogAppendTime, rp.LogStartOffset = part.Partition, -1, -1, -1
			p, topic, err := b.find(m, t.Topic, t.TopicID, req.Version >= 13, part.Partition)
			switch {
			case acks < -1 || acks > 1:
				err = kerr.InvalidRequiredAcks
			case req.TransactionID != nil:
				err = kerr.TransactionalIDAuthorizationFailed // there are no transactions here
			case err == nil && topic.Internal:
				err = kerr.InvalidTopicException
			}
			if err == nil {
				a := p.append(ctx, part.Records, acks == -1)
				err = a.err
				rp.BaseOffset, rp.LogStartOffset, rp.LogAppendTime = a.first, a.start, a.time
				if err == nil {
					b.count(&b.in, part.Records)
					waits = append(waits, produced{p, a, rp})
				}
			}
			if err != nil {
				failed = true
				b.explain(m, topic, rp, err)
			}
		}
		resp.Topics = append(resp.Topics, rt)
	}
	if acks == 0 {
		for _, w := range waits {
			w.p.flushLater()
		}
		if failed {
			c.drop()
		}
		return now(nil)
	}
	return func(ctx context.Context) kmsg.Response {
		ctx, cancel := context.WithTimeout(ctx, time.Duration(max(timeout, 0))*time.Millisecond)
		defer cancel()
		b.await(ctx, waits, acks == -1)
		if req.Version >= 10 {
			resp.Brokers = leaders(m, resp.Topics)
		}
		return resp
	}
}

// await waits for all partitions of a request at the same time, since each
// has a disk to wait for.
func (b *broker) await(ctx context.Context, waits []produced, all bool) {
	wait := func(w produced) {
		if err := w.p.commit(ctx, w.batch, all); err != nil {
			w.response.ErrorCode, w.response.BaseOffset = err.Code, -1
			w.p.flushLater()
		}
	}
	var group sync.WaitGroup
	for i, w := range waits {
		if i < len(waits)-1 {
			group.Go(func() { wait(w) })
		} else {
			wait(w)
		}
	}
	group.Wait()
}

// explain puts an error into a response, with the leader that the client
// should turn to.
func (b *broker) explain(m *image, t *topic, rp *kmsg.ProduceResponseTopicPartition, err *kerr.Error) {
	rp.ErrorCode = err.Code
	rp.ErrorMessage = new(err.Description)
	if err == kerr.NotLeaderForPartition && t != nil {
		a := m.Topics[t.Name].Partitions[rp.Partition]
		rp.CurrentLeader.LeaderID, rp.CurrentLeader.LeaderEpoch = a.Leader, a.Epoch
	}
}

// leaders lists the brokers that a response refers to.
func leaders(m *image, topics []kmsg.ProduceResponseTopic) []kmsg.ProduceResponseBroker {
	var list []kmsg.ProduceResponseBroker
	seen := map[int32]bool{}
	for _, t := range topics {
		for _, p := range t.Partitions {
			id := p.CurrentLeader.LeaderID
			if l := m.Brokers[id]; l != nil && !seen[id] {
				seen[id] = true
				list = append(list, kmsg.ProduceResponseBroker{NodeID: id, Host: l.Host, Port: l.Port})
			}
		}
	}
	return list
}

// count counts a batch that came in or went out.
func (b *broker) count(t *traffic, data []byte) {
	t.records.Add(uint64(commitlog.Batch(data).Count()))
	t.bytes.Add(uint64(len(data)))
	t.batches.Add(1)
}
