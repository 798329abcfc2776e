package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/examples/internal/metrics"
)

// A brokerConfig is what a broker needs to start.
type brokerConfig struct {
	ID          int32
	Listener    net.Listener
	Host        string // that clients are told to connect to
	Data        string // directory
	Sync        syncMode
	Defaults    topicDefaults
	Limits      limits
	Log         *slog.Logger
	Metrics     *metrics.Registry
	Control     controller
	Counters    *counters                              // nil for its own
	Fabric      *fabric                                // nil in a process of its own
	RetainEvery time.Duration                          // between two looks at what is too old
	LogOptions  func(dir string, o *commitlog.Options) // what tests change, of several logs at the same time; may be nil
}

// topicDefaults are for topics that say nothing themselves.
type topicDefaults struct {
	partitions, replicas int
	create               bool // topics that a producer or consumer asks for
}

// A broker serves the Kafka protocol. Its partitions are those that the
// controller's image assigns to it. A broker is safe for concurrent use by
// multiple goroutines.
type broker struct {
	brokerConfig
	log      *slog.Logger
	control  controller
	limits   limits
	budget   *budget
	apis     map[int16]api
	versions []kmsg.ApiVersionsResponseApiKey
	ids      producerIDBlock
	groups   *coordinator

	ctx     context.Context
	cancel  context.CancelFunc
	closing chan struct{} // closed first, so that what waits for records stops
	tasks   sync.WaitGroup

	mu         sync.RWMutex
	partitions map[partitionKey]*partition

	connMu sync.Mutex
	conns  map[*conn]struct{}
	nextID int64
	served sync.WaitGroup

	seconds *metrics.Histogram
	*counters
}

// counters are of all brokers of a process together, also of those that were
// there before a restart.
type counters struct {
	requests [128]atomic.Uint64 // by key
	sent     atomic.Uint64      // bytes
	refused  atomic.Uint64      // connections beyond the limit
	broken   atomic.Uint64      // connections closed for what they sent
	in, out  traffic
}

// traffic counts records and bytes in one direction.
type traffic struct{ records, bytes, batches atomic.Uint64 }

type partitionKey struct {
	topic topicID
	index int32
}

// newBroker starts a broker. It takes requests when newBroker returns.
func newBroker(ctx context.Context, c brokerConfig) (*broker, error) {
	b := &broker{
		brokerConfig: c, log: c.Log.With("broker", c.ID), control: c.Control, limits: c.Limits, budget: newBudget(c.Limits.inFlight),
		closing: make(chan struct{}), partitions: map[partitionKey]*partition{}, conns: map[*conn]struct{}{},
		seconds: c.Metrics.Histogram("kafka_request_seconds", "Time from a request's arrival to its answer, long polls left out.", nil),
	}
	if b.counters = c.Counters; b.counters == nil {
		b.counters = &counters{}
	}
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	b.groups = newCoordinator(b)
	b.apis = b.table()
	for key, a := range b.apis {
		b.versions = append(b.versions, kmsg.ApiVersionsResponseApiKey{ApiKey: key, MinVersion: a.min, MaxVersion: a.max})
	}
	slices.SortFunc(b.versions, func(x, y kmsg.ApiVersionsResponseApiKey) int { return cmp.Compare(x.ApiKey, y.ApiKey) })
	if err := b.register(ctx); err != nil {
		return nil, errors.Join(err, b.close())
	}
	if err := b.reconcile(); err != nil {
		return nil, errors.Join(err, b.close())
	}
	b.tasks.Go(b.follow)
	b.tasks.Go(b.housekeep)
	if b.Sync == syncInterval {
		b.tasks.Go(b.syncByTheClock)
	}
	b.tasks.Go(b.groups.run)
	b.tasks.Go(b.replicate)
	b.tasks.Go(b.attend)
	b.served.Go(b.accept)
	return b, nil
}

