package store

import (
	"context"
	"errors"
	"time"

	"github.com/ashlar-go/ashlar/examples/logging/entry"
)

// A Histogram counts entries over time, by level.
type Histogram struct {
	From    time.Time
	Step    time.Duration
	Counts  [][entry.Fatal + 1]int
	Total   int
	Read    int64 // bytes of entries that were looked at
	Stopped bool  // the budget or the time was used up: counts before Until are too low
	Until   time.Time
}

// MaxBars is how many steps a histogram can have.
const MaxBars = 500

// Histogram counts the entries that match between r.From and r.To, which must
// be set, in a number of steps. Blocks that lie in one step and match as a whole
// are not read.
func (s *Store) Histogram(ctx context.Context, r Request, bars int) (Histogram, error) {
	r.defaults()
	bars = min(max(bars, 1), MaxBars)
	span := max(r.To.Sub(r.From), time.Duration(bars))
	h := Histogram{From: r.From, Step: (span + time.Duration(bars) - 1) / time.Duration(bars), Counts: make([][entry.Fatal + 1]int, bars)}
	var result Result
	v := s.view(&r)
	for _, b := range v.candidates(&r, &result) {
		if first, last := h.bar(b.Min), h.bar(b.Max); first == last && first >= 0 && b != &v.head && r.in(b.Min) && r.in(b.Max) {
			if counts, ok := v.whole(b, &r); ok {
				for level, n := range counts {
					h.Counts[first][level] += int(n)
					h.Total += int(n)
				}
				continue
			}
		}
		if h.Read >= r.Budget || ctx.Err() != nil {
			h.Stopped, h.Until = true, b.Max
			break
		}
		may, err := v.mayHold(b, r.Query)
		if err != nil {
			return h, err
		}
		if !may {
			continue
		}
		h.Read += int64(b.Bytes)
		err = v.scan(ctx, b, func(_ Cursor, e *entry.Entry) {
			if bar := h.bar(e.Time); bar >= 0 && r.in(e.Time) && r.Query.Match(e) {
				h.Counts[bar][e.Level]++
				h.Total++
			}
		})
		if errors.Is(err, errOutOfTime) {
			h.Stopped, h.Until = true, b.Max
			break
		}
		if err != nil && !damage(err) { // a search says what is damaged
			return h, err
		}
	}
	return h, nil
}

// bar returns the step that a time lies in, or -1.
func (h *Histogram) bar(t time.Time) int {
	d := t.Sub(h.From)
	if d < 0 || d/h.Step >= time.Duration(len(h.Counts)) {
		return -1
	}
	return int(d / h.Step)
}

// whole returns the counts of the streams of a block that match, if the labels
// and levels alone decide that.
func (v *view) whole(b *block, r *Request) (sum levels, ok bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for key, counts := range b.Streams {
		st := v.Store.streams[key]
		if st == nil {
			return sum, false
		}
		for level, n := range counts {
			if n == 0 {
				continue
			}
			bit := uint8(1) << level
			if r.Query.ByStream(st.labels, bit) {
				sum[level] += n
			} else if r.Query.MayMatchStream(st.labels, bit) {
				return sum, false
			}
		}
	}
	return sum, true
}
