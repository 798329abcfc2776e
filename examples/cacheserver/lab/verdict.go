package lab

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/ashlar-go/ashlar/examples/internal/page"
)

// Verdict says in a few sentences what the report shows at its middle
// capacity, or at the last finished one below. It is empty as long as none is
// finished.
func (r *Report) Verdict() string {
	capacity, row := r.middle()
	if len(row) == 0 {
		return ""
	}
	ceiling := row[len(row)-1]
	row = row[:len(row)-1]
	slices.SortStableFunc(row, func(a, b Result) int { return b.Hits - a.Hits })
	best := row[0]
	var b strings.Builder
	fmt.Fprintf(&b, "At %s (%.2g%% of all) ", r.Size(capacity), r.Share(capacity))
	switch {
	case len(row) == 1:
		fmt.Fprintf(&b, "%s hits %s%%.", best.Policy, page.Percent(best.HitRatio))
	case best.Hits == row[1].Hits:
		fmt.Fprintf(&b, "%s and %s have the most hits: %s%%.", best.Policy, row[1].Policy, page.Percent(best.HitRatio))
	default:
		fmt.Fprintf(&b, "%s has the most hits: %s%%, %.1f points above %s.", best.Policy, page.Percent(best.HitRatio),
			100*(best.HitRatio-row[1].HitRatio), row[1].Policy)
	}
	if needs := r.needs("lru", best.HitRatio); best.Policy != "lru" && needs > 1.05*float64(capacity) {
		fmt.Fprintf(&b, " An LRU needs %.1f times the room for as many.", needs/float64(capacity))
	}
	switch limit := page.Percent(ceiling.HitRatio); {
	case ceiling.Policy == Bound:
		fmt.Fprintf(&b, " No cache has more than %s%%.", limit)
	case best.Hits == ceiling.Hits:
		fmt.Fprintf(&b, " That is the optimum.")
	default:
		fmt.Fprintf(&b, " The optimum is %s%%.", limit)
	}
	return b.String()
}

// middle returns the results at the middle capacity, the ceiling last.
func (r *Report) middle() (capacity int, row []Result) {
	for i := len(r.Capacities) / 2; i >= 0; i-- {
		row = row[:0]
		for _, policy := range r.Policies {
			if x, ok := r.Result(policy, r.Capacities[i]); ok {
				row = append(row, x)
			}
		}
		if len(row) == len(r.Policies) {
			return r.Capacities[i], row
		}
	}
	return 0, nil
}

// needs returns the capacity at which a policy reaches a hit ratio, in a
// straight line between the logarithms of the capacities replayed; 0 if it
// does not reach it.
func (r *Report) needs(policy string, ratio float64) float64 {
	all := slices.Concat(r.Results, r.More)
	all = slices.DeleteFunc(all, func(x Result) bool { return x.Policy != policy })
	slices.SortFunc(all, func(a, b Result) int { return a.Capacity - b.Capacity })
	for i, x := range all {
		if x.HitRatio < ratio {
			continue
		}
		if i == 0 {
			return float64(x.Capacity)
		}
		low, high := all[i-1], x
		part := (ratio - low.HitRatio) / (high.HitRatio - low.HitRatio)
		return math.Exp((1-part)*math.Log(float64(low.Capacity)) + part*math.Log(float64(high.Capacity)))
	}
	return 0
}

// Size writes a capacity with its unit.
func (r *Report) Size(capacity int) string {
	if r.ByBytes {
		return page.Bytes(capacity)
	}
	if capacity == 1 {
		return "1 entry"
	}
	return page.Count(capacity) + " entries"
}
