package groupcommit

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// A disk is a Sink in memory that notices when it is used wrongly.
type disk struct {
	mu              sync.Mutex
	written         []byte
	durable         int
	writes, syncs   int
	writing, inSync bool
	bad             error         // the first misuse
	hold, holdWrite chan struct{} // Sync and Write wait for them, if not nil
	failWrite       func(n int) error
	failSync        func(n int) error
}

func (d *disk) Write(buf []byte, at int64) error {
	if d.holdWrite != nil {
		<-d.holdWrite
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.writing || at != int64(len(d.written)) {
		d.bad = fmt.Errorf("write at %d of %d, another: %t", at, len(d.written), d.writing)
	}
	d.writes++
	if d.failWrite != nil {
		if err := d.failWrite(d.writes); err != nil {
			return err
		}
	}
	d.written = append(d.written, buf...)
	return nil
}

func (d *disk) Sync() error {
	d.mu.Lock()
	if d.inSync {
		d.bad = errors.New("two syncs at a time")
	}
	d.inSync = true
	d.syncs++
	covers, n := len(d.written), d.syncs
	d.mu.Unlock()
	if d.hold != nil {
		<-d.hold
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inSync = false
	if d.failSync != nil {
		if err := d.failSync(n); err != nil {
			return err
		}
	}
	d.durable = covers
	return nil
}

func frame(c *Committer, text string, seq int64) (Mark, error) {
	return c.Append(func(buf []byte, at int64) ([]byte, int64, error) {
		return append(buf, text...), seq, nil
	})
}

func TestAppendCommit(t *testing.T) {
	d := &disk{}
	var written, synced []Mark
	c := New(d, Mark{}, &Options{
		Written: func(m Mark) { written = append(written, m) },
		Synced:  func(m Mark) { synced = append(synced, m) },
	})
	first, err := frame(c, "one", 1)
	require.NoError(t, err)
	second, err := frame(c, "two!", 2)
	require.NoError(t, err)
	require.Equal(t, []Mark{{3, 1}, {7, 2}}, []Mark{first, second})
	require.Empty(t, d.written)

	require.NoError(t, c.Flush(first.Pos))
	require.Equal(t, "onetwo!", string(d.written))
	require.Zero(t, d.syncs)
	require.NoError(t, c.Commit(first.Pos))
	require.NoError(t, c.Commit(second.Pos))
	require.Equal(t, 1, d.syncs)
	require.Equal(t, []Mark{{7, 2}}, written)
	require.Equal(t, written, synced)
	require.Equal(t, second, c.Durable())

	require.NoError(t, c.Close())
	_, err = frame(c, "x", 3)
	require.ErrorIs(t, err, ErrClosed)
	require.NoError(t, c.Commit(second.Pos))
}

func TestEncodeErrorChangesNothing(t *testing.T) {
	c := New(&disk{}, Mark{}, nil)
	refused := errors.New("refused")
	_, err := c.Append(func(buf []byte, _ int64) ([]byte, int64, error) { return append(buf, 1), 1, refused })
	require.ErrorIs(t, err, refused)
	require.Equal(t, Mark{}, c.Appended())
	require.NoError(t, c.Close())
}

// While the first sync is held up, 64 others gather and share the second.
func TestSyncsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{hold: make(chan struct{})}
		c := New(d, Mark{}, nil)
		var all sync.WaitGroup
		commit := func(i int) {
			m, err := frame(c, "frame", int64(i))
			if err == nil {
				err = c.Commit(m.Pos)
			}
			if err != nil {
				t.Error(err)
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if int64(d.durable) < m.Pos {
				t.Errorf("acknowledged at %d, durable %d", m.Pos, d.durable)
			}
		}
		all.Go(func() { commit(0) })
		synctest.Wait()
		for i := range 64 {
			all.Go(func() { commit(i + 1) })
		}
		synctest.Wait()
		require.Equal(t, 1, d.syncs)
		d.hold <- struct{}{}
		d.hold <- struct{}{}
		all.Wait()
		require.Equal(t, 2, d.syncs)
		require.Equal(t, 2, d.writes)
		require.NoError(t, d.bad)
	})
}

// A write may run while a sync does, and is not covered by it.
func TestWriteDuringSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{hold: make(chan struct{})}
		c := New(d, Mark{}, nil)
		one, err := frame(c, "one", 1)
		require.NoError(t, err)
		done := make(chan error)
		go func() { done <- c.Commit(one.Pos) }()
		synctest.Wait()
		two, err := frame(c, "two", 2)
		require.NoError(t, err)
		require.NoError(t, c.Flush(two.Pos))
		require.Equal(t, two, c.Written())
		d.hold <- struct{}{}
		require.NoError(t, <-done)
		require.Equal(t, one, c.Durable())
	})
}

