package cacheserver

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/cache"
	"github.com/ashlar-go/ashlar/examples/internal/resp"
)

// commands is the table of what this server knows beside what concerns the
// connection alone. A command that is Alone must not hold world, since it takes
// it alone. init fills it.
var commands *resp.Table[*client]

func init() {
	one := [3]int{1, 1, 1}
	all := [3]int{1, -1, 1}
	commands = resp.NewTable([]resp.Command[*client]{
		{Name: "get", Arity: 2, Flags: "readonly fast", Keys: one, Run: cmdGet},
		{Name: "set", Arity: -3, Flags: "write denyoom", Keys: one, Run: cmdSet},
		{Name: "setnx", Arity: 3, Flags: "write denyoom fast", Keys: one, Run: cmdSetNX},
		{Name: "setex", Arity: 4, Flags: "write denyoom", Keys: one, Run: cmdSetEX},
		{Name: "psetex", Arity: 4, Flags: "write denyoom", Keys: one, Run: cmdSetEX},
		{Name: "getset", Arity: 3, Flags: "write denyoom fast", Keys: one, Run: cmdGetSet},
		{Name: "getdel", Arity: 2, Flags: "write fast", Keys: one, Run: cmdGetDel},
		{Name: "getex", Arity: -2, Flags: "write fast", Keys: one, Run: cmdGetEX},
		{Name: "mget", Arity: -2, Flags: "readonly fast", Keys: all, Run: cmdMGet},
		{Name: "mset", Arity: -3, Flags: "write denyoom", Keys: [3]int{1, -1, 2}, Run: cmdMSet},
		{Name: "msetnx", Arity: -3, Flags: "write denyoom", Keys: [3]int{1, -1, 2}, Run: cmdMSet},
		{Name: "del", Arity: -2, Flags: "write", Keys: all, Run: cmdDel},
		{Name: "unlink", Arity: -2, Flags: "write fast", Keys: all, Run: cmdDel},
		{Name: "exists", Arity: -2, Flags: "readonly fast", Keys: all, Run: cmdExists},
		{Name: "touch", Arity: -2, Flags: "readonly fast", Keys: all, Run: cmdExists},
		{Name: "expire", Arity: -3, Flags: "write fast", Keys: one, Run: cmdExpire},
		{Name: "pexpire", Arity: -3, Flags: "write fast", Keys: one, Run: cmdExpire},
		{Name: "expireat", Arity: -3, Flags: "write fast", Keys: one, Run: cmdExpire},
		{Name: "pexpireat", Arity: -3, Flags: "write fast", Keys: one, Run: cmdExpire},
		{Name: "ttl", Arity: 2, Flags: "readonly fast", Keys: one, Run: cmdTTL},
		{Name: "pttl", Arity: 2, Flags: "readonly fast", Keys: one, Run: cmdTTL},
		{Name: "expiretime", Arity: 2, Flags: "readonly fast", Keys: one, Run: cmdTTL},
		{Name: "pexpiretime", Arity: 2, Flags: "readonly fast", Keys: one, Run: cmdTTL},
		{Name: "persist", Arity: 2, Flags: "write fast", Keys: one, Run: cmdPersist},
		{Name: "incr", Arity: 2, Flags: "write denyoom fast", Keys: one, Run: cmdIncr},
		{Name: "decr", Arity: 2, Flags: "write denyoom fast", Keys: one, Run: cmdIncr},
		{Name: "incrby", Arity: 3, Flags: "write denyoom fast", Keys: one, Run: cmdIncr},
		{Name: "decrby", Arity: 3, Flags: "write denyoom fast", Keys: one, Run: cmdIncr},
		{Name: "incrbyfloat", Arity: 3, Flags: "write denyoom fast", Keys: one, Run: cmdIncrByFloat},
		{Name: "append", Arity: 3, Flags: "write denyoom fast", Keys: one, Run: cmdAppend},
		{Name: "strlen", Arity: 2, Flags: "readonly fast", Keys: one, Run: cmdStrLen},
		{Name: "getrange", Arity: 4, Flags: "readonly", Keys: one, Run: cmdGetRange},
		{Name: "substr", Arity: 4, Flags: "readonly", Keys: one, Run: cmdGetRange},
		{Name: "setrange", Arity: 4, Flags: "write denyoom", Keys: one, Run: cmdSetRange},
		{Name: "scan", Arity: -2, Flags: "readonly", Run: cmdScan},
		{Name: "keys", Arity: 2, Flags: "readonly", Run: cmdKeys},
		{Name: "randomkey", Arity: 1, Flags: "readonly", Run: cmdRandomKey},
		{Name: "type", Arity: 2, Flags: "readonly fast", Keys: one, Run: cmdType},
		{Name: "dbsize", Arity: 1, Flags: "readonly fast", Run: cmdDBSize},
		{Name: "flushall", Arity: -1, Flags: "write", Alone: true, Run: cmdFlush},
		{Name: "flushdb", Arity: -1, Flags: "write", Alone: true, Run: cmdFlush},
		{Name: "memory", Arity: -2, Flags: "readonly", Run: cmdMemory},
		{Name: "object", Arity: -2, Flags: "readonly", Run: cmdObject},
		{Name: "info", Arity: -1, Flags: "loading stale", Alone: true, Run: cmdInfo},
		{Name: "config", Arity: -2, Flags: "admin loading stale", Alone: true, Run: cmdConfig},
		{Name: "time", Arity: 1, Flags: "loading stale fast", Run: cmdTime},
	}...)
}

