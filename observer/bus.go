package observer

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// An Event is what handlers of a Bus are called with.
type Event[T any] struct {
	Topic string
	Value T
}

// A Bus tells handlers of events on topics that match a pattern, one after the
// other, in the order in which they were subscribed, before Publish returns.
// The zero Bus is ready for use; it must not be copied after first use.
//
// Topics are made of segments with dots between them. A pattern is a topic in
// which a segment may be
//
//   - any one segment
//     #   any number of segments, none too
//
// so order.* matches order.created, and neither order nor order.line.added nor
// reorder.created; order.# matches all of these but the last.
//
//	patterns  ──► tree: a node a segment ──► those that match a topic ─┐
//	Publish(topic) ──► lists of topics that were published before  ◄──┘
//
// The tree is walked for a topic once. The list is kept until somebody
// subscribes or cancels, or there are too many lists.
//
// A Bus is safe for concurrent use by multiple goroutines.
type Bus[T any] struct {
	version atomic.Uint64
	lists   atomic.Pointer[topicLists[T]]
	mu      sync.Mutex // guards what follows, and putting in lists
	root    node[Event[T]]
	serial  uint64
	handles int
}

// topicLists are lists by topic, all of one version.
type topicLists[T any] struct {
	byTopic sync.Map // string to *list[Event[T]]
	count   int      // guarded by Bus.mu
}

// maxTopics is the number of topics for which a Bus keeps lists.
const maxTopics = 4096

// Subscribe makes handle one of the handlers of topics that match the pattern.
// What is said of [Subject.Subscribe] holds. It panics if the pattern is not
// one: see [CheckPattern] for patterns that come from outside.
func (b *Bus[T]) Subscribe(pattern string, handle func(Event[T])) *Subscription {
	return b.add(pattern, &entry[Event[T]]{call: handle}, nil)
}

// SubscribeFunc is Subscribe with options, of which nil means the defaults, and
// with a handler whose errors are for [Bus.PublishErr].
func (b *Bus[T]) SubscribeFunc(pattern string, handle func(Event[T]) error, opts *SubscribeOptions) *Subscription {
	return b.add(pattern, &entry[Event[T]]{try: handle}, opts)
}

// Publish calls the handlers whose pattern matches the topic, as
// [Subject.Publish] does. In a topic * and # stand for themselves.
func (b *Bus[T]) Publish(topic string, value T) {
	if l := b.list(topic); l != nil {
		if failed := l.publish(Event[T]{topic, value}, &b.version); failed != nil {
			failed.raise()
		}
	}
}

// PublishErr is Publish that returns the errors of handlers, as
// [Subject.PublishErr] does.
func (b *Bus[T]) PublishErr(topic string, value T) error {
	if l := b.list(topic); l != nil {
		if failed := l.publish(Event[T]{topic, value}, &b.version); failed != nil {
			return failed.err()
		}
	}
	return nil
}

// Matches returns how many handlers an event on the topic would reach.
func (b *Bus[T]) Matches(topic string) int {
	if l := b.list(topic); l != nil {
		return len(l.entries)
	}
	return 0
}

// Len returns the number of handlers.
func (b *Bus[T]) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.handles
}

// Clear cancels all subscriptions.
func (b *Bus[T]) Clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.root.each(func(e *entry[Event[T]]) { e.over.Store(true) })
	b.root, b.handles = node[Event[T]]{}, 0
	b.changed()
}

// CheckPattern returns an error that wraps ErrBadPattern if a pattern has a *
// or # in a segment that has something else too, and nil for all other strings.
func CheckPattern(pattern string) error {
	for segment := range strings.SplitSeq(pattern, ".") {
		if len(segment) > 1 && strings.ContainsAny(segment, "*#") {
			return fmt.Errorf("%w %q: %q is neither a wildcard nor free of them", ErrBadPattern, pattern, segment)
		}
	}
	return nil
}

// Match reports whether a topic matches a pattern.
func Match(pattern, topic string) bool {
	var root node[struct{}]
	root.leaf(pattern).entries = []*entry[struct{}]{{}}
	return len(root.match(topic)) > 0
}