// table lists what this broker understands.
func (b *broker) table() map[int16]api {
	apis := map[int16]api{
		keyProduce:     {3, 13, b.produce},
		keyFetch:       {4, 18, b.fetch},
		2:              {1, 10, b.listOffsets},
		3:              {0, 13, b.metadata},
		keyApiVersions: {0, 5, b.apiVersions},
		19:             {0, 7, b.createTopics},
		20:             {0, 6, b.deleteTopics},
		21:             {0, 2, b.deleteRecords},
		22:             {0, 5, b.initProducerID},
		23:             {3, 4, b.offsetForEpoch},
		32:             {0, 4, b.describeConfigs},
		33:             {0, 2, b.alterConfigs},
		35:             {0, 4, b.describeLogDirs},
		37:             {0, 3, b.createPartitions},
		44:             {0, 1, b.incrementalAlterConfigs},
		60:             {0, 2, b.describeCluster},
	}
	maps.Copy(apis, b.groupAPIs())
	return apis
}

// registerPatience is how long a broker tries to register anew when nobody
// knows whether it has: the leader of the cluster may change at that moment.
const registerPatience = 15 * time.Second

// register tells the cluster where this broker is. To do so twice is no matter.
func (b *broker) register(ctx context.Context) error {
	port, err := portOf(b.Listener.Addr())
	if err != nil {
		return err
	}
	empty, err := b.empty()
	if err != nil {
		return err
	}
	if empty && b.control.Image().Brokers[b.ID] != nil {
		b.log.Warn("a broker comes back with nothing, and copies all from the others", "data", b.Data)
	}
	c := command{Register: &registration{member{ID: b.ID, Host: b.Host, Port: port}, empty}}
	r, err := b.control.Propose(ctx, c)
	for until := time.Now().Add(registerPatience); err != nil && ctx.Err() == nil && time.Now().Before(until); {
		pause(ctx, retryEvery)
		r, err = b.control.Propose(ctx, c)
	}
	switch {
	case err != nil:
		return err
	case r.Code != 0:
		return fmt.Errorf("kafka: register broker %d: %s", b.ID, r.Message)
	}
	return b.belong(ctx)
}

// empty reports whether there is nothing of a cluster here, be it that this
// broker is new or that its data are gone. What it was in sync with it is not
// then.
func (b *broker) empty() (bool, error) {
	for _, path := range []string{b.clusterFile(), b.logsDir()} {
		switch _, err := os.Stat(path); {
		case errors.Is(err, os.ErrNotExist):
			return true, nil
		case err != nil:
			return false, err
		}
	}
	return false, nil
}

// clusterFile has the ID of the cluster that the data are of.
func (b *broker) clusterFile() string { return filepath.Join(b.Data, "cluster.id") }

// belong makes sure that the data are of this cluster: a broker that got into
// another would remove what that does not know.
func (b *broker) belong(ctx context.Context) error {
	for b.control.Image().ClusterID == "" {
		changed := b.control.Changed()
		if b.control.Image().ClusterID != "" {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	id, path := b.control.Image().ClusterID, b.clusterFile()
	known, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return replaceFile(path, []byte(id))
	case err != nil:
		return err
	case string(known) != id:
		return fmt.Errorf("kafka: %s has the data of cluster %q; this is %q", b.Data, known, id)
	}
	return nil
}

func portOf(addr net.Addr) (int32, error) {
	_, text, err := net.SplitHostPort(addr.String())
	if err != nil {
		return 0, err
	}
	port, err := strconv.ParseInt(text, 10, 32)
	return int32(port), err
}

// open reports whether the broker has not been asked to stop.
func (b *broker) open() bool {
	select {
	case <-b.closing:
		return false
	default:
		return true
	}
}

// reconcileAgain is when a broker tries again to open what it could not.
const reconcileAgain = 2 * time.Second

// follow takes in each image of the cluster as it appears.
func (b *broker) follow() {
	for {
		changed := b.control.Changed()
		var again <-chan time.Time
		if err := b.reconcile(); err != nil {
			b.log.Error("partitions", "error", err)
			again = time.After(reconcileAgain)
		}
		select {
		case <-changed:
		case <-again:
		case <-b.closing:
			return
		}
	}
}

func (b *broker) partition(key partitionKey) *partition {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.partitions[key]
}

// all lists the partitions by name and number.
func (b *broker) all() []*partition {
	b.mu.RLock()
	list := make([]*partition, 0, len(b.partitions))
	for _, p := range b.partitions {
		list = append(list, p)
	}
	b.mu.RUnlock()
	slices.SortFunc(list, func(x, y *partition) int {
		return cmp.Or(cmp.Compare(x.name, y.name), cmp.Compare(x.index, y.index))
	})
	return list
}

// check returns why a partition takes no more records, or nil.
func (b *broker) check() error {
	for _, p := range b.all() {
		if st := p.state(); st.failure != nil {
			return fmt.Errorf("kafka: broker %d: %s partition %d: %w", b.ID, p.name, p.index, st.failure)
		}
	}
	return nil
}

// find returns this broker's replica of a partition, by the topic's name or,
// if byID is set, by its ID. The error is the one for a request that asks for
// records.
func (b *broker) find(m *image, name string, id topicID, byID bool, index int32) (*partition, *topic, *kerr.Error) {
	t := m.Topics[name]
	if byID {
		if t = m.byID(id); t == nil {
			return nil, nil, kerr.UnknownTopicID
		}
	}
	if t == nil || index < 0 || int(index) >= len(t.Partitions) {
		return nil, t, kerr.UnknownTopicOrPartition
	}
	p := b.partition(partitionKey{t.ID, index})
	switch {
	case p != nil:
		return p, t, nil
	case slices.Contains(t.Partitions[index].Replicas, b.ID):
		return nil, t, kerr.LeaderNotAvailable // it is being opened, or could not be
	}
	return nil, t, kerr.NotLeaderForPartition
}

// accept takes connections until the listener is closed.
func (b *broker) accept() {
	for {
		nc, err := b.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			b.log.Warn("accept", "error", err)
			time.Sleep(10 * time.Millisecond) // out of file descriptors, most likely
			continue
		}
		b.admit(nc)
	}
}