// The errors that Redis gives, word for word.
const (
	errFloat = "ERR value is not a valid float"
	errOOM   = "OOM command not allowed when used memory > 'maxmemory'."
	errRange = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
)

func (c *client) ctx() context.Context { return c.server.ctx }

// get reads key for a command that counts as a use of it. ok is false if
// there is none, or a failure was answered, of which done tells.
func (c *client) get(key []byte) (v value, ok, done bool) {
	s := c.server
	var err error
	if c.NoTouch {
		v, ok, err = s.keys.peek(c.ctx(), key)
	} else {
		v, ok, err = s.keys.get(c.ctx(), key)
	}
	if err != nil {
		c.storage(err)
		return v, false, true
	}
	if ok {
		s.hits.Add(1)
	} else {
		s.misses.Add(1)
	}
	s.hot.use(key)
	return v, ok, false
}

// put stores data under key and reports whether it did; if not, it has
// answered.
func (c *client) put(key []byte, v value) bool {
	if c.server.keys.tooLarge(key, len(v.data)) {
		c.Error(errOOM)
		return false
	}
	if err := c.server.keys.put(c.ctx(), string(key), v); err != nil {
		c.storage(err)
		return false
	}
	return true
}

// delete removes keys and reports whether it could.
func (c *client) delete(keys ...[]byte) bool {
	mutations := make([]mutation, len(keys))
	for i, key := range keys {
		mutations[i] = mutation{Key: string(key), Delete: true}
	}
	if err := c.server.keys.write(c.ctx(), mutations...); err != nil {
		c.storage(err)
		return false
	}
	return true
}

func (c *client) optional(v value, ok bool) {
	if ok {
		c.Value(v.data)
	} else {
		c.Null()
	}
}

func cmdGet(c *client, args [][]byte) {
	if v, ok, done := c.get(args[1]); !done {
		c.optional(v, ok)
	}
}

func cmdMGet(c *client, args [][]byte) {
	values := make([]value, len(args)-1)
	found := make([]bool, len(args)-1)
	for i, key := range args[1:] {
		var done bool
		if values[i], found[i], done = c.get(key); done {
			return
		}
	}
	c.Array(len(values))
	for i, v := range values {
		c.optional(v, found[i])
	}
}

func cmdGetDel(c *client, args [][]byte) {
	defer c.server.keys.lock(args[1])()
	v, ok, done := c.get(args[1])
	if done || ok && !c.delete(args[1]) {
		return
	}
	c.optional(v, ok)
}

func cmdGetSet(c *client, args [][]byte) {
	defer c.server.keys.lock(args[1])()
	v, ok, done := c.get(args[1])
	if done || !c.put(args[1], value{data: slices.Clone(args[2])}) {
		return
	}
	c.optional(v, ok)
}

func cmdMSet(c *client, args [][]byte) {
	name := strings.ToLower(string(args[0]))
	if len(args)%2 == 0 {
		c.Errorf("ERR wrong number of arguments for '%s' command", name)
		return
	}
	var keys [][]byte
	mutations := make([]mutation, 0, len(args)/2)
	for i := 1; i < len(args); i += 2 {
		if c.server.keys.tooLarge(args[i], len(args[i+1])) {
			c.Error(errOOM)
			return
		}
		keys = append(keys, args[i])
		mutations = append(mutations, mutation{Key: string(args[i]), Value: value{data: slices.Clone(args[i+1])}})
	}
	defer c.server.keys.lock(keys...)()
	if name == "msetnx" {
		for _, key := range keys {
			if _, ok, err := c.server.keys.peek(c.ctx(), key); err != nil {
				c.storage(err)
				return
			} else if ok {
				c.Int(0)
				return
			}
		}
	}
	if err := c.server.keys.write(c.ctx(), mutations...); err != nil {
		c.storage(err)
		return
	}
	if name == "msetnx" {
		c.Int(1)
	} else {
		c.OK()
	}
}

