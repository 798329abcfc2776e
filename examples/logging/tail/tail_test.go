package tail

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// collected is a sink that counts how often each line came.
type collected struct {
	lines map[string]int
	order []string
	full  bool // it takes nothing
	last  []Position
}

func (c *collected) Put(_ context.Context, b Batch) error {
	if c.full {
		return ErrFull
	}
	for _, e := range b.Events {
		c.lines[string(e.Text)]++
		c.order = append(c.order, string(e.Text))
	}
	c.last = append(c.last, b.After)
	return nil
}

// A bench is a directory with a log, and a tailer whose rounds and clock the
// test makes.
type bench struct {
	t      *testing.T
	dir    string
	sink   *collected
	tail   *Tailer
	now    time.Time
	wrote  []string
	opts   Options
	number int
}

func newBench(t *testing.T, opts Options) *bench {
	b := &bench{t: t, dir: t.TempDir(), sink: &collected{lines: map[string]int{}}, now: time.Now()}
	opts.Patterns = append(opts.Patterns, filepath.Join(b.dir, "*.log"))
	opts.PollOnly = true
	opts.Now = func() time.Time { return b.now }
	b.opts = opts
	b.start(nil)
	t.Cleanup(func() { b.tail.Close() })
	return b
}

// start starts a tailer with what a state says after a detour through JSON.
func (b *bench) start(s *State) {
	if b.tail != nil {
		b.tail.Close()
	}
	if s != nil {
		data, err := json.Marshal(s)
		require.NoError(b.t, err)
		s = new(State)
		require.NoError(b.t, json.Unmarshal(data, s))
	}
	tail, err := New(b.sink, s, b.opts)
	require.NoError(b.t, err)
	b.tail = tail
}