func TestPoison(t *testing.T) {
	broken := errors.New("broken")
	for _, kind := range []string{"write", "sync"} {
		t.Run(kind, func(t *testing.T) {
			fail := func(n int) error {
				if n == 2 {
					return broken
				}
				return nil
			}
			d := &disk{}
			if kind == "write" {
				d.failWrite = fail
			} else {
				d.failSync = fail
			}
			c := New(d, Mark{}, nil)
			one, err := frame(c, "one", 1)
			require.NoError(t, err)
			require.NoError(t, c.Commit(one.Pos))
			two, err := frame(c, "two", 2)
			require.NoError(t, err)
			require.ErrorIs(t, c.Commit(two.Pos), broken)
			_, err = frame(c, "three", 3)
			require.ErrorIs(t, err, broken)
			require.ErrorIs(t, c.Commit(two.Pos), broken)
			require.ErrorIs(t, c.Rotate(func(Mark) error { return nil }), broken)
			require.NoError(t, c.Commit(one.Pos), "what was durable stays so")
			require.ErrorIs(t, c.Err(), broken)
			require.ErrorIs(t, c.Close(), broken)
			require.Equal(t, 2, d.writes, "nothing is written after a failure")
		})
	}
}

func TestRotate(t *testing.T) {
	d := &disk{}
	c := New(d, Mark{Pos: 0, Seq: 10}, nil)
	_, err := frame(c, "one", 11)
	require.NoError(t, err)
	refused := errors.New("refused")
	require.ErrorIs(t, c.Rotate(func(end Mark) error {
		require.Equal(t, Mark{3, 11}, end)
		require.Equal(t, 3, d.durable)
		return refused
	}), refused)
	require.NoError(t, c.Rotate(func(Mark) error { c.Renumber(5); return nil }))
	require.Equal(t, Mark{3, 5}, c.Durable())
	m, err := frame(c, "two", 6)
	require.NoError(t, err)
	require.Equal(t, Mark{6, 6}, m)
	require.NoError(t, c.Close())
}

func TestRotateWritten(t *testing.T) {
	d := &disk{}
	var heard error
	c := New(d, Mark{}, &Options{Failed: func(err error) { heard = err }})
	_, err := frame(c, "one", 1)
	require.NoError(t, err)
	require.NoError(t, c.RotateWritten(func(end Mark) error {
		require.Equal(t, Mark{3, 1}, end)
		require.Equal(t, "one", string(d.written))
		return nil
	}))
	require.Zero(t, d.syncs)
	require.Equal(t, Mark{}, c.Durable())
	require.NoError(t, heard)
	c.Poison(errors.New("enough"))
	require.ErrorContains(t, heard, "enough")
	require.ErrorContains(t, c.RotateWritten(func(Mark) error { return nil }), "enough")
	require.ErrorContains(t, c.Close(), "enough")
}

// What Seal adds counts.
func TestSeal(t *testing.T) {
	d := &disk{}
	c := New(d, Mark{}, &Options{Seal: func(buf []byte, at int64, durable Mark) []byte {
		return fmt.Appendf(buf, "<%d/%d>", at, durable.Seq)
	}})
	for i, text := range []string{"a", "b"} {
		m, err := frame(c, text, int64(i+1))
		require.NoError(t, err)
		require.NoError(t, c.Commit(m.Pos))
	}
	require.Equal(t, "a<0/0>b<6/1>", string(d.written))
	require.Equal(t, Mark{12, 2}, c.Durable())
}

// large appends a frame whose tail is written from where it is.
func large(c *Committer, head, tail string, seq int64) (Mark, error) {
	return c.AppendLarge(func(buf []byte, _ int64, _ Mark) ([]byte, []byte, int64, error) {
		return append(buf, head...), []byte(tail), seq, nil
	})
}

func TestAppendLarge(t *testing.T) {
	d := &disk{}
	var written []Mark
	c := New(d, Mark{}, &Options{
		Seal:    func(buf []byte, _ int64, _ Mark) []byte { return append(buf, '.') },
		Written: func(m Mark) { written = append(written, m) },
	})
	_, err := frame(c, "small ", 1)
	require.NoError(t, err)
	m, err := c.AppendLarge(func(buf []byte, at int64, durable Mark) ([]byte, []byte, int64, error) {
		require.Equal(t, "small ", string(buf))
		require.EqualValues(t, 6, at)
		require.Equal(t, Mark{}, durable)
		return append(buf, "head "...), []byte("tail "), 2, nil
	})
	require.NoError(t, err)
	require.Equal(t, Mark{16, 2}, m)
	require.Equal(t, "small head tail ", string(d.written))
	require.Equal(t, 2, d.writes)
	require.Equal(t, []Mark{m}, written, "one step")
	require.Equal(t, m, c.Written())
	require.Zero(t, d.syncs)

	refused := errors.New("refused")
	_, err = frame(c, "more", 3)
	require.NoError(t, err)
	_, err = c.AppendLarge(func(buf []byte, _ int64, durable Mark) ([]byte, []byte, int64, error) {
		return append(buf, "no"...), []byte("no"), 4, refused
	})
	require.ErrorIs(t, err, refused)
	require.Equal(t, Mark{20, 3}, c.Appended())
	require.Equal(t, m, c.Written())

	require.NoError(t, c.Commit(20))
	require.Equal(t, "small head tail more.", string(d.written))
	m, err = large(c, "head", "", 5)
	require.NoError(t, err)
	require.Equal(t, Mark{25, 5}, m)
	require.NoError(t, c.Close())
	require.Equal(t, 25, d.durable)
	_, err = large(c, "x", "y", 6)
	require.ErrorIs(t, err, ErrClosed)
}

