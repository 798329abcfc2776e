package rules

import (
	"cmp"
	"slices"
	"time"
)

// Alerts returns the alerts there are: those that fire first, of each state the
// most severe ones, then the newest.
func (e *Engine) Alerts() []Alert {
	e.mu.Lock()
	defer e.mu.Unlock()
	var list []Alert
	for _, w := range e.sorted {
		for _, t := range w.keys {
			if t.alert.State != "" {
				a := t.alert
				a.Last, a.Untold = t.last, t.tell
				list = append(list, a)
			}
		}
	}
	order := []State{Firing, Pending, Resolved}
	slices.SortFunc(list, func(a, b Alert) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.State), slices.Index(order, b.State)), cmp.Compare(slices.Index(Severities, b.Severity), slices.Index(Severities, a.Severity)), b.Since.Compare(a.Since), cmp.Compare(a.ID(), b.ID()))
	})
	return list
}

// Acknowledge says that somebody looks after an alert: it is not told again
// before it has resolved and fires anew. It reports whether there is such an
// alert.
func (e *Engine) Acknowledge(rule, key string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := e.rules[rule]
	if w == nil || w.keys[key] == nil || w.keys[key].alert.State != Firing {
		return false
	}
	w.keys[key].alert.Acknowledged = true
	return true
}

// MaxSilences is how many silences there may be.
const MaxSilences = 100

// Silence adds a silence; one with the same rule and key makes way. It reports
// whether there was room.
func (e *Engine) Silence(s Silence) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.silences = slices.DeleteFunc(e.silences, func(old Silence) bool { return old.Rule == s.Rule && old.Key == s.Key })
	if len(e.silences) >= MaxSilences {
		return false
	}
	e.silences = append(e.silences, s)
	return true
}

// Unsilence ends the silence of that rule and key.
func (e *Engine) Unsilence(rule, key string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.silences = slices.DeleteFunc(e.silences, func(old Silence) bool { return old.Rule == rule && old.Key == key })
}

// Silences returns those that last, the ones that end first first.
func (e *Engine) Silences(now time.Time) []Silence {
	e.mu.Lock()
	defer e.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(e.silences), func(s Silence) bool { return !now.Before(s.Until) })
	slices.SortFunc(list, func(a, b Silence) int { return a.Until.Compare(b.Until) })
	return list
}

// Restore takes over what an engine knew before a restart, after Set: alerts
// as Alerts returned them, whose windows count from nothing. What was told is
// not told again, and what was not is told by the next Tick.
func (e *Engine) Restore(alerts []Alert, silences []Silence) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, a := range alerts {
		w := e.rules[a.Rule]
		if w == nil || a.State != Firing && a.State != Resolved {
			continue
		}
		t := e.tracked(w, a.Key)
		t.alert = a
		t.alert.Untold = false
		t.last = later(a.Since, a.Last)
		t.hits = a.Hits
		if w.Kind == New {
			t.seen = t.last
		}
		if a.State == Firing {
			t.holding = a.Since
			t.tell, t.owed = a.Untold, a.Untold
		}
	}
	e.silences = append(e.silences, silences...)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// Longest returns how far back the windows of the rules reach: what has to be
// observed again after a restart.
func (e *Engine) Longest() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	longest := time.Duration(0)
	for _, w := range e.sorted {
		n := w.Window
		if w.Kind == Spike {
			n *= 2
		}
		longest = max(longest, n)
	}
	return longest
}

// Forgive drops what the next Tick would tell, and takes it for told: it was
// told before a restart, after which the entries of the last window are
// observed again. What Restore knows to be untold stays so.
func (e *Engine) Forgive(now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.sorted {
		for _, t := range w.keys {
			if t.tell && !t.owed {
				t.tell = false
				t.alert.Notified = now
			}
		}
	}
}
