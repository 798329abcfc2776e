package occ_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/ashlar-go/ashlar/occ"
)

// The program of a fuzz run is read from its bytes; at their end everything is 0.
type program []byte

func (p *program) next(n int) int {
	if len(*p) == 0 {
		return 0
	}
	b := (*p)[0]
	*p = (*p)[1:]
	return int(b) % n
}

const (
	opGet = iota
	opPut
	opDelete
	opApply
	opAll
	opRange
	opBefore
	opFew // the first two of a range
	opNested
	opErr
	ops
)

type op struct {
	kind, key, to, value int
	nested               []op
}

const fuzzKeys = 6

func (p *program) body(depth int) (body []op, fails bool) {
	for range 1 + p.next(5) {
		o := op{kind: p.next(ops), key: p.next(fuzzKeys), to: p.next(fuzzKeys + 1), value: p.next(100)}
		if o.kind == opNested {
			if depth == 2 {
				o.kind = opGet
			} else {
				o.nested, _ = p.body(depth + 1)
			}
		}
		body = append(body, o)
	}
	return body, p.next(8) == 7
}

// view is what a body works on: the store, or a model of it.
type view interface {
	get(key int) string
	put(key, value int)
	remove(key int)
	apply(key, value int)
	scan(lo, hi int, backward bool, n int) string
}

func add(n int) func(int) int { return func(old int) int { return 2*old + n } }

type txView struct{ tx *occ.Tx[int, int] }

func (v txView) get(key int) string {
	value, ok := v.tx.Get(key)
	return fmt.Sprint(value, ok)
}
func (v txView) put(key, value int)   { v.tx.Put(key, value) }
func (v txView) remove(key int)       { v.tx.Delete(key) }
func (v txView) apply(key, value int) { v.tx.Apply(key, add(value)) }
func (v txView) scan(lo, hi int, backward bool, n int) (seen string) {
	seq := v.tx.Range(lo, hi)
	switch {
	case backward && lo < 0:
		seq = v.tx.Before(hi)
	case backward:
		seq = v.tx.Backward()
	case lo < 0:
		seq = v.tx.All()
	case hi > fuzzKeys:
		seq = v.tx.From(lo)
	}
	for key, value := range seq {
		seen += fmt.Sprint(key, "=", value, " ")
		if n--; n == 0 {
			break
		}
	}
	return seen
}

type mapView struct{ m map[int]int }

func (v mapView) get(key int) string {
	value, ok := v.m[key]
	return fmt.Sprint(value, ok)
}
func (v mapView) put(key, value int)   { v.m[key] = value }
func (v mapView) remove(key int)       { delete(v.m, key) }
func (v mapView) apply(key, value int) { v.m[key] = add(value)(v.m[key]) }
func (v mapView) scan(lo, hi int, backward bool, n int) (seen string) {
	keys := slices.Sorted(maps.Keys(v.m))
	if backward {
		slices.Reverse(keys)
	}
	for _, key := range keys {
		if key >= lo && key < hi {
			seen += fmt.Sprint(key, "=", v.m[key], " ")
			if n--; n == 0 {
				break
			}
		}
	}
	return seen
}

// run returns what a body saw.
func run(v view, body []op, nested func([]op), err func()) (seen []string) {
	for _, o := range body {
		switch o.kind {
		case opGet:
			seen = append(seen, v.get(o.key))
		case opPut:
			v.put(o.key, o.value)
		case opDelete:
			v.remove(o.key)
		case opApply:
			v.apply(o.key, o.value)
		case opAll:
			seen = append(seen, v.scan(-1, fuzzKeys+1, o.value%2 == 1, -1))
		case opRange:
			seen = append(seen, v.scan(o.key, max(o.key, o.to), false, -1))
		case opBefore:
			seen = append(seen, v.scan(-1, o.to, true, -1))
		case opFew:
			seen = append(seen, v.scan(o.key, fuzzKeys+1, false, 2))
		case opNested:
			nested(o.nested)
		case opErr:
			err()
		}
	}
	return seen
}