func cmdDel(c *client, args [][]byte) {
	keys := args[1:]
	defer c.server.keys.lock(keys...)()
	var there [][]byte
	seen := make(map[string]bool, len(keys))
	for _, key := range keys {
		if seen[string(key)] {
			continue
		}
		seen[string(key)] = true
		_, ok, err := c.server.keys.peek(c.ctx(), key)
		if err != nil {
			c.storage(err)
			return
		}
		if ok {
			there = append(there, key)
		}
	}
	if c.delete(there...) {
		c.Int(int64(len(there)))
	}
}

func cmdExists(c *client, args [][]byte) {
	n := int64(0)
	for _, key := range args[1:] {
		_, ok, done := c.get(key)
		if done {
			return
		}
		if ok {
			n++
		}
	}
	c.Int(n)
}

func cmdStrLen(c *client, args [][]byte) {
	if v, _, done := c.get(args[1]); !done {
		c.Int(int64(len(v.data)))
	}
}

func cmdType(c *client, args [][]byte) {
	_, ok, err := c.server.keys.peek(c.ctx(), args[1])
	switch {
	case err != nil:
		c.storage(err)
	case ok:
		c.Status("string")
	default:
		c.Status("none")
	}
}

func cmdGetRange(c *client, args [][]byte) {
	start, ok1 := resp.ParseInt(args[2])
	end, ok2 := resp.ParseInt(args[3])
	if !ok1 || !ok2 {
		c.Error(resp.IntegerError)
		return
	}
	v, _, done := c.get(args[1])
	if done {
		return
	}
	n := int64(len(v.data))
	if start < 0 && end < 0 && start > end {
		c.Bulk(nil)
		return
	}
	if start < 0 {
		start = max(0, start+n)
	}
	if end < 0 {
		end = max(0, end+n)
	}
	end = min(end, n-1)
	if start > end || n == 0 {
		c.Bulk(nil)
		return
	}
	c.Value(v.data[start : end+1])
}

func cmdSetRange(c *client, args [][]byte) {
	offset, ok := resp.ParseInt(args[2])
	if !ok {
		c.Error(resp.IntegerError)
		return
	}
	if offset < 0 {
		c.Error("ERR offset is out of range")
		return
	}
	defer c.server.keys.lock(args[1])()
	v, _, done := c.get(args[1])
	if done {
		return
	}
	if len(args[3]) == 0 {
		c.Int(int64(len(v.data)))
		return
	}
	if offset > c.server.limits.Command-int64(len(args[3])) {
		c.Error(errRange)
		return
	}
	data := make([]byte, max(int64(len(v.data)), offset+int64(len(args[3]))))
	copy(data, v.data)
	copy(data[offset:], args[3])
	if c.put(args[1], value{data, v.ends}) {
		c.Int(int64(len(data)))
	}
}

func cmdAppend(c *client, args [][]byte) {
	defer c.server.keys.lock(args[1])()
	v, _, done := c.get(args[1])
	if done {
		return
	}
	if int64(len(v.data)+len(args[2])) > c.server.limits.Command {
		c.Error(errRange)
		return
	}
	data := make([]byte, 0, len(v.data)+len(args[2]))
	data = append(append(data, v.data...), args[2]...)
	if c.put(args[1], value{data, v.ends}) {
		c.Int(int64(len(data)))
	}
}

func cmdIncr(c *client, args [][]byte) {
	name := strings.ToLower(string(args[0]))
	by := int64(1)
	if len(args) == 3 {
		var ok bool
		if by, ok = resp.ParseInt(args[2]); !ok {
			c.Error(resp.IntegerError)
			return
		}
	}
	if strings.HasPrefix(name, "decr") {
		if by == -1<<63 {
			c.Error("ERR decrement would overflow")
			return
		}
		by = -by
	}
	defer c.server.keys.lock(args[1])()
	v, ok, done := c.get(args[1])
	if done {
		return
	}
	n := int64(0)
	if ok {
		if n, ok = resp.ParseInt(v.data); !ok {
			c.Error(resp.IntegerError)
			return
		}
	}
	sum := n + by
	if by > 0 && sum < n || by < 0 && sum > n {
		c.Error("ERR increment or decrement would overflow")
		return
	}
	if c.put(args[1], value{strconv.AppendInt(nil, sum, 10), v.ends}) {
		c.Int(sum)
	}
}

