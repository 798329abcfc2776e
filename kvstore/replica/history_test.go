package replica

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// An event is an operation on one register as its client saw it: a read, a
// write, or an append to what is there, of which the client learns what came of
// it. Values that are written are all different; "" is the value before the
// first write.
type event struct {
	write, add bool
	value      string
	result     string // of an append
	call, ret  int    // positions in time; ret is math.MaxInt if the client never learned
}

// linearizable says whether there is an order of the events, in which each
// takes effect at one moment between its call and its return, that explains
// what was read: the search of Wing and Gong, with what has been tried kept by
// the set of events that are done and the value there is then. Writes whose
// client never learned may or may not be in the order, at any time after the
// call.
func linearizable(events []event) bool {
	if len(events) > 60 {
		panic("too many events")
	}
	type state struct {
		done  uint64
		value string
	}
	tried := map[state]bool{}
	grows := !slices.ContainsFunc(events, func(e event) bool { return e.write })
	// seen says whether somebody who learned something may come after the
	// value, where all only append.
	seen := func(done uint64, value string) bool {
		rest := false
		for i, e := range events {
			if done&(1<<i) == 0 && e.ret != math.MaxInt {
				if rest = true; strings.HasPrefix(e.value, value) && !e.add || strings.HasPrefix(e.result, value) {
					return true
				}
			}
		}
		return !rest
	}
	var search func(state) bool
	search = func(s state) bool {
		if tried[s] {
			return false
		}
		tried[s] = true
		first, left := math.MaxInt, false // nothing may come before an event that returned before it was called
		for i, e := range events {
			if s.done&(1<<i) == 0 && e.ret != math.MaxInt {
				first, left = min(first, e.ret), true
			}
		}
		if !left {
			return true
		}
		for i, e := range events {
			if s.done&(1<<i) != 0 || e.call > first {
				continue
			}
			next := state{s.done | 1<<i, s.value}
			switch {
			case e.write:
				next.value = e.value
			case e.add:
				next.value = s.value + e.value
				if e.ret != math.MaxInt && next.value != e.result {
					continue
				}
			case e.ret == math.MaxInt || e.value != s.value:
				continue
			}
			if grows && !seen(next.done, next.value) {
				continue
			}
			if search(next) {
				return true
			}
		}
		return false
	}
	return search(state{})
}

func TestTheCheckerKnowsLinearizableHistories(t *testing.T) {
	w := func(value string, call, ret int) event { return event{write: true, value: value, call: call, ret: ret} }
	r := func(value string, call, ret int) event { return event{value: value, call: call, ret: ret} }
	add := func(value, result string, call, ret int) event {
		return event{add: true, value: value, result: result, call: call, ret: ret}
	}
	never := math.MaxInt
	for _, c := range []struct {
		name   string
		events []event
		want   bool
	}{
		{"nothing", nil, true},
		{"read of nothing", []event{r("", 1, 2)}, true},
		{"read what was never written", []event{r("a", 1, 2)}, false},
		{"read after write", []event{w("a", 1, 2), r("a", 3, 4)}, true},
		{"stale read", []event{w("a", 1, 2), r("", 3, 4)}, false},
		{"read during write, either", []event{w("a", 1, 6), r("", 2, 3), r("a", 4, 5)}, true},
		{"new then old", []event{w("a", 1, 6), r("a", 2, 3), r("", 4, 5)}, false},
		{"failed write seen late", []event{w("a", 1, never), r("", 2, 3), r("a", 4, 5)}, true},
		{"failed write seen and gone", []event{w("a", 1, never), r("a", 2, 3), r("", 4, 5)}, false},
		{"two writes, two orders", []event{w("a", 1, 4), w("b", 2, 3), r("a", 5, 6), r("b", 7, 8)}, false},
		{"two writes, one order", []event{w("a", 1, 4), w("b", 2, 3), r("a", 5, 6), r("a", 7, 8)}, true},
		{"appends, one after the other", []event{add("a", "ba", 1, 4), add("b", "b", 2, 3), r("ba", 5, 6)}, true},
		{"an append lost", []event{add("a", "a", 1, 4), add("b", "b", 2, 3), r("a", 5, 6)}, false},
		{"an append twice", []event{add("a", "a", 1, never), r("aa", 2, 3)}, false},
		{"failed append in between", []event{add("a", "", 1, never), add("b", "ab", 2, 3)}, true},
		{"failed writes never seen", []event{w("a", 1, never), w("b", 2, never), r("", 3, 4)}, true},
	} {
		require.Equal(t, c.want, linearizable(c.events), "%s: %s", c.name, fmt.Sprint(c.events))
	}
}
