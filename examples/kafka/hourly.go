package kafka

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// hourlyOptions say what a loader takes and where it puts it.
type hourlyOptions struct {
	brokers []string
	topics  []string // all but internal ones if empty
	dir     string
	every   time.Duration // a chunk is written after this time …
	most    int           // … or once all of them together have so many bytes
	grace   time.Duration // how long after its end an hour may still get records
	log     *slog.Logger
	now     func() time.Time
}

// An hourly loader copies topics into files for analysis, one directory a
// topic and hour:
//
//	dir/orders/2026-11-28T19/0-000000001200-000000003400.jsonl.gz
//	dir/orders/2026-11-28T19/COMPLETE        once no more is expected
//	dir/orders/partition-0.json              the offset up to which all is written
//
// A file holds the records of one partition, from one offset and before
// another, whose timestamps lie in that hour (UTC), a JSON object a line.
// Every record is in exactly one file, also if the loader is killed at any
// moment: files appear whole, under a name that says which offsets they come
// from; the offset in partition-N.json moves once all files of a chunk are
// there; and a loader that starts removes the files of chunks that did not
// come so far.
type hourly struct {
	hourlyOptions
	client *kgo.Client
	admin  *kadm.Client
	parts  map[string]map[int32]*hourlyPart
}

// An hourlyPart is what a loader has read of a partition and not written yet.
type hourlyPart struct {
	topic   topicID
	next    int64 // everything below is in files
	read    int64 // everything below is in files or in hours
	hours   map[string][]byte
	records map[string]int
	bytes   int
	since   time.Time // of the first record in hours
	seen    time.Time // largest timestamp
}

const (
	hourLayout = "2006-01-02T15"
	hourlyExt  = ".jsonl.gz"
	hourlyMark = "COMPLETE"
	hourlyTemp = ".part"
)

// runHourly loads until ctx ends.
func runHourly(ctx context.Context, o hourlyOptions) error {
	h := &hourly{hourlyOptions: o, parts: map[string]map[int32]*hourlyPart{}}
	var err error
	if h.client, err = kgo.NewClient(kgo.SeedBrokers(o.brokers...), kgo.FetchMaxWait(time.Second), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{})); err != nil {
		return err
	}
	defer h.client.Close()
	h.admin = kadm.NewClient(h.client)
	look := time.Time{}
	for ctx.Err() == nil {
		if h.now().Sub(look) > 10*time.Second {
			if err := h.discover(ctx); err != nil && ctx.Err() == nil {
				h.log.Warn("hourly: the topics are not known", "error", err)
			}
			look = h.now()
		}
		poll, cancel := context.WithTimeout(ctx, time.Second)
		fetches := h.client.PollRecords(poll, 10_000)
		cancel()
		fetches.EachError(func(topic string, p int32, err error) {
			if !errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
				h.log.Warn("hourly: a partition cannot be read", "topic", topic, "partition", p, "error", err)
			}
		})
		fetches.EachRecord(h.take)
		if err := h.flush(false); err != nil {
			return err
		}
		if err := h.complete(ctx); err != nil {
			return err
		}
	}
	return h.flush(true)
}

// discover begins with partitions that are new, where an earlier run ended.
func (h *hourly) discover(ctx context.Context) error {
	topics, err := h.admin.ListTopics(ctx, h.topics...)
	if err != nil {
		return err
	}
	fresh := map[string]map[int32]kgo.Offset{}
	for _, t := range topics.Sorted() {
		if t.Err != nil || t.IsInternal {
			continue
		}
		for _, p := range t.Partitions.Sorted() {
			if h.parts[t.Topic][p.Partition] != nil {
				continue
			}
			part, err := h.resume(t.Topic, topicID(t.ID), p.Partition)
			if err != nil {
				return err
			}
			if h.parts[t.Topic] == nil {
				h.parts[t.Topic] = map[int32]*hourlyPart{}
			}
			if fresh[t.Topic] == nil {
				fresh[t.Topic] = map[int32]kgo.Offset{}
			}
			h.parts[t.Topic][p.Partition] = part
			fresh[t.Topic][p.Partition] = kgo.NewOffset().At(part.next)
		}
	}
	if len(fresh) > 0 {
		h.client.AddConsumePartitions(fresh)
	}
	return nil
}

