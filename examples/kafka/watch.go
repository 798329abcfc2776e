package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A desk is what the page uses to talk to the cluster: a client like any
// other, and what it saw last of the consumer groups.
type desk struct {
	client *kgo.Client
	admin  *kadm.Client

	mu     sync.Mutex
	groups []groupRow
}

// A groupRow is a consumer group as the page shows it.
type groupRow struct {
	Name    string
	State   string
	Members int
	Topics  string
	Lag     int64
	Behind  bool
}

// A message is a record as the page shows it.
type message struct {
	Partition  int32
	Offset     int64
	Time       string
	Key, Value string
}

const (
	shownMessages = 8
	shownBytes    = 200 // of a key or value
	lagNotable    = 1000
)

func newDesk(addrs []string) (*desk, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addrs...), kgo.ClientID("page"), kgo.RecordDeliveryTimeout(10*time.Second),
		kgo.UnknownTopicRetries(10))
	if err != nil {
		return nil, err
	}
	return &desk{client: client, admin: kadm.NewClient(client)}, nil
}

// look asks for the groups and how far they are behind.
func (d *desk) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	lags, err := d.admin.Lag(ctx)
	if err != nil {
		return // the cluster is in trouble; what was seen last stays
	}
	var rows []groupRow
	for _, g := range lags.Sorted() {
		row := groupRow{Name: g.Group, State: g.State, Members: len(g.Members), Lag: g.Lag.Total()}
		for topic := range g.Lag {
			row.Topics += topic + " "
		}
		row.Behind = row.Lag >= lagNotable
		rows = append(rows, row)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.groups = rows
}

func (d *desk) seen() []groupRow {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.groups
}

// lag is how many records all groups have before them.
func (d *desk) lag() (sum int64) {
	for _, g := range d.seen() {
		sum += g.Lag
	}
	return sum
}

// produce writes one record and tells where it is. It creates the topic itself:
// a client that lets topics appear when they are asked for would bring back
// deleted ones by looking at the offsets of groups.
func (d *desk) produce(ctx context.Context, topic, key, value string) (*kgo.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := d.admin.CreateTopic(ctx, -1, -1, nil, topic); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return nil, err
	}
	r := &kgo.Record{Topic: topic, Value: []byte(value)}
	if key != "" {
		r.Key = []byte(key)
	}
	return d.client.ProduceSync(ctx, r).First()
}

// last reads the newest messages of a topic, the newest first.
func (d *desk) last(ctx context.Context, topic string) ([]message, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	starts, err := d.admin.ListStartOffsets(ctx, topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return nil, err
	}
	ends, err := d.admin.ListEndOffsets(ctx, topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return nil, err
	}
	from, left := map[int32]kgo.Offset{}, map[int32]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(topic, end.Partition)
		if at := max(start.Offset, end.Offset-shownMessages); at < end.Offset {
			from[end.Partition] = kgo.NewOffset().At(at)
			left[end.Partition] = end.Offset
		}
	})
	if len(from) == 0 {
		return nil, nil
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(d.client.OptValue(kgo.SeedBrokers).([]string)...), kgo.ClientID("page"), kgo.FetchMaxWait(200*time.Millisecond),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var records []*kgo.Record
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			break // with what came; compaction may have removed the last
		}
		fetches.EachRecord(func(r *kgo.Record) {
			records = append(records, r)
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
		var failed error
		fetches.EachError(func(_ string, _ int32, err error) { failed = err })
		if failed != nil {
			return nil, failed
		}
	}
	slices.SortFunc(records, func(a, b *kgo.Record) int {
		return cmp.Or(b.Timestamp.Compare(a.Timestamp), cmp.Compare(a.Partition, b.Partition), cmp.Compare(b.Offset, a.Offset))
	})
	var list []message
	for _, r := range records[:min(len(records), shownMessages)] {
		list = append(list, message{r.Partition, r.Offset, r.Timestamp.Format("15:04:05.000"), shown(r.Key), shown(r.Value)})
	}
	return list, nil
}

// shown is a key or value in a form that fits.
func shown(b []byte) string {
	short := b[:min(len(b), shownBytes)]
	s, raw := text(short)
	switch {
	case b == nil:
		return "∅"
	case s == nil:
		return fmt.Sprintf("%d bytes: % x…", len(b), raw[:min(len(raw), 16)])
	case len(short) < len(b):
		return *s + "…"
	}
	return *s
}

// flood opens connections to a broker and sends garbage over them, for a
// while: half-told lengths, random bytes, requests that no version knows.
func flood(ctx context.Context, addr string, conns int, span time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, span)
	defer cancel()
	var group sync.WaitGroup
	for range conns {
		group.Go(func() {
			for ctx.Err() == nil {
				floodOnce(ctx, addr)
				pause(ctx, 20*time.Millisecond)
			}
		})
	}
	group.Wait()
}

func floodOnce(ctx context.Context, addr string) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	junk := make([]byte, 4096)
	for i := range junk {
		junk[i] = byte(rand.Uint32())
	}
	switch rand.IntN(3) {
	case 0: // promises megabytes and sends a few kilobytes of them
		copy(junk, []byte{0, 0x7f, 0, 0, 0, keyProduce, 0, 9, 0, 0, 0, 1})
		if _, err := conn.Write(junk); err == nil {
			pause(ctx, time.Second)
		}
	case 1: // a version from the future
		copy(junk, []byte{0, 0, 0, 40, 0, 3, 0, 99, 0, 0, 0, 1})
		fallthrough
	default:
		for {
			if _, err := conn.Write(junk); err != nil {
				return
			}
		}
	}
}

// turn does once a second what the page and its plots need.
func (s *System) turn(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		s.latency.turn()
		if n%2 == 0 {
			s.desk.look(ctx)
		}
	}
}
