package rules

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/examples/logging/entry"
)

var start = time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)

// A rig is an engine and the time of day.
type rig struct {
	t   *testing.T
	e   Engine
	now time.Time
}

func newRig(t *testing.T, texts ...string) *rig {
	g := &rig{t: t, now: start}
	for i, text := range texts {
		r, err := Parse(fmt.Sprintf("rule%d", i), text)
		require.NoError(t, err, text)
		g.e.Set(r)
	}
	return g
}

func (g *rig) see(host, line string) { g.seeAt(host, line, g.now) }

func (g *rig) seeAt(host, line string, at time.Time) {
	level := entry.Info
	if len(line) > 5 && line[:5] == "ERROR" {
		level = entry.Error
	}
	g.e.Observe(&entry.Entry{Time: at, Labels: entry.MakeLabels("host", host), Level: level, Line: line}, g.now)
}

// tick lets time pass, second by second, or minute by minute if it is much, and returns what was told in words.
func (g *rig) tick(d time.Duration) (told []string) {
	step := time.Second
	if d > 15*time.Minute {
		step = time.Minute
	}
	for ; d > 0; d -= step {
		g.now = g.now.Add(step)
		for _, n := range g.e.Tick(g.now) {
			word := string(n.State)
			if n.Repeated {
				word = "again"
			}
			for _, a := range n.Alerts {
				told = append(told, fmt.Sprintf("%s %s %s", n.Rule, word, a.Key))
			}
			if n.More > 0 {
				told = append(told, fmt.Sprintf("and %d more", n.More))
			}
		}
	}
	return told
}

func TestAny(t *testing.T) {
	g := newRig(t, "any where \"disk full\"")
	g.see("a", "all is well")
	require.Empty(t, g.tick(time.Second))
	g.see("a", "ERROR Disk Full on /dev/sda1")
	g.see("b", "ERROR Disk Full")
	require.Equal(t, []string{"rule0 firing "}, g.tick(time.Second))
	a := g.e.Alerts()[0]
	require.EqualValues(t, 2, a.Hits)
	require.Equal(t, "ERROR Disk Full on /dev/sda1", a.Example.Line)
	require.Equal(t, []string{"rule0 resolved "}, g.tick(6*time.Minute))
}

// 5xx per minute: frequency X in Y, per key, with for.
func TestCountPerKey(t *testing.T) {
	g := newRig(t, "count >= 20 in 1m per host for 10s realert 5m severity critical where ERROR")
	for range 30 {
		g.see("web-1", "ERROR 502")
		g.see("web-2", "fine")
	}
	for range 19 {
		g.see("web-3", "ERROR 502")
	}
	require.Empty(t, g.tick(9*time.Second), "not for long enough")
	require.Equal(t, Pending, g.e.Alerts()[0].State)
	require.Equal(t, []string{"rule0 firing host=web-1"}, g.tick(2*time.Second))
	require.Equal(t, "critical", g.e.Alerts()[0].Severity)
	require.Equal(t, []string{"rule0 resolved host=web-1"}, g.tick(2*time.Minute))

	// It fires again within realert: counted, not told.
	for range 20 {
		g.see("web-1", "ERROR 502")
	}
	require.Empty(t, g.tick(30*time.Second))
	require.EqualValues(t, 1, g.e.Alerts()[0].Suppressed)

	// As long as it lasts it is told every realert.
	var told []string
	for range 12 * 60 / 2 {
		g.see("web-1", "ERROR 502")
		told = append(told, g.tick(2*time.Second)...)
	}
	require.Equal(t, []string{"rule0 again host=web-1", "rule0 again host=web-1"}, told)
}

func TestForIsInterrupted(t *testing.T) {
	g := newRig(t, "count >= 2 in 10s for 30s where x")
	g.see("a", "x")
	g.see("a", "x")
	require.Empty(t, g.tick(20*time.Second))
	g.see("a", "x")
	g.see("a", "x")
	require.Empty(t, g.tick(25*time.Second), "the condition did not hold all the time")
}

func TestSpike(t *testing.T) {
	g := newRig(t, "spike 3 in 1m min 10 where x")
	for range 60 {
		g.see("a", "x")
		require.Empty(t, g.tick(2*time.Second))
	}
	for range 150 {
		g.see("a", "x")
	}
	require.Equal(t, []string{"rule0 firing "}, g.tick(time.Second))
	g = newRig(t, "spike 3 in 1m min 10 where x")
	for range 9 {
		g.see("a", "x")
	}
	require.Empty(t, g.tick(time.Minute), "too few to be a spike")
}

