package rules

import (
	"time"

	"github.com/ashlar-go/ashlar/hitcounter"
)

// A window counts what a rule looks at, for one key.
//
//	count, any, flatline  a hitcounter.Ring of the window
//	spike                 two Rings, of one window and of two
//	distinct              a hitcounter.Unique
//	new                   needs none: each value is a key of its own
type window struct {
	hits   *hitcounter.Ring
	double *hitcounter.Ring
	unique *hitcounter.Unique
}

func newWindow(r *Rule) window {
	slots := func(w time.Duration) *hitcounter.Options {
		return &hitcounter.Options{Resolution: max(w/60, time.Millisecond)}
	}
	switch r.Kind {
	case New:
		return window{}
	case Distinct:
		return window{unique: hitcounter.NewUnique(r.Window, 9, nil)}
	case Spike:
		return window{hits: hitcounter.NewRing(r.Window, slots(r.Window)), double: hitcounter.NewRing(2*r.Window, slots(2*r.Window))}
	}
	return window{hits: hitcounter.NewRing(r.Window, slots(r.Window))}
}

func (w window) hit(t time.Time, value string) {
	if w.hits != nil {
		w.hits.HitAt(t)
	}
	if w.double != nil {
		w.double.HitAt(t)
	}
	if w.unique != nil {
		w.unique.HitAt(t, value)
	}
}

// holds reports whether the condition of r holds in the window that ends at t,
// and the number that decides it.
func (w window) holds(r *Rule, t time.Time) (n float64, ok bool) {
	switch r.Kind {
	case Distinct:
		n = float64(w.unique.CountAt(t))
		return n, n >= r.Threshold
	case Spike:
		n = float64(w.hits.CountAt(t))
		before := float64(w.double.CountAt(t)) - n
		return n, n >= float64(max(r.Least, 1)) && n > r.Threshold*max(before, 0)
	case Flatline:
		n = float64(w.hits.CountAt(t))
		return n, n < r.Threshold
	}
	n = float64(w.hits.CountAt(t))
	return n, n >= r.Threshold
}
