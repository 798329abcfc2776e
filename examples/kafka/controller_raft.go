package kafka

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// quorum is the controller of several brokers: raft among them keeps the
// commands in one order, and each applies them to its image.
//
//	Propose ──► leader of raft ──► log of a majority ──► apply here and there
//	beat    ──► leader of raft: a broker that is silent is fenced
//
// Raft and what else brokers say to each other share a listener; the first byte
// of a connection says which it is. A quorum is safe for concurrent use by
// multiple goroutines.
type quorum struct {
	quorumConfig
	raft   *raft.Raft
	stores []io.Closer
	layer  *raftLayer
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	conns  connSet

	current atomic.Pointer[image]

	mu      sync.Mutex
	changed chan struct{}
	beats   map[int32]time.Time // of a leader: when brokers were heard of
	closed  bool
}

// A quorumConfig is what a broker needs to take part.
type quorumConfig struct {
	ID       int32
	Book     *addressBook // all members, this one too: where their controllers listen
	Listener net.Listener // of this one's
	Data     string
	Fabric   *fabric
	Log      *slog.Logger
	Session  time.Duration // a broker silent for so long is fenced
	Election time.Duration // a leader silent for so long is replaced; by default half a session, at most a second
}

const (
	defaultSession = 2 * time.Second
	preferEvery    = 5 * time.Second // partitions go back to those that should lead them
	retryEvery     = 25 * time.Millisecond
	callTimeout    = 2 * time.Second
	maxCall        = 4 << 20 // bytes
)

// openQuorum starts to take part; it returns before there is a leader.
func openQuorum(c quorumConfig) (*quorum, error) {
	q := &quorum{quorumConfig: c, changed: make(chan struct{}), beats: map[int32]time.Time{}}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	q.current.Store(newImage(""))
	q.layer = &raftLayer{quorum: q, incoming: make(chan net.Conn), done: q.ctx.Done()}
	log, stable, err := openRaftStores(filepath.Join(c.Data, "controller"))
	if err != nil {
		return nil, err
	}
	q.stores = []io.Closer{log, stable}
	snapshots, err := raft.NewFileSnapshotStore(filepath.Join(c.Data, "controller"), 2, io.Discard)
	if err != nil {
		return nil, errors.Join(err, log.Close(), stable.Close())
	}
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(strconv.Itoa(int(c.ID)))
	election := cmp.Or(c.Election, min(c.Session/2, time.Second))
	config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = election, election, election/2
	config.CommitTimeout = 20 * time.Millisecond
	config.SnapshotThreshold, config.TrailingLogs = 2048, 1024
	config.LogOutput, config.LogLevel = slogWriter{c.Log}, "INFO"
	transport := raft.NewNetworkTransport(q.layer, 2, callTimeout, config.LogOutput)
	q.stores = append(q.stores, transport)
	if err := q.bootstrap(config, log, stable, snapshots, transport); err != nil {
		return nil, errors.Join(err, transport.Close(), log.Close(), stable.Close())
	}
	if q.raft, err = raft.NewRaft(config, (*machine)(q), log, stable, snapshots, transport); err != nil {
		return nil, errors.Join(err, transport.Close(), log.Close(), stable.Close())
	}
	q.tasks.Go(q.accept)
	q.tasks.Go(q.beat)
	q.tasks.Go(q.watch)
	return q, nil
}

// stand asks for the votes of the others now, and not after a leader has been
// silent for as long as one may be: for members that have begun together. It
// should be the one that knows most, whom the others would not refuse.
func (q *quorum) stand() error {
	config := q.raft.ReloadableConfig()
	longer := config
	longer.HeartbeatTimeout++
	longer.ElectionTimeout++ // which must not be the shorter one
	// A timeout that becomes shorter ends at once.
	return errors.Join(q.raft.ReloadConfig(longer), q.raft.ReloadConfig(config))
}

// An entry of raft's log by its place, as raft compares them.
type entryPlace struct{ term, index uint64 }

func (e entryPlace) compare(other entryPlace) int {
	return cmp.Or(cmp.Compare(e.term, other.term), cmp.Compare(e.index, other.index))
}

