package cart

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Demand iterates over the products in the cart, by ID, and how many of each are
// in all its lines: what has to be in stock. Lines that differ in their options
// or their price share the stock of their product.
func (c *Cart) Demand() iter.Seq2[string, int64] {
	demand := map[string]int64{}
	for item, quantity := range c.Lines() {
		demand[item.ID] += int64(quantity)
	}
	return func(yield func(string, int64) bool) {
		for _, id := range slices.Sorted(maps.Keys(demand)) {
			if !yield(id, demand[id]) {
				return
			}
		}
	}
}

// A Shortage says what is missing. It wraps ErrNoStock.
type Shortage struct {
	ID         string
	Want, Have int64
}

// Error says what is missing.
func (s *Shortage) Error() string {
	return fmt.Sprintf("%v: %d of %s, and there are %d", ErrNoStock, s.Want, s.ID, s.Have)
}

// Unwrap returns ErrNoStock.
func (s *Shortage) Unwrap() error { return ErrNoStock }

// A Stock is what there is of each product, in memory. The zero Stock is empty.
//
// A Stock is safe for concurrent use by multiple goroutines.
type Stock struct {
	mu   sync.Mutex
	have map[string]int64
}

// Set says how many of a product there are. It panics if that is negative.
func (s *Stock) Set(id string, quantity int64) {
	if quantity < 0 {
		panic(fmt.Sprintf("cart: stock of %d", quantity))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.have == nil {
		s.have = map[string]int64{}
	}
	s.have[strings.Clone(id)] = quantity
}

// Have returns how many of a product there are.
func (s *Stock) Have(id string) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.have[id]
}

// Take takes all that is in a cart, or nothing: it looks and takes in one step,
// so that the last copy is sold once. The error is a [Shortage] of the first
// product of which there is not enough.
func (s *Stock) Take(c *Cart) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, want := range c.Demand() {
		if have := s.have[id]; have < want {
			return &Shortage{id, want, have}
		}
	}
	for id, want := range c.Demand() {
		s.have[id] -= want
	}
	return nil
}

// Return gives back what Take took for a cart.
func (s *Stock) Return(c *Cart) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, quantity := range c.Demand() {
		if s.have == nil {
			s.have = map[string]int64{}
		}
		s.have[id] += quantity
	}
}
