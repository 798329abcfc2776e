package rules

import (
	"cmp"
	"container/list"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/query"
)

// MaxKeys is how many keys of a rule are held.
const MaxKeys = 1000

const (
	maxExample = 4 << 10 // bytes of the line that an alert shows
	maxPart    = 200     // bytes of a value in a key
)

// A State is where an alert is.
type State string

// The states of alerts.
const (
	Pending  State = "pending" // the condition holds, but not yet for long enough
	Firing   State = "firing"
	Resolved State = "resolved" // it held, and does not any more
)

// An Alert is a rule whose condition holds for a key, or did.
type Alert struct {
	Rule         string
	Key          string // host=web-1, app=nginx; empty for a rule without per
	Severity     string
	State        State
	Summary      string    // what holds, for people
	Since        time.Time // the state
	Last         time.Time // of the entries that it is about; of new, of the value
	Hits         uint64    // entries since it fired, those of the window that made it fire included
	Notified     time.Time // when it was told last; zero if it was not
	Suppressed   uint64    // times that it was not told, being silenced, acknowledged or told a short time before
	Acknowledged bool      // somebody looks after it: it is not told again before it has resolved
	Untold       bool      `json:",omitzero"` // it has fired since the last Tick, and the next one tells
	Example      entry.Entry
}

// ID names an alert: its rule and key.
func (a *Alert) ID() string { return a.Rule + "\x00" + a.Key }

// A Notification tells of the alerts of one rule that fired, or still do, or
// resolved.
type Notification struct {
	Rule     string
	Severity string
	State    State // Firing or Resolved
	Repeated bool  // they fired before and still do
	Alerts   []Alert
	More     int // alerts that are not listed
}

// MaxListed is how many alerts a notification lists.
const MaxListed = 20

// A Silence keeps alerts from being told for some time.
type Silence struct {
	Rule  string // a rule, or * for all
	Key   string // a part of the key; empty for all keys
	Until time.Time
	Why   string
}

func (s *Silence) covers(a *Alert, now time.Time) bool {
	return now.Before(s.Until) && (s.Rule == "*" || s.Rule == a.Rule) && strings.Contains(a.Key, s.Key)
}

// An Engine watches entries. The zero Engine has no rules and is ready for
// use. An Engine is safe for concurrent use by multiple goroutines.
type Engine struct {
	mu       sync.Mutex
	rules    map[string]*watched
	sorted   []*watched // by name
	silences []Silence
	stats    Stats
}

// Stats are counts of an Engine.
type Stats struct {
	Rules     int
	Keys      int    // held for all rules
	Seen      uint64 // entries
	Matched   uint64 // entries, once for each rule
	Forgotten uint64 // keys that made room for others
}

// watched is a rule with what it has counted.
type watched struct {
	*Rule
	keys  map[string]*tracked
	order list.List // of the same, as *tracked, the one that was hit last at the back
	since time.Time // of the first tick
}

// watched returns for how long there were ticks: a flatline needs a window to
// be one, and a spike another to compare with.
func (w *watched) watched(now time.Time) time.Duration {
	if w.since.IsZero() {
		return 0
	}
	return now.Sub(w.since)
}

// tracked is a key of a rule.
type tracked struct {
	key     string
	at      *list.Element // in the order of the rule
	window  window
	alert   Alert // State is empty as long as nothing holds
	last    time.Time
	holding time.Time // since when the condition has held
	hits    uint64    // since it began to hold
	tell    bool      // the next tick tells that it fired
	owed    bool      // so it was before a restart already
	resolve bool      // the next tick tells that it resolved
	seen    time.Time // of a new value: when it was seen last
}

// Set adds a rule, or replaces the one of that name.
func (e *Engine) Set(r *Rule) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if old := e.rules[r.Name]; old != nil && old.Text == r.Text {
		return
	}
	if e.rules == nil {
		e.rules = map[string]*watched{}
	}
	e.rules[r.Name] = &watched{Rule: r, keys: map[string]*tracked{}}
	e.sort()
}

// Remove removes a rule and its alerts.
func (e *Engine) Remove(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.rules, name)
	e.sort()
}

func (e *Engine) sort() {
	e.sorted = slices.SortedFunc(maps.Values(e.rules), func(a, b *watched) int { return cmp.Compare(a.Name, b.Name) })
}

// Rules returns the rules by name.
func (e *Engine) Rules() []*Rule {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]*Rule, len(e.sorted))
	for i, w := range e.sorted {
		list[i] = w.Rule
	}
	return list
}