func (b *Bus[T]) add(pattern string, e *entry[Event[T]], opts *SubscribeOptions) *Subscription {
	if err := CheckPattern(pattern); err != nil {
		panic(err.Error())
	}
	e.configure(opts)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serial++
	e.serial = b.serial
	e.remove = func() { b.remove(pattern, e) }
	leaf := b.root.leaf(pattern)
	leaf.entries = append(leaf.entries, e)
	b.handles++
	b.changed()
	return &Subscription{&e.ticket}
}

func (b *Bus[T]) remove(pattern string, e *entry[Event[T]]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.root.remove(pattern, e) {
		b.handles--
		b.changed()
	}
}

// changed drops all lists. The version comes first, as in [Subject.replace].
func (b *Bus[T]) changed() {
	b.version.Add(1)
	b.lists.Store(nil)
}

// list returns the handlers of a topic.
func (b *Bus[T]) list(topic string) *list[Event[T]] {
	if lists := b.lists.Load(); lists != nil {
		if l, ok := lists.byTopic.Load(topic); ok {
			return l.(*list[Event[T]])
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	lists := b.lists.Load()
	if lists == nil || lists.count >= maxTopics {
		lists = &topicLists[T]{}
		b.lists.Store(lists)
	}
	entries := b.root.match(topic)
	slices.SortFunc(entries, compareEntries)
	l := newList(entries, b.version.Load())
	if _, there := lists.byTopic.LoadOrStore(strings.Clone(topic), l); !there {
		lists.count++
	}
	return l
}

// A node is a place in the tree of patterns. Nodes without entries and
// children are removed, but for the root.
type node[E any] struct {
	entries  []*entry[E]         // of the pattern that ends here, by serial
	children map[string]*node[E] // by segment; the wildcards are among them
}

// leaf returns the node of a pattern, and makes it.
func (n *node[E]) leaf(pattern string) *node[E] {
	for segment := range strings.SplitSeq(pattern, ".") {
		child := n.children[segment]
		if child == nil {
			child = &node[E]{}
			if n.children == nil {
				n.children = map[string]*node[E]{}
			}
			n.children[strings.Clone(segment)] = child
		}
		n = child
	}
	return n
}

// remove takes an entry from the node of a pattern, and reports whether it was
// there.
func (n *node[E]) remove(pattern string, e *entry[E]) bool {
	segment, rest, more := strings.Cut(pattern, ".")
	child := n.children[segment]
	if child == nil {
		return false
	}
	removed := false
	if more {
		removed = child.remove(rest, e)
	} else if i := slices.Index(child.entries, e); i >= 0 {
		child.entries = slices.Delete(child.entries, i, i+1)
		removed = true
	}
	if len(child.entries) == 0 && len(child.children) == 0 {
		delete(n.children, segment)
	}
	return removed
}

func (n *node[E]) each(visit func(*entry[E])) {
	for _, e := range n.entries {
		visit(e)
	}
	for _, child := range n.children {
		child.each(visit)
	}
}

// match returns the entries of all patterns that match a topic, each once.
//
// It walks all ways at a time: at holds the nodes that the segments so far may
// lead to. The node of a # leads to itself with any segment, and is reached
// with none from the node above it.
func (n *node[E]) match(topic string) (entries []*entry[E]) {
	type place struct {
		node *node[E]
		many bool // the node of a #
	}
	var at, next []place
	reach := func(places []place, p place) []place {
		for p.node != nil && !slices.Contains(places, p) {
			places = append(places, p)
			p = place{p.node.children["#"], true}
		}
		return places
	}
	at = reach(at, place{n, false})
	for segment := range strings.SplitSeq(topic, ".") {
		next = next[:0]
		for _, p := range at {
			if p.many {
				next = reach(next, p)
			}
			if segment != "#" && segment != "*" {
				next = reach(next, place{p.node.children[segment], false})
			}
			next = reach(next, place{p.node.children["*"], false})
		}
		at, next = next, at
	}
	for _, p := range at {
		entries = append(entries, p.node.entries...)
	}
	return entries
}
