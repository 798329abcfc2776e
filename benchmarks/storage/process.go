package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ashlar-go/ashlar/benchmarks/internal/command"
	"github.com/ashlar-go/ashlar/benchmarks/internal/harness"
)

// jobVariable is the environment variable by which a process learns what it is for.
const jobVariable = "ASHLAR_STORAGE_JOB"

// A job is what one process does: the phases of one implementation, on one directory.
type job struct {
	Suite  string
	Impl   string
	Dir    string
	Phases []string
	Before string // the phase of a process before, on the same directory
	Keys   int    // records, for logs
	Value  int    // bytes
	Ops    int    // of the shorter phases
	Large  int    // bytes of the directory that is opened again, for logs
	Seed   uint64
	Hasty  bool // do not wait for rest: the figures do not matter
}

// A report is what the phases took, by metric. What an implementation cannot
// do is missing.
type report map[string]float64

// performers are what processes can do, by suite.
var performers = map[string]func(job) report{}

// work does the job that this process was started for, if it was.
func work() bool {
	text := os.Getenv(jobVariable)
	if text == "" {
		return false
	}
	var j job
	check(json.Unmarshal([]byte(text), &j))
	check(json.NewEncoder(os.Stdout).Encode(performers[j.Suite](j)))
	return true
}

// perform has a process do a job.
func perform(j job) report {
	r, err := tryPerform(j)
	if err != nil {
		panic(fmt.Sprintf("%s of %s: %v", j.Impl, j.Suite, err))
	}
	return r
}

// tryPerform returns an error if the process fails, or has not come to an end after
// an hour.
func tryPerform(j job) (r report, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	c := exec.CommandContext(ctx, must(os.Executable()))
	c.Env = append(os.Environ(), jobVariable+"="+string(must(json.Marshal(j))))
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s%s", err, out, stderr.Bytes())
	}
	return r, nil
}

// goCommand is the go command in this module, outside of the workspace.
func goCommand(args ...string) *exec.Cmd {
	c := exec.Command("go", args...)
	c.Dir = filepath.Join(must(command.Repository()), "benchmarks", "storage")
	c.Env = append(os.Environ(), "GOWORK=off")
	return c
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// A row is a row of a suite: which metric it shows, of which job.
type row struct {
	spec   harness.Spec
	of     string // the name of the job
	metric string
	ours   string           // which of our implementations is meant; empty for the one of that name
	peers  []harness.Figure // published ones
}

// A lab measures rows that are metrics of jobs.
type lab struct {
	suite string
	impls []string
	jobs  map[string]job      // by name; Impl and Dir are filled in
	only  map[string][]string // implementations that take part in few phases: which
}

// measure runs the jobs that the wanted rows need, every implementation in turn,
// round after round, and emits the rows.
func (l lab) measure(s *harness.Session, rows []row, phasesOf map[string][]string) {
	var wanted []row
	phases := map[string][]string{}
	for _, r := range rows {
		if s.Want(r.spec) {
			wanted = append(wanted, r)
			phases[r.of] = append(phases[r.of], phasesOf[r.metric]...)
		}
	}
	if len(wanted) == 0 {
		return
	}
	results := make([]map[string]map[string]report, s.Rounds()) // by round, job, implementation
	for round := range results {
		results[round] = map[string]map[string]report{}
		for name, j := range l.jobs {
			if len(phases[name]) > 0 {
				j.Phases, j.Suite, j.Seed, j.Hasty = phases[name], l.suite, uint64(round), s.Pick(0, 0, 1) == 1
				results[round][name] = l.round(round, j)
			}
		}
	}
	for _, r := range wanted {
		s.Repeated(r.spec, func(round int) []harness.Figure {
			var figures []harness.Figure
			ours := cmp.Or(r.ours, harness.Ours)
			for _, impl := range l.impls {
				value, ok := results[round][r.of][impl][r.metric]
				switch {
				case !ok:
				case impl == ours:
					figures = append(figures, harness.Figure{Name: harness.Ours, Value: value})
				case !strings.HasPrefix(impl, harness.Ours):
					figures = append(figures, harness.Figure{Name: impl, Value: value})
				}
			}
			return append(figures, r.peers...)
		})
	}
}

// round has every implementation do the job, beginning with another one each
// round.
func (l lab) round(round int, j job) map[string]report {
	reports := map[string]report{}
	for i := range l.impls {
		j.Impl = l.impls[(i+round)%len(l.impls)]
		mine := j
		if only := l.only[j.Impl]; only != nil {
			mine.Phases = slices.DeleteFunc(slices.Clone(j.Phases), func(phase string) bool { return !slices.Contains(only, phase) })
		}
		if len(mine.Phases) > 0 {
			reports[j.Impl] = inScratch(func(dir string) report {
				mine.Dir = dir
				if first := mine; first.Before != "" {
					first.Phases = []string{first.Before}
					perform(first)
				}
				return perform(mine)
			})
		}
	}
	return reports
}

func inScratch(do func(dir string) report) report {
	dir := must(os.MkdirTemp("", "ashlar-storage-"))
	defer os.RemoveAll(dir)
	syscall.Sync() // what the one before has left in the page cache is not this one's to wait for
	return do(dir)
}

// A stage measures the phases of a job in its process.
type stage struct {
	job    job
	report report
	rng    *rand.Rand
	base   float64 // bytes on the heap before anything was opened
	peak   *peak
}

func newStage(j job) *stage {
	return &stage{job: j, report: report{}, rng: rand.New(rand.NewPCG(j.Seed, 1)), base: harness.Heap(), peak: watchMemory()}
}

// wants says whether the phase is one of the job's.
func (s *stage) wants(phases ...string) bool {
	return slices.ContainsFunc(phases, func(phase string) bool { return slices.Contains(s.job.Phases, phase) })
}

// time runs n operations and reports how many a second, under the name of the phase.
// With background, it also reports the processor time of an operation in ns, with
// what goes on until the process has come to rest.
func (s *stage) time(phase string, n int, background bool, run func()) {
	runtime.GC()
	stop := s.profile(phase)
	cpu, start := processorTime(), time.Now()
	run()
	s.report[phase] = float64(n) / time.Since(start).Seconds()
	if background {
		s.settle()
		s.report[phase+" CPU"] = float64(processorTime()-cpu) / float64(n)
	}
	stop()
}

// latencies runs n operations in each of so many goroutines, and reports how many
// a second, and the median and 99th percentile of their durations in µs.
func (s *stage) latencies(phase string, goroutines, n int, operation func(goroutine, i int)) {
	took := make([][]float64, goroutines)
	s.time(phase, goroutines*n, false, func() {
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				took[g] = make([]float64, n)
				for i := range n {
					start := time.Now()
					operation(g, i)
					took[g][i] = float64(time.Since(start)) / 1e3
				}
			})
		}
		wg.Wait()
	})
	all := slices.Sorted(slices.Values(slices.Concat(took...)))
	s.report[phase+" p50"] = all[len(all)/2]
	s.report[phase+" p99"] = all[len(all)*99/100]
}

