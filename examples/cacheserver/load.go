package cacheserver

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// load is what the simulated users do: read keys, some far more than others,
// through go-redis, and store what they do not find. Interest drifts, and now
// and then a scan reads many keys once.
type load struct {
	client *redis.Client
	scan   atomic.Int64 // reads left of the scan under way
	next   atomic.Int64 // its next key
	drift  atomic.Int64
}

const (
	loadKeys = 60000 // that users are interested in
	loadSkew = 0.9
	scanKeys = 30000
)

func newLoad(addr, password string) *load {
	return &load{client: redis.NewClient(&redis.Options{Addr: addr, Password: password, PoolSize: 16, MaxRetries: -1, DialTimeout: time.Second})}
}

// act is one request of one user.
func (l *load) act(ctx context.Context, _ int, r *rand.Rand) error {
	var key string
	if l.scan.Load() > 0 && r.IntN(2) == 0 {
		l.scan.Add(-1)
		key = fmt.Sprintf("archive:%d", l.next.Add(1))
	} else {
		if r.IntN(200) == 0 {
			l.drift.Add(1)
		}
		key = fmt.Sprintf("item:%d", (skewed(r)+l.drift.Load())%loadKeys)
	}
	if r.IntN(20) == 0 {
		return l.client.Set(ctx, key, payload(r), 0).Err()
	}
	err := l.client.Get(ctx, key).Err()
	if errors.Is(err, redis.Nil) {
		return l.client.Set(ctx, key, payload(r), time.Hour).Err()
	}
	return err
}

// skewed returns a rank below loadKeys, a small one far more often than a
// large one: the inverse of a continuous zipf distribution.
func skewed(r *rand.Rand) int64 {
	top := math.Pow(loadKeys, 1-loadSkew)
	return min(loadKeys-1, int64(math.Pow(1+r.Float64()*(top-1), 1/(1-loadSkew)))-1)
}

var filler = make([]byte, 2048)

func payload(r *rand.Rand) []byte { return filler[:100+r.IntN(500)] }

// startScan makes half of the requests read archived keys once, for a while.
func (l *load) startScan() { l.scan.Store(scanKeys) }

func (l *load) close() { l.client.Close() }