// lastEntry is where the log ends, of which all may be in a snapshot.
func (q *quorum) lastEntry() entryPlace {
	stats := q.raft.Stats()
	at := func(what string) (e entryPlace) {
		e.term, _ = strconv.ParseUint(stats["last_"+what+"_term"], 10, 64) // these are always numbers
		e.index, _ = strconv.ParseUint(stats["last_"+what+"_index"], 10, 64)
		return e
	}
	return slices.MaxFunc([]entryPlace{at("log"), at("snapshot")}, entryPlace.compare)
}

// bootstrap names the members the first time. All do, with the same names.
func (q *quorum) bootstrap(config *raft.Config, log *raftLog, stable *raftStable, snapshots raft.SnapshotStore, transport raft.Transport) error {
	known, err := raft.HasExistingState(log, stable, snapshots)
	if err != nil || known {
		return err
	}
	var members raft.Configuration
	for _, id := range q.Book.ids() {
		name := strconv.Itoa(int(id))
		members.Servers = append(members.Servers, raft.Server{ID: raft.ServerID(name), Address: raft.ServerAddress(name)})
	}
	return raft.BootstrapCluster(config, log, stable, snapshots, transport, members)
}

func (q *quorum) Image() *image { return q.current.Load() }

func (q *quorum) Changed() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.changed
}

func (q *quorum) Leader() int32 {
	_, name := q.raft.LeaderWithID()
	id, err := strconv.ParseInt(string(name), 10, 32)
	if err != nil {
		return -1
	}
	return int32(id)
}

// publish makes m the image, and wakes who waits for it.
func (q *quorum) publish(m *image) {
	q.current.Store(m)
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.changed)
	q.changed = make(chan struct{})
}

// A machine is the quorum as raft sees it: what commands are applied to.
type machine quorum

// An applied command and the version of the image after it.
type applied struct {
	Version uint64 `json:"version"`
	Result  result `json:"result"`
}

// Apply implements [raft.FSM]. A command that is refused changes nothing but
// the version, so that all count alike.
func (m *machine) Apply(entry *raft.Log) any {
	q := (*quorum)(m)
	var c command
	was := q.current.Load()
	if err := json.Unmarshal(entry.Data, &c); err != nil {
		return applied{was.Version, result{Code: -1, Message: err.Error()}}
	}
	next, r := was.apply(c)
	if r.Code != 0 {
		return applied{was.Version, r}
	}
	q.publish(next)
	return applied{next.Version, r}
}

// Snapshot implements [raft.FSM].
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	return imageSnapshot{(*quorum)(m).current.Load()}, nil
}

// Restore implements [raft.FSM].
func (m *machine) Restore(r io.ReadCloser) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return errors.Join(err, r.Close())
	}
	next, err := decodeImage(data)
	if err == nil {
		(*quorum)(m).publish(next)
	}
	return errors.Join(err, r.Close())
}

// imageSnapshot is an image, which never changes.
type imageSnapshot struct{ image *image }