func TestFlatline(t *testing.T) {
	g := newRig(t, "flatline < 1 in 1m per host where *", "flatline < 1 in 1m where heartbeat")
	for range 70 {
		g.see("a", "x")
		g.see("b", "heartbeat")
		require.Empty(t, g.tick(time.Second))
	}
	for range 50 {
		g.see("a", "x")
		require.Empty(t, g.tick(time.Second))
	}
	require.Equal(t, []string{"rule0 firing host=b", "rule1 firing "}, g.tick(15*time.Second))
	g.see("b", "heartbeat")
	require.Equal(t, []string{"rule0 resolved host=b", "rule1 resolved "}, g.tick(time.Second))
	g = newRig(t, "flatline < 1 in 1m where heartbeat")
	require.Empty(t, g.tick(59*time.Second))
	require.Equal(t, []string{"rule0 firing "}, g.tick(2*time.Second), "what never came is missing too")
}

func TestNewValue(t *testing.T) {
	g := newRig(t, "new issue in 1h where level>=error")
	g.see("a", "ERROR order 1 failed")
	g.see("a", "ERROR order 2 failed")
	g.see("a", "new but no error")
	require.Len(t, g.tick(time.Second), 1)
	g.see("b", "ERROR order 3 failed")
	require.Empty(t, g.tick(30*time.Minute))
	g.see("b", "ERROR payment 3 failed")
	require.Len(t, g.tick(time.Second), 1)
	require.Empty(t, g.tick(2*time.Hour))
	g.see("b", "ERROR order 4 failed")
	require.Len(t, g.tick(time.Second), 1, "not seen in the last hour")
}

func TestDistinct(t *testing.T) {
	g := newRig(t, "distinct user >= 10 in 1m per host where login")
	for i := range 9 {
		for range 20 {
			g.see("a", fmt.Sprintf("login user=u%d", i))
		}
	}
	require.Empty(t, g.tick(time.Second))
	g.see("a", "login user=u9")
	g.see("b", "login user=u9")
	g.see("a", "login without a name")
	require.Equal(t, []string{"rule0 firing host=a"}, g.tick(time.Second))
	require.Equal(t, "10 different user in 1m", g.e.Alerts()[0].Summary)
}

// Entries that come late, as from an agent that was cut off, fire though their
// window is over; those from a clock that is ahead count as of now.
func TestLateAndEarlyEntries(t *testing.T) {
	g := newRig(t, "count >= 5 in 1m where x")
	for i := range 5 {
		g.seeAt("a", "x", g.now.Add(-time.Hour+time.Duration(i)*time.Second))
	}
	require.Equal(t, []string{"rule0 firing ", "rule0 resolved "}, g.tick(time.Second))
	g = newRig(t, "count >= 5 in 1m where x")
	for range 4 {
		g.seeAt("a", "x", g.now.Add(time.Hour))
	}
	require.Empty(t, g.tick(time.Second))
	g.see("a", "x")
	require.Equal(t, []string{"rule0 firing "}, g.tick(time.Second))
}

func TestSilenceAndAcknowledge(t *testing.T) {
	g := newRig(t, "any per host realert 1m where x", "any where x")
	require.True(t, g.e.Silence(Silence{Rule: "rule0", Key: "host=a", Until: g.now.Add(10 * time.Minute), Why: "deploy"}))
	g.see("a", "x")
	g.see("b", "x")
	require.Equal(t, []string{"rule0 firing host=b", "rule1 firing "}, g.tick(time.Second))
	require.True(t, g.e.Acknowledge("rule0", "host=b"))
	require.False(t, g.e.Acknowledge("rule0", "host=z"))
	for range 180 {
		g.see("a", "x")
		g.see("b", "x")
		require.Empty(t, g.tick(time.Second))
	}
	require.Len(t, g.e.Silences(g.now), 1)
	g.e.Unsilence("rule0", "host=a")
	g.see("a", "x")
	require.Equal(t, []string{"rule0 again host=a"}, g.tick(2*time.Second))
	require.True(t, g.e.Silence(Silence{Rule: "*", Until: g.now.Add(10 * time.Minute)}))
	require.Empty(t, g.tick(10*time.Minute))
	require.Equal(t, Resolved, g.e.Alerts()[0].State)
	require.Empty(t, g.e.Silences(g.now), "it is over")
	for i := range MaxSilences {
		require.True(t, g.e.Silence(Silence{Rule: fmt.Sprint(i), Until: g.now.Add(time.Hour)}))
	}
	require.False(t, g.e.Silence(Silence{Rule: "x", Until: g.now.Add(time.Hour)}))
}