func (h *hourly) stateFile(topic string, p int32) string {
	return filepath.Join(h.dir, topic, fmt.Sprintf("partition-%d.json", p))
}

type hourlyState struct {
	Topic topicID   `json:"topic"`
	Next  int64     `json:"next"`
	Seen  time.Time `json:"seen"`
}

// state reads how far an earlier run came; the zero value if there was none.
func (h *hourly) state(topic string, p int32) (s hourlyState, err error) {
	data, err := os.ReadFile(h.stateFile(topic, p))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		err = fmt.Errorf("kafka: %s: %w", h.stateFile(topic, p), err)
	}
	return s, err
}

// resume finds where an earlier run ended, and removes what it left half done.
func (h *hourly) resume(topic string, id topicID, p int32) (*hourlyPart, error) {
	state, err := h.state(topic, p)
	if err != nil {
		return nil, err
	}
	if state.Topic != id && state.Next > 0 {
		return nil, fmt.Errorf("kafka: %s is of an earlier topic of that name; move its directory away", h.stateFile(topic, p))
	}
	hours, err := os.ReadDir(filepath.Join(h.dir, topic))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, hour := range hours {
		if !hour.IsDir() {
			continue
		}
		dir := filepath.Join(h.dir, topic, hour.Name())
		files, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			part, from, ok := parseHourly(strings.TrimSuffix(f.Name(), hourlyTemp))
			if ok && part == p && (from >= state.Next || strings.HasSuffix(f.Name(), hourlyTemp)) {
				if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
					return nil, err
				}
			}
		}
	}
	return &hourlyPart{topic: id, next: state.Next, read: state.Next, seen: state.Seen, hours: map[string][]byte{}, records: map[string]int{}}, nil
}

func hourlyName(p int32, from, to int64) string {
	return fmt.Sprintf("%d-%012d-%012d%s", p, from, to, hourlyExt)
}

// parseHourly reads what hourlyName wrote.
func parseHourly(name string) (partition int32, from int64, ok bool) {
	name, ok = strings.CutSuffix(name, hourlyExt)
	fields := strings.Split(name, "-")
	if !ok || len(fields) != 3 {
		return 0, 0, false
	}
	p, err1 := strconv.ParseInt(fields[0], 10, 32)
	from, err2 := strconv.ParseInt(fields[1], 10, 64)
	return int32(p), from, err1 == nil && err2 == nil
}