// Persist implements [raft.FSMSnapshot].
func (s imageSnapshot) Persist(sink raft.SnapshotSink) error {
	data, err := json.Marshal(s.image)
	if err == nil {
		_, err = io.Copy(sink, bytes.NewReader(data))
	}
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release implements [raft.FSMSnapshot].
func (imageSnapshot) Release() {}

// errNoLeader says that a command was not given to anybody.
var errNoLeader = errors.New("kafka: the cluster has no leader that could be reached")

func (q *quorum) Propose(ctx context.Context, c command) (result, error) {
	for {
		a, err := q.try(ctx, c)
		if err == nil {
			return a.Result, q.reach(ctx, a.Version)
		}
		if !errors.Is(err, errNoLeader) {
			return result{}, err
		}
		select {
		case <-time.After(retryEvery):
		case <-ctx.Done():
			return result{}, errors.Join(ctx.Err(), err)
		case <-q.ctx.Done():
			return result{}, err
		}
	}
}

// try gives a command to the leader, which may be this broker.
func (q *quorum) try(ctx context.Context, c command) (applied, error) {
	leader := q.Leader()
	switch {
	case leader < 0:
		return applied{}, errNoLeader
	case leader == q.ID:
		return q.apply(c)
	}
	resp, err := q.call(ctx, leader, callRequest{From: q.ID, Command: &c})
	switch {
	case err != nil:
		return applied{}, err
	case resp.NoLeader:
		return applied{}, errNoLeader
	case resp.Error != "":
		return applied{}, errors.New(resp.Error)
	}
	return resp.Applied, nil
}

// apply orders a command, as the leader.
func (q *quorum) apply(c command) (applied, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return applied{}, err
	}
	f := q.raft.Apply(data, callTimeout)
	switch err := f.Error(); {
	case errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrEnqueueTimeout) || errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return applied{}, errNoLeader
	case err != nil:
		return applied{}, fmt.Errorf("kafka: raft: %w", err)
	}
	a, ok := f.Response().(applied)
	if !ok {
		return applied{}, fmt.Errorf("kafka: raft: %v", f.Response())
	}
	return a, nil
}

// reach waits until this broker has applied what the leader has.
func (q *quorum) reach(ctx context.Context, version uint64) error {
	for {
		changed := q.Changed()
		if q.Image().Version >= version {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-q.ctx.Done():
			return errNoLeader
		}
	}
}

// beat tells the leader that this broker lives.
func (q *quorum) beat() {
	for q.pause(q.Session / 8) {
		if leader := q.Leader(); leader >= 0 && leader != q.ID {
			ctx, cancel := context.WithTimeout(q.ctx, q.Session/4)
			_, _ = q.call(ctx, leader, callRequest{From: q.ID}) // the next one may get through
			cancel()
		}
	}
}

// pause waits; it returns false when the quorum closes.
func (q *quorum) pause(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-q.ctx.Done():
		return false
	}
}

func (q *quorum) heard(id int32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.beats[id] = time.Now()
}

// watch fences brokers that are silent, as the leader. One that has just begun
// to lead has heard of nobody, and gives all of them time.
func (q *quorum) watch() {
	led, balanced := false, time.Now()
	for q.pause(q.Session / 16) {
		leads := q.raft.State() == raft.Leader
		if leads && !led {
			for _, id := range q.Book.ids() {
				q.heard(id)
			}
			if q.Image().ClusterID == "" {
				if _, err := q.apply(command{Found: &found{newClusterID()}}); err != nil {
					continue
				}
			}
		}
		led = leads
		if !leads {
			continue
		}
		q.heard(q.ID)
		for _, m := range q.Image().alive() {
			q.mu.Lock()
			silent := time.Since(q.beats[m.ID])
			q.mu.Unlock()
			if silent > q.Session {
				q.Log.Warn("a broker is silent and gets fenced", "silent", m.ID, "for", silent.Round(time.Millisecond))
				_, _ = q.apply(command{Fence: &fence{m.ID}}) // or the next round does
			}
		}
		if time.Since(balanced) > preferEvery {
			if balanced = time.Now(); q.Image().lopsided() {
				_, _ = q.apply(command{Prefer: &prefer{}})
			}
		}
	}
}

// lopsided says whether a partition is led by another replica than the first,
// although that one could.
func (m *image) lopsided() bool {
	for _, t := range m.Topics {
		for _, a := range t.Partitions {
			first := a.Replicas[0]
			if a.Leader >= 0 && a.Leader != first && slices.Contains(a.ISR, first) && m.isAlive(first) {
				return true
			}
		}
	}
	return false
}

func (q *quorum) Close() error {
	q.mu.Lock()
	closed := q.closed
	q.closed = true
	q.mu.Unlock()
	if closed {
		return nil
	}
	q.cancel()
	err := q.raft.Shutdown().Error()
	err = errors.Join(err, q.Listener.Close())
	q.conns.close()
	q.tasks.Wait()
	for _, s := range slices.Backward(q.stores) {
		err = errors.Join(err, s.Close())
	}
	return err
}
