package logging

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/logging/rules"
	"github.com/ashlar-go/ashlar/kvstore"
)

// saved is what the key-value store has of alerts. A save writes, in one batch,
// only what differs from it: nothing if nothing has changed, and after a crash
// the store has the state before the save or the one behind it.
type saved struct {
	mu       sync.Mutex
	alerts   map[string]mark // by the key in the store
	silences []rules.Silence
	first    uint64 // number of the oldest notification
	tells    uint64 // behind the newest
	offset   int64
}

// A mark tells whether an alert has changed: all of it but the example, which
// comes with Since.
type mark struct {
	severity, summary     string
	state                 rules.State
	since, last, notified time.Time
	hits, suppressed      uint64
	acknowledged, untold  bool
}

func markOf(a *rules.Alert) mark {
	// Without what a time has only in memory, so that one that was read is equal.
	stored := func(t time.Time) time.Time { return t.Round(0).UTC() }
	return mark{a.Severity, a.Summary, a.State, stored(a.Since), stored(a.Last), stored(a.Notified), a.Hits, a.Suppressed, a.Acknowledged, a.Untold}
}

const (
	alertPrefix = "x/alert/"
	toldPrefix  = "x/told/"
)

func toldKey(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte(toldPrefix), n) }

// load reads what was saved into an alerting. It is called before all else.
func (s *saved) load(a *alerting) error {
	s.alerts, s.offset = map[string]mark{}, -1
	var list []rules.Alert
	for e, err := range a.kv.Prefix([]byte(alertPrefix)) {
		if err != nil {
			return err
		}
		var alert rules.Alert
		if err := json.Unmarshal(e.Value, &alert); err != nil {
			a.log.Error("an alert that was saved is not one", "key", string(e.Key), "error", err)
			s.alerts[string(e.Key)] = mark{} // the next save removes it
			continue
		}
		s.alerts[string(e.Key)] = markOf(&alert)
		list = append(list, alert)
	}
	if data, ok, err := a.kv.Get([]byte("x/silences")); err != nil {
		return err
	} else if ok {
		if err := json.Unmarshal(data, &s.silences); err != nil {
			a.log.Error("the silences that were saved are none", "error", err)
		}
	}
	a.engine.Restore(list, s.silences)
	for e, err := range a.kv.Prefix([]byte(toldPrefix)) {
		if err != nil {
			return err
		}
		if len(e.Key) != len(toldPrefix)+8 {
			continue
		}
		t := told{n: binary.BigEndian.Uint64(e.Key[len(toldPrefix):])}
		if len(a.told) == 0 {
			s.first = t.n
		}
		s.tells = t.n + 1
		if json.Unmarshal(e.Value, &t) == nil {
			a.told = slices.Insert(a.told, 0, t)
		}
	}
	a.tells = s.tells
	return nil
}

// save makes alerts and issues durable, and that what the entries below an
// offset have caused was told.
func (a *alerting) save(offset int64) error {
	s := &a.saved
	s.mu.Lock()
	defer s.mu.Unlock()
	var batch kvstore.Batch
	next := saved{alerts: map[string]mark{}, silences: a.engine.Silences(time.Now()), offset: offset}
	for _, alert := range a.engine.Alerts() {
		if alert.State == rules.Pending { // a restart counts anew
			continue
		}
		key := alertPrefix + alert.ID()
		now := markOf(&alert)
		next.alerts[key] = now
		if s.alerts[key] == now {
			continue
		}
		if err := put(&batch, []byte(key), &alert); err != nil {
			return err
		}
	}
	for key := range s.alerts {
		if _, ok := next.alerts[key]; !ok {
			batch.Delete([]byte(key))
		}
	}
	if !slices.EqualFunc(next.silences, s.silences, sameSilence) {
		if err := put(&batch, []byte("x/silences"), next.silences); err != nil {
			return err
		}
	}
	if offset != s.offset {
		batch.Put([]byte("x/offset"), binary.BigEndian.AppendUint64(nil, uint64(offset)))
	}
	issues, err := a.batchRest(&batch, &next)
	if err == nil && batch.Len() > 0 {
		err = a.kv.Apply(&batch, nil)
	}
	if err != nil {
		a.mu.Lock()
		for print := range issues {
			a.dirty[print] = true
		}
		a.mu.Unlock()
		return fmt.Errorf("alerts: %w", err)
	}
	s.alerts, s.silences, s.first, s.tells, s.offset = next.alerts, next.silences, next.first, next.tells, next.offset
	return nil
}

// batchRest puts what was told and the issues that have changed into a batch,
// and returns the latter.
func (a *alerting) batchRest(batch *kvstore.Batch, next *saved) (issues map[string]bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	next.tells, next.first = a.tells, a.tells-uint64(len(a.told))
	for n := a.saved.first; n < min(next.first, a.saved.tells); n++ {
		batch.Delete(toldKey(n))
	}
	for i := range a.told {
		if t := &a.told[i]; t.n >= a.saved.tells {
			if err := put(batch, toldKey(t.n), t); err != nil {
				return nil, err
			}
		}
	}
	issues, a.dirty = a.dirty, map[string]bool{}
	for print := range issues {
		key := []byte("x/issue/" + print)
		if i := a.issues[print]; i == nil {
			batch.Delete(key)
		} else if err := put(batch, key, i); err != nil {
			return issues, err
		}
	}
	return issues, nil
}

func sameSilence(a, b rules.Silence) bool {
	return a.Rule == b.Rule && a.Key == b.Key && a.Why == b.Why && a.Until.Equal(b.Until)
}

// put puts a value into a batch, as JSON.
func put(batch *kvstore.Batch, key []byte, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	batch.Put(key, data)
	return nil
}
