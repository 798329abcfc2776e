package kafka

import (
	"context"
	"embed"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/examples/internal/plot"
	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/examples/internal/web"
)

//go:embed index.html kafka.css
var files embed.FS

var index = page.Must(info, nil, files, "index.html")

// A pageView is what the page shows.
type pageView struct {
	Stats     []page.Stat
	Rate      template.HTML
	Latency   template.HTML
	Brokers   []brokerRow
	Topics    []topicRow
	Groups    []groupRow
	Names     []string // of topics
	Endpoints []system.Endpoint
	Load      bool
	Paused    bool
	Several   bool // brokers

	// What the user does.
	Topic, Key, Value string
	Read              *readView
}

// A readView is the answer to the wish to read a topic.
type readView struct {
	Topic    string
	Messages []message
}

type brokerRow struct {
	ID       int32
	Addr     string
	State    string
	Bad      bool
	Leads    int
	Follows  int
	Conns    int
	Memory   string
	Selected bool
}

type topicRow struct {
	Name       string
	Replicas   int
	Policy     string
	Records    int64
	Size       int64
	Internal   bool
	Partitions []partitionRow
}

type partitionRow struct {
	Index      int
	Leader     string
	Replicas   string
	ISR        string
	Short      bool // fewer in sync than there are replicas
	Start, End int64
	High       int64
	Size       int64
}

const (
	shownTopics     = 12
	shownPartitions = 12 // of a topic
)

// pages serves the page and takes its forms.
func (s *System) pages() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /live", s.live)
	mux.HandleFunc("GET /{$}", s.getIndex)
	mux.Handle("GET /kafka.css", http.FileServerFS(files))
	mux.HandleFunc("POST /produce", s.postProduce)
	mux.HandleFunc("POST /break", s.postBreak)
	return mux
}

func (s *System) render(w http.ResponseWriter, r *http.Request, status int, notice *page.Notice, v pageView) {
	index.Render(w, r, status, page.View{
		Stream: "live", Data: v, Notice: notice,
		Titles: map[string]string{"do": "Write and read", "watch": "What the cluster is doing", "break": "Make it hard", "learn": "How it works"},
	})
}

// getIndex shows the page and, if it is asked for a topic, its newest
// messages.
func (s *System) getIndex(w http.ResponseWriter, r *http.Request) {
	v := s.view()
	topic := r.FormValue("read")
	if topic == "" {
		s.render(w, r, http.StatusOK, nil, v)
		return
	}
	v.Topic = topic
	messages, err := s.desk.last(r.Context(), topic)
	if err != nil {
		s.render(w, r, http.StatusNotFound, &page.Notice{Error: true, Text: fmt.Sprintf("The topic %q could not be read: %v. Write a message to it first, or pick one from the list.", clip(topic), err)}, v)
		return
	}
	v.Read = &readView{topic, messages}
	s.render(w, r, http.StatusOK, nil, v)
}

// postProduce writes a message.
func (s *System) postProduce(w http.ResponseWriter, r *http.Request) {
	v := s.view()
	v.Topic, v.Key, v.Value = strings.TrimSpace(r.FormValue("topic")), r.FormValue("key"), r.FormValue("value")
	if err := checkTopicName(v.Topic); err != nil {
		s.render(w, r, http.StatusBadRequest, &page.Notice{Error: true, Text: "A topic cannot be called that: " + err.Error() + "."}, v)
		return
	}
	start := time.Now()
	record, err := s.desk.produce(r.Context(), v.Topic, v.Key, v.Value)
	if err != nil {
		s.render(w, r, http.StatusServiceUnavailable, &page.Notice{Error: true, Text: "The message was not acknowledged: " + err.Error() + ". Is a majority of the brokers running?"}, v)
		return
	}
	v = s.view()
	v.Topic = record.Topic
	if messages, err := s.desk.last(r.Context(), record.Topic); err == nil {
		v.Read = &readView{record.Topic, messages}
	}
	text := fmt.Sprintf("Acknowledged in %s: it is record %d of partition %d, on the disks of all in-sync replicas.", page.Duration(time.Since(start)), record.Offset, record.Partition)
	if s.config.Sync != string(syncEach) {
		text = fmt.Sprintf("Acknowledged in %s: it is record %d of partition %d.", page.Duration(time.Since(start)), record.Offset, record.Partition)
	}
	s.render(w, r, http.StatusOK, &page.Notice{Text: text}, v)
}

