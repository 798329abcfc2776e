// Package movingavg averages what comes in, over the last values, over the
// last minutes, or over everything with the past fading: exactly for integers,
// without drift for floating point, and in constant time however large the
// window is.
//
// # Which one
//
//	          averages                              space             use it for
//	Simple    the last n values, all alike          n values          the mean of the last so many
//	Exp       all values, each less than the next   3 numbers         a smooth line through regular samples
//	TimedExp  all values, halved every half-life    4 numbers         the same, where samples come at any time
//	Window    the values of the last duration       a summary a slot  dashboards: mean, rate, extremes, variance
//
// When not to use it: for how many things happened, package hitcounter counts;
// for percentiles none of these will do, since no mean tells of the slowest in a
// hundred.
//
// # Model
//
// Every average has Add, and Value, which returns the average and whether
// there is one. Before the first value there is none, and zero is a value like
// any other. While a window is not yet full, the average is that of what is
// there, and an exponential average is the weighted mean of the values that
// were, from the first one on: nothing counts that was never added.
//
//	weight     Simple, Window          Exp, TimedExp
//	  of a       ┌───────────┐                      ·│
//	 value       │           │                   ··  │
//	             │           │              ····     │
//	         ────┘           │  ···········          │
//	          past         now                     now
//
// The trouble with windows is to get rid of what leaves. Subtracting it from a
// running sum leaves rounding errors behind, which add up for ever, and a NaN
// that was added cannot be subtracted. So sums of floating-point numbers are
// only ever added to here: those of the values before some mark, as sums from
// each of them up to the mark, and one of those that came since. The marks move
// so that no value costs more than a few additions, see [Simple] and [Window].
//
// # Guarantees
//
//  1. A Simple of integers is the float64 nearest to the true mean, also where
//     the sum is beyond 64 bits.
//  2. A Simple of floating-point numbers is off by at most 2^-48 times the mean
//     of the magnitudes in the window, however many values there were before
//     and however many it holds. So is the mean of a Window.
//  3. The variance of a Window comes of differences from the mean, so it keeps
//     its digits where values are far from zero and close to each other.
//  4. An Exp or a TimedExp lies between the least and the greatest of its values.
//  5. Nothing poisons for ever, as the next section says.
//  6. Add and Value allocate nothing once a Simple was full and a Window had as
//     many slots as it will have; those of Exp and TimedExp never do.
//  7. What is restored goes on exactly as what was saved. What UnmarshalBinary
//     accepts is what AppendBinary made, of the same settings.
//
// # NaN, infinities and overflow
//
// In a Simple and in a Window, a NaN or an infinity is a value: means and sums
// are what arithmetic makes of it for as long as it is in the window, and are
// right again once it has left. A sum that is too large for a float64 is an
// infinity, and passes like one. An Exp and a TimedExp have no window for it to
// leave, so they do not take it in; Skipped counts how often that was so. Finite
// values, however large, are no trouble to them.
//
// # Time
//
// AddAt and the methods that read at a time take it, so they can replay a log
// and be tested without waiting. Add and those that read at present take the
// time from a clock that never goes back. Times do not have to be in order. In
// a TimedExp and a Window a value counts by its own time, wherever in the order
// it comes. A value that has left a Window before it comes is dropped, and
// Dropped counts it. A Window that was once at some time stays there: one that is
// asked about, or given, an earlier time is where it was. Instants before
// November 1823 and after February 2116 count as the first and the last between
// them.
//
// # Cost
//
// Add and Value take constant time; for a Window amortised, as one value now and
// then pays for those before it. A Simple needs 8 bytes for each floating-point
// value of its window, or the size of an integer, and up to twice that while it
// grows; a Window needs 120 bytes for each slot that has values, and up to twice
// that. The time of day costs more than all the rest: who has it already should
// call AddAt.
//
// # Sources
//
// Two-stack aggregation of a sliding window: Tangwongsan, Hirzel, Schneider, Wu:
// General Incremental Sliding-Window Aggregation, 2015. A Simple deviates: since
// its window has a fixed size, the sums of a block are made while the next one
// fills, so that no Add ever makes many. Sums carry their rounding errors along,
// after Knuth's TwoSum and Neumaier: Rundungsfehleranalyse einiger Verfahren zur
// Summation endlicher Summen, 1974. Variances are combined after Chan, Golub,
// LeVeque: Updating Formulae and a Pairwise Algorithm for Computing Sample
// Variances, 1979. The weights of an Exp are those of West: Updating Mean and
// Variance Estimates: An Improved Method, 1979.
package movingavg