// restart is a crash right after the state was saved.
func (b *bench) restart() {
	s := b.tail.State()
	b.start(&s)
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

func (b *bench) poll() {
	for b.tail.Poll(b.t.Context()) {
	}
}

// rest polls until nothing can come any more.
func (b *bench) rest() {
	for range 4 {
		b.poll()
		b.now = b.now.Add(time.Minute)
	}
}

func (b *bench) append(name, text string) {
	f, err := os.OpenFile(b.path(name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(b.t, err)
	_, err = f.WriteString(text)
	require.NoError(b.t, err)
	require.NoError(b.t, f.Close())
}

// burst writes n lines, all different, in one go.
func (b *bench) burst(name string, n int) {
	var text strings.Builder
	for range n {
		line := fmt.Sprintf("line %d of the test, somewhat longer than a number", b.number)
		b.number++
		b.wrote = append(b.wrote, line)
		text.WriteString(line + "\n")
	}
	b.append(name, text.String())
}

// shift renames app.log.1 to app.log.2 and so on.
func (b *bench) shift() {
	for i := 20; i > 0; i-- {
		for _, ending := range []string{"", ".gz"} {
			_ = os.Rename(b.path(fmt.Sprintf("app.log.%d%s", i, ending)), b.path(fmt.Sprintf("app.log.%d%s", i+1, ending))) // most are not there
		}
	}
}

func (b *bench) rename() {
	b.shift()
	require.NoError(b.t, os.Rename(b.path("app.log"), b.path("app.log.1")))
	b.append("app.log", "")
}

func (b *bench) copyTruncate() {
	b.shift()
	b.copy("app.log", "app.log.1")
	require.NoError(b.t, os.Truncate(b.path("app.log"), 0))
}

func (b *bench) copy(from, to string) {
	data, err := os.ReadFile(b.path(from))
	require.NoError(b.t, err)
	require.NoError(b.t, os.WriteFile(b.path(to), data, 0o600))
}

func (b *bench) compress(name string) {
	data, err := os.ReadFile(b.path(name))
	require.NoError(b.t, err)
	f, err := os.Create(b.path(name + ".gz"))
	require.NoError(b.t, err)
	z := gzip.NewWriter(f)
	_, err = z.Write(data)
	require.NoError(b.t, err)
	require.NoError(b.t, z.Close())
	require.NoError(b.t, f.Close())
	require.NoError(b.t, os.Remove(b.path(name)))
}

// check compares what came with what was written.
func (b *bench) check(duplicates int) {
	b.t.Helper()
	lost, again := 0, 0
	for _, line := range b.wrote {
		n := b.sink.lines[line]
		if n == 0 {
			if lost++; lost < 4 {
				b.t.Errorf("lost: %q", line)
			}
		}
		again += max(0, n-1)
		delete(b.sink.lines, line)
	}
	for line := range b.sink.lines {
		b.t.Errorf("invented: %q", line)
	}
	b.t.Logf("%d lines, %d lost, %d twice, %+v", len(b.wrote), lost, again, b.tail.Stats())
	if lost > 0 || again != duplicates {
		b.t.Errorf("%d lost and %d twice, want 0 and %d", lost, again, duplicates)
	}
}

// The experiment in which other tailers lose 2 to 100 percent: ten bursts of
// 2,000 lines, each followed at once by a rotation, polls only; here with
// rounds after every burst, after some, or only at the end.
func TestBurstsAndRotations(t *testing.T) {
	rotations := map[string]func(b *bench){
		"rename":       (*bench).rename,
		"copytruncate": (*bench).copyTruncate,
		"rename, late lines": func(b *bench) {
			b.rename()
			b.poll()
			b.burst("app.log.1", 10)
		},
		"rename, compress": func(b *bench) {
			b.rename()
			b.compress("app.log.1")
		},
		"copytruncate, compress": func(b *bench) {
			b.copyTruncate()
			b.compress("app.log.1")
		},
		"rename, remove": func(b *bench) {
			b.poll() // what is gone before anybody looked is gone
			b.burst("app.log", 100)
			require.NoError(b.t, os.Rename(b.path("app.log"), b.path("app.log.1")))
			require.NoError(b.t, os.Remove(b.path("app.log.1")))
		},
	}
	for name, rotate := range rotations {
		for _, every := range []int{1, 3, 100} {
			t.Run(fmt.Sprintf("%s, a round every %d", name, every), func(t *testing.T) {
				b := newBench(t, Options{})
				b.poll()
				for i := range 10 {
					b.burst("app.log", 2000)
					if i%every == every-1 {
						b.poll()
						b.burst("app.log", 50) // behind what was read
					}
					rotate(b)
				}
				b.rest()
				b.check(0)
				require.Zero(t, b.tail.Stats().LostBytes)
			})
		}
	}
}

// The same with a restart at every step, from the state that was saved last.
func TestRotationsWhileItIsDown(t *testing.T) {
	for name, rotate := range map[string]func(b *bench){
		"rename": (*bench).rename, "copytruncate": (*bench).copyTruncate,
		"rename, compress":       func(b *bench) { b.rename(); b.compress("app.log.1") },
		"copytruncate, compress": func(b *bench) { b.copyTruncate(); b.compress("app.log.1") },
		"rename twice":           func(b *bench) { b.rename(); b.burst("app.log", 70); b.rename() },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, Options{})
			for range 6 {
				b.burst("app.log", 500)
				b.poll()
				b.burst("app.log", 50)
				rotate(b)
				b.restart()
				b.burst("app.log", 30)
				b.poll()
				b.now = b.now.Add(time.Minute)
			}
			b.rest()
			b.check(0)
		})
	}
}

// Without a state newer than some rounds ago, lines come twice and none is
// lost.
func TestAnOldStateMeansDuplicates(t *testing.T) {
	b := newBench(t, Options{})
	b.burst("app.log", 100)
	b.poll()
	old := b.tail.State()
	b.burst("app.log", 40)
	b.poll()
	b.start(&old)
	b.poll()
	b.check(40)
}

// With what the sink has kept of the positions after the state, none comes
// twice either.
func TestApply(t *testing.T) {
	b := newBench(t, Options{})
	b.burst("app.log", 100)
	b.poll()
	state := b.tail.State()
	b.sink.last = nil
	b.burst("app.log", 40)
	b.poll()
	b.copyTruncate()
	b.burst("app.log", 40)
	b.poll()
	b.rename()
	b.burst("app.log", 40)
	b.poll()
	for _, p := range b.sink.last {
		state.Apply(p)
	}
	b.start(&state)
	b.rest()
	b.check(0)
}

// A full sink stops reading, not looking: what is rotated and removed
// meanwhile is read afterwards.
func TestFullSink(t *testing.T) {
	b := newBench(t, Options{})
	b.burst("app.log", 100)
	b.poll()
	b.sink.full = true
	for i := range 10 {
		b.burst("app.log", 500)
		b.poll()
		b.now = b.now.Add(time.Minute)
		if i%2 == 0 {
			b.rename()
		} else {
			b.copyTruncate()
		}
		b.poll()
		if i%3 == 2 {
			require.NoError(t, os.Remove(b.path("app.log.1")))
		}
		b.poll()
	}
	require.Positive(t, b.tail.Stats().Full)
	b.sink.full = false
	b.rest()
	b.check(0)
}

