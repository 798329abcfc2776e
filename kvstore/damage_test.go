package kvstore

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/ashlar-go/ashlar/internal/vfs/crashtest"
)

// sample writes a store with segments of every kind and returns what is in it.
func sample(t testing.TB, m *vfs.Mem, opts Options) map[string]string {
	t.Helper()
	opts.FS = m
	s, err := Open("", &opts)
	require.NoError(t, err)
	want := map[string]string{}
	put := func(key, value string) {
		require.NoError(t, s.Put([]byte(key), []byte(value), nil))
		want[key] = value
	}
	for i := range 20 {
		put(fmt.Sprintf("old-%02d", i), strings.Repeat(fmt.Sprint(i), 20))
	}
	for i := range 10 {
		require.NoError(t, s.Delete(fmt.Appendf(nil, "old-%02d", i*2), nil))
		delete(want, fmt.Sprintf("old-%02d", i*2))
	}
	require.NoError(t, s.Merge(t.Context()))
	for i := range 10 {
		put(fmt.Sprintf("mid-%02d", i), strings.Repeat(fmt.Sprint(i), 30))
	}
	require.NoError(t, s.endSegment())
	var b Batch
	for i := range 5 {
		b.Put(fmt.Appendf(nil, "new-%02d", i), []byte("batch"))
		want[fmt.Sprintf("new-%02d", i)] = "batch"
	}
	require.NoError(t, s.Apply(&b, nil))
	put("last", "one")
	require.NoError(t, s.Close())
	return want
}

// sound opens a store that is damaged. Whatever it gives must be right; if it
// says nothing of damage, it must give everything.
func sound(m *vfs.Mem, opts Options, want map[string]string) (reported bool, err error) {
	opts.FS = m
	s, err := Open("", &opts)
	if err != nil {
		return true, describes(err)
	}
	defer s.Close()
	for k, v := range want {
		got, ok, err := s.Get([]byte(k))
		if err != nil {
			reported = true
			if err := describes(err); err != nil {
				return true, err
			}
			continue
		}
		if !ok || string(got) != v {
			return reported, fmt.Errorf("Get(%q) = %.40q, %v, want %.40q", k, got, ok, v)
		}
	}
	for e, err := range s.All() {
		if err != nil {
			if err := describes(err); err != nil {
				return true, err
			}
			reported = true
			break
		}
		if want[string(e.Key)] != string(e.Value) {
			return reported, fmt.Errorf("%q = %.40q was never written", e.Key, e.Value)
		}
	}
	return reported, nil
}

// describes returns an error unless err is corruption with a place.
func describes(err error) error {
	c, ok := errors.AsType[*CorruptError](err)
	if errors.Is(err, ErrFormat) || ok && c.File != "" && c.Reason != "" {
		return nil
	}
	return fmt.Errorf("does not say where: %w", err)
}

// Every byte, not every third:
//
//	go test -run Damage ./kvstore -damage.step=1
var damageStep = flag.Int("damage.step", 3, "bytes from one damage to the next")

// TestEveryDamageIsReportedOrHarmless flips a bit of every byte of a store, zeroes
// and exchanges its sectors, cuts its files, appends to them and removes them,
// after it was closed.
func TestEveryDamageIsReportedOrHarmless(t *testing.T) {
	for i, opts := range crashOptions {
		m := vfs.NewMem()
		want := sample(t, m, opts)
		count, reports := 0, 0
		for d, found := range crashtest.Damages(m, crashtest.DamageOptions{Step: *damageStep, Files: func(path string) bool { return path != ballastName }}) {
			count++
			reported, err := sound(found, opts, want)
			if err != nil {
				t.Errorf("options %d, %v: %v", i, d, err)
			}
			if reported {
				reports++
			}
			if d.Path == lockName || count%10 != 0 && d.Kind != crashtest.Missing {
				continue
			}
			if err := repaired(found, opts, want, reported); err != nil {
				t.Errorf("options %d, %v: %v", i, d, err)
			}
		}
		require.Greater(t, reports, count/5)
	}
}

