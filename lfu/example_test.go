package lfu_test

import (
	"fmt"

	"github.com/ashlar-go/ashlar/lfu"
)

func Example() {
	c := lfu.New[string, int](2, nil)
	c.Put("often", 1)
	c.Get("often")
	c.Put("once", 2)
	c.Put("new", 3) // once was used least

	uses, _ := c.Frequency("often")
	_, ok := c.Get("once")
	fmt.Println(uses, ok)
	// Output: 2 false
}

// With ageing, what was popular long ago makes room in the end.
func ExampleNewAgeing() {
	c := lfu.NewAgeing[string, int](2, 4, nil)
	c.Put("yesterday", 1)
	for range 20 {
		c.Get("yesterday")
	}
	c.Put("today", 2)
	for range 30 {
		c.Get("today")
	}
	old, _ := c.Frequency("yesterday")
	fmt.Println("yesterday's 21 uses count as", old)
	// Output: yesterday's 21 uses count as 1
}