// Stats returns what happened so far.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.stats
	s.Rules = len(e.rules)
	for _, w := range e.sorted {
		s.Keys += len(w.keys)
	}
	return s
}

// Observe looks at an entry that arrived at a time. What fires is told by the
// next Tick.
func (e *Engine) Observe(x *entry.Entry, arrived time.Time) {
	at := x.Time
	if at.After(arrived) || at.IsZero() { // a clock that is ahead must not age what others say
		at = arrived
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stats.Seen++
	for _, w := range e.sorted {
		if w.Query.Match(x) {
			e.stats.Matched++
			e.hit(w, x, at)
		}
	}
}

func (e *Engine) hit(w *watched, x *entry.Entry, at time.Time) {
	value := ""
	if w.Field != "" {
		v, ok := query.Lookup(x, w.Field)
		if !ok {
			return
		}
		value = v
	}
	key := w.key(x)
	if w.Kind == New {
		if key != "" {
			key += ", "
		}
		key += w.Field + "=" + part(value)
	}
	t := e.tracked(w, key)
	if at.After(t.last) {
		t.last = at
	}
	if w.Kind == New {
		fresh := t.seen.IsZero() || at.Sub(t.seen) > w.Window
		if at.After(t.seen) {
			t.seen = at
		}
		if fresh {
			t.hits = 0
		}
		t.hits++
		if fresh && t.alert.State != Firing {
			t.fire(w.Rule, 1, x, at)
		}
		t.alert.Hits = t.hits
		return
	}
	t.window.hit(at, value)
	t.hits++
	t.alert.Hits = t.hits
	n, ok := t.window.holds(w.Rule, at)
	if w.Kind == Spike && w.watched(at) < 2*w.Window {
		ok = false
	}
	if ok && w.Kind != Flatline {
		t.held(w.Rule, n, x, at)
	} else if !ok && t.holding.IsZero() {
		t.hits = uint64(n)
	}
}

// key is the values of the rule's per.
func (w *watched) key(x *entry.Entry) string {
	if len(w.Per) == 0 {
		return ""
	}
	var b strings.Builder
	for i, name := range w.Per {
		if i > 0 {
			b.WriteString(", ")
		}
		value, ok := query.Lookup(x, name)
		if !ok {
			value = "-"
		}
		b.WriteString(name + "=" + part(value))
	}
	return b.String()
}

// part returns a value as a key has it. Of a long one the end is a hash, so that
// different values have different keys.
func part(value string) string {
	if len(value) <= maxPart {
		return value
	}
	return entry.Cut(value, maxPart-20) + fmt.Sprintf("…%016x", xxhash.Sum64String(value))
}

// tracked returns a key of a rule, for which another may have to go.
func (e *Engine) tracked(w *watched, key string) *tracked {
	t := w.keys[key]
	if t != nil {
		w.order.MoveToBack(t.at)
		return t
	}
	if len(w.keys) >= MaxKeys {
		w.forget(w.oldest())
		e.stats.Forgotten++
	}
	t = &tracked{key: key, window: newWindow(w.Rule), alert: Alert{Rule: w.Name, Key: key, Severity: w.Severity}}
	t.at = w.order.PushBack(t)
	w.keys[key] = t
	return t
}

// oldest returns the key that has to make room: the one that was not hit for
// the longest time and does not fire. If all of the first few fire, the first one
// goes: what is left says enough, and a flood of keys must not cost a look at
// all of them for each.
func (w *watched) oldest() *tracked {
	at := w.order.Front()
	for range 32 {
		if t := at.Value.(*tracked); t.alert.State != Firing {
			return t
		}
		at = at.Next()
	}
	return w.order.Front().Value.(*tracked)
}

func (w *watched) forget(t *tracked) {
	w.order.Remove(t.at)
	delete(w.keys, t.key)
}

// held notes that the condition holds at a time, and fires if it has for long
// enough.
func (t *tracked) held(r *Rule, n float64, x *entry.Entry, at time.Time) {
	if t.holding.IsZero() {
		t.holding = at
	}
	switch {
	case t.alert.State == Firing:
		t.alert.Summary = r.holds(n)
		t.resolve = false
	case at.Sub(t.holding) >= r.For:
		t.fire(r, n, x, at)
	case t.alert.State != Pending:
		t.alert.State, t.alert.Since = Pending, at
		t.example(x)
		t.alert.Summary = r.holds(n)
	}
}

func (t *tracked) fire(r *Rule, n float64, x *entry.Entry, at time.Time) {
	t.alert.State, t.alert.Since, t.alert.Summary = Firing, at, r.holds(n)
	t.alert.Hits, t.alert.Acknowledged = t.hits, false
	t.example(x)
	t.tell, t.resolve = true, false
}

func (t *tracked) example(x *entry.Entry) {
	if x != nil {
		// Nothing of the packet that it came in is held on to.
		t.alert.Example = entry.Entry{Time: x.Time, Labels: x.Labels.Clone(), Level: x.Level, Line: strings.Clone(entry.Cut(x.Line, maxExample))}
	}
}

// Tick brings all rules up to now, and returns what there is to tell.
func (e *Engine) Tick(now time.Time) []Notification {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.silences = slices.DeleteFunc(e.silences, func(s Silence) bool { return !now.Before(s.Until) })
	var list []Notification
	for _, w := range e.sorted {
		if w.since.IsZero() {
			w.since = now
		}
		if w.Kind == Flatline && len(w.Per) == 0 {
			e.tracked(w, "") // silence is what it waits for
		}
		list = append(list, e.tick(w, now)...)
	}
	return list
}

func (e *Engine) tick(w *watched, now time.Time) []Notification {
	fired := Notification{Rule: w.Name, Severity: w.Severity, State: Firing}
	again := Notification{Rule: w.Name, Severity: w.Severity, State: Firing, Repeated: true}
	resolved := Notification{Rule: w.Name, Severity: w.Severity, State: Resolved}
	for _, key := range slices.Sorted(maps.Keys(w.keys)) {
		t := w.keys[key]
		a := &t.alert
		told := t.tell // an alert is told even if its window is over by now
		if t.tell {
			t.tell, t.owed = false, false
			e.notify(&fired, t, w.Rule, now)
		}
		t.advance(w, now)
		switch {
		case t.tell: // the tick itself made it fire
			t.tell = false
			e.notify(&fired, t, w.Rule, now)
		case t.resolve:
			t.resolve = false
			known := told || !a.Notified.IsZero() && !a.Notified.Before(a.Since)
			a.Since = now
			if known && !e.silenced(a, now) {
				resolved.add(*a)
			}
		case a.State == Firing && w.Kind != New && !told && w.Realert > 0 && now.Sub(a.Notified) >= w.Realert:
			e.notify(&again, t, w.Rule, now)
		}
		if a.State != Firing && a.State != Pending && w.idle(t, now) {
			w.forget(t)
		}
	}
	var list []Notification
	for _, n := range []Notification{fired, again, resolved} {
		if len(n.Alerts) > 0 {
			list = append(list, n)
		}
	}
	return list
}

// advance brings a key up to now.
func (t *tracked) advance(w *watched, now time.Time) {
	if w.Kind == New {
		// Newness is over at once; the alert stays to be seen for a while.
		if t.alert.State == Firing && now.Sub(t.alert.Since) >= max(w.Realert, time.Minute) {
			t.alert.State = Resolved
		}
		return
	}
	n, ok := t.window.holds(w.Rule, now)
	if w.Kind == Flatline && w.watched(now) < w.Window || w.Kind == Spike && w.watched(now) < 2*w.Window {
		ok = ok && t.alert.State == Firing // since before a restart
	}
	switch {
	case ok:
		t.held(w.Rule, n, nil, now)
	case t.alert.State == Firing:
		t.alert.State, t.resolve = Resolved, true
		t.holding = time.Time{}
	default:
		if t.alert.State == Pending {
			t.alert.State = ""
		}
		t.holding = time.Time{}
	}
}

// idle reports whether a key can be forgotten.
func (w *watched) idle(t *tracked, now time.Time) bool {
	if w.Kind == Flatline {
		return now.Sub(t.last) > 60*w.Window && !t.last.IsZero() // a source that is gone for good
	}
	keep := max(2*w.Window, w.Realert)
	return now.Sub(t.last) > keep && now.Sub(t.alert.Since) > keep
}

// notify adds an alert to a notification, unless it is not to be told.
func (e *Engine) notify(n *Notification, t *tracked, r *Rule, now time.Time) {
	a := &t.alert
	if a.Acknowledged || !a.Notified.IsZero() && now.Sub(a.Notified) < r.Realert || e.silenced(a, now) {
		a.Suppressed++
		return
	}
	a.Notified = now
	n.add(*a)
}

func (e *Engine) silenced(a *Alert, now time.Time) bool {
	return slices.ContainsFunc(e.silences, func(s Silence) bool { return s.covers(a, now) })
}

func (n *Notification) add(a Alert) {
	if len(n.Alerts) >= MaxListed {
		n.More++
		return
	}
	n.Alerts = append(n.Alerts, a)
}