// repaired repairs a store: it must open then, with nothing that was never
// written, and Verify must find nothing.
func repaired(m *vfs.Mem, opts Options, want map[string]string, reported bool) error {
	opts.FS = m
	report, err := Repair("", &opts)
	if err != nil {
		return fmt.Errorf("repair: %w", err)
	}
	s, err := Open("", &opts)
	if err != nil {
		return fmt.Errorf("open after repair: %w\n%v", err, report)
	}
	got, err := contents(s)
	err = errors.Join(err, s.Verify(background), s.Close())
	if err != nil {
		return fmt.Errorf("after repair: %w\n%v", err, report)
	}
	if report.OK() && !maps.Equal(got, want) {
		return fmt.Errorf("repair reports nothing, but: %s", difference(got, want))
	}
	for k, v := range got {
		if old := strings.HasPrefix(k, "old-"); want[k] != v && !old {
			return fmt.Errorf("%q = %.40q was never written", k, v)
		}
	}
	return nil
}

// TestDamageMatrix is the experiment in which each of five stores failed: 300
// durable writes, a crash, one damage.
func TestDamageMatrix(t *testing.T) {
	write := func(t *testing.T, m *vfs.Mem, from, to int) {
		s, err := Open("", &Options{FS: m})
		require.NoError(t, err)
		for i := from; i < to; i++ {
			require.NoError(t, s.Put(fmt.Appendf(nil, "key-%03d", i), make([]byte, 200), nil))
		}
	}
	crashed := func(t *testing.T) (*vfs.Mem, []byte) {
		m := vfs.NewMem()
		write(t, m, 0, 300)
		m = m.Crash(nil)
		data, err := m.ReadFile("0000000000000001.log")
		require.NoError(t, err)
		end := len(data)
		for data[end-1] == 0 {
			end--
		}
		return m, data[:end+200]
	}
	count := func(t *testing.T, m *vfs.Mem) int {
		s, err := Open("", &Options{FS: m})
		require.NoError(t, err)
		defer s.Close()
		require.NoError(t, s.Verify(t.Context()))
		return s.Len()
	}
	t.Run("torn last record", func(t *testing.T) {
		m, data := crashed(t)
		require.NoError(t, m.WriteFile("0000000000000001.log", data[:len(data)-100]))
		require.Equal(t, 299, count(t, m))
	})
	t.Run("torn, then more writes and a crash", func(t *testing.T) {
		m, data := crashed(t)
		require.NoError(t, m.WriteFile("0000000000000001.log", data[:len(data)-100]))
		write(t, m, 500, 550)
		require.Equal(t, 349, count(t, m.Crash(nil)))
	})
	for name, damage := range map[string]func(b []byte){
		"bit flipped":       func(b []byte) { b[0] ^= 1 },
		"512 bytes of zero": func(b []byte) { clear(b[:512]) },
	} {
		t.Run(name, func(t *testing.T) {
			m, data := crashed(t)
			damage(data[len(data)/2:])
			require.NoError(t, m.WriteFile("0000000000000001.log", data))
			_, err := Open("", &Options{FS: m})
			var corrupt *CorruptError
			require.ErrorAs(t, err, &corrupt)
			require.Equal(t, "0000000000000001.log", corrupt.File)
			require.InDelta(t, len(data)/2, corrupt.Offset, 600)
			require.ErrorIs(t, err, ErrCorrupt)

			report, err := Repair("", &Options{FS: m})
			require.NoError(t, err)
			require.Len(t, report.Lost, 1)
			require.Equal(t, "0000000000000001.log", report.Lost[0].File)
			kept := count(t, m)
			require.GreaterOrEqual(t, kept, 296)
			require.Less(t, kept, 300)
		})
	}
}