func TestManyKeys(t *testing.T) {
	g := newRig(t, "any per host where x", "count >= 1000 in 1m per host where x")
	for i := range 3 * MaxKeys {
		g.see(fmt.Sprint(i), "x")
	}
	told := g.tick(time.Second)
	require.Len(t, told, MaxListed+1)
	require.Equal(t, fmt.Sprintf("and %d more", MaxKeys-MaxListed), told[MaxListed])
	require.Equal(t, 2*MaxKeys, g.e.Stats().Keys)
	require.EqualValues(t, 4*MaxKeys, g.e.Stats().Forgotten)
	g.tick(2 * time.Hour)
	require.Zero(t, g.e.Stats().Keys, "idle keys are forgotten")
}

func TestRulesComeAndGo(t *testing.T) {
	g := newRig(t, "count >= 3 in 1m where x")
	g.see("a", "x")
	g.see("a", "x")
	same, err := Parse("rule0", "count >= 3 in 1m where x")
	require.NoError(t, err)
	g.e.Set(same)
	g.see("a", "x")
	require.Len(t, g.tick(time.Second), 1, "the counts of a rule that is set again stay")
	g.e.Remove("rule0")
	require.Empty(t, g.e.Alerts())
	require.Empty(t, g.e.Rules())
	require.Zero(t, g.e.Longest())
}

func TestRestart(t *testing.T) {
	texts := []string{"any per host realert 1h where x", "new line in 1h where y"}
	g := newRig(t, texts...)
	g.see("a", "x")
	g.see("a", "y")
	require.Len(t, g.tick(time.Second), 2)
	alerts, silences := g.e.Alerts(), g.e.Silences(g.now)

	again := newRig(t, texts...)
	again.now = g.now
	again.e.Restore(alerts, silences)
	require.Equal(t, time.Hour, again.e.Longest())
	again.see("a", "x") // what is observed again
	again.see("a", "y")
	again.see("b", "x")
	again.e.Forgive(again.now)
	require.Empty(t, again.tick(time.Second))
	again.see("c", "x")
	require.Equal(t, []string{"rule0 firing host=c"}, again.tick(time.Second))
}

// What has fired and was not told before a restart is told after it, once, also
// if its entry is observed again.
func TestRestartTellsWhatIsUntold(t *testing.T) {
	texts := []string{"any realert 0s where x", "new line in 1h where y"}
	g := newRig(t, texts...)
	g.see("a", "x")
	g.see("a", "y")
	for _, observed := range []bool{false, true} {
		again := newRig(t, texts...)
		again.now = g.now
		again.e.Restore(g.e.Alerts(), nil)
		again.see("a", "x")
		if observed {
			again.see("a", "y")
		}
		again.e.Forgive(again.now)
		require.Equal(t, []string{"rule0 firing ", "rule1 firing line=y"}, again.tick(time.Second))
		require.Equal(t, g.e.Alerts()[0].Since, again.e.Alerts()[0].Since)
		for _, a := range again.e.Alerts() {
			require.False(t, a.Untold)
		}
		require.Empty(t, again.tick(time.Second))
	}
}

// A flatline that fires does so behind a restart, too, until something comes: it
// neither resolves nor fires anew because it was not watched for a while.
func TestRestartOfAFlatline(t *testing.T) {
	const text = "flatline < 1 in 1m per host realert 1h where *"
	g := newRig(t, text)
	g.see("a", "x")
	require.Equal(t, []string{"rule0 firing host=a"}, g.tick(2*time.Minute))
	again := newRig(t, text)
	again.now = g.now
	again.e.Restore(g.e.Alerts(), nil)
	require.Empty(t, again.tick(5*time.Minute))
	again.see("a", "x")
	require.Equal(t, []string{"rule0 resolved host=a"}, again.tick(time.Second))

	again = newRig(t, text)
	again.now = g.now
	again.e.Restore(g.e.Alerts(), nil)
	again.see("a", "x")
	require.Equal(t, []string{"rule0 resolved host=a"}, again.tick(time.Second), "it need not be watched for that")
}

