package crashtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// Check holds what a crash left against what the store promised until then. It
// opens the store on found, which is its own.
type Check func(found *vfs.Mem, at Point) error

// Point says which crash a [Check] looks at.
type Point struct {
	Call vfs.Call // the call that was about to happen; its Op does not count if N is 0: after the last one
	What string   // "power loss", "killed", …
	Seed uint64   // of the draw, with Options.Seed
}

// String returns the point as it is named in errors.
func (p Point) String() string {
	if p.Call.N == 0 {
		return fmt.Sprintf("%s after the last call (draw %d)", p.What, p.Seed)
	}
	return fmt.Sprintf("%s before call %v (draw %d)", p.What, p.Call, p.Seed)
}

// Options say how densely crashes are tried. The zero value tries all.
type Options struct {
	Seed    uint64 // equal seeds draw equal crashes
	Every   int    // try every that many calls that change files; 0 means 1
	Draws   int    // power losses drawn at each; 0 means 2
	Recover func(found *vfs.Mem)
	// Recover opens the store and closes it, whatever comes of it; nil for none.
	// With it, some of the crashes happen again during recovery, and every process
	// that is killed, in a recovery, too, is followed by one and a power loss.

	RecoverEvery int // try recovery on every that many crashes; 0 means 5
}

// Report counts what was tried.
type Report struct {
	Calls      int // that changed files
	Crashes    int // checked
	Recoveries int // of Crashes, how many were in the midst of a recovery
}

// history is a run of History.
type history struct {
	opts    Options
	promise func() Check

	mu     sync.Mutex // of what follows, held during checks
	report Report
	draws  uint64
	err    error
}

// History calls do with an empty file system. Before each call in it that
// changes files, and when do has returned, it checks what crashes leave; see the
// package for promise. The error is the first that a check returned,
// with the point; the checks after it are left out.
func History(opts Options, do func(m *vfs.Mem), promise func() Check) (Report, error) {
	opts.Every, opts.Draws, opts.RecoverEvery = max(opts.Every, 1), orDefault(opts.Draws, 2), orDefault(opts.RecoverEvery, 5)
	h := &history{opts: opts, promise: promise}
	m := vfs.NewMem()
	m.Hook(func(c vfs.Call) error {
		if c.Op.Changes() {
			h.crash(m, c)
		}
		return nil
	})
	do(m)
	m.Hook()
	h.crash(m, vfs.Call{})
	return h.report, h.err
}

func orDefault(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return n
}

// crash tries the crashes before one call.
func (h *history) crash(m *vfs.Mem, c vfs.Call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.report.Calls++
	if h.err != nil || c.N != 0 && h.report.Calls%h.opts.Every != 0 {
		return
	}
	for range h.opts.Draws {
		h.try(c, "power loss", m.Crash)
	}
	h.try(c, "power loss with nothing unsynced left", func(*rand.Rand) *vfs.Mem { return m.Crash(nil) })
	h.try(c, "killed", func(*rand.Rand) *vfs.Mem { return m.Kill() })
	if h.opts.Recover != nil {
		h.try(c, "killed, recovered, power loss", func(*rand.Rand) *vfs.Mem {
			found := m.Kill()
			h.opts.Recover(found)
			return found.Crash(nil)
		})
	}
}

// try checks one crash, and now and then those during the recovery from it.
func (h *history) try(c vfs.Call, what string, take func(*rand.Rand) *vfs.Mem) {
	if h.err != nil {
		return
	}
	h.draws++
	at := Point{Call: c, What: what, Seed: h.draws}
	rng := rand.New(rand.NewPCG(h.opts.Seed, h.draws))
	check := h.promise()
	found := take(rng)
	if h.opts.Recover != nil && h.draws%uint64(h.opts.RecoverEvery) == 0 {
		h.recover(found.Kill(), at, rng, check)
	}
	h.check(check, found, at)
}

// recover lets the store recover and checks what is found if that does not come to its
// end; of a killed one also what its recovery leaves if the power is lost after it.
func (h *history) recover(m *vfs.Mem, at Point, rng *rand.Rand, check Check) {
	var found []*vfs.Mem
	var during []vfs.Call
	m.Hook(func(c vfs.Call) error {
		if c.Op.Changes() {
			found, during = append(found, m.Crash(rng), m.Kill(), m.Kill()), append(during, c, c, c)
		}
		return nil
	})
	h.opts.Recover(m)
	m.Hook()
	for i, m := range found {
		h.report.Recoveries++
		then := at
		then.What = fmt.Sprintf("crash in recovery before %v, after %s", during[i], at.What)
		if i%3 == 2 {
			h.opts.Recover(m)
			m = m.Crash(nil)
			then.What = "power loss after the next recovery, " + then.What
		}
		h.check(check, m, then)
	}
}

func (h *history) check(check Check, found *vfs.Mem, at Point) {
	if h.err != nil {
		return
	}
	h.report.Crashes++
	if err := check(found, at); err != nil {
		h.err = fmt.Errorf("%v: %w; files then: %s", at, err, files(found))
		return
	}
	if open := found.Open(); len(open) > 0 {
		h.err = errors.Join(h.err, fmt.Errorf("%v: left open: %v", at, open))
	}
}

// files lists files with their sizes.
func files(m *vfs.Mem) string {
	var list []byte
	for _, name := range m.Paths() {
		data, _ := m.ReadFile(name)
		list = fmt.Appendf(list, "%s (%d bytes) ", name, len(data))
	}
	return string(list)
}
