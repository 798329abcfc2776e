// Package lab replays a trace of cache accesses through eviction policies at
// several capacities, and compares them with one another and with the best
// that any policy could have done.
//
// [Run] is the library, [Main] the command, and [NewHandler] the page.
package lab

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/internal/trace"
)

// DefaultSizes are the capacities that are replayed unless told otherwise.
const DefaultSizes = "0.5%,1%,2%,5%,10%,20%,40%"

// Builtin returns the trace that is used where none is given.
func Builtin() *trace.Trace {
	t := trace.Mixed(1, 600_000)
	t.Name = "mixed"
	return t
}

// Config says what to replay.
type Config struct {
	Trace *trace.Trace

	// Capacities are numbers of entries, or of bytes with ByBytes. Empty
	// means DefaultSizes.
	Capacities []int

	// Policies are names from the function Policies; empty means all of them.
	Policies []string

	// ByBytes bounds the caches in bytes. The trace needs sizes then.
	ByBytes bool

	// Workers is how many replays run at a time; 0 means as many as there are
	// processors. It does not matter for the time of an access, which is
	// measured afterwards, one replay at a time.
	Workers int

	// Untimed leaves out measuring the time of an access.
	Untimed bool

	// Progress, if not nil, is told how many accesses of all were replayed.
	Progress func(done, total int)

	// Partial, if not nil, gets a report of what is finished whenever a
	// replay is. Neither function is called by two goroutines at a time.
	Partial func(*Report)
}

// A Result is one policy at one capacity.
type Result struct {
	Policy   string  `json:"policy"`
	Capacity int     `json:"capacity"`
	Hits     int     `json:"hits"`
	HitRatio float64 `json:"hit_ratio"`                // of the accesses, 0 to 1
	ByteHit  float64 `json:"byte_hit_ratio,omitempty"` // of the bytes asked for; 0 if the trace has no sizes
	NsPerOp  float64 `json:"ns_per_access,omitempty"`  // processor time of one access; 0 if it was not measured
	Twice    float64 `json:"twice,omitempty"`          // hit ratio at twice the capacity; 0 if that was not replayed
	Foretold float64 `json:"foretold,omitempty"`       // what the cache itself predicted for twice the capacity, on average over the replay; 0 if it does not
}

// A Report is what Run found.
type Report struct {
	Trace      string        `json:"trace"`
	Format     string        `json:"format"` // "generated" for a generated trace
	Accesses   int           `json:"accesses"`
	Trimmed    bool          `json:"trimmed,omitempty"` // the trace goes on after these accesses
	Unique     int           `json:"unique"`            // different keys
	Whole      int64         `json:"whole"`             // what holds all of them, in Unit
	ByBytes    bool          `json:"by_bytes"`
	Sized      bool          `json:"sized"` // the trace has sizes
	Capacities []int         `json:"capacities"`
	Policies   []string      `json:"policies"` // the ceiling is the last
	Results    []Result      `json:"results"`  // by capacity, then policy
	More       []Result      `json:"more"`     // at twice the capacities, for the plot
	Complete   bool          `json:"complete"` // false if the context ended first
	Took       time.Duration `json:"took_ns"`
}

// Unit is what capacities count: "entries" or "bytes".
func (r *Report) Unit() string {
	if r.ByBytes {
		return "bytes"
	}
	return "entries"
}

// Result returns the result of a policy at one of the report's capacities.
func (r *Report) Result(policy string, capacity int) (Result, bool) {
	for _, x := range r.Results {
		if x.Policy == policy && x.Capacity == capacity {
			return x, true
		}
	}
	return Result{}, false
}

// most is the largest capacity, which leaves room to double it.
const most = math.MaxInt / 4

// ParseSizes returns the capacities that a list of percentages and numbers,
// separated by commas, stands for: "1%, 500, 64k". whole is 100%; k, M and G
// are thousands, millions and billions. The result is ascending.
func ParseSizes(list string, whole int64) ([]int, error) {
	var sizes []int
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		number, factor := item, 1.0
		for suffix, f := range map[string]float64{"%": float64(whole) / 100, "k": 1e3, "M": 1e6, "G": 1e9} {
			if n, ok := strings.CutSuffix(item, suffix); ok {
				number, factor = n, f
			}
		}
		n, err := strconv.ParseFloat(number, 64)
		if n *= factor; err != nil || !(n > 0) || n > most {
			return nil, fmt.Errorf("size %q; expected a number such as 500 or 64k, or a percentage such as 5%%", item)
		}
		sizes = append(sizes, max(1, int(n)))
	}
	slices.Sort(sizes)
	return slices.Compact(sizes), nil
}

// Run replays the trace through every policy at every capacity, and at twice
// that. Each access is a Get, and a Put if that missed. If ctx ends first, Run
// returns what is finished, and ctx.Err().
func Run(ctx context.Context, c Config) (*Report, error) {
	start := time.Now()
	if c.Trace == nil || len(c.Trace.Keys) == 0 {
		return nil, errors.New("there is no trace to replay")
	}
	if c.ByBytes && c.Trace.Sizes == nil {
		return nil, fmt.Errorf("trace %s has no sizes, so capacities are in entries", c.Trace.Name)
	}
	b, err := newBench(c)
	if err != nil {
		return nil, err
	}
	err = b.replayAll(ctx)
	if err == nil && !c.Untimed {
		err = b.timeAll(ctx)
	}
	r := b.report()
	r.Complete, r.Took = err == nil, time.Since(start)
	return r, err
}
