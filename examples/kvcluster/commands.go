package kvcluster

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/resp"
	"github.com/ashlar-go/ashlar/examples/kvcluster/peer"
	"github.com/ashlar-go/ashlar/kvstore/replica"
)

func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// commands is the table of what a node knows beside what concerns the connection
// alone. init fills it.
var commands *resp.Table[*client]

func init() {
	one, all := [3]int{1, 1, 1}, [3]int{1, -1, 1}
	commands = resp.NewTable([]resp.Command[*client]{
		{Name: "get", Arity: 2, Flags: "readonly fast", Keys: one, Run: cmdGet},
		{Name: "set", Arity: -3, Flags: "write denyoom", Keys: one, Run: cmdSet},
		{Name: "setnx", Arity: 3, Flags: "write denyoom fast", Keys: one, Run: cmdSetNX},
		{Name: "setex", Arity: 4, Flags: "write denyoom", Keys: one, Run: cmdSetEX},
		{Name: "psetex", Arity: 4, Flags: "write denyoom", Keys: one, Run: cmdSetEX},
		{Name: "getset", Arity: 3, Flags: "write denyoom fast", Keys: one, Run: cmdGetSet},
		{Name: "getdel", Arity: 2, Flags: "write fast", Keys: one, Run: cmdGetDel},
		{Name: "mget", Arity: -2, Flags: "readonly fast", Keys: all, Run: cmdMGet},
		{Name: "mset", Arity: -3, Flags: "write denyoom", Keys: [3]int{1, -1, 2}, Run: cmdMSet},
		{Name: "del", Arity: -2, Flags: "write", Keys: all, Run: cmdDel},
		{Name: "unlink", Arity: -2, Flags: "write fast", Keys: all, Run: cmdDel},
		{Name: "exists", Arity: -2, Flags: "readonly fast", Keys: all, Run: cmdExists},
		{Name: "expire", Arity: -3, Flags: "write fast", Keys: one, Run: cmdExpire},
		{Name: "pexpire", Arity: -3, Flags: "write fast", Keys: one, Run: cmdExpire},
		{Name: "expireat", Arity: -3, Flags: "write fast", Keys: one, Run: cmdExpire},
		{Name: "pexpireat", Arity: -3, Flags: "write fast", Keys: one, Run: cmdExpire},
		{Name: "persist", Arity: 2, Flags: "write fast", Keys: one, Run: cmdPersist},
		{Name: "ttl", Arity: 2, Flags: "readonly fast", Keys: one, Run: cmdTTL},
		{Name: "pttl", Arity: 2, Flags: "readonly fast", Keys: one, Run: cmdTTL},
		{Name: "incr", Arity: 2, Flags: "write denyoom fast", Keys: one, Run: cmdIncr},
		{Name: "decr", Arity: 2, Flags: "write denyoom fast", Keys: one, Run: cmdIncr},
		{Name: "incrby", Arity: 3, Flags: "write denyoom fast", Keys: one, Run: cmdIncr},
		{Name: "decrby", Arity: 3, Flags: "write denyoom fast", Keys: one, Run: cmdIncr},
		{Name: "append", Arity: 3, Flags: "write denyoom fast", Keys: one, Run: cmdAppend},
		{Name: "strlen", Arity: 2, Flags: "readonly fast", Keys: one, Run: cmdStrLen},
		{Name: "type", Arity: 2, Flags: "readonly fast", Keys: one, Run: cmdType},
		{Name: "scan", Arity: -2, Flags: "readonly", Run: cmdScan},
		{Name: "dbsize", Arity: 1, Flags: "readonly fast", Run: cmdDBSize},
		{Name: "siblings", Arity: 2, Flags: "readonly", Keys: one, Run: cmdSiblings},
		{Name: "owners", Arity: 2, Flags: "readonly fast", Keys: one, Run: cmdOwners},
		{Name: "consistency", Arity: -1, Flags: "loading stale fast", Run: cmdConsistency},
		{Name: "node", Arity: -2, Flags: "admin", Run: cmdNode},
		{Name: "info", Arity: -1, Flags: "loading stale", Run: cmdInfo},
		{Name: "config", Arity: -2, Flags: "admin loading stale", Run: cmdConfig},
		{Name: "time", Arity: 1, Flags: "loading stale fast", Run: cmdTime},
	}...)
}

func (c *client) optional(f found) {
	if f.ok() {
		c.Value(f.data())
	} else {
		c.Null()
	}
}

