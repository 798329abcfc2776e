package hitcounter

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A twin remembers every hit, and looks at all of them.
type twin struct {
	window time.Duration
	events []event
	latest time.Time
	late   bool // some hit was before another that came before it
	lost   bool // some hit was too early to have an instant
}

type event struct {
	at  time.Time
	n   int64
	key int
}

func (w *twin) add(e event) {
	if len(w.events) > 0 && e.at.Before(w.latest) {
		w.late = true
	} else {
		w.latest = e.at
	}
	w.lost = w.lost || instant(e.at) < minTime
	w.events = append(w.events, e)
}

// count returns the true number of hits in the window that ends at t, of all
// keys or of one.
func (w *twin) count(t time.Time, key int) (n int64) {
	start := t.Add(-w.window)
	for _, e := range w.events {
		if e.at.After(start) && !e.at.After(t) && (key < 0 || e.key == key) {
			n = add(n, e.n)
		}
	}
	return n
}

// distinct returns how many different keys had hits in the window.
func (w *twin) distinct(t time.Time) int64 {
	keys := map[int]bool{}
	start := t.Add(-w.window)
	for _, e := range w.events {
		if e.at.After(start) && !e.at.After(t) && e.n > 0 {
			keys[e.key] = true
		}
	}
	return int64(len(keys))
}

// total returns the number of all hits.
func (w *twin) total() (n int64) {
	for _, e := range w.events {
		n = add(n, e.n)
	}
	return n
}

// A script turns bytes into hits and times to ask about.
type script struct {
	data []byte
	now  time.Time
	grid time.Duration // some times are multiples of it
}

func (s *script) byte() int {
	if len(s.data) == 0 {
		return 0
	}
	b := s.data[0]
	s.data = s.data[1:]
	return int(b)
}

var (
	epoch    = time.Unix(1_700_000_000, 0)
	extremes = []time.Time{{}, time.Unix(0, minTime-1), time.Unix(0, minTime), time.Unix(0, 0), time.Unix(0, maxTime), time.Unix(0, maxTime).Add(1), time.Unix(1<<50, 7), time.Unix(-1<<50, 7)}
	anyKey   = -1
	numbers  = []int64{1, 1, 1, 2, 3, 10, 100, 0, 1000, 1 << 30, hitLimit - 1, hitLimit, 1 << 50, math.MaxInt64/2 + 1, math.MaxInt64, 5}
)

// next returns a hit; orderly ones come in order of time and are not huge.
func (s *script) next(orderly bool) event {
	op, arg := s.byte(), time.Duration(s.byte())
	n := numbers[op>>4]
	if orderly {
		op, n = op%5, min(n, 1000)
	}
	at := s.now
	switch op % 16 {
	case 0, 1:
	case 2:
		at = at.Add(arg)
	case 3:
		at = at.Add(arg * s.grid / 16)
	case 4:
		at = at.Add(s.grid - time.Duration(at.UnixNano())%s.grid) // to a multiple
	case 5:
		at = at.Add(arg * s.grid)
	case 6:
		at = at.Add(-arg)
	case 7:
		at = at.Add(-arg * s.grid / 16)
	case 8:
		at = at.Add(-arg * s.grid)
	case 9, 10:
		// A late hit, after which time goes on as before.
		return event{at.Add(-arg * s.grid / 8), n, int(arg) % 7}
	case 11:
		return event{at.Add(arg * s.grid / 8), n, int(arg) % 7}
	case 12:
		return event{extremes[int(arg)%len(extremes)], n, int(arg) % 7}
	default:
		at = at.Add(1)
	}
	s.now = at
	return event{at, n, int(arg) % 7}
}

// questions are times to ask about.
func (s *script) questions() []time.Time {
	aligned := s.now.Add(s.grid - time.Duration(s.now.UnixNano())%s.grid)
	times := []time.Time{s.now, s.now.Add(1), s.now.Add(-1), aligned, aligned.Add(-s.grid), aligned.Add(17 * s.grid), s.now.Add(-9 * s.grid), s.now.Add(s.grid / 3)}
	return append(times, extremes...)
}

// A subject is a counter under test and what is known of it.
type subject struct {
	name string
	Counter
	check      func() error
	snapshot   func() *Snapshot
	exact      bool // the bounds are the same
	resolution time.Duration
	eps        float64
}