func TestPartialLines(t *testing.T) {
	b := newBench(t, Options{MaxLine: 20})
	b.append("app.log", "begun")
	b.poll()
	require.Empty(t, b.sink.order)
	b.now = b.now.Add(9 * time.Second)
	b.poll()
	require.Empty(t, b.sink.order)
	b.append("app.log", " and ended\r\nnext")
	b.poll()
	require.Equal(t, []string{"begun and ended"}, b.sink.order)
	b.now = b.now.Add(10 * time.Second)
	b.poll()
	require.Equal(t, []string{"begun and ended", "next"}, b.sink.order, "after the timeout")
	b.append("app.log", "\n0123456789012345678901234567890\n\nä-ä-ä-ä-ä-ä-äöü\n")
	b.poll()
	require.Equal(t, []string{"", "01234567890123456789", "01234567890", "", "ä-ä-ä-ä-ä-ä-ä", "öü"}, b.sink.order[2:])
	require.EqualValues(t, 3, b.tail.Stats().Partial)
	b.append("app.log", "the last")
	b.poll()
	require.NoError(t, os.Remove(b.path("app.log")))
	b.rest()
	require.Equal(t, "the last", b.sink.order[len(b.sink.order)-1])
}

// A line that is half written when its file is truncated is completed from
// the copy; without a copy it comes as it was.
func TestPartialLineAndCopyTruncate(t *testing.T) {
	b := newBench(t, Options{})
	b.append("app.log", "first\nsecond ha")
	b.poll()
	b.append("app.log", "lf\nthird\n")
	b.copyTruncate()
	b.rest()
	require.Equal(t, []string{"first", "second half", "third"}, b.sink.order)
	b.append("app.log", "fourth, longer than what was there before, and fi")
	b.poll()
	require.NoError(t, os.Truncate(b.path("app.log"), 0))
	b.append("app.log", "sixth\n")
	b.rest()
	require.ElementsMatch(t, []string{"fourth, longer than what was there before, and fi", "sixth"}, b.sink.order[3:])
}

// Lines that come between the copy and the truncation are read if there is a
// round in between; the copy, which is then older than what was read, is not
// read again.
func TestLinesBetweenCopyAndTruncation(t *testing.T) {
	for _, compressed := range []bool{false, true} {
		b := newBench(t, Options{BatchEvents: 10})
		b.burst("app.log", 200)
		b.poll()
		b.copy("app.log", "app.log.1")
		b.poll()
		b.burst("app.log", 30)
		b.poll()
		require.NoError(t, os.Truncate(b.path("app.log"), 0))
		if compressed {
			b.poll()
			b.compress("app.log.1")
		}
		b.burst("app.log", 30)
		b.rest()
		b.check(0)
	}
}

// What is lost for good is counted: bytes that were seen and never read.
func TestLostBytesAreCounted(t *testing.T) {
	b := newBench(t, Options{})
	b.burst("app.log", 1)
	b.poll()
	b.sink.full = true
	b.append("app.log", strings.Repeat("x", 300<<10)+"\n"+strings.Repeat("y", 300<<10)+"\n")
	b.poll()
	b.poll()
	require.NoError(t, os.Truncate(b.path("app.log"), 0))
	b.sink.full = false
	b.rest()
	require.Positive(t, b.tail.Stats().LostBytes)
}

// A file that is truncated and longer than before at the next round.
func TestTruncatedAndGrownPastTheMark(t *testing.T) {
	b := newBench(t, Options{})
	for range 5 {
		b.burst("app.log", 20)
		b.poll()
		require.NoError(t, os.Truncate(b.path("app.log"), 0))
		b.burst("app.log", 200)
		b.poll()
		require.NoError(t, os.Truncate(b.path("app.log"), 0))
		b.burst("app.log", 200) // of the same size, or nearly
		b.poll()
	}
	b.check(0)
	require.EqualValues(t, 9+1, b.tail.Stats().Truncations)
}

