package replica_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/ashlar-go/ashlar/kvstore/replica"
)

func siblings(n int) replica.Object {
	var o replica.Object
	for i := range n {
		v := replica.Version{Dot: replica.Dot{Actor: replica.Actor(i + 1), Time: replica.Time(i + 1)}, Data: make([]byte, 100)}
		o = replica.Siblings.Replace(o, nil, v)
	}
	return o
}

func BenchmarkMerge(b *testing.B) {
	for _, n := range []int{1, 3, 16} {
		b.Run(fmt.Sprintf("impl=ashlar/siblings=%d", n), func(b *testing.B) {
			x, y := siblings(n), siblings(n+1)
			b.ReportAllocs()
			for b.Loop() {
				replica.Siblings.Merge(x, y)
			}
		})
	}
}

func BenchmarkCodec(b *testing.B) {
	for _, n := range []int{1, 3} {
		o := siblings(n)
		src := replica.AppendObject(nil, o)
		b.Run(fmt.Sprintf("impl=ashlar/op=append/siblings=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				src = replica.AppendObject(src[:0], o)
			}
		})
		b.Run(fmt.Sprintf("impl=ashlar/op=decode/siblings=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := replica.DecodeObject(src); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOperation is what the machines of an operation cost, without network
// and disk.
func BenchmarkOperation(b *testing.B) {
	for _, c := range []struct {
		name   string
		policy replica.Policy
		strict bool
	}{
		{"lww", replica.LastWriterWins, false}, {"strict", replica.LastWriterWins, true}, {"siblings", replica.Siblings, false},
		{"consensus", replica.Consensus, false},
	} {
		t := newToy(c.policy)
		rules := &replica.Coordinator{Policy: c.policy, R: 2, W: 2, Strict: c.strict, Actor: 9, Clock: &replica.Clock{}}
		key, data := []byte("key"), make([]byte, 100)
		context := replica.Vector(nil)
		b.Run("impl=ashlar/op=write/policy="+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if c.policy == replica.Consensus {
					t.drive(rules.Update(owners, key, func(replica.Object, time.Time) (replica.Change, bool) { return replica.Change{Data: data}, true }))
					continue
				}
				w := rules.Write(owners, key, replica.Change{Data: data, Context: context})
				t.drive(w)
				context = w.Object().Context
			}
		})
		b.Run("impl=ashlar/op=read/policy="+c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if c.policy == replica.Consensus {
					t.drive(rules.Update(owners, key, nil))
					continue
				}
				t.drive(rules.Read(owners, key))
			}
		})
	}
}

func BenchmarkTreeUpdate(b *testing.B) {
	tree := replica.NewTree(4)
	key := []byte("some key")
	b.ReportAllocs()
	i := uint64(0)
	for b.Loop() {
		tree.Update(key, i, i+1)
		i++
	}
}

func BenchmarkHintsAdd(b *testing.B) {
	h, err := replica.OpenHints("", &replica.HintsOptions{FS: vfs.NewMem(), MaxBytes: 1 << 40})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	o := siblings(1)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if err := h.Add(b.Context(), "b", fmt.Appendf(nil, "%d", i), o); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
