package kafka

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
)

const (
	floodConns = 40
	floodSpan  = 10 * time.Second
)

// trouble does what the page's buttons say.
func (s *System) trouble(ctx context.Context, what, which string) error {
	id, err := strconv.Atoi(which)
	n := s.node(int32(id))
	switch what {
	case "kill", "revive", "flood", "cut", "pause", "resume":
		if err != nil || n == nil {
			return fmt.Errorf("there is no broker %q", clip(which))
		}
	}
	switch {
	case what == "kill":
		return s.kill(n.id)
	case what == "revive":
		return s.restart(ctx, n.id)
	case what == "cut" && s.fabric != nil:
		s.cutOff(n.id)
		return nil
	case what == "heal" && s.fabric != nil:
		s.fabric.heal()
		return nil
	case what == "pause" && s.fabric != nil:
		s.fabric.pause(n.id)
		return nil
	case what == "resume" && s.fabric != nil:
		s.fabric.resume(n.id)
		return nil
	case what == "flood":
		if !s.flooding.CompareAndSwap(false, true) {
			return errors.New("a flood is under way")
		}
		s.tasks.Go(func() {
			defer s.flooding.Store(false)
			flood(s.ctx, n.addr, floodConns, floodSpan)
		})
		return nil
	case what == "stop" && s.load != nil:
		s.load.paused.Store(true)
		return nil
	case what == "go" && s.load != nil:
		s.load.paused.Store(false)
		return nil
	}
	return errors.New("there is no such trouble to make here")
}