// A value of a window is none that is new because of a restart, however long
// before that it was seen first.
func TestRestartKnowsValues(t *testing.T) {
	g := newRig(t, "new host in 24h where x")
	g.see("a", "x")
	require.Equal(t, []string{"rule0 firing host=a"}, g.tick(time.Second))
	g.tick(20 * time.Hour)
	g.see("a", "x")
	g.tick(10 * time.Hour)
	data, err := json.Marshal(g.e.Alerts())
	require.NoError(t, err)
	var alerts []Alert
	require.NoError(t, json.Unmarshal(data, &alerts))

	again := newRig(t, "new host in 24h where x")
	again.now = g.now
	again.e.Restore(alerts, nil)
	again.see("a", "x")
	require.Empty(t, again.tick(time.Second))
	again.see("b", "x")
	require.Equal(t, []string{"rule0 firing host=b"}, again.tick(time.Second))
}

// Long values make keys of bounded length that are different all the same.
func TestLongKeys(t *testing.T) {
	g := newRig(t, "new host in 24h where x")
	long := strings.Repeat("ä", 4000)
	for _, host := range []string{long + "1", long + "2", long + "1"} {
		g.see(host, "x")
	}
	list := g.e.Alerts()
	require.Len(t, list, 2)
	require.Less(t, len(list[0].Key), 250)
	require.True(t, utf8.ValidString(list[0].Key))
}

func TestParse(t *testing.T) {
	r, err := Parse(" 5xx ", "count > 20 in 90s per host, app for 30s realert 2h severity critical where\n status>=500 where app=nginx")
	require.NoError(t, err)
	require.Equal(t, Rule{Name: "5xx", Text: r.Text, Kind: Count, Threshold: 21, Window: 90 * time.Second, Least: 10, Per: []string{"host", "app"},
		For: 30 * time.Second, Realert: 2 * time.Hour, Severity: "critical", Query: r.Query}, *r)
	require.Equal(t, "status>=500 where app=nginx", r.Query.String())
	for text, want := range map[string]string{
		"": "where and a query are missing", "any": "where and a query are missing", "where x": "it is empty", "most where x": `no kind "most"`,
		"count 20 in 1m where x": "count needs >= and a number", "count >= x in 1m where x": `"x" is not a number`, "count >= -1 in 1m where x": "not a number from 0",
		"count >= 20 where x": "needs a window", "count >= 2 in 0s where x": "is not a time from 1s", "count >= 2 in 900d where x": "is not a time",
		"any per where x": "per needs names", "any for where x": "is not a time", "any loud where x": `"loud" is no setting`, "any severity loud where x": "severity is info, warning, critical",
		"new where x": "new needs the name", "spike 1 in 1m where x": "more than 1 times", "flatline < 0 in 1m where x": "never fewer than 0", "any min x where x": "whole number",
		"any where (x": "a closing parenthesis is missing",
	} {
		_, err := Parse("r", text)
		require.ErrorContains(t, err, want, text)
	}
	_, err = Parse("", "any where x")
	require.ErrorIs(t, err, ErrBadRule)
}

func FuzzParse(f *testing.F) {
	f.Add("count >= 20 in 1m per host, app for 30s where x")
	f.Add("new issue in 7d where level>=error")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse("r", text)
		if err != nil {
			return
		}
		var e Engine
		e.Set(r)
		for range 30 {
			e.Observe(&entry.Entry{Time: start, Line: "x y=1"}, start)
		}
		e.Tick(start)
		e.Tick(start.Add(time.Hour))
	})
}

func BenchmarkObserve(b *testing.B) {
	var e Engine
	for i := range 10 {
		r, err := Parse(fmt.Sprint(i), "count >= 20 in 1m per host where disk full")
		require.NoError(b, err)
		e.Set(r)
	}
	x := entry.Entry{Time: start, Labels: entry.MakeLabels("host", "a"), Line: `192.0.2.7 - - [28/Nov/2026:19:40:01 +0100] "GET /cart?id=7 HTTP/1.1" 502 1234 "-" "curl/8"`}
	b.Run("impl=ashlar/rules=10", func(b *testing.B) {
		for b.Loop() {
			e.Observe(&x, start)
		}
	})
}
