package cachecore

// A Policy orders the slots of one shard and names the one to give up next.
// It knows neither keys nor values: a slot is a number from 1 to the last one
// given to Grow, hash is the 64-bit hash of the key in it, and cost is what
// Options.Cost said of it, or 1.
//
// All methods are called under the lock of the shard, so a Policy needs none
// of its own unless it shares state with other shards.
type Policy interface {
	// Grow says that slots 1 to slots may be used from now on. slots falls
	// only when the shard has moved its entries to lower slots.
	Grow(slots int)
	// Insert says that slot now holds a new entry.
	Insert(slot uint32, hash uint64, cost int64)
	// Hit says that the entry was used.
	Hit(slot uint32, hash uint64)
	// Update says that the value was replaced, which is a use too.
	Update(slot uint32, hash uint64, cost int64)
	// Victim names the slot to give up so that a new entry can come in. It is
	// called only while the shard holds entries; the caller then calls Remove
	// for the slot it was told, and may ask again.
	Victim(hash uint64, cost int64) uint32
	// Remove says that slot is empty: deleted, expired or evicted.
	Remove(slot uint32)
	// Move says that the entry in slot from is in slot to now, which was
	// empty.
	Move(from, to uint32)
	// Resize says how much the shard may hold: the sum of costs.
	Resize(capacity int64)
	// Ascend visits the slots from the one to give up first to the one to
	// keep longest, as far as the policy can tell. The order must be such
	// that inserting entries in it makes a like policy.
	Ascend(visit func(slot uint32) bool)
	// Descend visits the slots in the opposite order of Ascend.
	Descend(visit func(slot uint32) bool)
	// Clear says that all slots are empty.
	Clear()
}

// A Marked policy wants to know the keys in its slots by the high half of their
// hashes, of which the shard keeps an array anyway.
type Marked interface {
	// SetMarks hands over the array, by slot, after every Grow and Clear. The
	// shard writes a mark before it calls Insert, and leaves it alone as long
	// as the slot is in use.
	SetMarks(marks []uint32)
}

// A Weigher is a Policy that knows more of an entry than its place in the
// order. Snapshots carry what Weight returns over to SetWeight.
type Weigher interface {
	Weight(slot uint32, hash uint64) uint64
	SetWeight(slot uint32, hash uint64, weight uint64)
}

// Lists are doubly linked lists of slots, threaded through one array, so that
// a slot is in at most one list and moving it allocates nothing:
//
//	links  0     1    ..  k-1   k     k+1   k+2 ..
//	       head  head     head  slot  slot  slot
//	       of 0  of 1           1     2     3
//
// A head's next is the front of its list and its prev the back; both are the
// head itself when the list is empty.
type Lists struct {
	links []link
	k     uint32
}

type link struct{ prev, next uint32 }

// NewLists returns k empty lists without slots.
func NewLists(k int) Lists {
	l := Lists{links: make([]link, k), k: uint32(k)}
	l.Clear()
	return l
}

// Grow makes room for slots 1 to slots.
func (l *Lists) Grow(slots int) {
	links := make([]link, int(l.k)+slots)
	copy(links, l.links)
	l.links = links
}

// Clear empties all lists.
func (l *Lists) Clear() {
	for i := range l.k {
		l.links[i] = link{i, i}
	}
}

// PushFront puts slot, which is in no list, at the front of list.
func (l *Lists) PushFront(list, slot uint32) {
	at, head := slot+l.k-1, &l.links[list]
	front := head.next
	l.links[at] = link{list, front}
	l.links[front].prev = at
	head.next = at
}

// PushBack puts slot, which is in no list, at the back of list.
func (l *Lists) PushBack(list, slot uint32) {
	at, head := slot+l.k-1, &l.links[list]
	back := head.prev
	l.links[at] = link{back, list}
	l.links[back].next = at
	head.prev = at
}

// Remove takes slot out of the list it is in.
func (l *Lists) Remove(slot uint32) {
	at := l.links[slot+l.k-1]
	l.links[at.prev].next = at.next
	l.links[at.next].prev = at.prev
}

// MoveToFront moves slot, which is in some list, to the front of list.
func (l *Lists) MoveToFront(list, slot uint32) {
	links, at := l.links, slot+l.k-1
	head := &links[list]
	front := head.next
	if front == at {
		return
	}
	self := &links[at]
	links[self.prev].next = self.next
	links[self.next].prev = self.prev
	front = head.next // removing slot may have changed it when list is the one it was in
	*self = link{list, front}
	links[front].prev = at
	head.next = at
}

// Move puts to, which is in no list, in the place of from.
func (l *Lists) Move(from, to uint32) {
	at := l.links[from+l.k-1]
	l.links[to+l.k-1] = at
	l.links[at.prev].next = to + l.k - 1
	l.links[at.next].prev = to + l.k - 1
}

// Front returns the first slot of list, or 0 if it is empty.
func (l *Lists) Front(list uint32) uint32 { return l.slot(l.links[list].next) }

// Back returns the last slot of list, or 0 if it is empty.
func (l *Lists) Back(list uint32) uint32 { return l.slot(l.links[list].prev) }

// Next returns the slot behind slot, or 0 at the back of its list.
func (l *Lists) Next(slot uint32) uint32 { return l.slot(l.links[slot+l.k-1].next) }

// Prev returns the slot before slot, or 0 at the front of its list.
func (l *Lists) Prev(slot uint32) uint32 { return l.slot(l.links[slot+l.k-1].prev) }

func (l *Lists) slot(at uint32) uint32 {
	if at < l.k {
		return 0
	}
	return at - l.k + 1
}

// Forward visits list from front to back and reports whether it came to the
// end.
func (l *Lists) Forward(list uint32, visit func(slot uint32) bool) bool {
	for slot := l.Front(list); slot != 0; slot = l.Next(slot) {
		if !visit(slot) {
			return false
		}
	}
	return true
}

// Backward visits list from back to front and reports whether it came to the
// end.
func (l *Lists) Backward(list uint32, visit func(slot uint32) bool) bool {
	for slot := l.Back(list); slot != 0; slot = l.Prev(slot) {
		if !visit(slot) {
			return false
		}
	}
	return true
}
