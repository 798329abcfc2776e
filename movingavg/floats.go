package movingavg

// floats is a Simple of floating-point numbers. The values lie in a ring of
// two blocks, each of half the window, rounded up:
//
//	|<-------- half ------->|<-------- half ------->|
//	|v0 v1 v2|s3 s4 s5 s6 s7|w0 w1 w2 w3 w4|S5 S6 S7|     s3 = v3+…+v7 of
//	          next            total = w0+…+w7              the round before
//	 young = v0+v1+v2         older = S5 = w5+w6+w7
//
// One block fills from its start, and young is the sum of what came. What the
// block held before has become sums of itself, each up to the block's end.
// Values overwrite them from the left, so that the first one left is the sum of
// what the window still has of these. The other block is in the window as a
// whole, and total is its sum. At the same pace it becomes such sums itself, from
// the right, in the mirror of the places that are filled. When the one is full,
// the other is through, and they change roles.
//
// So the sum of the window is s + total + young, where s is that at next.
// Nothing is ever subtracted, and none of the three knows what has left. An odd
// window has one value less than two blocks, so s is that at next+1; then the blocks
// have a place more at their ends, which is always 0.
//
// All this is done in chunks: young and older are of whole chunks, part is
// what came since the last one, and settled is total + young. Values of a chunk are
// added up plainly, and those sums with their rounding errors, so that the
// error of the whole does not grow with the window.
//
// A window of few values is a single block without all this: when it is full,
// its values become sums up to its end at once, and it fills anew from the
// start.
//
// Invariants where there are two blocks, one of which begins at start, 0 or
// half+odd, and ends at end, which is start+half:
//
//   - start <= next < stop <= end, and stop is start plus whole chunks, or end.
//   - ring reaches to stop at least; once both blocks have been filled, to their
//     ends.
//   - young is the sum of the whole chunks before next, part that of the values
//     after them.
//   - The mirror of these chunks holds sums, of which older is the lowest; the
//     rest of the other block holds values.
//   - total is the sum of the values that the other block held when it was full,
//     or 0 in the first block of all.
type floats struct {
	ring    []float64
	next    int // where the next value goes
	stop    int // the end of its chunk
	odd     int // 1 if the window is odd, else 0
	part    float64
	settled float64
	count   float64 // window if both blocks have been filled, else 0

	young, total, older sum

	window int
}

// chunk is how many values are added up at once.
const chunk = 16

// few is the largest window that is a single block.
const few = 16

func newFloats(window int, ring []float64) floats {
	f := floats{window: window, odd: window & 1, ring: ring}
	if window <= few {
		f.odd = 0
	}
	f.begin()
	return f
}

// half returns the size of a block without what comes after it.
func (f *floats) half() int { return (f.window-f.odd)/2 + f.odd }

// start returns where the block begins that next is in.
func (f *floats) start() int {
	if second := f.half() + f.odd; f.next >= second {
		return second
	}
	return 0
}

func (f *floats) add(v float64) {
	f.ring[f.next] = v
	f.part += v
	f.next++
	if f.next == f.stop {
		f.pause()
	}
}

// pause does what is due after a chunk.
func (f *floats) pause() {
	if f.window <= few {
		f.turn()
		return
	}
	half, second := f.half(), f.half()+f.odd
	start := 0
	if f.next > second {
		start = second
	}
	filled := f.next - start
	f.young = f.young.plus(f.part)
	f.part = 0
	if f.count > 0 || start > 0 {
		length := (filled-1)%chunk + 1
		mirror := f.ring[second-start+half-filled:][:length]
		f.older = f.older.replace(mirror)
	}
	if filled == half {
		f.total, f.young, f.older = f.young, sum{}, sum{}
		f.next = second - start
		if start > 0 {
			f.count = float64(f.window)
		}
	}
	f.begin()
}

// turn begins anew with a window of few values.
func (f *floats) turn() {
	tail := 0.
	for i := len(f.ring) - 1; i >= 0; i-- {
		tail += f.ring[i]
		f.ring[i] = tail
	}
	f.next, f.part, f.count = 0, 0, float64(f.window)
}

// replace adds values from the last to the first, replaces each by the sum, and
// returns the last.
func (s sum) replace(values []float64) sum {
	before, part := s.value(), 0.
	for i := len(values) - 1; i >= 0; i-- {
		part += values[i]
		values[i] = before + part
	}
	return s.plus(part)
}

// begin begins a chunk, and makes room for it.
func (f *floats) begin() {
	if f.window <= few {
		f.stop = f.window
		f.grow(f.window)
		return
	}
	end := f.start() + f.half()
	f.stop = min(f.next+chunk, end)
	f.settled = f.total.merge(f.young).value()
	need := f.stop
	if f.stop == end {
		need += f.odd
	}
	if len(f.ring) < need {
		f.grow(need)
	}
}

// grow makes the ring reach to an end.
func (f *floats) grow(end int) {
	if cap(f.ring) < end {
		both := 2 * (f.half() + f.odd)
		f.ring = append(make([]float64, 0, min(max(both, end), max(end, 2*cap(f.ring)))), f.ring...)
	}
	before := len(f.ring)
	f.ring = f.ring[:end]
	clear(f.ring[before:])
}

// mean returns the mean once both blocks have been filled.
func (f *floats) mean() float64 {
	return (f.settled + f.part + f.ring[f.next+f.odd]) / f.count
}

// meanOfFew returns the mean before that.
func (f *floats) meanOfFew() (float64, bool) {
	if n := f.len(); n > 0 {
		return (f.settled + f.part) / float64(n), true
	}
	return 0, false
}

func (f *floats) len() int {
	if f.count > 0 {
		return f.window
	}
	if f.window <= few {
		return f.next
	}
	return f.next - min(f.start(), f.odd)
}

func (f *floats) clear() { *f = newFloats(f.window, f.ring[:0]) }