// An inode that is used again for another file of the same or a larger size
// begins at 0: the checkpoint is not trusted on the number alone.
func TestInodeUsedAgain(t *testing.T) {
	b := newBench(t, Options{})
	b.burst("app.log", 100)
	b.poll()
	state := b.tail.State()
	b.tail.Close()
	// The same inode with other content is what inode reuse looks like.
	require.NoError(t, os.Truncate(b.path("app.log"), 0))
	b.burst("app.log", 300)
	b.start(&state)
	b.rest()
	b.check(0)
	b.wrote = nil
	state = b.tail.State()
	b.tail.Close()
	require.NoError(t, os.Truncate(b.path("app.log"), 0)) // smaller than the checkpoint
	b.burst("app.log", 3)
	b.start(&state)
	b.rest()
	b.check(0)
}

// Files with the same first lines are told apart by what follows.
// A directory that cannot be listed for a while, as when there are no more
// descriptors, or a disk is away, has not lost its files.
func TestDirectoryThatCannotBeListed(t *testing.T) {
	b := newBench(t, Options{})
	b.burst("app.log", 10)
	b.rest() // the file is closed by now
	require.Zero(t, b.tail.Stats().Open)
	away := b.dir + "-away"
	require.NoError(t, os.Rename(b.dir, away))
	require.NoError(t, os.WriteFile(b.dir, nil, 0o600))
	b.rest()
	require.Positive(t, b.tail.Stats().Errors)
	require.NoError(t, os.Remove(b.dir))
	require.NoError(t, os.Rename(away, b.dir))
	b.burst("app.log", 10)
	b.rest()
	b.check(0)
}

