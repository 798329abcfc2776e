package kvstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Minutes in place of moments:
//
//	go test -run 'Killed' ./kvstore -torture.rounds=500 -timeout=2h
//	go test -run 'Soak' ./kvstore -soak=10m -timeout=1h
var (
	tortureRounds = flag.Int("torture.rounds", 3, "how many times the writing process is killed")
	soak          = flag.Duration("soak", time.Second, "how long TestSoak runs")
)

const (
	tortureDir     = "ASHLAR_KVSTORE_TORTURE"
	tortureWriters = 4
	tortureKeys    = 50
)

// tortureOptions are those of the process that is killed.
func tortureOptions() *Options { return &Options{SegmentBytes: 32 << 10, Codec: LZ4} }

// TestTortureChild is the process that TestKilledProcesses kills.
func TestTortureChild(t *testing.T) {
	dir := os.Getenv(tortureDir)
	if dir == "" {
		t.Skip("run by TestKilledProcesses")
	}
	s, err := Open(dir, tortureOptions())
	require.NoError(t, err)
	var wg sync.WaitGroup
	for w := range tortureWriters {
		wg.Go(func() { tortureWrite(s, w) })
	}
	wg.Wait()
	t.Error("nobody has killed this process")
}

// tortureWrite counts upwards in its keys, and tells the parent what was
// acknowledged.
func tortureWrite(s *Store, w int) {
	counter := fmt.Appendf(nil, "counter-%d", w)
	n := uint64(0)
	if value, ok, err := s.Get(counter); err == nil && ok {
		n = binary.LittleEndian.Uint64(value)
	}
	for {
		n++
		value := binary.LittleEndian.AppendUint64(nil, n)
		var b Batch
		b.Put(counter, value)
		b.Put(fmt.Appendf(nil, "key-%d-%d", w, n%tortureKeys), append(value, make([]byte, n%1000)...))
		if err := s.Apply(&b, &WriteOptions{Durability: Synced + Durability(n%2)}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		line := append(binary.LittleEndian.AppendUint64(nil, uint64(w)), value...)
		if _, err := os.Stdout.Write(line); err != nil {
			os.Exit(4)
		}
	}
}

// TestKilledProcesses kills a process that writes, again and again, and looks
// whether everything that it has acknowledged is there.
func TestKilledProcesses(t *testing.T) {
	dir := t.TempDir()
	var acknowledged [tortureWriters]uint64
	for round := range *tortureRounds {
		child := exec.Command(os.Args[0], "-test.run=^TestTortureChild$")
		child.Env = append(os.Environ(), tortureDir+"="+dir)
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		child.Stderr = os.Stderr
		require.NoError(t, child.Start())
		read := 0
		enough := 200 + rand.IntN(2000)
		for r := bufio.NewReader(out); ; read++ {
			var line [16]byte
			if _, err := io.ReadFull(r, line[:]); err != nil {
				break
			}
			acknowledged[binary.LittleEndian.Uint64(line[:])] = binary.LittleEndian.Uint64(line[8:])
			if read == enough { // and read on what it has written until it is dead
				require.NoError(t, child.Process.Kill())
			}
		}
		err = child.Wait()
		require.GreaterOrEqual(t, read, enough, "round %d: %v", round, err)
		tortureCheck(t, dir, &acknowledged)
	}
}

func tortureCheck(t *testing.T, dir string, acknowledged *[tortureWriters]uint64) {
	s, err := Open(dir, tortureOptions())
	require.NoError(t, err)
	for w, least := range acknowledged {
		value, ok, err := s.Get(fmt.Appendf(nil, "counter-%d", w))
		require.NoError(t, err)
		require.True(t, ok)
		n := binary.LittleEndian.Uint64(value)
		require.GreaterOrEqual(t, n, least, "writer %d", w)
		acknowledged[w] = n
		for i := n; i > 0 && i+tortureKeys > n; i-- { // batches are whole
			value, ok, err := s.Get(fmt.Appendf(nil, "key-%d-%d", w, i%tortureKeys))
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, i, binary.LittleEndian.Uint64(value))
			require.Len(t, value, 8+int(i%1000))
		}
	}
	require.NoError(t, s.Verify(t.Context()))
	require.NoError(t, s.Close())
}

// TestSoak overwrites, reads, scans, merges and reopens on a real disk, with
// readers beside.
func TestSoak(t *testing.T) {
	dir := t.TempDir()
	const keys = 5000
	versions := make([]atomic.Uint64, keys)
	for end := time.Now().Add(*soak); ; {
		s, err := Open(dir, &Options{SegmentBytes: 256 << 10, Codec: LZ4, CacheBytes: 1 << 20})
		require.NoError(t, err)
		var stop atomic.Bool
		var wg sync.WaitGroup
		for w := range 3 {
			wg.Go(func() { soakWrite(t, s, versions, w) })
		}
		var readers sync.WaitGroup
		readers.Go(func() {
			for !stop.Load() {
				soakRead(t, s, versions)
			}
		})
		wg.Wait()
		stop.Store(true)
		readers.Wait()
		require.NoError(t, s.Verify(t.Context()))
		checkStore(t, s)
		require.NoError(t, s.Close())
		if time.Now().After(end) {
			return
		}
	}
}

// soakWrite gives some keys, its own, higher versions.
func soakWrite(t *testing.T, s *Store, versions []atomic.Uint64, w int) {
	for range 3000 {
		i := rand.IntN(len(versions)/3)*3 + w
		if i >= len(versions) {
			continue
		}
		v := versions[i].Load() + 1
		value := append(binary.LittleEndian.AppendUint64(nil, v), make([]byte, rand.IntN(300))...)
		if err := s.Put(fmt.Appendf(nil, "key-%05d", i), value, buffered); err != nil {
			t.Error(err)
			return
		}
		versions[i].Store(v)
	}
}

// soakRead reads one key and a range; no key may be older than it was known to
// be before.
func soakRead(t *testing.T, s *Store, versions []atomic.Uint64) {
	i := rand.IntN(len(versions) - 100)
	least := versions[i].Load()
	value, ok, err := s.Get(fmt.Appendf(nil, "key-%05d", i))
	if err != nil || ok != (least > 0) && !ok || ok && binary.LittleEndian.Uint64(value) < least {
		t.Errorf("key %d: %v, %v, older than %d", i, ok, err, least)
	}
	var known [100]uint64
	for j := range known {
		known[j] = versions[i+j].Load()
	}
	for e, err := range s.Scan(fmt.Appendf(nil, "key-%05d", i), fmt.Appendf(nil, "key-%05d", i+100)) {
		if err != nil {
			t.Error(errors.Join(err))
			return
		}
		var j int
		if _, err := fmt.Sscanf(string(e.Key), "key-%d", &j); err != nil {
			t.Error(err)
		}
		if v := binary.LittleEndian.Uint64(e.Value); v < known[j-i] {
			t.Errorf("key %d: version %d, older than %d", j, v, known[j-i])
		}
	}
}
