package replica

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"iter"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

// A Policy says what becomes of versions of which neither has seen the other.
//
// A Policy is a value and safe for concurrent use.
type Policy uint8

const (
	// Siblings keeps them all, until somebody who has read them writes.
	Siblings Policy = iota
	// LastWriterWins keeps the one with the latest dot. What the others wrote
	// is lost, although it was acknowledged.
	LastWriterWins
	// Consensus has writers agree on an order, so that a write can depend on
	// what is there: see Coordinator.Update. There is one version, and its dot
	// is the ballot that it was accepted with.
	Consensus
)

// String returns the policy's name.
func (p Policy) String() string {
	switch p {
	case Siblings:
		return "siblings"
	case LastWriterWins:
		return "last writer wins"
	case Consensus:
		return "consensus"
	}
	return "unknown policy"
}

// A Version is what one write put under a key. Nothing changes it afterwards,
// and nothing may change the bytes of Data.
//
// A Version is safe for concurrent use by multiple goroutines.
type Version struct {
	Dot     Dot
	Data    []byte
	Deleted bool  // a tombstone: there is no value any more, and no Data
	Expires int64 // in milliseconds since 1970; the value is gone from then on; zero: never
}

// Live says whether there is a value at a time: it is neither deleted nor
// expired.
func (v Version) Live(now time.Time) bool {
	return !v.Deleted && (v.Expires == 0 || now.UnixMilli() < v.Expires)
}

// deadSince returns since when a version that is not live is dead.
func (v Version) deadSince() time.Time {
	if v.Deleted {
		return v.Dot.Time.Wall()
	}
	return time.UnixMilli(v.Expires)
}

// compare orders versions by dot, and those with the same dot, which nobody
// ought to make, by what is in them, so that all replicas keep the same one.
func (v Version) compare(w Version) int {
	deleted := func(v Version) int {
		if v.Deleted {
			return 1
		}
		return 0
	}
	return cmp.Or(v.Dot.Compare(w.Dot), deleted(v)-deleted(w), cmp.Compare(v.Expires, w.Expires), bytes.Compare(v.Data, w.Data))
}

// An Object is what a replica has under a key: the versions that nothing known
// has replaced, and a vector of all that was seen.
//
//	Context  [ {a 7} {c 3} ]
//	Versions   {a 7} "x"  {c 3} "y"     two siblings; what a wrote before 7 is known to be replaced
//
// It is a dotted version vector set: a version has one dot and not a vector of
// its own, so a client that writes without having read what is there adds one
// sibling, and one that has replaces exactly what it has read. Versions are
// sorted by dot, the latest last, and Context covers them. The zero Object is
// that of a key of which nothing is known.
//
// Objects are not changed, but replaced; they may share memory with others.
//
// An Object is safe for concurrent use by multiple goroutines.
type Object struct {
	Context  Vector
	Versions []Version
	// Promised is the ballot below which the replica accepts nothing any more,
	// if that does not follow from the version it has. It is set under
	// Consensus only, and concerns this replica only.
	Promised Dot
}

// IsZero says whether nothing is known of the key.
func (o Object) IsZero() bool {
	return len(o.Context) == 0 && len(o.Versions) == 0 && o.Promised == Dot{}
}

// dot returns the latest dot of a version.
func (o Object) dot() Dot {
	if len(o.Versions) == 0 {
		return Dot{}
	}
	return o.Versions[len(o.Versions)-1].Dot
}

// Live iterates over the versions that have a value at a time, the earliest
// first.
func (o Object) Live(now time.Time) iter.Seq[Version] {
	return func(yield func(Version) bool) {
		for _, v := range o.Versions {
			if v.Live(now) && !yield(v) {
				return
			}
		}
	}
}

// Latest returns the version with the latest dot, if it has a value at a time:
// how to read siblings as if the last writer won.
func (o Object) Latest(now time.Time) (Version, bool) {
	if len(o.Versions) == 0 {
		return Version{}, false
	}
	v := o.Versions[len(o.Versions)-1]
	return v, v.Live(now)
}

// Last returns the latest time of anything seen.
func (o Object) Last() Time { return max(o.Context.Last(), o.Promised.Time) }

// Equal says whether both have seen the same, have the same versions, and have
// promised the same.
func (o Object) Equal(p Object) bool {
	return o.Promised == p.Promised && o.Context.Equal(p.Context) &&
		slices.EqualFunc(o.Versions, p.Versions, func(v, w Version) bool { return v.compare(w) == 0 })
}

// Digest returns a number that is equal for objects with the same versions, in
// any process, and almost certainly differs for others. It is never zero. What
// it is made of are the dots; the vector, of which parts may have been pruned,
// has no part in it.
func (o Object) Digest() uint64 {
	dots := make([]byte, 0, 128)
	for _, v := range o.Versions {
		dots = binary.LittleEndian.AppendUint64(dots, uint64(v.Dot.Actor))
		dots = binary.LittleEndian.AppendUint64(dots, uint64(v.Dot.Time))
	}
	return max(xxhash.Sum64(dots), 1)
}

// dataBytes returns how many bytes the versions hold together.
func (o Object) dataBytes() int {
	n := 0
	for _, v := range o.Versions {
		n += len(v.Data)
	}
	return n
}

// bare returns the object without what the versions hold.
func (o Object) bare() Object {
	versions := slices.Clone(o.Versions)
	for i := range versions {
		versions[i].Data = nil
	}
	return Object{o.Context, versions, o.Promised}
}

