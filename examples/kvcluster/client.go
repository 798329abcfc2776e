package kvcluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/budget"
	"github.com/ashlar-go/ashlar/examples/internal/resp"
	"github.com/ashlar-go/ashlar/examples/kvcluster/peer"
	"github.com/ashlar-go/ashlar/kvstore/replica"
)

// client is the session of one connection to one node.
type client struct {
	*resp.Conn
	node  *Node
	level Level
	now   context.Context // of the command
}

// Run runs one command.
func (c *client) Run(args [][]byte) {
	n := c.node
	start := time.Now()
	n.counts.commands.Add(1)
	if err := n.wait(n.ctx); err != nil {
		c.fail(errStopped)
		return
	}
	c.now = context.WithValue(budget.With(n.ctx, c.Claim()), turnKey{}, new(sync.Mutex))
	cmd := commands.Find(c.Conn, args)
	if cmd == nil {
		return
	}
	cmd.Run(c, args)
	if n.config.Latency != nil {
		n.config.Latency.Since(start)
	}
}

// ctx is the context of the command, which carries its claim: a client waits for the
// answer or loses the connection with the node.
func (c *client) ctx() context.Context { return c.now }

// fail answers an operation that failed. What Redis has a word for gets that word,
// and a write that may take effect although it failed says so.
func (c *client) fail(err error) {
	quorum, ok := errors.AsType[*replica.QuorumError](err)
	switch {
	case ok && quorum.Maybe:
		c.Errorf("TRYAGAIN %d of %d nodes needed have stored the write (%s); it may still take effect", quorum.Got, quorum.Need, causes(quorum))
	case ok:
		c.Errorf("CLUSTERDOWN %d of %d nodes needed for the %s have answered (%s); nothing was changed", quorum.Got, quorum.Need, quorum.Op, causes(quorum))
	case errors.Is(err, budget.ErrFull):
		c.Error("OOM no memory for large values became free in time, try again later")
	case errors.Is(err, errUncovered):
		c.Errorf("CLUSTERDOWN %s", oneLine(err))
	case errors.Is(err, errKey), errors.Is(err, errLarge):
		c.Errorf("ERR %v", err)
	case errors.Is(err, errBusy):
		c.Errorf("TRYAGAIN %s", oneLine(err))
	case errors.Is(err, replica.ErrSiblings):
		c.Error("ERR the key has too many siblings, or bytes of them; read them with SIBLINGS and replace them with SET")
	case errors.Is(err, replica.ErrConditional):
		c.Error(needsSiblings)
	case errors.Is(err, errStopped), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		c.Errorf("TRYAGAIN the node stopped or ran out of time; a write may still take effect (%s)", oneLine(err))
	default:
		c.node.log.Warn("command failed", "error", err)
		c.Errorf("ERR %s", oneLine(err))
	}
}