func cmdIncrByFloat(c *client, args [][]byte) {
	by, ok := parseFloat(args[2])
	if !ok {
		c.Error(errFloat)
		return
	}
	defer c.server.keys.lock(args[1])()
	v, found, done := c.get(args[1])
	if done {
		return
	}
	n := 0.0
	if found {
		if n, ok = parseFloat(v.data); !ok {
			c.Error(errFloat)
			return
		}
	}
	text, ok := addFloats(n, by)
	if !ok {
		c.Error("ERR increment would produce NaN or Infinity")
		return
	}
	if c.put(args[1], value{text, v.ends}) {
		c.Bulk(text)
	}
}

func cmdDBSize(c *client, _ [][]byte) { c.Int(int64(c.server.keys.cache().Len())) }

func cmdScan(c *client, args [][]byte) {
	o, problem := resp.ParseScan(args)
	if problem != "" {
		c.Error(problem)
		return
	}
	var keys []string
	next := uint64(0)
	if !o.None {
		now := time.Now()
		next = c.server.keys.cache().Scan(o.Cursor, int(min(o.Count, 1<<20)), func(key string, v value) bool {
			if !v.over(now) && o.Matches(key) {
				keys = append(keys, key)
			}
			return true
		})
	}
	c.Array(2)
	c.Text(strconv.FormatUint(next, 10))
	c.Array(len(keys))
	for _, key := range keys {
		c.Text(key)
	}
}

func cmdKeys(c *client, args [][]byte) {
	var keys []string
	now := time.Now()
	for key, v := range c.server.keys.cache().All() {
		if !v.over(now) && resp.Glob(args[1], key) {
			keys = append(keys, key)
		}
	}
	c.Array(len(keys))
	for _, key := range keys {
		c.Text(key)
	}
}

func cmdRandomKey(c *client, _ [][]byte) {
	// A few entries from a random place of the table, one of them by chance.
	cache := c.server.keys.cache()
	var seen []string
	visit := func(key string, _ value) bool { seen = append(seen, key); return len(seen) < 16 }
	cache.Scan(rand.Uint64N(uint64(max(1, cache.Len())))+1, 16, visit)
	if len(seen) == 0 {
		cache.Scan(0, 16, visit)
	}
	if len(seen) == 0 {
		c.Null()
		return
	}
	c.Text(seen[rand.IntN(len(seen))])
}

func cmdFlush(c *client, args [][]byte) {
	if len(args) > 2 || len(args) == 2 && !strings.EqualFold(string(args[1]), "sync") && !strings.EqualFold(string(args[1]), "async") {
		c.Error(resp.SyntaxError)
		return
	}
	if err := c.server.keys.clear(c.ctx()); err != nil {
		c.storage(err)
		return
	}
	c.OK()
}

func cmdMemory(c *client, args [][]byte) {
	switch strings.ToUpper(string(args[1])) {
	case "USAGE":
		if len(args) != 3 && (len(args) != 5 || !strings.EqualFold(string(args[3]), "samples")) {
			c.Error(resp.SyntaxError)
			return
		}
		v, ok, err := c.server.keys.peek(c.ctx(), args[2])
		switch {
		case err != nil:
			c.storage(err)
		case ok:
			c.Int(cost(string(args[2]), v))
		default:
			c.Null()
		}
	case "DOCTOR":
		c.Verbatim("The cache holds its bound: nothing to report.")
	default:
		c.UnknownSubcommand(args)
	}
}

func cmdObject(c *client, args [][]byte) {
	sub := strings.ToUpper(string(args[1]))
	switch sub {
	case "ENCODING", "REFCOUNT", "FREQ", "IDLETIME":
	default:
		c.UnknownSubcommand(args)
		return
	}
	if len(args) != 3 {
		c.Errorf("ERR wrong number of arguments for 'object|%s' command", strings.ToLower(sub))
		return
	}
	v, ok, err := c.server.keys.peek(c.ctx(), args[2])
	if err != nil {
		c.storage(err)
		return
	}
	if !ok {
		c.Null()
		return
	}
	switch sub {
	case "ENCODING":
		encoding := "raw"
		if _, ok := resp.ParseInt(v.data); ok {
			encoding = "int"
		} else if len(v.data) <= 44 {
			encoding = "embstr"
		}
		c.Text(encoding)
	case "REFCOUNT":
		c.Int(1)
	case "FREQ":
		f, ok := c.server.keys.cache().(interface{ Frequency(string) (int, bool) })
		if !ok {
			c.Error("ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.")
			return
		}
		n, _ := f.Frequency(string(args[2]))
		c.Int(int64(n))
	case "IDLETIME":
		c.Error("ERR this server keeps the order of uses and not their times")
	}
}

func cmdTime(c *client, _ [][]byte) {
	now := time.Now()
	c.Array(2)
	c.Text(strconv.FormatInt(now.Unix(), 10))
	c.Text(fmt.Sprint(now.Nanosecond() / 1000))
}

var _ cache.Cache[string, value] = switchable{}
