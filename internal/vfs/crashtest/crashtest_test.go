package crashtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// bugs are what a log can do wrong.
type bugs struct {
	noSync, noSyncDir, noChecksum, noTruncate, leak, ignoreErrors bool
}

// toy is a log with one file: frames of length, checksum and payload.
type toy struct {
	bugs bugs
	f    vfs.File
	end  int64
	err  error
	all  []string
}

func openToy(d vfs.FS, bugs bugs) (*toy, error) {
	f, err := d.OpenFile("log", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	t := &toy{bugs: bugs, f: f}
	if !bugs.noSyncDir {
		err = d.SyncDir()
	}
	if err = errors.Join(err, t.recover()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return t, nil
}

func (t *toy) recover() error {
	data, err := io.ReadAll(io.NewSectionReader(t.f, 0, 1<<30))
	if err != nil {
		return err
	}
	for rest := data; len(rest) >= 8; {
		size := binary.LittleEndian.Uint32(rest)
		if size == 0 || int64(size) > int64(len(rest)-8) {
			break
		}
		payload := rest[8 : 8+size]
		if !t.bugs.noChecksum && crc32.ChecksumIEEE(payload) != binary.LittleEndian.Uint32(rest[4:]) {
			break
		}
		t.all = append(t.all, string(payload))
		t.end += 8 + int64(size)
		rest = rest[8+size:]
	}
	if t.bugs.noTruncate {
		return nil
	}
	return errors.Join(t.f.Truncate(t.end), t.f.Sync())
}

func (t *toy) append(payload string) error {
	if t.err != nil {
		return t.err
	}
	frame := binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))
	frame = binary.LittleEndian.AppendUint32(frame, crc32.ChecksumIEEE([]byte(payload)))
	frame = append(frame, payload...)
	_, t.err = t.f.WriteAt(frame, t.end)
	if t.err == nil && !t.bugs.noSync {
		t.err = t.f.Sync()
	}
	if t.bugs.ignoreErrors {
		t.err = nil
	}
	if t.err == nil {
		t.end += int64(len(frame))
		t.all = append(t.all, payload)
	}
	return t.err
}

func (t *toy) close() error {
	if t.bugs.leak {
		return nil
	}
	return t.f.Close()
}

// model is what a history did with a toy.
type model struct {
	bugs         bugs
	mu           sync.Mutex
	acknowledged []string
	attempted    []string
}

func (m *model) run(d *vfs.Mem) {
	log, err := openToy(d, m.bugs)
	if err != nil {
		return
	}
	for i := range 20 {
		payload := strings.Repeat(fmt.Sprint(i%10), 1+i*i*3)
		m.mu.Lock()
		m.attempted = append(m.attempted, payload)
		m.mu.Unlock()
		if log.append(payload) != nil {
			break
		}
		m.mu.Lock()
		m.acknowledged = append(m.acknowledged, payload)
		m.mu.Unlock()
	}
	_ = log.close()
}

func (m *model) promise() Check {
	m.mu.Lock()
	defer m.mu.Unlock()
	acknowledged := len(m.acknowledged)
	return func(found *vfs.Mem, _ Point) error {
		m.mu.Lock()
		attempted := m.attempted
		m.mu.Unlock()
		return checkToy(found, m.bugs, acknowledged, attempted)
	}
}

func checkToy(found *vfs.Mem, bugs bugs, acknowledged int, attempted []string) error {
	log, err := openToy(found, bugs)
	if err != nil {
		return err
	}
	if len(log.all) < acknowledged || len(log.all) > len(attempted) {
		return fmt.Errorf("%d records, %d acknowledged, %d attempted", len(log.all), acknowledged, len(attempted))
	}
	for i, payload := range log.all {
		if payload != attempted[i] {
			return fmt.Errorf("record %d is wrong", i)
		}
	}
	if err := errors.Join(log.append("one more"), log.close()); err != nil {
		return err
	}
	again, err := openToy(found, bugs)
	if err != nil {
		return err
	}
	defer again.close()
	if len(again.all) != len(log.all) {
		return fmt.Errorf("%d records when opened again, want %d", len(again.all), len(log.all))
	}
	return nil
}

func TestHistoryPassesASoundLog(t *testing.T) {
	m := &model{}
	report, err := History(Options{Draws: 4, Recover: func(found *vfs.Mem) {
		if log, err := openToy(found, bugs{}); err == nil {
			_ = log.close()
		}
	}}, m.run, m.promise)
	require.NoError(t, err)
	require.Len(t, m.acknowledged, 20)
	require.Equal(t, 1+3+20*2+1, report.Calls)
	require.Greater(t, report.Recoveries, 50)
	require.Equal(t, 7*report.Calls+report.Recoveries, report.Crashes)
}

func TestHistoryFindsBugs(t *testing.T) {
	for name, bugs := range map[string]bugs{
		"acknowledged before the sync": {noSync: true},
		"directory not synced":         {noSyncDir: true},
		"no checksum":                  {noChecksum: true},
		"left open":                    {leak: true},
	} {
		t.Run(name, func(t *testing.T) {
			m := &model{bugs: bugs}
			_, err := History(Options{}, m.run, m.promise)
			require.Error(t, err)
		})
	}
}

func TestFaults(t *testing.T) {
	run := func(bugs bugs) func(m *vfs.Mem) Check {
		return func(d *vfs.Mem) Check {
			m := &model{bugs: bugs}
			m.run(d)
			return m.promise()
		}
	}
	report, err := Faults(Options{}, run(bugs{}))
	require.NoError(t, err)
	require.Greater(t, report.Calls, 100)
	for name, bugs := range map[string]bugs{
		"errors ignored": {ignoreErrors: true},
		"left open":      {leak: true},
	} {
		_, err = Faults(Options{}, run(bugs))
		require.Error(t, err, name)
	}
}

func TestDamages(t *testing.T) {
	m := vfs.NewMem()
	data := bytes.Repeat([]byte("0123456789"), 120)
	require.NoError(t, m.WriteFile("sub/a", data))
	require.NoError(t, m.WriteFile("b", data[:3]))
	kinds := map[Kind]int{}
	for d, found := range Damages(m, DamageOptions{}) {
		kinds[d.Kind]++
		if vfs.Equal(m, found) {
			t.Errorf("%v: nothing changed", d)
		}
		after, err := found.ReadFile(d.Path)
		if (err != nil) != (d.Kind == Missing) {
			t.Errorf("%v: %v", d, err)
		}
		original, err := m.ReadFile(d.Path)
		require.NoError(t, err)
		if d.Offset > 0 && !bytes.Equal(original[:d.Offset], after[:d.Offset]) {
			t.Errorf("%v: changed before the offset", d)
		}
	}
	require.Equal(t, map[Kind]int{Flip: 1203, Zero: 4, Misplaced: 2, Cut: 1203, Garbage: 10, Zeros: 10, Missing: 2}, kinds)

	clear(kinds)
	for d := range Damages(m, DamageOptions{
		Step:  10,
		Files: func(path string) bool { return path != "b" },
		Kinds: []Kind{Flip, Cut},
		End:   func(string, []byte) int { return 600 },
	}) {
		kinds[d.Kind]++
	}
	require.Equal(t, map[Kind]int{Flip: 60, Cut: 120}, kinds)
}
