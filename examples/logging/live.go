package logging

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/ashlar-go/ashlar/examples/logging/query"
	"github.com/ashlar-go/ashlar/examples/logging/store"
	"github.com/ashlar-go/ashlar/observer"
)

const (
	tailEvery     = 250 * time.Millisecond
	tailMost      = 40 // lines an event: nobody can read more
	tailHeartbeat = 15 * time.Second
	tailStuck     = 10 * time.Second
)

// A tailEvent is what the live tail sends: the newest lines, and how many more
// matched or were missed.
type tailEvent struct {
	Lines  []tailLine `json:"lines"`
	More   int        `json:"more"`   // matched, and not sent
	Missed uint64     `json:"missed"` // packets that went by too fast to be looked at
}

type tailLine struct {
	Time  string `json:"time"`
	Level string `json:"level"`
	Host  string `json:"host"`
	App   string `json:"app"`
	Line  string `json:"line"`
}

// tailStream sends what arrives and matches a query, as server-sent events. It
// reads the store's stream at its own pace: a browser that is too slow, or a
// flood, costs it lines, which are counted, and costs nobody else anything.
func (s *System) tailStream(w http.ResponseWriter, r *http.Request) {
	q, err := query.Parse(r.URL.Query().Get("q"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !s.tails.enter() {
		http.Error(w, "Too many live tails.", http.StatusServiceUnavailable)
		return
	}
	defer s.tails.leave()
	header := w.Header()
	header.Set("Content-Type", "text/event-stream; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	l := liveTail{query: q, w: w, control: http.NewResponseController(w), reader: s.store.Live().Reader(&observer.ReaderOptions{OnFull: observer.DropOldest})}
	defer l.reader.Close()
	_ = l.control.SetReadDeadline(time.Time{}) // a writer of a test has no deadlines
	if l.send("retry: 1000\n\n") {
		l.run(r.Context(), arrivals(r.Context(), l.reader))
	}
}

// arrivals makes a channel of a reader; it is closed when ctx ends.
func arrivals(ctx context.Context, reader *observer.Reader[store.Arrival]) <-chan store.Arrival {
	c := make(chan store.Arrival)
	go func() {
		defer close(c)
		for {
			a, err := reader.Next(ctx)
			if err != nil {
				return
			}
			select {
			case c <- a:
			case <-ctx.Done():
				return
			}
		}
	}()
	return c
}

// A liveTail is one browser that follows.
type liveTail struct {
	query   *query.Query
	w       http.ResponseWriter
	control *http.ResponseController
	reader  *observer.Reader[store.Arrival]
	event   tailEvent
	missed  uint64 // so far
	wrote   time.Time
}

// run sends until the browser goes away or the store is closed.
func (l *liveTail) run(ctx context.Context, arrivals <-chan store.Arrival) {
	tick := time.NewTicker(tailEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case a, ok := <-arrivals:
			if !ok {
				return
			}
			l.event.take(&a, l.query)
		case <-tick.C:
			if !l.tick() {
				return
			}
		}
	}
}

// tick sends what there is, or a sign of life, and reports whether the browser
// still takes it.
func (l *liveTail) tick() bool {
	dropped := l.reader.Stats().Dropped
	l.event.Missed, l.missed = dropped-l.missed, dropped
	text := ": still here\n\n"
	if len(l.event.Lines) > 0 || l.event.Missed > 0 {
		data, err := json.Marshal(l.event)
		if err != nil {
			return false
		}
		text = "event: lines\ndata: " + string(data) + "\n\n"
	} else if time.Since(l.wrote) < tailHeartbeat {
		return true
	}
	l.event = tailEvent{}
	return l.send(text)
}

func (l *liveTail) send(text string) bool {
	_ = l.control.SetWriteDeadline(time.Now().Add(tailStuck))
	l.wrote = time.Now()
	_, err := fmt.Fprint(l.w, text)
	return err == nil && l.control.Flush() == nil
}

// take adds what matches, and keeps the newest.
func (t *tailEvent) take(a *store.Arrival, q *query.Query) {
	for i := range a.Packet.Entries {
		e := &a.Packet.Entries[i]
		if !q.Match(e) {
			continue
		}
		if len(t.Lines) == tailMost {
			t.Lines = t.Lines[1:]
			t.More++
		}
		l := showLine(e, "")
		t.Lines = append(t.Lines, tailLine{l.Time.UTC().Format(time.RFC3339Nano), l.Level, l.Host, l.App, l.Text})
	}
}
