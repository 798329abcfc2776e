package hitcounter_test

import (
	"fmt"
	"time"

	"github.com/ashlar-go/ashlar/hitcounter"
)

// Hits of the last five minutes, in seconds: times are given, so nothing has
// to wait.
func Example() {
	c := hitcounter.NewRing(5*time.Minute, &hitcounter.Options{Resolution: time.Second})
	second := func(n int64) time.Time { return time.Unix(n, 0) }
	c.HitAt(second(1))
	c.HitAt(second(2))
	c.HitAt(second(3))
	fmt.Println("at 4 s:", c.CountAt(second(4)))
	c.HitAt(second(300))
	fmt.Println("at 300 s:", c.CountAt(second(300)))
	fmt.Println("at 301 s:", c.CountAt(second(301)))
	// Output:
	// at 4 s: 3
	// at 300 s: 4
	// at 301 s: 3
}

// A ring with few slots estimates, and knows how well.
func ExampleRing_Bounds() {
	c := hitcounter.NewRing(time.Minute, &hitcounter.Options{Resolution: 10 * time.Second})
	start := time.Unix(1_700_000_000, 0) // where a slot ends
	ask := func(now time.Time) {
		lo, hi := c.Bounds(now)
		fmt.Println(c.CountAt(now), "hits in a minute, between", lo, "and", hi)
	}
	for i := range 120 {
		now := start.Add(time.Duration(i) * time.Second)
		c.HitAt(now) // one a second
		if i == 110 || i == 115 {
			ask(now)
		}
	}
	// Output:
	// 60 hits in a minute, between 60 and 60
	// 60 hits in a minute, between 50 and 65
}

// A limit that holds for every second, not only for those of the clock.
func ExampleExact_AllowAt() {
	c := hitcounter.NewExact(time.Second, nil)
	start := time.Unix(100, 0)
	allowed := func(from time.Duration) (n int) {
		for i := range 1000 {
			if c.AllowAt(start.Add(from+time.Duration(i)*100*time.Microsecond), 1, 100) {
				n++
			}
		}
		return n
	}
	fmt.Println(allowed(900*time.Millisecond), "at the end of a second")
	fmt.Println(allowed(1000*time.Millisecond), "at the beginning of the next")
	fmt.Println(allowed(1900*time.Millisecond), "a second after the first")
	// Output:
	// 100 at the end of a second
	// 0 at the beginning of the next
	// 100 a second after the first
}

// Hosts count on their own, and their counts are added up.
func ExampleSnapshot_Merge() {
	opts := &hitcounter.Options{Resolution: time.Second}
	east, west := hitcounter.NewStriped(time.Minute, opts), hitcounter.NewRing(time.Minute, opts)
	now := time.Unix(1_700_000_000, 0)
	east.AddAt(now.Add(-30*time.Second), 40)
	east.AddAt(now, 2)
	west.AddAt(now.Add(-31*time.Second), 1000)

	message, _ := west.Snapshot().MarshalBinary() // sent over some network
	var received hitcounter.Snapshot
	if err := received.UnmarshalBinary(message); err != nil {
		fmt.Println(err)
	}
	var sum hitcounter.Snapshot
	if err := sum.Merge(east.Snapshot(), &received); err != nil {
		fmt.Println(err)
	}
	fmt.Println(sum.CountAt(now), "now")
	fmt.Println(sum.CountAt(now.Add(29*time.Second)), "after 29 s, if nothing comes")
	// Output:
	// 1042 now
	// 42 after 29 s, if nothing comes
}

// A promised error, for hits that do not come at a steady rate.
func ExampleApprox() {
	c := hitcounter.NewApprox(time.Hour, .05, nil)
	start := time.Unix(0, 0)
	for i := range 1_000_000 {
		c.HitAt(start.Add(time.Duration(i) * time.Microsecond)) // all within a second
	}
	now := start.Add(time.Hour + 500*time.Millisecond)
	lo, hi := c.Bounds(now) // of 499,999
	fmt.Println(lo <= 499_999 && 499_999 <= hi, hi-lo < 50_000, c.Len() < 400)
	// Output: true true true
}

// Visitors, each counted once.
func ExampleUnique() {
	c := hitcounter.NewUnique(time.Minute, 14, nil)
	now := time.Unix(1_700_000_000, 0)
	for i := range 50_000 {
		c.HitAt(now, fmt.Sprint("visitor ", i%1000))
	}
	fmt.Println(c.CountAt(now) > 970, c.CountAt(now) < 1030, c.CountAt(now.Add(2*time.Minute)))
	// Output: true true 0
}

// The most active of many, in bounded memory.
func ExampleKeyed_Top() {
	c := hitcounter.NewKeyed[string](time.Minute, 1000, &hitcounter.Options{Resolution: time.Second})
	now := time.Unix(1_700_000_000, 0)
	c.AddAt(now, "/home", 120)
	c.AddAt(now, "/about", 3)
	c.AddAt(now.Add(-10*time.Second), "/news", 70)
	for page, hits := range c.Top(now, 2) {
		fmt.Println(page, hits)
	}
	// Output:
	// /home 120
	// /news 70
}