func cmdGet(c *client, args [][]byte) {
	f, err := c.get(c.ctx(), args[1])
	if err != nil {
		c.fail(err)
		return
	}
	c.optional(f)
}

// putting returns the change that a SET makes. It outlives the command, so it has
// bytes of its own.
func putting(data []byte, ends int64) replica.Change {
	return replica.Change{Data: slices.Clone(data), Expires: ends}
}

func cmdSet(c *client, args [][]byte) {
	o, problem := resp.ParseSet(args[3:])
	if problem != "" {
		c.Error(problem)
		return
	}
	c.set(args[1], args[2], o)
}

// set does what SET does with its options. Those that depend on what is there make
// it one step with the reading of that.
func (c *client) set(key, data []byte, o resp.SetOptions) {
	change := putting(data, o.Ends)
	if !o.IfNew && !o.IfThere && !o.Get && !o.Keep {
		if err := c.put(key, change); err != nil {
			c.fail(err)
			return
		}
		c.OK()
		return
	}
	written := false
	old, err := c.change(key, func(f found) (replica.Change, bool) {
		written = !(o.IfNew && f.ok() || o.IfThere && !f.ok())
		if o.Keep {
			change.Expires = 0
			if f.ok() {
				change.Expires = f.value().Expires
			}
		}
		return change, written
	})
	switch {
	case err != nil:
		c.fail(err)
	case o.Get:
		c.optional(old)
	case written:
		c.OK()
	default:
		c.Null()
	}
}

func cmdSetNX(c *client, args [][]byte) {
	change := putting(args[2], 0)
	old, err := c.change(args[1], func(f found) (replica.Change, bool) { return change, !f.ok() })
	switch {
	case err != nil:
		c.fail(err)
	case old.ok():
		c.Int(0)
	default:
		c.Int(1)
	}
}

func cmdSetEX(c *client, args [][]byte) {
	options, problem := resp.ParseSetEX(args)
	if problem != "" {
		c.Error(problem)
		return
	}
	c.set(args[1], args[3], options)
}

func cmdGetSet(c *client, args [][]byte) {
	c.set(args[1], args[2], resp.SetOptions{Get: true})
}

func cmdGetDel(c *client, args [][]byte) {
	old, err := c.change(args[1], func(f found) (replica.Change, bool) { return replica.Change{Deleted: true}, f.ok() })
	if err != nil {
		c.fail(err)
		return
	}
	c.optional(old)
}

// getAll reads several keys at once. What it keeps of them is bounded.
func (c *client) getAll(keys [][]byte) ([]found, error) {
	all := make([]found, len(keys))
	var kept atomic.Int64
	most := c.node.config.Limits.InFlight
	err := c.each(len(keys), func(i int) error {
		if kept.Load() > most {
			return errLarge
		}
		f, err := c.get(c.ctx(), keys[i])
		if err != nil {
			return err
		}
		bytes := int64(size(f.object))
		sum := kept.Add(bytes)
		if sum > most {
			return errLarge
		}
		if bytes <= peer.Large && sum > peer.Large { // large ones are counted already
			if err := c.Claim().Take(c.ctx(), bytes); err != nil {
				return err
			}
		}
		all[i] = f
		return nil
	})
	return all, err
}

// errLarge ends a command whose values would take too much memory together.
var errLarge = errors.New("the values are too large together; ask for fewer keys at a time")

func cmdMGet(c *client, args [][]byte) {
	all, err := c.getAll(args[1:])
	if err != nil {
		c.fail(err)
		return
	}
	c.Array(len(all))
	for _, f := range all {
		c.optional(f)
	}
}

// cmdMSet writes keys independently of each other: where Redis is all or nothing,
// an error here may leave some written, as it says.
func cmdMSet(c *client, args [][]byte) {
	if len(args)%2 == 0 {
		c.Error("ERR wrong number of arguments for 'mset' command")
		return
	}
	pairs := map[string][]byte{} // of a key that is there twice, the last counts
	for i := 1; i < len(args); i += 2 {
		pairs[string(args[i])] = args[i+1]
	}
	keys := make([]string, 0, len(pairs))
	for key := range pairs {
		keys = append(keys, key)
	}
	err := c.each(len(keys), func(i int) error { return c.put([]byte(keys[i]), putting(pairs[keys[i]], 0)) })
	if err != nil {
		c.fail(err)
		return
	}
	c.OK()
}