func (b *broker) admit(nc net.Conn) {
	b.connMu.Lock()
	defer b.connMu.Unlock()
	if !b.open() || len(b.conns) >= b.limits.conns {
		b.refused.Add(1)
		nc.Close()
		return
	}
	b.nextID++
	c := &conn{broker: b, net: nc, id: b.nextID, queue: make(chan pendingAnswer, b.limits.pending)}
	c.client.Store(new(string))
	c.ctx, c.cancel = context.WithCancel(b.ctx)
	b.conns[c] = struct{}{}
	b.served.Go(c.read)
	b.served.Go(func() {
		c.write()
		b.connMu.Lock()
		delete(b.conns, c)
		b.connMu.Unlock()
	})
}

func (b *broker) connections() int {
	b.connMu.Lock()
	defer b.connMu.Unlock()
	return len(b.conns)
}

// countClose counts connections that ended for what they sent.
func (b *broker) countClose(err error) {
	if errors.Is(err, errMalformed) || errors.Is(err, errUnsupported) || errors.Is(err, errBudget) {
		b.broken.Add(1)
	}
}

// observe counts a request. How long a fetch takes says more about the traffic
// than about the broker.
func (b *broker) observe(key int16, start time.Time) {
	if key >= 0 && int(key) < len(b.requests) {
		b.requests[key].Add(1)
	}
	if !slices.Contains(longPolls, key) {
		b.seconds.Since(start)
	}
}

// longPolls are requests that wait for others to act: fetch, join, sync.
var longPolls = []int16{keyFetch, 11, 14}

// close stops taking requests, lets those under way end, and closes the
// partitions.
func (b *broker) close() error {
	b.connMu.Lock()
	if b.open() {
		close(b.closing)
	}
	b.Listener.Close()
	for c := range b.conns {
		c.net.SetReadDeadline(time.Now()) // ends the reading, and then the writing
	}
	b.connMu.Unlock()
	ended := make(chan struct{})
	go func() { b.served.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(2 * time.Second):
	}
	b.cancel()
	b.connMu.Lock()
	for c := range b.conns {
		c.net.Close()
	}
	b.connMu.Unlock()
	<-ended
	b.tasks.Wait()
	var mu sync.Mutex
	var failed []error
	several(b.all(), func(p *partition) {
		if err := p.close(); err != nil {
			mu.Lock()
			defer mu.Unlock()
			failed = append(failed, err)
		}
	})
	return errors.Join(failed...)
}

// kill ends the broker as a crash would, as far as the others can tell: it
// closes its connections in the middle of what they do.
func (b *broker) kill() error {
	b.cancel()
	b.connMu.Lock()
	for c := range b.conns {
		c.net.Close()
	}
	b.connMu.Unlock()
	return b.close()
}
