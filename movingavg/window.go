package movingavg

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// A Window knows about the values of the last minute, or of any other
// duration: how many there are, their mean, sum, least, greatest and variance.
// Create one with NewWindow.
//
// Time is cut into slots. A slot includes its end and not its start; its values
// are in the window from when they come until the slot is over by the window's
// duration less a slot. So the oldest value in the window is younger than its
// duration, and one that has left was at least that old less one slot.
//
//	slots     ┌ head            ┌ mid              ┌ last
//	          a     b     c     d     e     f      g
//	tails     a..c  b..c  c     -     -     -      -
//	back                        d + e + f + g
//
// Each slot has a summary of its values. What is before mid has a tail too: the
// summary of all from there up to mid. So the tail at head and back together
// tell of the whole window. When head comes to mid, tails are made of all that
// is there, from the last to the first. Nothing is ever taken out of a summary.
//
// A NaN or an infinity shows for as long as it is in the window, and not after.
//
// A Window is not safe for concurrent use; see [Locked].
type Window struct {
	length     time.Duration
	resolution int64 // of slots, in ns
	slotCount  int64 // of a window
	now        func() time.Time

	slots   []slot // with values, by number, from head on; those before are over
	head    int
	mid     int
	back    summary // of slots[mid:], and of values that came for slots before it and after their tails
	present int64   // number of the slot that the window ends with
	started bool    // present means something
	dropped uint64
}

// A slot is the values of some time.
type slot struct {
	number int64
	values summary
	tail   summary
}

// NewWindow returns a window of a length. It takes 120 bytes for each slot that
// has values. It panics if the length is not positive or above 73 years, or if
// the resolution is negative or above the length.
func NewWindow(length time.Duration, opts *TimedOptions) *Window {
	if length <= 0 || length > maxLength {
		panic(fmt.Sprintf("movingavg: window of %v", length))
	}
	w := &Window{length: length, now: opts.clock()}
	if opts != nil {
		w.resolution = int64(opts.Resolution)
	}
	if w.resolution < 0 || w.resolution > int64(length) {
		panic(fmt.Sprintf("movingavg: resolution of %v in a window of %v", opts.Resolution, length))
	}
	if w.resolution == 0 {
		w.resolution = max(1, int64(length)/100)
	}
	w.slotCount = int64(length) / w.resolution
	return w
}

const maxLength = 1 << 61 * time.Nanosecond

// slotOf returns the number of the slot of an instant: that of its end, in
// units of the resolution.
func (w *Window) slotOf(t time.Time) int64 {
	at := instant(t)
	number := at / w.resolution
	if at > number*w.resolution {
		number++
	}
	return number
}

// Add takes a value in, of the present.
func (w *Window) Add(v float64) { w.AddAt(w.now(), v) }

// AddAt takes a value in, of a time. One that is older than the window is
// dropped; see Dropped. A late one, for a slot before that of the latest, takes
// time in proportion to the number of slots.
func (w *Window) AddAt(t time.Time, v float64) {
	number := w.slotOf(t)
	if w.started && number <= w.present-w.slotCount {
		w.dropped++
		return
	}
	w.moveTo(number)
	last := len(w.slots) - 1
	if last < w.head || w.slots[last].number < number {
		w.push(slot{number: number})
		last = len(w.slots) - 1
	}
	if w.slots[last].number == number {
		w.slots[last].values.add(v)
		w.back.add(v)
		return
	}
	w.addLate(number, v)
}

