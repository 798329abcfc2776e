package launcher

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/metrics"
	"github.com/ashlar-go/ashlar/examples/internal/page"
	"github.com/ashlar-go/ashlar/examples/internal/system"
	"github.com/ashlar-go/ashlar/examples/internal/web"
)

// An instance is a system that is starting, running, or failed to start.
type instance struct {
	definition system.Definition
	env        system.Env
	ready      chan struct{} // closed when system or err is set
	system     system.System
	err        error
	release    func() // gives the data directory back; nil if the caller does
	tasks      sync.WaitGroup

	mu      sync.Mutex
	glances []float64 // the last metrics.Keep, oldest first
	glance  system.Glance
}

// start starts a system in the background; ready tells when that is over.
func start(ctx context.Context, d system.Definition, env system.Env) *instance {
	in := &instance{definition: d, env: env, ready: make(chan struct{})}
	in.env.Log = env.Log.With("system", d.Name)
	in.tasks.Go(func() {
		in.boot(ctx)
		close(in.ready)
		if in.err == nil {
			in.sample(ctx)
		}
	})
	return in
}

func (in *instance) boot(ctx context.Context) {
	defer func() {
		if v := recover(); v != nil {
			in.env.Log.Error("panic while starting", "panic", v, "stack", string(debug.Stack()))
			in.err = fmt.Errorf("panic while starting: %v", v)
		}
	}()
	began := time.Now()
	s, err := in.definition.New(ctx, in.env)
	if err != nil {
		in.err = err
		in.env.Log.Error("did not start", "error", err)
		return
	}
	in.system = s
	in.env.Log.Debug("started", "after", time.Since(began))
}

// sample remembers metrics and the glance until ctx ends.
func (in *instance) sample(ctx context.Context) {
	ticker := time.NewTicker(sampling)
	defer ticker.Stop()
	for {
		in.env.Metrics.Sample(time.Now())
		if g, ok := in.system.(system.Glancer); ok {
			in.look(g.Glance())
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (in *instance) look(g system.Glance) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.glance = g
	if len(in.glances) == metrics.Keep {
		in.glances = slices.Delete(in.glances, 0, 1)
	}
	in.glances = append(in.glances, g.Value)
}

// seen returns the latest glance and the ones before it, oldest first; no
// values means that there is none.
func (in *instance) seen() (system.Glance, []float64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.glance, slices.Clone(in.glances)
}

// close ends the system. The context of start must have ended.
func (in *instance) close() {
	in.tasks.Wait()
	if in.release != nil {
		defer in.release()
	}
	if in.system == nil {
		return
	}
	if err := in.system.Close(); err != nil {
		in.env.Log.Error("did not close cleanly", "error", err)
	}
}

// state is "starting", "running" or "failed".
func (in *instance) state() string {
	select {
	case <-in.ready:
	default:
		return "starting"
	}
	if in.err != nil {
		return "failed"
	}
	return "running"
}

func (in *instance) endpoints() []system.Endpoint {
	if in.state() != "running" {
		return nil
	}
	if e, ok := in.system.(system.Endpointer); ok {
		return e.Endpoints()
	}
	return nil
}

// patience is how long a request waits for a system that is starting.
const patience = 10 * time.Second

// handler serves the system and what the launcher adds to it under base.
func (in *instance) handler(base string, gallery bool) http.Handler {
	mux := http.NewServeMux()
	info := in.definition.Info
	mux.Handle("/_kit/", page.Assets(info))
	mux.HandleFunc("GET /healthz", in.health)
	mux.HandleFunc("GET /readme", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if in.definition.README == "" {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = io.WriteString(w, cmp.Or(in.definition.README, "This system has no README.\n"))
	})
	mux.Handle("GET /metrics", in.env.Metrics)
	panel := newPanel(info, in.env.Metrics)
	mux.HandleFunc("GET /metrics/{$}", panel.page)
	mux.Handle("GET /metrics/live", panel.stream)
	serve := sync.OnceValue(func() http.Handler { return in.system.Handler() })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-in.ready:
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
		switch in.state() {
		case "running":
			serve().ServeHTTP(w, r)
		case "failed":
			page.Error(w, r, info, http.StatusServiceUnavailable, fmt.Sprintf("It did not start: %v. Its log has the details.", in.err))
		default:
			w.Header().Set("Retry-After", "2")
			w.Header().Set("Refresh", "2")
			page.Error(w, r, info, http.StatusServiceUnavailable, "It is still starting. This page tries again by itself.")
		}
	})
	return web.Mount(base, gallery, mux)
}

// health answers 200 and "ok", or 503 and the reason.
func (in *instance) health(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	problem := ""
	switch state := in.state(); state {
	case "running":
		if c, ok := in.system.(system.Checker); ok {
			if err := c.Check(r.Context()); err != nil {
				problem = err.Error()
			}
		}
	case "failed":
		problem = "did not start: " + in.err.Error()
	default:
		problem = state
	}
	if problem != "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, problem)
		return
	}
	fmt.Fprintln(w, "ok")
}
