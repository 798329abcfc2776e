package kafka

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// producerIDs are handed out in blocks, so that not every producer costs the
// cluster a command. A crash wastes what is left of a block.
const idBlock = 1000

// A producerIDBlock holds IDs that this broker may hand out.
type producerIDBlock struct {
	mu         sync.Mutex
	next, most int64
}

// nextProducerID returns an ID that no other producer of the cluster has.
func (b *broker) nextProducerID(ctx context.Context) (int64, error) {
	b.ids.mu.Lock()
	defer b.ids.mu.Unlock()
	if b.ids.next == b.ids.most {
		r, err := b.control.Propose(ctx, command{Producers: &producerIDs{Count: idBlock}})
		if err != nil {
			return 0, err
		}
		b.ids.next, b.ids.most = r.First, r.First+idBlock
	}
	b.ids.next++
	return b.ids.next - 1, nil
}

// initProducerID gives a producer the ID under which its sequence numbers
// count. One that asks again, after an error that it could not clear up, gets
// another ID.
func (b *broker) initProducerID(_ context.Context, _ *conn, message kmsg.Request) answer {
	req := message.(*kmsg.InitProducerIDRequest)
	return func(ctx context.Context) kmsg.Response {
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ProducerID, resp.ProducerEpoch = -1, -1
		if req.TransactionalID != nil {
			resp.ErrorCode = kerr.TransactionalIDAuthorizationFailed.Code // there are no transactions here
			return resp
		}
		ctx, cancel := withTimeout(ctx, 10_000)
		defer cancel()
		id, err := b.nextProducerID(ctx)
		if err != nil {
			resp.ErrorCode = kerr.CoordinatorNotAvailable.Code
			return resp
		}
		resp.ProducerID, resp.ProducerEpoch = id, 0
		return resp
	}
}