// addLate adds a value to a slot before the last.
func (w *Window) addLate(number int64, v float64) {
	i, ok := slices.BinarySearchFunc(w.slots[w.head:], number, func(s slot, number int64) int {
		return compare(s.number, number)
	})
	i += w.head
	if !ok {
		w.slots = slices.Insert(w.slots, i, slot{number: number})
		if i < w.mid {
			w.mid++
			w.slots[i].tail = w.slots[i+1].tail
		}
	}
	w.slots[i].values.add(v)
	if i >= w.mid {
		w.back.add(v)
		return
	}
	for j := w.head; j <= i; j++ {
		w.slots[j].tail.add(v)
	}
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// push adds a slot behind the others. Where there is no room, it first moves
// all of them to the start, if at least half of them are over.
func (w *Window) push(s slot) {
	if len(w.slots) == cap(w.slots) && w.head > len(w.slots)/2 {
		n := copy(w.slots, w.slots[w.head:])
		w.slots = w.slots[:n]
		w.mid -= w.head
		w.head = 0
	}
	w.slots = append(w.slots, s)
}

// moveTo lets the window end with a slot, if that is later than the one that it
// ends with.
func (w *Window) moveTo(number int64) {
	if w.started && number <= w.present {
		return
	}
	w.started, w.present = true, number
	over := number - w.slotCount
	for w.head < len(w.slots) && w.slots[w.head].number <= over {
		w.head++
		if w.head >= w.mid {
			w.turn(over)
		}
	}
}

// turn makes tails of all slots that are not over.
func (w *Window) turn(over int64) {
	for w.head < len(w.slots) && w.slots[w.head].number <= over {
		w.head++
	}
	w.back = summary{}
	if w.head == len(w.slots) {
		w.slots, w.head, w.mid = w.slots[:0], 0, 0
		return
	}
	w.mid = len(w.slots)
	var tail summary
	for i := w.mid - 1; i >= w.head; i-- {
		tail = tail.merge(w.slots[i].values)
		w.slots[i].tail = tail
	}
}

// all returns the summary of all values in the window.
func (w *Window) all() summary {
	if w.head < w.mid {
		return w.slots[w.head].tail.merge(w.back)
	}
	return w.back
}

// Value returns the mean of the values in the window that ends at present, and
// false if there are none.
func (w *Window) Value() (float64, bool) { return w.ValueAt(w.now()) }

// ValueAt is Value of the window that ends at a time.
func (w *Window) ValueAt(t time.Time) (float64, bool) {
	s := w.SummaryAt(t)
	return s.Mean, s.Count > 0
}

// Summary returns all about the values in the window that ends at present.
func (w *Window) Summary() Summary { return w.SummaryAt(w.now()) }

// SummaryAt is Summary of the window that ends at a time, or, if that is
// earlier than a time for which there was a value or a question before, at that
// one.
func (w *Window) SummaryAt(t time.Time) Summary {
	w.moveTo(w.slotOf(t))
	s := w.all()
	return s.public(w.length)
}

// Length returns the duration of the window.
func (w *Window) Length() time.Duration { return w.length }

// Resolution returns the length of a slot.
func (w *Window) Resolution() time.Duration { return time.Duration(w.resolution) }

// Dropped returns the number of values that came too late.
func (w *Window) Dropped() uint64 { return w.dropped }

// Clear forgets all values and the time, and keeps the memory for those to
// come.
func (w *Window) Clear() {
	*w = Window{length: w.length, resolution: w.resolution, slotCount: w.slotCount, now: w.now, slots: w.slots[:0]}
}

// A Summary tells about the values in a [Window]. Without any, Mean, Min, Max
// and Variance are NaN.
type Summary struct {
	Count    int64
	Sum      float64
	Mean     float64
	Min, Max float64
	Variance float64       // the mean of the squares of how far values are from the mean
	Window   time.Duration // the length of the window
}

// StdDev returns the standard deviation: the root of the variance.
func (s Summary) StdDev() float64 { return math.Sqrt(s.Variance) }

// Rate returns how many values a second there were.
func (s Summary) Rate() float64 { return float64(s.Count) / s.Window.Seconds() }

// A summary is what is kept of values. The mean is for the variance only: from
// the values added one by one, or merged.
type summary struct {
	count    int64
	sum      sum
	mean     float64
	squares  float64 // of the distances from the mean
	min, max float64
}

func (s *summary) add(v float64) {
	s.count++
	s.sum = s.sum.plus(v)
	if s.count == 1 {
		s.mean, s.min, s.max = v, v, v
		s.squares = v - v // NaN if not finite
		return
	}
	before := s.mean
	s.mean = toward(before, v, 1/float64(s.count))
	s.squares += (v - before) * (v - s.mean)
	s.min, s.max = min(s.min, v), max(s.max, v)
}

// merge returns the summary of both.
func (s summary) merge(o summary) summary {
	if s.count == 0 {
		return o
	}
	if o.count == 0 {
		return s
	}
	n := float64(s.count) + float64(o.count)
	d := o.mean - s.mean
	return summary{
		count:   s.count + o.count,
		sum:     s.sum.merge(o.sum),
		mean:    toward(s.mean, o.mean, float64(o.count)/n),
		squares: s.squares + o.squares + d*d*(float64(s.count)*float64(o.count)/n),
		min:     min(s.min, o.min),
		max:     max(s.max, o.max),
	}
}

func (s summary) public(window time.Duration) Summary {
	if s.count == 0 {
		nan := math.NaN()
		return Summary{Mean: nan, Min: nan, Max: nan, Variance: nan, Window: window}
	}
	total := s.sum.value()
	n := float64(s.count)
	mean := min(max(total/n, s.min), s.max)
	if total-total != 0 && s.mean-s.mean == 0 {
		mean = s.mean // it is the sum alone that is too large
	}
	return Summary{
		Count: s.count, Sum: total, Mean: mean, Min: s.min, Max: s.max,
		Variance: max(0, s.squares/n), Window: window,
	}
}
