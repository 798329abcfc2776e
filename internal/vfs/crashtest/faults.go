package crashtest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// Faults calls run many times, each time with a file system of its own on which
// something else goes wrong, and checks what is found after the process was
// killed and after a power loss:
//
//   - every call that the run without faults made (or every Options.Every-th) fails
//     with EIO, once;
//   - it fails and so do all after it;
//   - if it writes, it writes half and says ENOSPC;
//   - the disk has room for a part of what that run took up, in 32 steps.
//
// run uses the store, whatever its calls return, closes it, and returns the
// check of what was acknowledged. It should do the same at every call, but need
// not.
func Faults(opts Options, run func(m *vfs.Mem) Check) (Report, error) {
	f := &faults{opts: opts, run: run}
	var mu sync.Mutex
	var calls []vfs.Call
	var most int64
	m := vfs.NewMem()
	m.Hook(func(c vfs.Call) error {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, c)
		most = max(most, m.Used())
		return nil
	})
	f.check(run(m), m, Point{What: "no fault"})
	for i := 0; i < len(calls); i += max(opts.Every, 1) {
		c := calls[i]
		f.try(Point{Call: c, What: "EIO once"}, vfs.Nth(c.N, syscall.EIO), -1)
		f.try(Point{Call: c, What: "EIO from then on"}, vfs.From(c.N, syscall.EIO), -1)
		if c.Op == vfs.OpWrite {
			f.try(Point{Call: c, What: "short write"}, vfs.Nth(c.N, vfs.Short(c.Len/2, syscall.ENOSPC)), -1)
		}
	}
	for step := range int64(32) {
		limit := most * step / 32
		f.try(Point{What: fmt.Sprintf("full at %d bytes", limit)}, nil, limit)
	}
	return f.report, f.err
}

// faults is a run of Faults.
type faults struct {
	opts   Options
	run    func(m *vfs.Mem) Check
	report Report
	err    error
}

func (f *faults) try(at Point, hook vfs.Hook, limit int64) {
	if f.err != nil {
		return
	}
	f.report.Calls++
	m := vfs.NewMem()
	m.Limit(limit)
	if hook != nil {
		m.Hook(hook)
	}
	f.check(f.run(m), m, at)
}

func (f *faults) check(check Check, m *vfs.Mem, at Point) {
	if f.err != nil {
		return
	}
	m.Hook()
	if open := m.Open(); len(open) > 0 {
		f.err = fmt.Errorf("%v: left open: %v", at, open)
		return
	}
	at.Seed = uint64(f.report.Crashes)
	rng := rand.New(rand.NewPCG(f.opts.Seed, at.Seed))
	for i, found := range []*vfs.Mem{m.Kill(), m.Crash(rng), m.Crash(nil)} {
		f.report.Crashes++
		then := at
		then.What += []string{", killed", ", power loss", ", power loss with nothing unsynced left"}[i]
		if err := check(found, then); err != nil {
			f.err = fmt.Errorf("%v: %w", then, err)
			return
		}
	}
}
