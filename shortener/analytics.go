package shortener

import (
	"cmp"
	"container/list"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/hitcounter"
)

// An Analytics counts visits in memory that is bounded: of so many links at
// most, and of each the last hours, the most frequent referrers and countries,
// and different visitors by an estimate. Create one with NewAnalytics.
//
//	link ──► total by class
//	         hours: a ring of counts of people, by the number of the hour
//	         referrers, countries: the k most frequent, and the rest
//	         visitors: a sketch of 1 KB
//
// The link that was not visited for the longest time makes room for a new one.
//
// An Analytics is safe for concurrent use by multiple goroutines.
type Analytics struct {
	shards [16]analyticsShard
}

type analyticsShard struct {
	mu       sync.Mutex
	capacity int
	links    map[string]*list.Element
	recent   list.List // of *linkStats, the last visited first
}

const (
	statHours     = 7 * 24
	topReferrers  = 32
	topCountries  = 64
	visitorsError = 10 // precision of the sketch: 3.3 % standard error
)

// NewAnalytics returns counters for about so many links; each takes about 5 KB
// when it has visitors from everywhere. It panics if links is not positive.
func NewAnalytics(links int) *Analytics {
	if links <= 0 {
		panic("shortener: analytics for no links")
	}
	a := &Analytics{}
	for i := range a.shards {
		a.shards[i].capacity = max(1, links/len(a.shards))
		a.shards[i].links = map[string]*list.Element{}
	}
	return a
}

// Stats are what is known of the visits of a link.
type Stats struct {
	Humans, Bots, Previews int64

	// Visitors is how many different people there were, about.
	Visitors int64

	// Hours are the visits of people in the last week, an hour each, the
	// current one last.
	Hours [statHours]int64

	Devices   [4]int64 // of people, by Device
	Referrers []Count  // of people, the most frequent first; "" is direct
	Countries []Count  // of people, the most frequent first; "" is unknown
}

// A Count is how often there was a name. Where names had to make room, it may
// be too high by Error at most, and names that are missing had fewer than the
// last one.
type Count struct {
	Name  string
	Count int64
	Error int64
}

type linkStats struct {
	code      string
	classes   [3]int64
	devices   [4]int64
	hours     [statHours]int64
	hour      int64 // number of the latest hour counted
	referrers topNames
	countries topNames
	visitors  *hitcounter.Sketch
}

func (a *Analytics) shard(code string) *analyticsShard {
	return &a.shards[maphash.String(seed, code)%uint64(len(a.shards))]
}

// Record counts a visit of a link at a time.
func (a *Analytics) Record(code string, t time.Time, class Class, visit Visit) {
	var host, country string
	device := OtherDevice
	if class == Human {
		host, device = referringHost(visit.Referrer), visit.Device()
		if len(visit.Country) == 2 {
			country = strings.ToUpper(visit.Country)
		}
	}
	s := a.shard(code)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.link(code)
	l.classes[class]++
	if class != Human {
		return
	}
	l.countHour(hourOf(t))
	l.devices[device]++
	l.referrers.add(host, topReferrers)
	l.countries.add(country, topCountries)
	if visit.Visitor != "" {
		if l.visitors == nil {
			l.visitors = hitcounter.NewSketch(visitorsError)
		}
		l.visitors.Add(visit.Visitor)
	}
}

// link returns the counters of a link, and makes room for them.
func (s *analyticsShard) link(code string) *linkStats {
	if e := s.links[code]; e != nil {
		s.recent.MoveToFront(e)
		return e.Value.(*linkStats)
	}
	if s.recent.Len() >= s.capacity {
		oldest := s.recent.Back()
		delete(s.links, oldest.Value.(*linkStats).code)
		s.recent.Remove(oldest)
	}
	l := &linkStats{code: strings.Clone(code)}
	s.links[l.code] = s.recent.PushFront(l)
	return l
}

// hourOf returns the number of an hour since 1970.
func hourOf(t time.Time) int64 {
	seconds := t.Unix()
	hour := seconds / 3600
	if seconds < hour*3600 {
		hour--
	}
	return hour
}

func (l *linkStats) countHour(hour int64) {
	if hour > l.hour {
		l.forget(hour)
		l.hour = hour
	}
	if hour > l.hour-statHours {
		l.hours[place(hour)]++
	}
}

func place(hour int64) int64 { return ((hour % statHours) + statHours) % statHours }

// forget clears the hours that are not in the last week any more at an hour.
func (l *linkStats) forget(hour int64) {
	if hour-l.hour >= statHours {
		l.hours = [statHours]int64{}
		return
	}
	for h := l.hour + 1; h <= hour; h++ {
		l.hours[place(h)] = 0
	}
}

// Stats returns what is known of the visits of a link, with the hours up to a
// time.
func (a *Analytics) Stats(code string, t time.Time) (stats Stats) {
	s := a.shard(code)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.links[code]
	if e == nil {
		return stats
	}
	l := e.Value.(*linkStats)
	stats.Humans, stats.Bots, stats.Previews = l.classes[Human], l.classes[Bot], l.classes[Preview]
	stats.Devices = l.devices
	if l.visitors != nil {
		stats.Visitors = l.visitors.Count()
	}
	now := hourOf(t)
	for i := range stats.Hours {
		hour := now - statHours + 1 + int64(i)
		if hour <= l.hour && hour > l.hour-statHours {
			stats.Hours[i] = l.hours[place(hour)]
		}
	}
	stats.Referrers, stats.Countries = l.referrers.counts(), l.countries.counts()
	return stats
}

// Forget drops what is known of a link.
func (a *Analytics) Forget(code string) {
	s := a.shard(code)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.links[code]; e != nil {
		delete(s.links, code)
		s.recent.Remove(e)
	}
}

// topNames are the most frequent names: those that took the place of another
// begin with its count, which is their error (Metwally, Agrawal, El Abbadi:
// space-saving, 2005).
type topNames struct{ names []Count }

func (t *topNames) add(name string, room int) {
	least := 0
	for i := range t.names {
		if t.names[i].Name == name {
			t.names[i].Count++
			return
		}
		if t.names[i].Count < t.names[least].Count {
			least = i
		}
	}
	if len(t.names) < room {
		t.names = append(t.names, Count{Name: strings.Clone(name), Count: 1})
		return
	}
	n := t.names[least].Count
	t.names[least] = Count{strings.Clone(name), n + 1, n}
}

func (t *topNames) counts() []Count {
	names := slices.Clone(t.names)
	slices.SortFunc(names, func(a, b Count) int { return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Name, b.Name)) })
	return names
}
