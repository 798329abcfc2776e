package group

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// explore visits every state that can be reached, breadth first, and returns
// how many there are, or the shortest way to one that breaks an invariant or
// from which nothing leads to a stable group of those who live.
func explore(start *world, mutant mutation, limit int) (states int, err error) {
	type node struct {
		w    *world
		from int
		move string
	}
	nodes := []node{{w: start, from: -1}}
	seen := map[string]bool{start.key(): true}
	settles := map[string]bool{}
	way := func(i int) string {
		var steps []string
		for ; nodes[i].from >= 0; i = nodes[i].from {
			steps = append(steps, nodes[i].move)
		}
		slices.Reverse(steps)
		return strings.Join(steps, "; ")
	}
	for i := 0; i < len(nodes); i++ {
		w := nodes[i].w
		if err := w.settle(mutant, settles); err != nil {
			return len(nodes), fmt.Errorf("%w, after: %s", err, way(i))
		}
		for _, m := range w.moves() {
			next := w.clone()
			if m.fault {
				next.faults--
			}
			m.do(next, mutant)
			if next.broken != nil {
				return len(nodes), fmt.Errorf("%w, after: %s; %s", next.broken, way(i), m.name)
			}
			if key := next.key(); !seen[key] {
				seen[key] = true
				nodes = append(nodes, node{next, i, m.name})
			}
		}
		nodes[i].w = nil
		if len(nodes) > limit {
			return len(nodes), fmt.Errorf("more than %d states", limit)
		}
	}
	return len(nodes), nil
}

// settle lets a state go on without faults, with timers only when nothing else
// happens, and returns an error if it does not come to a stable group of exactly
// the clients that live, with something assigned to each.
func (w *world) settle(mutant mutation, settles map[string]bool) error {
	w = w.clone()
	var way []string
	for range 200 {
		key := w.key()
		if settles[key] || w.settled() {
			for _, key := range append(way, key) {
				settles[key] = true
			}
			return nil
		}
		way = append(way, key)
		if !w.proceed(mutant) {
			return fmt.Errorf("stuck in %v, with clients %+v", w.g.state, w.clients)
		}
		if w.broken != nil {
			return w.broken
		}
	}
	return fmt.Errorf("no end of it in %v, with clients %+v", w.g.state, w.clients)
}

func (w *world) settled() bool {
	live := 0
	for _, c := range w.clients {
		switch {
		case c.phase == gone:
			continue
		case c.phase != reading || c.generation != w.g.generation || w.g.members[c.id] == nil || c.assignment == "":
			return false
		}
		live++
	}
	if live == 0 {
		return w.g.state == Empty && len(w.g.pending) == 0
	}
	return w.g.state == Stable && w.g.Len() == live
}

// proceed does the next thing of a run without faults.
func (w *world) proceed(mutant mutation) bool {
	for i := range w.clients {
		switch c := &w.clients[i]; {
		case c.phase == gone:
			continue
		case c.inbox != nil:
			c.deliver(w)
			return true
		case c.phase == idle:
			c.join(w, mutant)
			return true
		case c.phase == joined:
			c.sync(w, mutant)
			return true
		case c.phase == reading:
			if c.heartbeat(w); c.phase != reading {
				return true
			}
		}
	}
	for _, t := range w.timers() {
		if !t.fault {
			w.fire(t, mutant)
			return true
		}
	}
	return false
}

var noDelay = &Options{InitialDelay: -1}

// TestEveryHistoryOfASmallGroup takes ASHLAR_LONG=1 for one fault more each.
func TestEveryHistoryOfASmallGroup(t *testing.T) {
	more := 0
	if os.Getenv("ASHLAR_LONG") != "" {
		more = 1
	}
	for _, c := range []struct {
		name            string
		clients, faults int
		static          bool
		opts            *Options
	}{
		{"1 client", 1, 2, false, noDelay},
		{"2 clients", 2, 1, false, noDelay},
		{"2 clients, one of them static", 2, 1, true, noDelay},
		{"2 clients and an initial delay", 2, 1, false, &Options{InitialDelay: 25 * time.Second}},
		{"3 clients", 3, 0, false, noDelay},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			states, err := explore(newWorld(c.clients, c.faults+more, c.static, c.opts), nil, 10_000_000)
			require.NoError(t, err)
			t.Log(states, "states")
		})
	}
}

// TestBrokenGroupsAreFound seeds bugs: each must break an invariant, or leave a
// group stuck, in some history.
func TestBrokenGroupsAreFound(t *testing.T) {
	for name, c := range map[string]struct {
		static bool
		mutant mutation
		finds  string
	}{
		"an answer is forgotten": {false, func(_, _ *Group, out *Output) {
			if len(out.Replies) > 1 {
				out.Replies = out.Replies[1:]
			}
		}, "requests .* wait"},
		"an answer is sent twice": {false, func(_, _ *Group, out *Output) {
			if len(out.Replies) > 1 {
				out.Replies = append(out.Replies, out.Replies[0])
			}
		}, "does not wait"},
		"the generation stays": {false, func(before, after *Group, out *Output) {
			if before.generation > 0 && after.generation > before.generation {
				after.generation = before.generation
				for i := range out.Replies {
					if r := &out.Replies[i]; r.Join != nil && r.Err == nil {
						r.Join.Generation = before.generation
					}
				}
			}
		}, "can commit|owners|and then|stuck|no end"},
		"the generation goes back": {false, func(before, after *Group, _ *Output) {
			if before.state == PreparingRebalance && after.state == Empty {
				after.generation = 0
			}
		}, "went back"},
		"nothing ends the joining": {false, func(_, after *Group, _ *Output) {
			after.joinUntil = time.Time{}
		}, "end of joining"},
		"the joining never ends": {false, func(before, after *Group, out *Output) {
			if before.state == PreparingRebalance && after.state == CompletingRebalance && before.generation > 0 {
				*after, *out = *before.clone(), Output{}
			}
		}, "stuck|no end|wait"},
		"a member is never expired": {false, func(_, after *Group, _ *Output) {
			for _, m := range after.order {
				m.joining = m.joining || m.synced && after.state == PreparingRebalance
			}
		}, "requests .* wait"},
		"two own a partition": {false, func(before, after *Group, out *Output) {
			for _, r := range out.Replies {
				if r.Sync != nil && r.Err == nil && after.Len() > 1 {
					r.Sync.Assignment = []byte("0")
				}
			}
		}, "owners|not saved|and then"},
		"an assignment is not saved": {false, func(_, _ *Group, out *Output) {
			out.Save = false
		}, "saved"},
		"who was replaced stays": {true, func(before, after *Group, _ *Output) {
			for id, m := range before.members {
				if m.instance != "" && after.members[id] == nil && after.static[m.instance] != "" {
					after.members[id] = after.members[after.static[m.instance]]
				}
			}
		}, "in order"},
		"a lost leader is kept": {false, func(before, after *Group, _ *Output) {
			if after.leader == "" && len(after.order) > 0 && before.leader != "" {
				after.leader = before.leader
				after.become(CompletingRebalance, epoch)
			}
		}, "no leader|end of joining|joining|waits"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := explore(newWorld(2, 1, c.static, noDelay), c.mutant, 1_000_000)
			require.Error(t, err)
			require.Regexp(t, c.finds, err.Error())
			t.Log(err)
		})
	}
}