func clip(s string) string {
	if len(s) <= 60 {
		return s
	}
	n := 60
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// postBreak makes trouble, or ends it.
func (s *System) postBreak(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
	defer cancel()
	if err := s.trouble(ctx, r.FormValue("what"), r.FormValue("broker")); err != nil {
		s.render(w, r, http.StatusBadRequest, &page.Notice{Error: true, Text: "That did not work: " + err.Error() + "."}, s.view())
		return
	}
	web.Redirect(w, r, "#watch")
}

func (s *System) view() pageView {
	m := s.config.Env.Metrics
	v := pageView{Endpoints: s.Endpoints(), Load: s.load != nil, Paused: s.load != nil && s.load.paused.Load(), Several: len(s.nodes) > 1, Topic: "greetings"}
	img := s.image()
	v.Brokers, v.Topics, v.Groups = s.brokerRows(img), s.topicRows(img), s.desk.seen()
	for _, t := range v.Topics {
		if !t.Internal {
			v.Names = append(v.Names, t.Name)
		}
	}
	end := "–"
	if s.latency.p99.Load() > 0 {
		end = page.Duration(time.Duration(s.latency.p99.Load()))
	}
	v.Stats = []page.Stat{
		{Key: "in", Label: "Records in", Value: page.Count(uint64(newest(m.Series("kafka_records_in_total")))), Unit: "/s"},
		{Key: "out", Label: "Records out", Value: page.Count(uint64(newest(m.Series("kafka_records_out_total")))), Unit: "/s"},
		{Key: "end", Label: "99 of 100 read within", Value: end},
		{Key: "lag", Label: "Not read yet", Value: page.Count(s.desk.lag()), Unit: "records"},
		{Key: "open", Label: "Connections", Value: page.Count(s.connections())},
		{Key: "turned", Label: "Turned away", Value: page.Count(s.counters.refused.Load() + s.counters.broken.Load())},
	}
	v.Rate = plot.Line{
		Title: "Records a second", X: plot.Axis{Label: "seconds ago", Unit: "s", Min: -120, Max: 0}, Y: plot.Axis{Label: "records", Unit: "/s"},
		Series: []plot.Series{
			{Name: "in", Points: plot.Recent(m.Series("kafka_records_in_total"), 1)},
			{Name: "out", Points: plot.Recent(m.Series("kafka_records_out_total"), 1)},
		}, Height: 160,
	}.HTML()
	v.Latency = plot.Line{
		Title: "From producer to consumer", X: plot.Axis{Label: "seconds ago", Unit: "s", Min: -120, Max: 0}, Y: plot.Axis{Label: "end-to-end latency", Unit: "ms"},
		Series: []plot.Series{
			{Name: "99 of 100", Points: plot.Recent(m.Series("kafka_end_to_end_p99_milliseconds"), 1)},
			{Name: "half", Points: plot.Recent(m.Series("kafka_end_to_end_p50_milliseconds"), 1)},
		}, Height: 160,
	}.HTML()
	return v
}

func newest(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return values[len(values)-1]
}

// image is what the brokers agree on, as one that runs knows it.
func (s *System) image() *image {
	newest := newImage("")
	for _, b := range s.brokers() {
		if m := b.control.Image(); m.Version >= newest.Version {
			newest = m
		}
	}
	return newest
}

func (s *System) connections() (n int) {
	for _, b := range s.brokers() {
		n += b.connections()
	}
	return n
}

func (s *System) brokerRows(m *image) []brokerRow {
	running := map[int32]*broker{}
	leader := int32(-1)
	for _, b := range s.brokers() {
		running[b.ID] = b
		leader = max(leader, b.control.Leader())
	}
	var rows []brokerRow
	for _, n := range s.nodes {
		row := brokerRow{ID: n.id, Addr: n.addr, State: "away", Bad: true, Memory: "–"}
		for _, t := range m.Topics {
			for _, p := range t.Partitions {
				switch {
				case p.Leader == n.id:
					row.Leads++
				case running[n.id] != nil && slices.Contains(p.Replicas, n.id):
					row.Follows++
				}
			}
		}
		if b := running[n.id]; b != nil {
			row.State, row.Bad = "serves", false
			switch {
			case !m.isAlive(n.id):
				row.State, row.Bad = "joins", true
			case n.id == leader && s.several():
				row.State = "serves, controller"
			}
			row.Conns, row.Memory = b.connections(), page.Bytes(b.budget.used())
		}
		rows = append(rows, row)
	}
	return rows
}

func (s *System) several() bool { return len(s.nodes) > 1 }

func (s *System) topicRows(m *image) []topicRow {
	replicas := map[partitionKey]*partition{}
	for _, b := range s.brokers() {
		for _, p := range b.all() {
			key := partitionKey{p.id, p.index}
			if replicas[key] == nil || p.state().leading {
				replicas[key] = p
			}
		}
	}
	var rows []topicRow
	for _, name := range slices.Sorted(maps.Keys(m.Topics)) {
		t := m.Topics[name]
		row := topicRow{Name: clip(name), Internal: t.Internal, Replicas: len(t.Partitions[0].Replicas)}
		row.Policy, _ = t.valueOf(*settingCalled("cleanup.policy"))
		for i, a := range t.Partitions {
			p := partitionRow{Index: i, Leader: fmt.Sprint(a.Leader), Replicas: numbers(a.Replicas), ISR: numbers(a.ISR), Short: len(a.ISR) < len(a.Replicas) || a.Leader < 0}
			if a.Leader < 0 {
				p.Leader = "none"
			}
			if local := replicas[partitionKey{t.ID, int32(i)}]; local != nil {
				st := local.state()
				p.Start, p.High, p.End, p.Size = st.start, st.high, st.end, local.log.Stats().Size
			}
			row.Records += p.End - p.Start
			row.Size += p.Size
			if i < shownPartitions && !t.Internal {
				row.Partitions = append(row.Partitions, p)
			}
		}
		rows = append(rows, row)
	}
	// What people made first, what the brokers made last.
	slices.SortStableFunc(rows, func(a, b topicRow) int {
		switch {
		case a.Internal == b.Internal:
			return 0
		case a.Internal:
			return 1
		}
		return -1
	})
	return rows[:min(len(rows), shownTopics)]
}

func numbers(ids []int32) string { return strings.Trim(fmt.Sprint(ids), "[]") }

// sample is what the page's stream carries.
func (s *System) sample() page.Live {
	v := s.view()
	live := page.Live{Text: map[string]string{}, HTML: map[string]template.HTML{
		"rate": v.Rate, "latency": v.Latency,
		"brokers": index.Fragment("brokers", v.Brokers), "topics": index.Fragment("topics", v.Topics), "groups": index.Fragment("groups", v.Groups),
	}}
	for _, stat := range v.Stats {
		live.Text[stat.Key] = stat.Value
	}
	return live
}
