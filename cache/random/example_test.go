package random_test

import (
	"fmt"

	"github.com/ashlar-go/ashlar/cache/random"
)

// A loop that is larger than the cache empties an LRU; chance keeps a part.
func Example() {
	c := random.New[int, string](100, nil)
	hits := 0
	for range 50 {
		for page := range 110 {
			if _, ok := c.Get(page); ok {
				hits++
			} else {
				c.Put(page, "content")
			}
		}
	}
	fmt.Println("more than half were hits:", hits > 50*110/2, "and never more than", c.Capacity(), "entries:", c.Len() <= 100)
	// Output: more than half were hits: true and never more than 100 entries: true
}
