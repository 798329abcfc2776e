package lru

import "github.com/ashlar-go/ashlar/internal/cachecore"

// policy is one list, the most recently used slot at its front.
type policy struct {
	cachecore.Lists
}

func newPolicy(int64) cachecore.Policy { return &policy{cachecore.NewLists(1)} }

func (p *policy) Insert(slot uint32, _ uint64, _ int64) { p.PushFront(0, slot) }
func (p *policy) Hit(slot uint32, _ uint64)             { p.MoveToFront(0, slot) }
func (p *policy) Update(slot uint32, _ uint64, _ int64) { p.MoveToFront(0, slot) }
func (p *policy) Victim(uint64, int64) uint32           { return p.Back(0) }
func (p *policy) Resize(int64)                          {}
func (p *policy) Ascend(visit func(uint32) bool)        { p.Backward(0, visit) }
func (p *policy) Descend(visit func(uint32) bool)       { p.Forward(0, visit) }
