package kvcluster

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/redis/go-redis/v9"
)

// remote is an engine on a Redis server, the keys of which begin with a prefix of the
// node's own. It is as durable as the server's settings say.
//
//	PREFIX:d:KEY   the value
//	PREFIX:index   a sorted set of all keys, all with the same score, and so in their order
//
// Both are changed in one transaction.
type remote struct {
	client *redis.Client
	prefix string
}

// remoteTime is how long the server may take for a command.
const remoteTime = 10 * time.Second

// openRemote connects to the server of a URL such as redis://127.0.0.1:6379/0.
func openRemote(url, node string) (*remote, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, fmt.Errorf("kvcluster: engine: %w", err)
	}
	options.MaxRetries = -1 // a coordinator asks again, and knows when
	options.ReadTimeout, options.WriteTimeout = remoteTime, remoteTime
	r := &remote{client: redis.NewClient(options), prefix: "ashlar:" + node}
	ctx, cancel := context.WithTimeout(context.Background(), remoteTime)
	defer cancel()
	if err := r.client.Ping(ctx).Err(); err != nil {
		return nil, errors.Join(fmt.Errorf("kvcluster: engine %s: %w", options.Addr, err), r.client.Close())
	}
	return r, nil
}

func (r *remote) value(key []byte) string { return r.prefix + ":d:" + string(key) }
func (r *remote) index() string           { return r.prefix + ":index" }

func (r *remote) Get(key []byte) ([]byte, bool, error) {
	value, err := r.client.Get(context.Background(), r.value(key)).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, false, nil
	}
	return value, err == nil, err
}

func (r *remote) Put(key, value []byte) error {
	_, err := r.client.TxPipelined(context.Background(), func(p redis.Pipeliner) error {
		p.Set(context.Background(), r.value(key), value, 0)
		p.ZAdd(context.Background(), r.index(), redis.Z{Member: key})
		return nil
	})
	return err
}

func (r *remote) Delete(key []byte) error {
	_, err := r.client.TxPipelined(context.Background(), func(p redis.Pipeliner) error {
		p.Del(context.Background(), r.value(key))
		p.ZRem(context.Background(), r.index(), key)
		return nil
	})
	return err
}

// Scan takes keys and values from the server in batches. A key that is removed in
// between does not show.
func (r *remote) Scan(min []byte) iter.Seq2[Entry, error] {
	const batch = 256
	return func(yield func(Entry, error) bool) {
		for from := "[" + string(min); ; {
			keys, err := r.client.ZRangeArgs(context.Background(), redis.ZRangeArgs{Key: r.index(), Start: from, Stop: "+", ByLex: true, Count: batch}).Result()
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if len(keys) == 0 {
				return
			}
			names := make([]string, len(keys))
			for i, key := range keys {
				names[i] = r.value([]byte(key))
			}
			values, err := r.client.MGet(context.Background(), names...).Result()
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for i, key := range keys {
				if value, ok := values[i].(string); ok && !yield(Entry{[]byte(key), []byte(value)}, nil) {
					return
				}
			}
			from = "(" + keys[len(keys)-1]
		}
	}
}

func (r *remote) Stats() EngineStats {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return EngineStats{Name: "redis", Keys: int(r.client.ZCard(ctx, r.index()).Val())}
}

func (r *remote) Backup(ctx context.Context, dir string) error {
	return WriteBackup(ctx, dir, r.Scan(nil))
}

func (r *remote) Close() error { return r.client.Close() }