// profile writes profiles of a phase if that was asked for.
func (s *stage) profile(phase string) (stop func()) {
	dir := os.Getenv("ASHLAR_PROFILE")
	if dir == "" {
		return func() {}
	}
	base := filepath.Join(dir, strings.NewReplacer(" ", "_", "/", "_").Replace(fmt.Sprint(s.job.Suite, "-", s.job.Impl, "-", s.job.Value, "-", phase)))
	f := must(os.Create(base + ".cpu"))
	check(pprof.StartCPUProfile(f))
	return func() {
		pprof.StopCPUProfile()
		heap := must(os.Create(base + ".heap"))
		check(errors.Join(f.Close(), pprof.WriteHeapProfile(heap), heap.Close()))
	}
}

func processorTime() time.Duration {
	var u syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// settle waits until the process has been at rest for a tenth of a second, and no
// longer than half a minute.
func (s *stage) settle() {
	if s.job.Hasty {
		return
	}
	const step = 25 * time.Millisecond
	last, quiet := processorTime(), 0
	for begun := time.Now(); quiet < 4 && time.Since(begun) < 30*time.Second; {
		time.Sleep(step)
		now := processorTime()
		if quiet++; now-last > step/10 {
			quiet = 0
		}
		last = now
	}
}

// onDisk returns how many bytes of the disk the files below dir take up.
func onDisk(dir string) (bytes float64) {
	check(filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		bytes += float64(info.Sys().(*syscall.Stat_t).Blocks * 512)
		return nil
	}))
	return bytes
}

// A peak is the most memory that the runtime has had in use.
type peak struct {
	mu   sync.Mutex
	most float64
}

// watchMemory looks every few milliseconds from now on.
func watchMemory() *peak {
	p := &peak{}
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	go func() {
		for ; ; time.Sleep(5 * time.Millisecond) {
			metrics.Read(samples)
			used := float64(samples[0].Value.Uint64() - samples[1].Value.Uint64() - samples[2].Value.Uint64())
			p.mu.Lock()
			p.most = max(p.most, used)
			p.mu.Unlock()
		}
	}()
	return p
}

func (p *peak) megabytes() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most / 1e6 // decimal, as disks are
}

// heapGrowth returns how many bytes on the heap there are more than at the
// start.
func (s *stage) heapGrowth() float64 {
	debug.FreeOSMemory()
	return harness.Heap() - s.base
}

// values are texts that compress to about half their size, as those of
// LevelDB's db_bench do: pieces of 100 bytes, of which the second half repeats the
// first.
type values struct {
	pool []byte
	size int
}

func newValues(size int) values {
	rng := rand.New(rand.NewPCG(7, 7))
	v := values{size: size}
	for len(v.pool) < 1<<20+size {
		var half [50]byte
		for i := range half {
			half[i] = byte(' ' + rng.IntN(95))
		}
		v.pool = append(append(v.pool, half[:]...), half[:]...)
	}
	return v
}

// of returns the value that belongs to i.
func (v values) of(i int) []byte {
	at := int(uint64(i) * 0x9E3779B97F4A7C15 >> 44) // 20 bits
	return v.pool[at : at+v.size]
}