// FuzzAgainstMap runs transactions, other transactions within their bodies, on
// the store and on a map. What commits must be what the map does at the
// moment of the commit, and every attempt, also one that does not commit,
// must have seen the map as it was at one moment of the attempt.
func FuzzAgainstMap(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("1 get 2 put 3 nested 4 and so on, all of it in one program"))
	f.Add([]byte{4, 0, 1, 1, 1, 8, 0, 0, 0, 1, 1, 1, 1, 9, 1, 2, 2, 2, 4, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		p := program(data)
		s := occ.New[int, int](&occ.Options{EscalateAfter: -1})
		history := []map[int]int{{}}
		var execute func(body []op, fails bool)
		errBody := errors.New("body")
		check := func(body []op, seen []string, from int) {
			for _, moment := range history[from:] {
				if slices.Equal(seen, run(mapView{maps.Clone(moment)}, body, func([]op) {}, func() {})) {
					return
				}
			}
			t.Fatalf("%+v\nsaw %q\nwhich is no state of %v", body, seen, history[from:])
		}
		execute = func(body []op, fails bool) {
			attempts := 0
			var seen []string
			err := s.Update(t.Context(), func(tx *occ.Tx[int, int]) error {
				from := len(history) - 1
				if attempts++; attempts > 3 {
					t.Fatal("nobody disturbs the second attempt")
				}
				seen = run(txView{tx}, body, func(nested []op) {
					if attempts == 1 {
						execute(nested, false)
					}
				}, func() { _ = tx.Err() })
				check(body, seen, from)
				if fails {
					return errBody
				}
				return nil
			})
			if fails != errors.Is(err, errBody) || !fails && err != nil {
				t.Fatalf("fails %v: %v", fails, err)
			}
			if !fails {
				now := maps.Clone(history[len(history)-1])
				want := run(mapView{now}, body, func([]op) {}, func() {})
				if writes(body) && !slices.Equal(seen, want) {
					t.Fatalf("%+v\nsaw %q\ncommitted where it is %q", body, seen, want)
				}
				if writes(body) {
					history = append(history, now)
				}
			}
		}
		for len(p) > 0 {
			switch p.next(6) {
			case 0: // a view, with transactions in its body
				body, _ := p.body(0)
				body = slices.DeleteFunc(body, func(o op) bool {
					return o.kind == opPut || o.kind == opDelete || o.kind == opApply
				})
				from := len(history) - 1
				_ = s.View(t.Context(), func(tx *occ.Tx[int, int]) error {
					seen := run(txView{tx}, body, func(nested []op) { execute(nested, false) }, func() {})
					if want := run(mapView{maps.Clone(history[from])}, body, func([]op) {}, func() {}); !slices.Equal(seen, want) {
						t.Fatalf("a view of %v saw %q, want %q", history[from], seen, want)
					}
					return nil
				})
			case 1:
				key, value, now := p.next(fuzzKeys), p.next(100), history[len(history)-1]
				got, version, ok := s.Load(key)
				if want, there := now[key]; got != want || ok != there || ok != (version != 0) {
					t.Fatalf("Load(%d) = %d, %d, %v, want %d, %v", key, got, version, ok, want, there)
				}
				old := version + uint64(p.next(2))
				version2, swapped, err := s.CompareAndSwap(t.Context(), key, old, value)
				if err != nil || swapped != (old == version) || swapped != (version2 > version) {
					t.Fatalf("CompareAndSwap(%d, %d), version %d: %d, %v, %v", key, old, version, version2, swapped, err)
				}
				if swapped {
					now = maps.Clone(now)
					now[key] = value
					history = append(history, now)
				}
			default:
				execute(p.body(0))
			}
			if err := s.CheckInvariants(); err != nil {
				t.Fatal(err)
			}
			if now := history[len(history)-1]; s.Len() != len(now) {
				t.Fatalf("Len %d, want %d", s.Len(), len(now))
			}
		}
		_ = s.View(context.Background(), func(tx *occ.Tx[int, int]) error {
			if got := maps.Collect(tx.All()); !maps.Equal(got, history[len(history)-1]) {
				t.Fatalf("%v, want %v", got, history[len(history)-1])
			}
			return nil
		})
	})
}

func writes(body []op) bool {
	return slices.ContainsFunc(body, func(o op) bool { return o.kind == opPut || o.kind == opDelete || o.kind == opApply })
}