func subjects(window, resolution time.Duration) []subject {
	opts := &Options{Resolution: resolution, Stripes: 3, Now: func() time.Time { return epoch }}
	ring, striped := NewRing(window, opts), NewStriped(window, opts)
	exact, coarse := NewExact(window, &Options{Now: opts.Now}), NewExact(window, opts)
	list := []subject{
		{name: "ring", Counter: ring, check: ring.check, snapshot: ring.Snapshot, resolution: resolution},
		{name: "striped", Counter: striped, check: striped.check, snapshot: striped.Snapshot, resolution: resolution},
		{name: "exact", Counter: exact, check: exact.check, snapshot: exact.Snapshot, resolution: 1, exact: true},
		{name: "exact, coarse", Counter: coarse, check: coarse.check, snapshot: coarse.Snapshot, resolution: resolution},
	}
	for _, eps := range []float64{.01, .1, .6} {
		approx := NewApprox(window, eps, opts)
		list = append(list, subject{name: fmt.Sprintf("approx %v", eps), Counter: approx, check: approx.check, snapshot: approx.Snapshot, eps: eps})
	}
	return list
}

// ask compares a counter's answers about a time with the truth.
func (s *subject) ask(w *twin, t time.Time) error {
	want := w.count(t, anyKey)
	lo, hi := s.Bounds(t)
	n := s.CountAt(t)
	switch {
	case lo < 0 || lo > want || want > hi:
		return fmt.Errorf("%s: Bounds(%v) = %d, %d, true count %d", s.name, t, lo, hi, want)
	case n < lo || n > hi:
		return fmt.Errorf("%s: CountAt(%v) = %d, Bounds %d, %d", s.name, t, n, lo, hi)
	case t.Before(w.latest) || w.lost && instant(t) < minTime+int64(w.window) || instant(t) < minTime || instant(t) > maxTime || w.total() > hitLimit:
	case s.exact && lo != hi:
		return fmt.Errorf("%s: Bounds(%v) = %d, %d, true count %d, not exact", s.name, t, lo, hi, want)
	case s.resolution > 0 && w.window%s.resolution == 0 && instant(t)%int64(s.resolution) == 0 && lo != hi:
		return fmt.Errorf("%s: Bounds(%v) = %d, %d, true count %d, where a slot ends", s.name, t, lo, hi, want)
	case s.eps > 0 && !w.late && math.Abs(float64(n-want)) > s.eps*float64(want):
		return fmt.Errorf("%s: CountAt(%v) = %d, true count %d, off by more than %v", s.name, t, n, want, s.eps)
	}
	return nil
}

func (r *Ring) check() error {
	for i := range r.rows {
		slot, word := r.rows[i].slot.Load(), r.rows[i].word.Load()
		if slot != empty && (slot&r.mask != int64(i) || word>>hitBits != r.tag(slot)>>hitBits) {
			return fmt.Errorf("row %d has slot %d and word %x", i, slot, word)
		}
	}
	return nil
}

func (s *Striped) check() error {
	for _, ring := range s.rings {
		if err := ring.check(); err != nil {
			return err
		}
	}
	return nil
}

func (x *Exact) check() error {
	if x.head > len(x.queue) {
		return fmt.Errorf("head %d of %d", x.head, len(x.queue))
	}
	for i := x.head; i < len(x.queue); i++ {
		switch latest, _ := x.latest(); {
		case i > x.head && x.queue[i].slot <= x.queue[i-1].slot:
			return fmt.Errorf("slot %d after %d", x.queue[i].slot, x.queue[i-1].slot)
		case x.queue[i].slot <= latest-x.keep:
			return fmt.Errorf("slot %d is still held with %d", x.queue[i].slot, latest)
		case int64(x.queue[i].sum-x.sum(i)) < 0 || int64(x.queue[i].sum-x.before) < 0:
			return fmt.Errorf("sum %d before %d", x.sum(i), x.queue[i].sum)
		}
	}
	return nil
}

func (a *Approx) check() (err error) {
	held := a.buckets[a.head:]
	total := int64(0)
	defer func() {
		if err == nil && total != a.total {
			err = fmt.Errorf("total %d of %d hits", a.total, total)
		}
	}()
	for i, b := range held {
		total += b.n
		switch {
		case i > 0 && b.first < held[i-1].last:
			return fmt.Errorf("buckets %v and %v overlap", held[i-1], b)
		case b.n < 1 || b.first > b.last || b.first < b.last && b.n < 2:
			return fmt.Errorf("bucket %v", b)
		case i == len(held)-1 && b.first != b.last:
			return fmt.Errorf("the newest bucket is %v", b)
		}
	}
	return nil
}

