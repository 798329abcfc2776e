package logging

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/issue"
	"github.com/ashlar-go/ashlar/examples/logging/rules"
	"github.com/ashlar-go/ashlar/examples/logging/store"
	"github.com/ashlar-go/ashlar/kvstore"
	"github.com/ashlar-go/ashlar/observer"
)

// alerting watches what is stored, and tells.
//
//	store ──Follow──► rules.Engine ──tick──► observer.Bus alert.SEVERITY.RULE ──► the page
//	              └─► issues                          │                      └──► outbox ──► webhooks, mail
//	                                                  └ receivers subscribe with a pattern
//
// Everything that must survive a restart is in the store's key-value store:
//
//	x/rule/NAME       text of a rule
//	x/alert/ID        an alert that fires or has resolved
//	x/silences        silences
//	x/told/N          what was told, the last few
//	x/issue/PRINT     a group of exceptions
//	x/receiver/ID     who is told
//	x/outbox/ID       what is still to be told
//	x/offset          entries below it were observed, and what they caused was told
type alerting struct {
	store    *store.Store
	kv       *kvstore.Store
	log      *slog.Logger
	engine   rules.Engine
	bus      observer.Bus[rules.Notification]
	outbox   *outbox
	observed atomic.Int64
	ticked   atomic.Int64 // of these, what they caused was told
	saved    saved

	mu     sync.Mutex
	told   []told // the last ones, newest first
	tells  uint64 // how many there were
	issues map[string]*Issue
	dirty  map[string]bool // issues that are not saved
}

// told is a notification and when it was made.
type told struct {
	At time.Time
	n  uint64 // its number
	rules.Notification
}

// An Issue is exceptions that are the same but for what varies.
type Issue struct {
	Fingerprint string
	Title       string
	Level       entry.Level
	Count       uint64
	First, Last time.Time
	Example     string
	Labels      string // of the latest
}

const (
	keepTold  = 50
	maxIssues = 500
	maxRules  = 100
)

// firstRules are there when the system starts for the first time.
var firstRules = [][2]string{
	{"Disk full", `any severity critical realert 5m where "disk full" or "no space left"`},
	{"New exception", `new issue in 24h where level>=error not status>=500`},
	{"Server errors", `count >= 20 in 1m per host severity critical where status>=500`},
	{"Errors increase", `spike 3 in 1m min 30 where level>=error`},
	{"Silent server", `flatline < 1 in 1m per host realert 30m where host=web-* or host=db-*`},
}

func newAlerting(st *store.Store, c *Config) (*alerting, error) {
	a := &alerting{store: st, kv: st.KV(), log: c.Env.Log, issues: map[string]*Issue{}, dirty: map[string]bool{}}
	if err := a.load(); err != nil {
		return nil, err
	}
	a.outbox = newOutbox(a.kv, c)
	if err := a.outbox.load(); err != nil {
		return nil, err
	}
	a.bus.Subscribe("alert.#", func(e observer.Event[rules.Notification]) { a.remember(e.Value) })
	a.outbox.subscribe(&a.bus)
	return a, nil
}

// load reads rules, alerts and issues.
func (a *alerting) load() error {
	known := false
	for e, err := range a.kv.Prefix([]byte("x/rule/")) {
		if err != nil {
			return err
		}
		known = true
		r, err := rules.Parse(string(e.Key[len("x/rule/"):]), string(e.Value))
		if err != nil {
			a.log.Error("a rule that was saved is not one", "rule", string(e.Key), "error", err)
			continue
		}
		a.engine.Set(r)
	}
	if seeded, err := a.kv.Has([]byte("x/seeded")); err != nil {
		return err
	} else if !known && !seeded {
		for _, r := range firstRules {
			if err := a.setRule(r[0], r[1]); err != nil {
				return err
			}
		}
		if err := a.kv.Put([]byte("x/seeded"), []byte("1"), nil); err != nil {
			return err
		}
	}
	if err := a.saved.load(a); err != nil {
		return err
	}
	for e, err := range a.kv.Prefix([]byte("x/issue/")) {
		if err != nil {
			return err
		}
		i := new(Issue)
		if json.Unmarshal(e.Value, i) == nil {
			a.issues[i.Fingerprint] = i
		}
	}
	return nil
}

// setRule adds a rule or replaces the one of that name, durably.
func (a *alerting) setRule(name, text string) error {
	r, err := rules.Parse(name, text)
	if err != nil {
		return err
	}
	all := a.engine.Rules()
	if len(all) >= maxRules && !slices.ContainsFunc(all, func(old *rules.Rule) bool { return old.Name == r.Name }) {
		return fmt.Errorf("%d rules are enough here", maxRules)
	}
	if err := a.kv.Put([]byte("x/rule/"+r.Name), []byte(r.Text), &kvstore.WriteOptions{Durability: kvstore.Synced}); err != nil {
		return err
	}
	a.engine.Set(r)
	return nil
}

func (a *alerting) removeRule(name string) error {
	if err := a.kv.Delete([]byte("x/rule/"+name), &kvstore.WriteOptions{Durability: kvstore.Synced}); err != nil {
		return err
	}
	a.engine.Remove(name)
	return nil
}

// replayed is how far back entries are observed again at a start.
const replayed = time.Hour