// A large frame waits for the write that runs, not for the sync.
func TestAppendLargeDuringSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{hold: make(chan struct{})}
		c := New(d, Mark{}, nil)
		one, err := frame(c, "one", 1)
		require.NoError(t, err)
		done := make(chan error)
		go func() { done <- c.Commit(one.Pos) }()
		synctest.Wait()
		two, err := large(c, "t", "wo", 2)
		require.NoError(t, err)
		require.Equal(t, two, c.Written())
		d.hold <- struct{}{}
		require.NoError(t, <-done)
		require.Equal(t, one, c.Durable())
	})
}

// An Append whose write has ended, and which finds that others have filled the
// buffer meanwhile, does not write that too before those that wait to write: it
// could go on so without an end.
func TestAppendDoesNotKeepWriting(t *testing.T) {
	refused := errors.New("refused")
	for name, test := range map[string]struct {
		next    func(c *Committer) error
		err     error
		want    string
		durable int64
	}{
		"large": {func(c *Committer) error { _, err := large(c, "head ", "tail ", 5); return err }, nil, "one two three head tail four ", 0},
		"refused": {func(c *Committer) error {
			_, err := c.AppendLarge(func([]byte, int64, Mark) ([]byte, []byte, int64, error) { return nil, nil, 0, refused })
			return err
		}, refused, "one two three four ", 0},
		"commit": {func(c *Committer) error { return c.Commit(c.Appended().Pos) }, nil, "one two three four ", 14},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &disk{holdWrite: make(chan struct{})}
				c := New(d, Mark{}, &Options{Limit: 6})
				add := func(text string) {
					if _, err := frame(c, text, 1); err != nil {
						t.Error(err)
					}
				}
				add("one ")
				add("two ")
				var all sync.WaitGroup
				all.Go(func() { add("four ") }) // writes what is before it
				synctest.Wait()
				add("three ")
				all.Go(func() {
					if err := test.next(c); !errors.Is(err, test.err) {
						t.Error(err)
					}
				})
				synctest.Wait()
				close(d.holdWrite)
				all.Wait()
				require.Equal(t, test.durable, c.Durable().Pos)
				require.NoError(t, c.Close())
				require.Equal(t, test.want, string(d.written))
			})
		})
	}
}

// Whichever of its two writes fails, nothing is said to be written.
func TestAppendLargeFails(t *testing.T) {
	broken := errors.New("broken")
	for bad := range 2 {
		d := &disk{failWrite: func(n int) error {
			if n == bad+2 {
				return broken
			}
			return nil
		}}
		c := New(d, Mark{}, nil)
		one, err := frame(c, "one", 1)
		require.NoError(t, err)
		require.NoError(t, c.Commit(one.Pos))
		_, err = large(c, "head", "tail", 2)
		require.ErrorIs(t, err, broken)
		require.Equal(t, one, c.Written())
		require.Equal(t, bad+2, d.writes, "nothing is written after a failure")
		_, err = frame(c, "more", 3)
		require.ErrorIs(t, err, broken)
		require.ErrorIs(t, c.Close(), broken)
	}
}

func TestLimitWrites(t *testing.T) {
	d := &disk{}
	c := New(d, Mark{}, &Options{Limit: 4})
	for i := range 10 {
		_, err := frame(c, "abc", int64(i))
		require.NoError(t, err)
	}
	require.Equal(t, 24, len(d.written))
	require.Zero(t, d.syncs)
	require.NoError(t, c.Close())
	require.Equal(t, 30, d.durable)
}

func TestConcurrentSafe(t *testing.T) {
	d := &disk{}
	c := New(d, Mark{}, &Options{Limit: 64})
	var all sync.WaitGroup
	for g := range 16 {
		all.Go(func() {
			for i := range 200 {
				var m Mark
				var err error
				if (g+i)%5 == 0 {
					m, err = large(c, "0123456", "789abcdef", int64(i))
				} else {
					m, err = frame(c, "0123456789abcdef", int64(i))
				}
				if err != nil {
					t.Error(err)
					return
				}
				switch (g + i) % 3 {
				case 0:
					err = c.Commit(m.Pos)
				case 1:
					err = c.Flush(m.Pos)
				}
				if err != nil {
					t.Error(err)
				}
				if g == 0 && i%50 == 0 {
					if err := c.Rotate(func(end Mark) error {
						if end != c.durable {
							t.Errorf("rotated at %v, durable %v", end, c.durable)
						}
						return nil
					}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	require.NoError(t, d.bad)
	require.Equal(t, strings.Repeat("0123456789abcdef", 16*200), string(d.written), "no frame is parted")
	require.Equal(t, 16*200*16, d.durable)
}
