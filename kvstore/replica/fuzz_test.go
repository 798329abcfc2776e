package replica

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// script turns the bytes of a fuzz input into choices; when they are used up,
// all are zero.
type script struct{ rest []byte }

func (s *script) pick(n int) int {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return int(b) % n
}

// checkInvariants says what is wrong with an object.
func checkInvariants(o Object) string {
	if !slices.IsSortedFunc(o.Context, func(d, e Dot) int { return cmp.Compare(d.Actor, e.Actor) }) {
		return "vector out of order"
	}
	for i := range o.Context {
		if i > 0 && o.Context[i-1].Actor == o.Context[i].Actor {
			return "an actor twice"
		}
	}
	for i, v := range o.Versions {
		if i > 0 && o.Versions[i-1].Dot.Compare(v.Dot) >= 0 {
			return "versions out of order"
		}
		if !o.Context.Covers(v.Dot) {
			return "a version that is not covered"
		}
	}
	return ""
}

// FuzzReplicasConverge lets three replicas of a key write, with the context of
// any of them or none, and merge in any order, and holds each against what it
// has heard of: a version is there if no write that the replica has heard of
// had seen it.
func FuzzReplicasConverge(f *testing.F) {
	f.Add(byte(0), []byte{0, 1, 2, 3, 1, 1, 9, 9, 200, 7, 6, 5, 0, 0, 1, 4, 4, 8})
	f.Add(byte(1), []byte{0, 1, 2, 3, 1, 1, 9, 9, 200, 7, 6, 5, 0, 0, 1, 4, 4, 8})
	f.Fuzz(func(t *testing.T, policy byte, ops []byte) {
		p := Policy(policy % 2)
		s := script{ops}
		type write struct {
			version Version
			seen    map[Dot]bool // versions that it replaces
		}
		const n = 3
		var have [n]Object
		heard := [n]map[Dot]write{{}, {}, {}}
		clocks := [n]Clock{}
		for len(s.rest) > 0 {
			i, j := s.pick(n), s.pick(n)
			if s.pick(2) == 0 {
				have[i] = p.Merge(have[i], have[j])
				maps.Copy(heard[i], heard[j])
			} else {
				context := have[j].Context
				if s.pick(3) == 0 {
					context = nil
				}
				r := Replica{Policy: p, Actor: Actor(i + 1), Clock: &clocks[i]}
				wall := time.UnixMilli(int64(s.pick(100)))
				w := write{seen: map[Dot]bool{}}
				for d := range heard[j] {
					if context != nil {
						w.seen[d] = true
					}
				}
				next, _, reply := r.Serve(wall, have[i], Request{Kind: Mint, Change: Change{Data: []byte{byte(len(s.rest))}, Deleted: s.pick(4) == 0, Context: context}})
				if reply.Err != nil {
					continue
				}
				for _, v := range next.Versions {
					if _, old := heard[i][v.Dot]; !old {
						w.version = v
					}
				}
				have[i] = next
				for d := range w.seen { // who has seen a version has heard of it
					heard[i][d] = heard[j][d]
				}
				heard[i][w.version.Dot] = w
			}
			if wrong := checkInvariants(have[i]); wrong != "" {
				t.Fatalf("%s: %v", wrong, have[i])
			}
			var want []Version
			for d, w := range heard[i] {
				replaced := false
				for _, other := range heard[i] {
					replaced = replaced || other.seen[d] || p == LastWriterWins && other.version.Dot.Compare(d) > 0
				}
				if !replaced {
					want = append(want, w.version)
				}
			}
			slices.SortFunc(want, Version.compare)
			if !slices.EqualFunc(have[i].Versions, want, func(v, w Version) bool { return v.compare(w) == 0 }) {
				t.Fatalf("%v: replica %d has %v, want %v", p, i, have[i].Versions, want)
			}
		}
		checkMerge(t, p, have[0], have[1], have[2])
	})
}