// checkOrderly verifies the invariant of hits in order of time.
func (a *Approx) checkOrderly() error {
	newer := int64(0)
	for i := len(a.buckets) - 1; i >= a.head; i-- {
		b := a.buckets[i]
		if b.first != b.last && float64(b.n) > 2+2*math.Floor(a.eps*float64(1+newer)) {
			return fmt.Errorf("bucket %v with %d newer ones", b, newer)
		}
		newer += b.n
	}
	return nil
}

// check verifies the invariants of a snapshot, and that it can be encoded.
func (s *Snapshot) check() error {
	for i, p := range s.spans {
		if p.n < 1 || p.first > p.last || p.first < p.last && (p.n < 2 || s.resolution != 0) || i > 0 && compareSpans(s.spans[i-1], p) > 0 {
			return fmt.Errorf("span %v", p)
		}
	}
	data, err := s.MarshalBinary()
	if err != nil {
		return err
	}
	var read Snapshot
	if err := read.UnmarshalBinary(data); err != nil {
		return err
	}
	if again, _ := read.MarshalBinary(); string(again) != string(data) {
		return fmt.Errorf("encoded as %x and then as %x", data, again)
	}
	return nil
}

// windows are tried with each script.
var windows = []struct{ window, resolution time.Duration }{
	{1600, 100}, {1000, 300}, {7, 2}, {1, 1}, {100, 100}, {time.Hour, time.Minute}, {101, 1},
}

func runScript(data []byte) error {
	s := script{data: data, now: epoch}
	shape := windows[s.byte()%len(windows)]
	s.grid = shape.resolution
	orderly := s.byte()%2 == 0
	w := &twin{window: shape.window}
	list := subjects(shape.window, shape.resolution)
	for step := 0; len(s.data) > 0 && step < 400; step++ {
		e := s.next(orderly)
		w.add(e)
		for _, c := range list {
			c.AddAt(e.at, e.n)
			if err := c.check(); err != nil {
				return fmt.Errorf("step %d: %s: %v", step, c.name, err)
			}
			if a, ok := c.Counter.(*Approx); ok && !w.late {
				if err := a.checkOrderly(); err != nil {
					return fmt.Errorf("step %d: %s: %v", step, c.name, err)
				}
			}
		}
		if step%5 != 0 && len(s.data) > 0 {
			continue
		}
		for _, c := range list {
			for _, t := range s.questions() {
				if err := c.ask(w, t); err != nil {
					return fmt.Errorf("step %d: %w", step, err)
				}
			}
			if err := checkSnapshot(&c, s.questions()); err != nil {
				return fmt.Errorf("step %d: %s: %w", step, c.name, err)
			}
			if got := c.Stats(); w.total() < hitLimit && add(got.Hits, got.Dropped) != w.total() {
				return fmt.Errorf("step %d: %s: Stats() = %+v of %d hits", step, c.name, got, w.total())
			}
		}
	}
	return nil
}

// checkSnapshot verifies that a snapshot knows what its counter knows.
func checkSnapshot(c *subject, questions []time.Time) error {
	snapshot := c.snapshot()
	if err := snapshot.check(); err != nil {
		return err
	}
	for _, t := range questions {
		lo, hi := c.Bounds(t)
		n := c.CountAt(t)
		gotLo, gotHi := snapshot.Bounds(t)
		got := snapshot.CountAt(t)
		if c.name == "striped" {
			// Shares of several stripes are rounded one by one, and each stripe
			// knows best when it lost a hit.
			if max(got-n, n-got) <= 3 {
				got = n
			}
			gotHi = min(gotHi, max(hi, gotHi-snapshot.ledger.expired-snapshot.ledger.late))
		}
		if gotLo != lo || gotHi != hi || got != n {
			return fmt.Errorf("at %v the snapshot has %d of %d to %d, the counter %d of %d to %d", t, got, gotLo, gotHi, n, lo, hi)
		}
	}
	return nil
}

func FuzzBounds(f *testing.F) {
	for i := range byte(7) {
		f.Add([]byte{i, 0, 2, 50, 3, 4, 18, 7, 4, 0, 3, 200, 2, 9, 4, 0, 4, 0})
		f.Add([]byte{i, 1, 2, 50, 9, 4, 12, 3, 8, 100, 3, 200, 2, 9, 11, 255, 240, 0, 230, 1})
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := runScript(data); err != nil {
			t.Fatal(err)
		}
	})
}

// The same with long scripts.
func TestBoundsAreCertain(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	scripts := 140
	if raceEnabled {
		scripts = 35
	}
	for i := range scripts {
		data := make([]byte, 500)
		for j := range data {
			data[j] = byte(r.Uint32())
		}
		data[0], data[1] = byte(i), byte(i/7)
		require.NoError(t, runScript(data), "script %d: %x", i, data)
	}
}
