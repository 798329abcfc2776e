package cacheserver

import (
	"context"
	"embed"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/examples/internal/plot"
	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/examples/internal/web"
)

//go:embed index.html
var files embed.FS

var index = page.Must(info, nil, files, "index.html")

// A view is what the page shows.
type view struct {
	Policies  []choice
	Policy    string
	Stats     []page.Stat
	Ratio     template.HTML
	Rate      template.HTML
	Hot       []hotKey
	Removals  []removalRow
	Behind    []page.Stat
	Endpoints []system.Endpoint
	Command   string
	Reply     string
	Load      bool
	Store     bool
	Failing   bool
	Entries   string
}

type choice struct {
	Name, What string
	On         bool
}

type removalRow struct {
	Reason, What string
	Count        uint64
}

var policyWords = map[string]string{
	"tinylfu": "adapts to the traffic",
	"lru":     "forgets what was used longest ago",
	"lfu":     "forgets what was used least",
	"random":  "forgets by chance",
}

var reasonWords = []string{"made room for another", "its lifetime was over", "a client removed it", "a client stored another value", "everything was flushed", "too large for the cache"}

// pages serves the page and takes its forms.
func (s *System) pages() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /live", s.live)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { s.render(w, r, http.StatusOK, nil, "", "") })
	mux.HandleFunc("POST /run", s.postRun)
	mux.HandleFunc("POST /policy", s.postPolicy)
	mux.HandleFunc("POST /break", s.postBreak)
	mux.Handle("/lab/", s.lab)
	return mux
}

func (s *System) render(w http.ResponseWriter, r *http.Request, status int, notice *page.Notice, command, reply string) {
	v := s.view()
	v.Command, v.Reply = command, reply
	index.Render(w, r, status, page.View{
		Stream: "live", Data: v, Notice: notice,
		Titles: map[string]string{"do": "Talk to the cache", "watch": "What it is doing", "break": "Make it hard", "learn": "How it works"},
	})
}

func (s *System) view() view {
	k := s.server.keys
	policy := *k.policy.Load()
	v := view{Policy: policy, Endpoints: s.Endpoints(), Load: s.load != nil, Store: k.behind != nil, Failing: k.store != nil && k.store.failing.Load()}
	for _, name := range policies {
		v.Policies = append(v.Policies, choice{name, policyWords[name], name == policy})
	}
	m := s.config.Env.Metrics
	used, capacity := k.cache().Cost(), k.cache().Capacity()
	size, unit := page.Bytes(used), "of "+page.Bytes(capacity)
	if k.bytes == 0 {
		size, unit = page.Count(used), "of "+page.Count(capacity)+" entries"
	}
	v.Stats = []page.Stat{
		{Key: "ratio", Label: "Hit ratio, last 5 s", Value: page.Percent(s.recentRatio(5)), Unit: "%"},
		{Key: "rate", Label: "Commands", Value: page.Count(uint64(latest(m.Series("cacheserver_commands_total")))), Unit: "/s"},
		{Key: "p99", Label: "99 of 100 take under", Value: page.Duration(time.Duration(s.server.latency.Quantile(.99) * 1e9))},
		{Key: "used", Label: "Held", Value: size, Unit: unit},
		{Key: "entries", Label: "Entries", Value: page.Count(k.cache().Len())},
	}
	v.Ratio = plot.Line{
		Title: "Hit ratio", X: plot.Axis{Label: "seconds ago", Unit: "s", Min: -120, Max: 0}, Y: plot.Axis{Label: "hit ratio", Unit: "%", Min: 0, Max: 100},
		Series: []plot.Series{{Name: policy, Points: plot.Recent(s.ratios(), 1)}}, Height: 160,
	}.HTML()
	v.Rate = plot.Line{
		Title: "Commands a second", X: plot.Axis{Label: "seconds ago", Unit: "s", Min: -120, Max: 0}, Y: plot.Axis{Label: "commands", Unit: "/s"},
		Series: []plot.Series{{Name: "commands", Points: plot.Recent(m.Series("cacheserver_commands_total"), 1)}}, Height: 160,
	}.HTML()
	v.Hot = s.server.hot.top(8)
	for i := range v.Hot {
		v.Hot[i].Key = clipText(v.Hot[i].Key, 48)
	}
	for reason := range cache.Rejected + 1 {
		v.Removals = append(v.Removals, removalRow{reason.String(), reasonWords[reason], k.removals[reason].Load()})
	}
	if k.behind != nil {
		stats := k.behind.Stats()
		keys, size := k.store.usage()
		v.Behind = []page.Stat{
			{Key: "pending", Label: "In the log, not in the store", Value: page.Count(stats.Pending)},
			{Key: "writes", Label: "Writes acknowledged", Value: page.Count(stats.Writes)},
			{Key: "appends", Label: "Log appends they took", Value: page.Count(stats.Appends)},
			{Key: "reads", Label: "Store reads", Value: page.Count(stats.StoreReads)},
			{Key: "stored", Label: "Store", Value: page.Count(keys), Unit: "keys, " + page.Bytes(size)},
		}
	}
	return v
}