// distinct returns the keys, each once.
func distinct(keys [][]byte) [][]byte {
	seen := make(map[string]bool, len(keys))
	var list [][]byte
	for _, key := range keys {
		if !seen[string(key)] {
			seen[string(key)] = true
			list = append(list, slices.Clone(key))
		}
	}
	return list
}

// cmdDel counts the keys that had a value when it read them. Where siblings are
// kept, what it has read is what it deletes.
func cmdDel(c *client, args [][]byte) {
	keys := distinct(args[1:])
	there := make([]bool, len(keys))
	err := c.each(len(keys), func(i int) error {
		if policy := c.node.config.Policy; policy == replica.Consensus || c.level.Strict && policy == replica.Siblings {
			old, err := c.change(keys[i], func(f found) (replica.Change, bool) { return replica.Change{Deleted: true}, f.ok() })
			there[i] = old.ok()
			c.drop(old)
			return err
		}
		ctx, scope := within(c.ctx())
		defer scope.leave()
		old, err := c.look(ctx, keys[i])
		if err != nil || !old.ok() {
			return err
		}
		there[i] = true
		_, err = c.node.write(ctx, c.level, keys[i], replica.Change{Deleted: true, Context: old.object.Context})
		return err
	})
	if err != nil {
		c.fail(err)
		return
	}
	n := int64(0)
	for _, t := range there {
		if t {
			n++
		}
	}
	c.Int(n)
}

func cmdExists(c *client, args [][]byte) {
	all, err := c.getAll(args[1:])
	if err != nil {
		c.fail(err)
		return
	}
	n := int64(0)
	for _, f := range all {
		if f.ok() {
			n++
		}
	}
	c.Int(n)
}

func cmdStrLen(c *client, args [][]byte) {
	f, err := c.get(c.ctx(), args[1])
	switch {
	case err != nil:
		c.fail(err)
	case f.ok():
		c.Int(int64(len(f.data())))
	default:
		c.Int(0)
	}
}

func cmdType(c *client, args [][]byte) {
	f, err := c.get(c.ctx(), args[1])
	switch {
	case err != nil:
		c.fail(err)
	case f.ok():
		c.Status("string")
	default:
		c.Status("none")
	}
}

// cmdIncr is INCR, DECR, INCRBY and DECRBY.
func cmdIncr(c *client, args [][]byte) {
	by := int64(1)
	if len(args) == 3 {
		var ok bool
		if by, ok = resp.ParseInt(args[2]); !ok {
			c.Error(resp.IntegerError)
			return
		}
	}
	if name := strings.ToLower(string(args[0])); strings.HasPrefix(name, "decr") {
		if by == -1<<63 {
			c.Error("ERR decrement would overflow")
			return
		}
		by = -by
	}
	sum, problem := int64(0), ""
	_, err := c.change(args[1], func(f found) (replica.Change, bool) {
		old, expires := int64(0), int64(0)
		problem = ""
		if f.ok() {
			var ok bool
			if old, ok = resp.ParseInt(f.data()); !ok {
				problem = resp.IntegerError
				return replica.Change{}, false
			}
			expires = f.value().Expires
		}
		sum = old + by
		if by > 0 && sum < old || by < 0 && sum > old {
			problem = "ERR increment or decrement would overflow"
			return replica.Change{}, false
		}
		return replica.Change{Data: strconv.AppendInt(nil, sum, 10), Expires: expires}, true
	})
	switch {
	case err != nil:
		c.fail(err)
	case problem != "":
		c.Error(problem)
	default:
		c.Int(sum)
	}
}

func cmdAppend(c *client, args [][]byte) {
	size, tooLong := 0, false
	more := slices.Clone(args[2])
	_, err := c.change(args[1], func(f found) (replica.Change, bool) {
		change := replica.Change{Data: more}
		if f.ok() {
			change.Data = slices.Concat(f.data(), more)
			change.Expires = f.value().Expires
		}
		size = len(change.Data)
		tooLong = int64(size) > c.node.config.Limits.Command
		return change, !tooLong
	})
	switch {
	case err != nil:
		c.fail(err)
	case tooLong:
		c.Error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
	default:
		c.Int(int64(size))
	}
}

func cmdTime(c *client, _ [][]byte) {
	now := time.Now()
	c.Array(2)
	c.Text(strconv.FormatInt(now.Unix(), 10))
	c.Text(strconv.Itoa(now.Nanosecond() / 1000))
}