// hourlyRecord is a line of a file. A key or value that is no text is in
// base64, in the field whose name ends in 64; one that is null is in neither.
type hourlyRecord struct {
	Offset  int64             `json:"offset"`
	Time    time.Time         `json:"time"`
	Key     *string           `json:"key,omitempty"`
	Key64   []byte            `json:"key64,omitempty"`
	Value   *string           `json:"value,omitempty"`
	Value64 []byte            `json:"value64,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
}

// take adds a record to its hour.
func (h *hourly) take(r *kgo.Record) {
	p := h.parts[r.Topic][r.Partition]
	if p == nil || r.Offset < p.read {
		return
	}
	line := hourlyRecord{Offset: r.Offset, Time: r.Timestamp.UTC()}
	line.Key, line.Key64 = text(r.Key)
	line.Value, line.Value64 = text(r.Value)
	for _, header := range r.Headers {
		if line.Headers == nil {
			line.Headers = map[string]string{}
		}
		line.Headers[header.Key] = strings.ToValidUTF8(string(header.Value), "\uFFFD")
	}
	data, err := json.Marshal(line)
	if err != nil { // a time outside of what JSON takes, for which no hour is right
		line.Time = time.Unix(0, 0).UTC()
		data, _ = json.Marshal(line)
	}
	hour := line.Time.Format(hourLayout)
	if p.bytes == 0 {
		p.since = h.now()
	}
	p.hours[hour] = append(append(p.hours[hour], data...), '\n')
	p.records[hour]++
	p.bytes += len(data) + 1
	p.read = r.Offset + 1
	if line.Time.After(p.seen) {
		p.seen = line.Time
	}
}

// text returns b as text if it is some.
func text(b []byte) (*string, []byte) {
	switch {
	case b == nil:
		return nil, nil
	case utf8.Valid(b):
		return new(string(b)), nil
	}
	return nil, b
}

// flush writes the chunks that are large or old enough.
func (h *hourly) flush(all bool) error {
	held := 0
	for _, parts := range h.parts {
		for _, p := range parts {
			held += p.bytes
		}
	}
	all = all || held >= h.most
	for topic, parts := range h.parts {
		for index, p := range parts {
			if p.read > p.next && (all || h.now().Sub(p.since) >= h.every) {
				if err := h.write(topic, index, p); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// write writes the files of a chunk, and then that it is written.
func (h *hourly) write(topic string, index int32, p *hourlyPart) error {
	for _, hour := range slices.Sorted(maps.Keys(p.hours)) {
		dir := filepath.Join(h.dir, topic, hour)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := writeGzip(filepath.Join(dir, hourlyName(index, p.next, p.read)), p.hours[hour]); err != nil {
			return err
		}
		if err := syncDir(dir); err != nil {
			return err
		}
		// An hour that was complete has got a late record: it is said anew.
		if err := os.Remove(filepath.Join(dir, hourlyMark)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := syncDir(filepath.Join(h.dir, topic)); err != nil {
		return err
	}
	data, err := json.Marshal(hourlyState{p.topic, p.read, p.seen})
	if err == nil {
		err = replaceFile(h.stateFile(topic, index), data)
	}
	if err != nil {
		return err
	}
	p.next, p.bytes = p.read, 0
	clear(p.hours)
	clear(p.records)
	return nil
}

// writeGzip makes a compressed file appear as a whole.
func writeGzip(path string, data []byte) error {
	f, err := os.OpenFile(path+hourlyTemp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(f)
	_, err = z.Write(data)
	err = errors.Join(err, z.Close(), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(path+hourlyTemp, path)
}

// complete marks the hours for which no more records are expected: they have
// ended, and so has the time of grace, by the clock and in every partition
// that still has records to read.
func (h *hourly) complete(ctx context.Context) error {
	for topic, parts := range h.parts {
		hours, err := os.ReadDir(filepath.Join(h.dir, topic))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		var ends kadm.ListedOffsets
		for _, hour := range hours {
			from, err := time.Parse(hourLayout, hour.Name())
			until := from.Add(time.Hour + h.grace)
			if _, marked := os.Stat(filepath.Join(h.dir, topic, hour.Name(), hourlyMark)); err != nil || marked == nil || h.now().Before(until) {
				continue
			}
			if ends == nil {
				if ends, err = h.admin.ListEndOffsets(ctx, topic); err != nil {
					break // the cluster cannot be asked; later
				}
			}
			if !passed(topic, parts, ends, until) {
				continue
			}
			if err := h.mark(filepath.Join(h.dir, topic, hour.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// passed reports whether all of a topic up to a time is in files.
func passed(topic string, parts map[int32]*hourlyPart, ends kadm.ListedOffsets, until time.Time) bool {
	for index, p := range parts {
		end, ok := ends.Lookup(topic, index)
		switch {
		case !ok || end.Err != nil || p.next < p.read:
			return false
		case p.next < end.Offset && p.seen.Before(until):
			return false
		}
	}
	return true
}

// mark writes which files an hour consists of.
func (h *hourly) mark(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var list strings.Builder
	for _, f := range files {
		if _, _, ok := parseHourly(f.Name()); ok {
			fmt.Fprintln(&list, f.Name())
		}
	}
	return replaceFile(filepath.Join(dir, hourlyMark), []byte(list.String()))
}

// readHourly reads the records of a file.
func readHourly(path string) ([]hourlyRecord, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("kafka: %s: %w", path, err)
	}
	var list []hourlyRecord
	for lines := json.NewDecoder(z); ; {
		var r hourlyRecord
		if err := lines.Decode(&r); errors.Is(err, io.EOF) {
			return list, nil
		} else if err != nil {
			return nil, fmt.Errorf("kafka: %s: %w", path, err)
		}
		list = append(list, r)
	}
}