// checkMerge checks the laws of Merge and the codec on three objects.
func checkMerge(t *testing.T, p Policy, a, b, c Object) {
	t.Helper()
	for _, pair := range []struct {
		law  string
		x, y Object
	}{
		{"commutative", p.Merge(a, b), p.Merge(b, a)},
		{"associative", p.Merge(p.Merge(a, b), c), p.Merge(a, p.Merge(b, c))},
		{"idempotent", p.Merge(a, a), p.Merge(p.Merge(a, a), a)},
		{"absorbing", p.Merge(p.Merge(a, b), a), p.Merge(a, b)},
	} {
		if !pair.x.Equal(pair.y) {
			t.Fatalf("%v is not %s for %v, %v, %v: %v and %v", p, pair.law, a, b, c, pair.x, pair.y)
		}
	}
	for _, o := range []Object{a, b, c, p.Merge(a, b)} {
		bytes := AppendObject(nil, o)
		back, n, err := DecodeObject(bytes)
		if err != nil || n != len(bytes) || !back.Equal(o) {
			t.Fatalf("%v became %v, %d of %d bytes, %v", o, back, n, len(bytes), err)
		}
	}
}

// FuzzDecode feeds what comes from disk and network: there is an error, or what
// was decoded encodes to the same bytes; and what objects come of it merge as
// they ought to.
func FuzzDecode(f *testing.F) {
	o := Object{}
	for i := range Actor(3) {
		o = Siblings.Replace(o, Vector{{i + 1, 5}}, Version{Dot: Dot{i + 1, 9}, Data: []byte("x"), Deleted: i == 1, Expires: int64(i)})
	}
	f.Add(AppendObject(nil, o))
	f.Add(AppendVector(nil, o.Context))
	f.Add(AppendRequest(nil, Request{Kind: Mint, For: "b", Key: []byte("k"), Object: o, Change: Change{Data: []byte("d"), Context: o.Context, Conditional: true}}))
	f.Add(AppendRequest(nil, Request{Kind: Fetch, Bare: true, Key: []byte("k")}))
	accept := Request{Kind: Accept, Key: []byte("k"), Ballot: Dot{3, 9}, Object: Object{Promised: Dot{4, 4}}}
	f.Add(AppendRequest(nil, accept))
	f.Add(AppendReply(nil, accept.Reply(Object{Promised: Dot{3, 10}}, ErrBallot)))
	f.Add(AppendReply(nil, Reply{Kind: Fetch, Object: o}))
	f.Add(AppendReply(nil, Reply{Kind: Store, Err: errors.New("disk full")}))
	f.Fuzz(func(t *testing.T, src []byte) {
		if o, n, err := DecodeObject(src); err == nil {
			if wrong := checkInvariants(o); wrong != "" {
				t.Fatal(wrong)
			}
			if again := AppendObject(nil, o); !bytes.Equal(again, src[:n]) {
				t.Fatalf("%x decoded and encoded is %x", src[:n], again)
			}
			p, _, err := DecodeObject(src[n:])
			if err == nil {
				checkMerge(t, Siblings, o, p, Siblings.Merge(o, p))
				checkMerge(t, LastWriterWins, o, p, LastWriterWins.Merge(o, p))
			}
		} else if !errors.Is(err, ErrCorrupt) {
			t.Fatal(err)
		}
		if v, n, err := DecodeVector(src); err == nil && !bytes.Equal(AppendVector(nil, v), src[:n]) {
			t.Fatalf("vector %x is %v", src[:n], v)
		}
		if r, err := DecodeRequest(src); err == nil && !bytes.Equal(AppendRequest(nil, r), src) {
			t.Fatalf("request %x is %+v", src, r)
		}
		if r, err := DecodeReply(src); err == nil && !bytes.Equal(AppendReply(nil, r), src) {
			t.Fatalf("reply %x is %+v", src, r)
		}
	})
}

func TestRepliesTellErrors(t *testing.T) {
	for _, err := range []error{nil, ErrConflict, ErrConditional, ErrSiblings, ErrAhead, ErrTimeout, ErrDown, ErrBallot, fmt.Errorf("%w: late", ErrTimeout)} {
		got, bad := DecodeReply(AppendReply(nil, Reply{Kind: Mint, For: "b", Err: err}))
		if bad != nil || !errors.Is(err, got.Err) || got.For != "b" {
			t.Errorf("%v came as %v, %v", err, got, bad)
		}
	}
	got, bad := DecodeReply(AppendReply(nil, Reply{Kind: Store, Err: errors.New("disk full")}))
	again, worse := DecodeReply(AppendReply(nil, got))
	for _, r := range []Reply{got, again} {
		if bad != nil || worse != nil || !errors.Is(r.Err, ErrRefused) || r.Err.Error() != "replica: refused: disk full" {
			t.Errorf("came as %v, %v, %v", r, bad, worse)
		}
	}
}
