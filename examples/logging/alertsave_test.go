package logging

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/rules"
	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/ashlar-go/ashlar/kvstore"
	"github.com/ashlar-go/ashlar/observer"
)

// savingOn is an alerting without a log, which keeps what it knows on a disk.
func savingOn(t *testing.T, disk *vfs.Mem) *alerting {
	t.Helper()
	kv, err := kvstore.Open("", &kvstore.Options{FS: disk, Durability: kvstore.Written})
	require.NoError(t, err)
	t.Cleanup(func() { _ = kv.Close() })
	a := &alerting{kv: kv, log: slog.New(slog.DiscardHandler), issues: map[string]*Issue{}, dirty: map[string]bool{}}
	require.NoError(t, a.load())
	return a
}

func (a *alerting) see(line, host string) {
	now := time.Now()
	a.engine.Observe(&entry.Entry{Time: now, Labels: entry.MakeLabels("host", host), Level: entry.Info, Line: line}, now)
}

// state is what a restart has to bring back.
func (a *alerting) state(t *testing.T) string {
	t.Helper()
	list := a.engine.Alerts()
	for i := range list {
		list[i].Since, list[i].Last, list[i].Notified = list[i].Since.UTC(), list[i].Last.UTC(), list[i].Notified.UTC()
		list[i].Example.Time = list[i].Example.Time.UTC()
	}
	told := 0
	for range a.recent() {
		told++
	}
	data, err := json.Marshal([]any{list, len(a.engine.Silences(time.Now())), told, len(a.issues)})
	require.NoError(t, err)
	return string(data)
}

// A save writes what has changed: nothing of two hundred alerts if nothing has,
// one record if one has, and a restart changes nothing of it.
func TestSavesAreAsLargeAsTheChange(t *testing.T) {
	disk := vfs.NewMem()
	a := savingOn(t, disk)
	require.NoError(t, a.setRule("Mine", "any per host realert 1h where mine"))
	for i := range 200 {
		a.see("mine", fmt.Sprintf("web-%d", i))
	}
	for _, n := range a.engine.Tick(time.Now()) {
		a.remember(n)
	}
	saved := func(offset int64) int64 {
		before := a.kv.Stats().Writes
		require.NoError(t, a.save(offset))
		return a.kv.Stats().Writes - before
	}
	require.EqualValues(t, 200+1+1, saved(7), "the alerts, what was told, the offset")
	bytes, calls := disk.Used(), disk.Count(vfs.OpWrite, vfs.OpSync, vfs.OpRename)
	for range 20 {
		require.Zero(t, saved(7))
	}
	require.Equal(t, bytes, disk.Used())
	require.Equal(t, calls, disk.Count(vfs.OpWrite, vfs.OpSync, vfs.OpRename), "the disk is left alone")
	a.see("mine", "web-5")
	require.EqualValues(t, 1, saved(7))
	require.True(t, a.engine.Acknowledge("Mine", "host=web-6"))
	require.EqualValues(t, 1, saved(7))
	require.True(t, a.engine.Silence(rules.Silence{Rule: "Mine", Key: "web-9", Until: time.Now().Add(time.Hour)}))
	require.EqualValues(t, 1, saved(7))
	want := a.state(t)
	require.NoError(t, a.kv.Close())

	a = savingOn(t, disk)
	require.Equal(t, want, a.state(t))
	require.EqualValues(t, 1, saved(8), "the offset: what was read is what is saved")
	require.NoError(t, a.removeRule("Mine"))
	require.EqualValues(t, 200, saved(8), "alerts that are gone are forgotten")
	for range 2 * keepTold {
		a.remember(rules.Notification{Rule: "x"})
	}
	require.EqualValues(t, keepTold+1, saved(8))
	want = a.state(t)
	require.NoError(t, a.kv.Close())
	require.Equal(t, want, savingOn(t, disk).state(t))
}

// What fired in the last second before a restart, or between a tick and a save,
// is told after it: its value is new no more.
func TestARestartTellsWhatWasNotTold(t *testing.T) {
	disk := vfs.NewMem()
	a := savingOn(t, disk)
	require.NoError(t, a.setRule("Mine", "new line in 24h where mine"))
	a.see("mine", "web-1")
	require.NoError(t, a.save(1))
	require.NoError(t, a.kv.Close())

	a = savingOn(t, disk)
	a.see("mine", "web-1") // it is observed again
	a.engine.Forgive(time.Now())
	notes := a.engine.Tick(time.Now())
	require.Len(t, notes, 1)
	require.Equal(t, "Mine", notes[0].Rule)
	require.NoError(t, a.save(1))
	require.NoError(t, a.kv.Close())

	require.Empty(t, savingOn(t, disk).engine.Tick(time.Now()), "once")
}

// What was told is saved at once: a crash behind it tells nothing again.
func TestACrashTellsNothingAgain(t *testing.T) {
	disk := vfs.NewMem()
	a := savingOn(t, disk)
	require.NoError(t, a.setRule("Mine", "new line in 24h where mine"))
	told := 0
	a.bus.Subscribe("alert.#", func(observer.Event[rules.Notification]) { told++ })
	a.see("mine", "web-1")
	a.observed.Store(1)
	a.turn(time.Now(), false)
	require.Equal(t, 1, told)
	require.NoError(t, a.kv.Sync()) // the process dies, not the machine
	a = savingOn(t, disk.Crash(rand.New(rand.NewPCG(1, 1))))
	a.see("mine", "web-1")
	require.Empty(t, a.engine.Tick(time.Now()))
}

// A crash between leaves the alerts as they were saved before or after, never
// some of these and some of those.
func TestACrashLeavesOneStateOfTheAlerts(t *testing.T) {
	disk := vfs.NewMem()
	a := savingOn(t, disk)
	require.NoError(t, a.setRule("Mine", "any per host realert 1h where mine"))
	require.NoError(t, a.save(0))
	require.NoError(t, a.kv.Sync())
	states := []string{a.state(t)}
	for round := range 3 {
		for i := range 2 { // few sectors, so that a crash may leave all of them
			a.see("mine", fmt.Sprintf("web-%d", i+round))
		}
		for _, n := range a.engine.Tick(time.Now()) {
			a.remember(n)
		}
		require.NoError(t, a.save(int64(round+1)))
		states = append(states, a.state(t))
	}
	met := map[string]int{}
	for seed := range uint64(60) {
		after := savingOn(t, disk.Crash(rand.New(rand.NewPCG(1, seed)))).state(t)
		require.Contains(t, states, after)
		met[after]++
	}
	require.Greater(t, len(met), 1, "the crashes differ")
	require.NoError(t, a.kv.Sync())
	require.Equal(t, states[3], savingOn(t, disk.Crash(rand.New(rand.NewPCG(1, 1)))).state(t))
}