func clipText(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}

// sample is what the page's stream carries.
func (s *System) sample() page.Live {
	v := s.view()
	live := page.Live{Text: map[string]string{}, HTML: map[string]template.HTML{
		"ratio-plot": v.Ratio, "rate-plot": v.Rate,
		"hot": index.Fragment("hot", v.Hot), "removals": index.Fragment("removals", v.Removals), "policies": index.Fragment("policies", v.Policies),
	}}
	for _, stat := range append(v.Stats, v.Behind...) {
		live.Text[stat.Key] = stat.Value
	}
	return live
}

// ratios returns the hit ratio of each of the last seconds, in percent.
func (s *System) ratios() []float64 {
	m := s.config.Env.Metrics
	hits, misses := m.Series("cacheserver_hits_total"), m.Series("cacheserver_misses_total")
	n := min(len(hits), len(misses))
	hits, misses = hits[len(hits)-n:], misses[len(misses)-n:]
	ratios := make([]float64, n)
	last := 0.0
	for i := range ratios {
		if sum := hits[i] + misses[i]; sum > 0 {
			last = 100 * hits[i] / sum
		}
		ratios[i] = last
	}
	return ratios
}

// recentRatio is the share of hits in the last n seconds.
func (s *System) recentRatio(n int) float64 {
	m := s.config.Env.Metrics
	hits, misses := tail(m.Series("cacheserver_hits_total"), n), tail(m.Series("cacheserver_misses_total"), n)
	if hits+misses == 0 {
		return 0
	}
	return hits / (hits + misses)
}

func tail(values []float64, n int) (sum float64) {
	for _, v := range values[max(0, len(values)-n):] {
		sum += v
	}
	return sum
}

func latest(values []float64) float64 { return tail(values, 1) }

func split(addr string) (host, port string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr, ""
	}
	return host, port
}

// postRun runs a command line as a client would send it and shows the reply.
func (s *System) postRun(w http.ResponseWriter, r *http.Request) {
	line := strings.TrimSpace(r.FormValue("command"))
	if line == "" {
		s.render(w, r, http.StatusBadRequest, &page.Notice{Error: true, Text: "Type a command first, for example GET greeting."}, line, "")
		return
	}
	reply, err := s.server.RunLine(line, nil)
	if err != nil {
		s.render(w, r, http.StatusBadRequest, &page.Notice{Error: true, Text: err.Error()}, line, "")
		return
	}
	s.render(w, r, http.StatusOK, nil, line, reply)
}

func (s *System) postPolicy(w http.ResponseWriter, r *http.Request) {
	if err := s.server.keys.change(r.FormValue("policy"), 0, 0); err != nil {
		s.render(w, r, http.StatusBadRequest, &page.Notice{Error: true, Text: err.Error()}, "", "")
		return
	}
	web.Redirect(w, r, "")
}

// postBreak makes trouble.
func (s *System) postBreak(w http.ResponseWriter, r *http.Request) {
	k := s.server.keys
	switch what := r.FormValue("what"); {
	case what == "scan" && s.load != nil:
		s.load.startScan()
	case what == "scan":
		go s.scanAlone()
	case what == "fail" && k.store != nil:
		k.store.failing.Store(true)
	case what == "heal":
		k.heal()
	case what == "flush":
		ctx, cancel := context.WithTimeout(r.Context(), 5*time.Second)
		defer cancel()
		if err := k.clear(ctx); err != nil {
			s.render(w, r, http.StatusServiceUnavailable, &page.Notice{Error: true, Text: "Nothing was flushed: " + err.Error()}, "", "")
			return
		}
	default:
		s.render(w, r, http.StatusBadRequest, &page.Notice{Error: true, Text: "There is no such trouble to make here."}, "", "")
		return
	}
	web.Redirect(w, r, "")
}

// scanAlone floods the cache with keys that are used once, where there is no
// crowd to do it.
func (s *System) scanAlone() {
	for i := range scanKeys {
		if s.server.ctx.Err() != nil {
			return
		}
		key := fmt.Sprintf("archive:%d", i)
		s.server.keys.world.RLock()
		unlock := s.server.keys.lock([]byte(key))
		s.server.keys.put(s.server.ctx, key, value{data: filler[:300]})
		unlock()
		s.server.keys.world.RUnlock()
	}
}

// heal ends a failure of the store that the page began.
func (k *keyspace) heal() {
	if k.store != nil {
		k.store.failing.Store(false)
	}
}