// What cannot be read is told, once, and the rest is read.
func TestFilesThatCannotBeRead(t *testing.T) {
	var log strings.Builder
	b := newBench(t, Options{MaxFiles: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.NoError(t, os.Symlink("loop.log", b.path("loop.log")))
	b.burst("app.log", 10)
	b.append("zz.log", "not followed\n")
	for range 3 {
		b.poll()
	}
	require.Contains(t, b.tail.Stats().Err, "1 files are followed already")
	require.Equal(t, 2, strings.Count(log.String(), "level=WARN"), log.String())
	require.Contains(t, log.String(), "loop.log")
	require.Contains(t, log.String(), "zz.log")
	require.NoError(t, os.Remove(b.path("loop.log")))
	require.NoError(t, os.Remove(b.path("zz.log")))
	b.poll()
	require.Empty(t, b.tail.Stats().Err)
	b.check(0)
}

// A round in which nothing has changed reads nothing.
func TestQuietFilesCostNoReading(t *testing.T) {
	b := newBench(t, Options{})
	for i := range 50 {
		b.burst(fmt.Sprintf("%d.log", i), 1)
	}
	b.poll()
	require.Equal(t, 50, b.tail.Stats().Open)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		b.poll()
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(10*50*chunk/4))
}

func TestSameFirstLines(t *testing.T) {
	b := newBench(t, Options{})
	header := strings.Repeat("# the header of every file\n", 200)
	for i := range 4 {
		b.append("app.log", header)
		b.burst("app.log", 100)
		if i%2 == 0 {
			b.poll()
		}
		b.rename()
	}
	b.append("other.log", header)
	b.burst("other.log", 10)
	b.rest()
	require.Equal(t, 5*200, b.sink.lines["# the header of every file"])
	delete(b.sink.lines, "# the header of every file")
	b.check(0)
}

func TestStartAndOldFiles(t *testing.T) {
	for _, start := range []Start{Beginning, End} {
		b := newBench(t, Options{Start: start})
		b.burst("app.log", 10)
		b.append("app.log.1", "rotated before anybody asked\n")
		b.append("app.log.2", "and this\n")
		b.compress("app.log.2")
		b.append("other.txt", "not matched\n")
		long := b.now.Add(-time.Hour)
		for _, name := range []string{"app.log.1", "app.log.2.gz"} {
			require.NoError(t, os.Chtimes(b.path(name), long, long))
		}
		b.poll()
		if start == End {
			b.wrote = nil
		}
		b.burst("app.log", 10)
		b.burst("late.log", 10) // appears while it runs: from the beginning
		b.burst("app.log.1", 5) // an old file that grows
		b.rest()
		b.check(0)
		b.restart()
		b.rest()
		b.burst("app.log", 10)
		b.rest()
		b.wrote = b.wrote[len(b.wrote)-10:]
		for line := range b.sink.lines {
			require.Contains(t, b.wrote, line)
		}
	}
}

func TestStackTracesAreJoined(t *testing.T) {
	b := newBench(t, Options{Join: true, MaxEvent: 1000, MaxLine: 200})
	b.append("app.log", "2026-11-28 ERROR failed\njava.lang.IllegalStateException: x\n\tat a.B.c(B.java:1)\n")
	b.poll()
	require.Empty(t, b.sink.order, "more may come")
	b.append("app.log", "\tat a.B.d(B.java:2)\n")
	b.poll()
	b.now = b.now.Add(time.Second)
	b.poll()
	require.Equal(t, []string{"2026-11-28 ERROR failed\njava.lang.IllegalStateException: x\n\tat a.B.c(B.java:1)\n\tat a.B.d(B.java:2)"}, b.sink.order)
	b.append("app.log", "one\ntwo\n")
	b.poll()
	require.Equal(t, "one", b.sink.order[1])
	b.append("app.log", strings.Repeat("\tat a.very.deep.Stack.of(Calls.java:1)\n", 100))
	b.rest()
	total := 0
	for _, e := range b.sink.order[2:] {
		require.LessOrEqual(t, len(e), 1000+200)
		total += strings.Count(e, "\tat ")
	}
	require.Equal(t, 100, total)
}

func TestPatternsAndLimits(t *testing.T) {
	_, err := New(&collected{}, nil, Options{Patterns: []string{"[a"}})
	require.ErrorContains(t, err, `tail: pattern "[a"`)
	b := newBench(t, Options{MaxFiles: 2})
	for i := range 4 {
		b.append(fmt.Sprintf("%d.log", i), fmt.Sprintf("of %d\n", i))
	}
	b.poll()
	require.Len(t, b.sink.order, 2)
	require.EqualValues(t, 2, b.tail.Stats().Ignored)
	require.Equal(t, 2, b.tail.Stats().Files)
	require.NoError(t, os.Remove(b.path("0.log")))
	b.rest()
	require.Len(t, b.sink.order, 3, "room for another")
}

func TestRotatedNames(t *testing.T) {
	for _, name := range []string{"app.log.1", "app.log.1.gz", "app.log.gz", "app.log-20261128", "app.log.2026-11-28T19:40:00Z.zst", "app-20261128.log", "app.1.log", "app-2026-11-28T19-40-00.123.log.gz", "app.log.old"} {
		require.True(t, rotated(name, "app.log"), name)
	}
	for _, name := range []string{"app.log", "app.logs", "app.log.x1", "apple.log", "app-a1.log", "app2.log", "app.log.", "app-.log", "x.app.log.1"} {
		require.False(t, rotated(name, "app.log"), name)
	}
	require.True(t, rotated("syslog.1", "syslog"))
	require.False(t, rotated("syslog", "syslog"))
}

// With the system's own notices, and a writer that does not wait for anybody.
func TestRunFollowsAWriter(t *testing.T) {
	for _, pollOnly := range []bool{false, true} {
		b := newBench(t, Options{})
		b.opts.PollOnly, b.opts.Interval, b.opts.Now, b.opts.Grace = pollOnly, 20*time.Millisecond, nil, 200*time.Millisecond
		b.start(nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- b.tail.Run(ctx) }()
		for i := range 10 {
			b.burst("app.log", 2000)
			if i%2 == 0 {
				b.rename()
			} else {
				b.copyTruncate()
			}
		}
		deadline := time.After(time.Minute)
		for b.tail.Stats().Events < uint64(len(b.wrote)) {
			select {
			case <-deadline:
				t.Fatalf("only %+v came", b.tail.Stats())
			case <-time.After(5 * time.Millisecond):
			}
		}
		cancel()
		require.NoError(t, <-done)
		b.check(0)
	}
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte("a\nb\r\n\tat x\nc"), uint8(5), uint8(20), true)
	f.Fuzz(func(t *testing.T, data []byte, maxLine, maxEvent uint8, join bool) {
		o := Options{MaxLine: int(maxLine) + 8, MaxEvent: int(maxEvent) + 300, Join: join}
		o.defaults()
		sink := &collected{lines: map[string]int{}}
		tail := &Tailer{options: o, sink: sink}
		file := &file{family: &family{}, buf: data}
		tail.mu.Lock()
		if !tail.put(t.Context(), file, forNone) || len(file.buf) > 0 {
			t.Fatalf("%q is left", file.buf)
		}
		var got, want strings.Builder
		for _, e := range sink.order {
			got.WriteString(strings.NewReplacer("\n", "", "\r", "").Replace(e))
		}
		want.WriteString(strings.NewReplacer("\n", "", "\r", "").Replace(string(data)))
		if got.String() != want.String() {
			t.Fatalf("events %q of %q", sink.order, data)
		}
	})
}