// run observes entries and tells until ctx ends.
func (a *alerting) run(ctx context.Context) {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	checkpoint := a.store.End()
	if data, ok, err := a.kv.Get([]byte("x/offset")); err == nil && ok && len(data) == 8 {
		checkpoint = min(int64(binary.BigEndian.Uint64(data)), checkpoint)
	}
	a.replay(ctx, checkpoint)
	a.observed.Store(checkpoint)
	a.ticked.Store(checkpoint)
	tasks.Go(func() { a.tick(ctx) })
	tasks.Go(func() { a.outbox.run(ctx) })
	for {
		err := a.store.Follow(ctx, a.observed.Load(), func(arrival store.Arrival) error {
			a.observe(arrival, true)
			a.observed.Store(arrival.Offset + 1)
			return nil
		})
		if ctx.Err() != nil {
			return
		}
		// What is damaged is passed over; this is a disk that does not answer.
		a.log.Error("rules wait for the log", "offset", a.observed.Load(), "error", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(followAgain):
		}
	}
}

// followAgain is how long the rules wait after the log could not be read.
const followAgain = 5 * time.Second

// behind returns how many packets the rules have not seen.
func (a *alerting) behind() int64 { return max(a.store.End()-a.observed.Load(), 0) }

// replay fills the windows of the rules with what came before a restart, of
// which everybody was told.
func (a *alerting) replay(ctx context.Context, checkpoint int64) {
	now := time.Now()
	from := a.store.OffsetAt(now.Add(-min(a.engine.Longest(), replayed)))
	if from >= checkpoint {
		return
	}
	err := a.store.Between(ctx, from, checkpoint, func(arrival store.Arrival) error {
		a.observe(arrival, false)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		a.log.Error("replay for the rules", "error", err)
	}
	a.engine.Forgive(now)
}

func (a *alerting) observe(arrival store.Arrival, count bool) {
	for i := range arrival.Packet.Entries {
		e := &arrival.Packet.Entries[i]
		a.engine.Observe(e, arrival.Arrived)
		if count && e.Level >= entry.Error && (strings.Contains(e.Line, "\n") || !isAccess(e)) {
			a.note(e)
		}
	}
}

func isAccess(e *entry.Entry) bool {
	return strings.Contains(e.Line, `] "`) && strings.Contains(e.Line, "HTTP/")
}

// note counts an exception.
func (a *alerting) note(e *entry.Entry) {
	print := issue.Fingerprint(e.Line)
	a.mu.Lock()
	defer a.mu.Unlock()
	i := a.issues[print]
	if i == nil {
		if len(a.issues) >= maxIssues {
			a.forgetIssue()
		}
		i = &Issue{Fingerprint: print, Title: strings.Clone(issue.Title(e.Line)), First: e.Time}
		a.issues[print] = i
	}
	i.Count++
	i.Level, i.Labels, i.Example = e.Level, e.Labels.String(), strings.Clone(entry.Cut(e.Line, 4<<10))
	if e.Time.After(i.Last) {
		i.Last = e.Time
	}
	a.dirty[print] = true
}

// forgetIssue forgets the one that was seen longest ago. It is called with mu
// held.
func (a *alerting) forgetIssue() {
	var oldest *Issue
	for _, i := range a.issues {
		if oldest == nil || i.Last.Before(oldest.Last) {
			oldest = i
		}
	}
	delete(a.issues, oldest.Fingerprint)
	a.dirty[oldest.Fingerprint] = true
}

// topIssues returns issues, the ones seen last first.
func (a *alerting) topIssues(n int) []Issue {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]Issue, 0, len(a.issues))
	for _, i := range a.issues {
		list = append(list, *i)
	}
	slices.SortFunc(list, func(x, y Issue) int { return cmp.Or(y.Last.Compare(x.Last), cmp.Compare(x.Fingerprint, y.Fingerprint)) })
	return list[:min(n, len(list))]
}

// tick takes a turn every second.
func (a *alerting) tick(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			a.turn(now, n%5 == 0)
		}
	}
}

// turn tells what there is to tell, and saves now and then, and when something
// was told: after a crash it would be told again.
func (a *alerting) turn(now time.Time, save bool) {
	offset := a.observed.Load() // before the tick, which tells of what was observed by then
	for _, note := range a.engine.Tick(now) {
		a.bus.Publish(topic(&note), note)
		save = true
	}
	a.ticked.Store(offset)
	if !save {
		return
	}
	if err := a.save(offset); err != nil {
		a.log.Error("save alerts", "error", err)
	}
}

// topic is what receivers of a notification can ask for.
func topic(n *rules.Notification) string {
	name := strings.Map(func(r rune) rune {
		if r == '.' || r == ' ' {
			return '-'
		}
		return r
	}, strings.ToLower(n.Rule))
	return "alert." + n.Severity + "." + name
}

func (a *alerting) remember(n rules.Notification) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.told = slices.Insert(a.told, 0, told{time.Now(), a.tells, n})
	a.tells++
	if len(a.told) > keepTold {
		a.told = a.told[:keepTold]
	}
}

func (a *alerting) recent() []told {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.told)
}

// firing returns how many alerts fire.
func (a *alerting) firing() (n int) {
	for _, alert := range a.engine.Alerts() {
		if alert.State == rules.Firing {
			n++
		}
	}
	return n
}

func (a *alerting) close() error { return a.save(a.observed.Load()) }