// Merge returns what a replica has that has seen what either has. Under all
// policies it is commutative, associative and idempotent, so replicas that have
// seen the same writes, in whatever order and however often, have the same
// object.
//
// With Siblings, a version stays if each side has it or has not seen it. With
// LastWriterWins, the version with the latest dot stays, with no memory of
// others; and with Consensus that with the latest ballot. What a replica may
// merge into what it has is for Serve to say.
func (p Policy) Merge(a, b Object) Object {
	switch p {
	case LastWriterWins:
		return latest(latest(Object{}, a), b)
	case Consensus:
		return agreed(a, b)
	}
	a.Promised, b.Promised = Dot{}, Dot{} // those are of Consensus alone
	switch {
	case a.IsZero():
		return b
	case b.IsZero():
		return a
	}
	merged := Object{Context: a.Context.Join(b.Context)}
	x, y := a.Versions, b.Versions
	for len(x) > 0 || len(y) > 0 {
		switch {
		case len(y) == 0 || len(x) > 0 && x[0].Dot.Compare(y[0].Dot) < 0:
			if !b.Context.Covers(x[0].Dot) {
				merged.Versions = append(merged.Versions, x[0])
			}
			x = x[1:]
		case len(x) == 0 || y[0].Dot.Compare(x[0].Dot) < 0:
			if !a.Context.Covers(y[0].Dot) {
				merged.Versions = append(merged.Versions, y[0])
			}
			y = y[1:]
		default:
			merged.Versions = append(merged.Versions, slices.MaxFunc([]Version{x[0], y[0]}, Version.compare))
			x, y = x[1:], y[1:]
		}
	}
	return merged
}

// latest returns an object with the latest version of a, which has one at most,
// and b.
func latest(a, b Object) Object {
	if len(b.Versions) == 0 {
		return a
	}
	v := b.Versions[len(b.Versions)-1]
	if len(a.Versions) > 0 && a.Versions[0].compare(v) >= 0 {
		return a
	}
	return Object{Context: Vector{v.Dot}, Versions: []Version{v}}
}

// agreed returns the object with the later ballot, and the later promise.
func agreed(a, b Object) Object {
	promised := a.Promised
	if b.Promised.Compare(promised) > 0 {
		promised = b.Promised
	}
	var c int
	switch {
	case len(b.Versions) == 0:
		c = len(a.Versions)
	case len(a.Versions) == 0:
		c = -1
	default:
		c = a.Versions[len(a.Versions)-1].compare(b.Versions[len(b.Versions)-1])
	}
	context := a.Context
	switch {
	case c < 0:
		a, context = b, b.Context
	case c == 0:
		context = a.Context.Join(b.Context)
	}
	o := Object{Context: context, Promised: promised}
	if n := len(a.Versions); n > 0 {
		o.Versions = a.Versions[n-1:]
	}
	if o.dot().Compare(promised) >= 0 {
		o.Promised = Dot{} // it follows
	}
	return o
}

// Replace returns the object after a write by somebody who has seen context:
// with Siblings, v is there in place of all versions that context covers;
// otherwise, of all that are earlier. The dot must be later than everything its
// actor has in o and in context.
func (p Policy) Replace(o Object, context Vector, v Version) Object {
	if p != Siblings {
		return latest(o, Object{Versions: []Version{v}})
	}
	// The dot covers earlier versions of its actor, which are there all the
	// same unless context covers them.
	next := Object{Context: o.Context.Join(context).With(v.Dot)}
	for _, w := range o.Versions {
		if !context.Covers(w.Dot) {
			next.Versions = append(next.Versions, w)
		}
	}
	next.Versions = append(next.Versions, v)
	slices.SortFunc(next.Versions, Version.compare)
	return next
}

// Collect returns the object without versions that have been deleted or expired
// for longer than grace; ok is false if it need not be kept at all. A promise is kept
// for as long: forgotten earlier, it would be broken.
//
// A replica that has not heard of a delete within the grace brings the value
// back. So grace has to be longer than replicas, hints and messages may be away
// and return unrepaired, by a margin for clocks that differ.
func (o Object) Collect(now time.Time, grace time.Duration) (kept Object, ok bool) {
	dead := func(v Version) bool { return !v.Live(now) && now.Sub(v.deadSince()) > grace }
	promised := o.Promised != Dot{} && now.Sub(o.Promised.Time.Wall()) <= grace
	if !slices.ContainsFunc(o.Versions, dead) {
		return o, len(o.Versions) > 0 || promised
	}
	kept = Object{o.Context, slices.DeleteFunc(slices.Clone(o.Versions), dead), o.Promised}
	if len(kept.Versions) == 0 && !promised {
		return Object{}, false
	}
	return kept, true
}

// Prune returns the object with at most keep entries in its vector besides
// those of actors whose versions it has; entries not earlier than before stay
// in any case. The earliest go first.
//
// A pruned entry is forgotten, never invented: a replica that still has a
// version which that entry covered, and has been away since before, brings it
// back as a sibling. Nothing is lost.
func (o Object) Prune(keep int, before Time) Object {
	spare := len(o.Context) - keep - len(o.Versions)
	if spare <= 0 {
		return o
	}
	needed := func(d Dot) bool {
		return d.Time >= before || slices.ContainsFunc(o.Versions, func(v Version) bool { return v.Dot.Actor == d.Actor })
	}
	old := slices.DeleteFunc(slices.Clone(o.Context), needed)
	slices.SortFunc(old, Dot.Compare)
	old = old[:min(spare, len(old))]
	if len(old) == 0 {
		return o
	}
	gone := func(d Dot) bool { return slices.Contains(old, d) }
	return Object{slices.DeleteFunc(slices.Clone(o.Context), gone), o.Versions, o.Promised}
}