// causes says what went wrong where.
func causes(q *replica.QuorumError) string {
	var words []string
	for _, f := range q.Failures {
		if f.Err != nil {
			words = append(words, f.Node+": "+strings.TrimPrefix(oneLine(f.Err), "replica: "))
		}
	}
	if len(words) == 0 {
		return "no answer in time"
	}
	return strings.Join(words, ", ")
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// needsSiblings is the answer to a command that cannot be done right where the last
// writer wins.
const needsSiblings = "ERR this changes what is there, and where the last writer wins nobody decides between two who do so at once; start the cluster with -conflicts siblings"

// errBusy ends an attempt to change a key that others keep changing.
var errBusy = errors.New("others keep changing the key")

// A found is what a read has found under a key.
type found struct {
	object replica.Object
	live   []replica.Version // that have a value now, the latest last
}

func (f found) ok() bool { return len(f.live) > 0 }

// value returns the version that a client sees who knows nothing of siblings.
func (f found) value() replica.Version { return f.live[len(f.live)-1] }

func (f found) data() []byte { return f.value().Data }

// get reads a key.
func (c *client) get(ctx context.Context, key []byte) (found, error) {
	var object replica.Object
	var err error
	if c.node.config.Policy == replica.Consensus {
		object, err = c.node.update(ctx, key, nil)
	} else {
		object, _, err = c.node.read(ctx, c.level, key, c.node.config.copiesRead())
	}
	if err != nil {
		return found{}, err
	}
	return foundIn(object, time.Now()), nil
}

// drop gives back what an object has taken that is not for the answer.
func (c *client) drop(f found) {
	if bytes := size(f.object); bytes > peer.Large {
		c.Claim().Give(int64(bytes))
	}
}

// look reads a key for somebody who is going to write it and need not know the value.
func (c *client) look(ctx context.Context, key []byte) (found, error) {
	if c.level.Strict {
		f, err := c.get(ctx, key)
		c.drop(f)
		f.object.Versions = nil
		for i := range f.live {
			f.live[i].Data = nil
		}
		return f, err
	}
	object, err := c.node.readBare(ctx, c.level, key)
	return foundIn(object, time.Now()), err
}

func foundIn(o replica.Object, now time.Time) found { return found{o, slices.Collect(o.Live(now))} }

// put writes without a condition. Where siblings are kept, it replaces what it finds
// and what was written meanwhile stays beside it; a linearizable write is a conditional
// one, which is made again until nothing was written meanwhile. Where the last writer
// wins, it looks first at what it has to be later than, if reading sees what was
// written.
func (c *client) put(key []byte, change replica.Change) error {
	lww := c.node.config.Policy == replica.LastWriterWins
	if c.node.config.Policy == replica.Consensus || c.level.Strict && !lww {
		old, err := c.change(key, func(found) (replica.Change, bool) { return change, true })
		c.drop(old)
		return err
	}
	ctx, scope := within(c.ctx())
	defer scope.leave()
	if !lww || c.level.R+c.level.W > c.node.config.N {
		old, err := c.look(ctx, key)
		if err != nil {
			return err
		}
		change.Context = old.object.Context
	}
	_, err := c.node.write(ctx, c.level, key, change)
	return err
}

// change reads a key and writes what decide makes of it, in one step: if another
// write came in between, it starts again. decide may also decide to write nothing.
// The result is what decide was given last.
func (c *client) change(key []byte, decide func(found) (replica.Change, bool)) (found, error) {
	switch c.node.config.Policy {
	case replica.LastWriterWins:
		return found{}, replica.ErrConditional
	case replica.Consensus:
		basis, err := c.node.update(c.ctx(), key, func(o replica.Object, now time.Time) (replica.Change, bool) { return decide(foundIn(o, now)) })
		if err != nil {
			return found{}, err
		}
		// Once more, so that what decide has noted is of the decision that counts.
		old := foundIn(basis, time.Now())
		decide(old)
		return old, nil
	}
	ctx, scope := within(c.ctx())
	defer scope.leave()
	level := c.level
	level.Strict = true // or what is read might be older than what was read before
	if level.R+level.W <= c.node.config.N {
		level, _ = namedLevel("linearizable", c.node.config.N)
	}
	deadline := time.Now().Add(2 * c.node.config.Timeout)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		object, taken, err := c.node.read(ctx, level, key, c.node.config.copiesChanged())
		if err != nil {
			return found{}, err
		}
		old := foundIn(object, time.Now())
		change, write := decide(old)
		if !write {
			c.Claim().Give(taken - taken/c.node.config.copiesChanged())
			return old, nil
		}
		change.Context, change.Conditional = object.Context, true
		if _, err = c.node.write(ctx, level, key, change); err == nil {
			c.Claim().Give(taken - taken/c.node.config.copiesChanged())
			return old, nil
		}
		if !errors.Is(err, replica.ErrConflict) {
			return old, err
		}
		c.Claim().Give(taken)
		if time.Now().After(deadline) {
			return old, fmt.Errorf("%w: nothing was written", errBusy)
		}
		select {
		case <-time.After(jitter(pause)):
		case <-c.ctx().Done():
			return old, errStopped
		}
	}
}

// each runs f for the numbers below n, some at a time, and returns the errors of
// those that failed.
func (c *client) each(n int, f func(int) error) error {
	const atOnce = 16
	errs := make([]error, n)
	slots := make(chan struct{}, atOnce)
	for i := range n {
		slots <- struct{}{}
		c.node.work.Go(func() {
			errs[i] = f(i)
			<-slots
		})
	}
	for range cap(slots) {
		slots <- struct{}{}
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
