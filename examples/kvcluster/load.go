package kvcluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"
)

// load is what the simulated users do: read and write keys through go-redis, each at
// whatever node it likes.
type load struct {
	cluster *Cluster
	clients map[string]*redis.Client
}

const loadKeys = 5000

func newLoad(c *Cluster, password string) *load {
	l := &load{cluster: c, clients: map[string]*redis.Client{}}
	for _, h := range c.Hosts() {
		l.clients[h.Name] = redis.NewClient(&redis.Options{Addr: h.Redis, Password: password, MaxRetries: -1, DialTimeout: time.Second, ReadTimeout: 5 * time.Second, PoolSize: 16, DisableIdentity: true})
	}
	return l
}

// act is one request of one user to a node that runs.
func (l *load) act(ctx context.Context, _ int, r *rand.Rand) error {
	var running []*redis.Client
	for _, h := range l.cluster.Hosts() {
		if client := l.clients[h.Name]; client != nil && h.State == Running {
			running = append(running, client)
		}
	}
	if len(running) == 0 {
		return errors.New("no node runs")
	}
	client := running[r.IntN(len(running))]
	key := fmt.Sprintf("user:%d", int(float64(loadKeys)*r.Float64()*r.Float64()*r.Float64()))
	if r.IntN(4) == 0 {
		return client.Set(ctx, key, document(key, r), time.Hour).Err()
	}
	err := client.Get(ctx, key).Err()
	if errors.Is(err, redis.Nil) {
		return client.Set(ctx, key, document(key, r), time.Hour).Err()
	}
	return err
}

// document is a value such as applications store.
func document(key string, r *rand.Rand) string {
	return fmt.Sprintf(`{"id":%q,"name":"user of the example","visits":%d,"settings":{"theme":"dark","language":"en","notifications":true},"last":%q}`,
		key, r.IntN(1000), time.Now().UTC().Format(time.RFC3339))
}

func (l *load) close() {
	for _, client := range l.clients {
		client.Close()
	}
}
