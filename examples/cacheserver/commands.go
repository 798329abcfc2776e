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
)

// A command as the table knows it. arity counts the name; a negative one is a
// minimum.
type command struct {
	name  string
	arity int
	flags string // for COMMAND INFO
	keys  [3]int // first key, last key, step
	open  bool   // works before AUTH
	alone bool   // must not hold world, since it takes it alone
	run   func(c *client, args [][]byte)
}

func (cmd *command) takes(n int) bool {
	return n == cmd.arity || cmd.arity < 0 && n >= -cmd.arity
}

// commands by their names in upper case. It is filled by init, since COMMAND
// reads it.
var commands map[string]*command

func init() {
	one := [3]int{1, 1, 1}
	all := [3]int{1, -1, 1}
	table := []command{
		{name: "get", arity: 2, flags: "readonly fast", keys: one, run: cmdGet},
		{name: "set", arity: -3, flags: "write denyoom", keys: one, run: cmdSet},
		{name: "setnx", arity: 3, flags: "write denyoom fast", keys: one, run: cmdSetNX},
		{name: "setex", arity: 4, flags: "write denyoom", keys: one, run: cmdSetEX},
		{name: "psetex", arity: 4, flags: "write denyoom", keys: one, run: cmdSetEX},
		{name: "getset", arity: 3, flags: "write denyoom fast", keys: one, run: cmdGetSet},
		{name: "getdel", arity: 2, flags: "write fast", keys: one, run: cmdGetDel},
		{name: "getex", arity: -2, flags: "write fast", keys: one, run: cmdGetEX},
		{name: "mget", arity: -2, flags: "readonly fast", keys: all, run: cmdMGet},
		{name: "mset", arity: -3, flags: "write denyoom", keys: [3]int{1, -1, 2}, run: cmdMSet},
		{name: "msetnx", arity: -3, flags: "write denyoom", keys: [3]int{1, -1, 2}, run: cmdMSet},
		{name: "del", arity: -2, flags: "write", keys: all, run: cmdDel},
		{name: "unlink", arity: -2, flags: "write fast", keys: all, run: cmdDel},
		{name: "exists", arity: -2, flags: "readonly fast", keys: all, run: cmdExists},
		{name: "touch", arity: -2, flags: "readonly fast", keys: all, run: cmdExists},
		{name: "expire", arity: -3, flags: "write fast", keys: one, run: cmdExpire},
		{name: "pexpire", arity: -3, flags: "write fast", keys: one, run: cmdExpire},
		{name: "expireat", arity: -3, flags: "write fast", keys: one, run: cmdExpire},
		{name: "pexpireat", arity: -3, flags: "write fast", keys: one, run: cmdExpire},
		{name: "ttl", arity: 2, flags: "readonly fast", keys: one, run: cmdTTL},
		{name: "pttl", arity: 2, flags: "readonly fast", keys: one, run: cmdTTL},
		{name: "expiretime", arity: 2, flags: "readonly fast", keys: one, run: cmdTTL},
		{name: "pexpiretime", arity: 2, flags: "readonly fast", keys: one, run: cmdTTL},
		{name: "persist", arity: 2, flags: "write fast", keys: one, run: cmdPersist},
		{name: "incr", arity: 2, flags: "write denyoom fast", keys: one, run: cmdIncr},
		{name: "decr", arity: 2, flags: "write denyoom fast", keys: one, run: cmdIncr},
		{name: "incrby", arity: 3, flags: "write denyoom fast", keys: one, run: cmdIncr},
		{name: "decrby", arity: 3, flags: "write denyoom fast", keys: one, run: cmdIncr},
		{name: "incrbyfloat", arity: 3, flags: "write denyoom fast", keys: one, run: cmdIncrByFloat},
		{name: "append", arity: 3, flags: "write denyoom fast", keys: one, run: cmdAppend},
		{name: "strlen", arity: 2, flags: "readonly fast", keys: one, run: cmdStrLen},
		{name: "getrange", arity: 4, flags: "readonly", keys: one, run: cmdGetRange},
		{name: "substr", arity: 4, flags: "readonly", keys: one, run: cmdGetRange},
		{name: "setrange", arity: 4, flags: "write denyoom", keys: one, run: cmdSetRange},
		{name: "scan", arity: -2, flags: "readonly", run: cmdScan},
		{name: "keys", arity: 2, flags: "readonly", run: cmdKeys},
		{name: "randomkey", arity: 1, flags: "readonly", run: cmdRandomKey},
		{name: "type", arity: 2, flags: "readonly fast", keys: one, run: cmdType},
		{name: "dbsize", arity: 1, flags: "readonly fast", run: cmdDBSize},
		{name: "flushall", arity: -1, flags: "write", alone: true, run: cmdFlush},
		{name: "flushdb", arity: -1, flags: "write", alone: true, run: cmdFlush},
		{name: "memory", arity: -2, flags: "readonly", run: cmdMemory},
		{name: "object", arity: -2, flags: "readonly", run: cmdObject},
		{name: "info", arity: -1, flags: "loading stale", alone: true, run: cmdInfo},
		{name: "config", arity: -2, flags: "admin loading stale", alone: true, run: cmdConfig},
		{name: "ping", arity: -1, flags: "fast", run: cmdPing},
		{name: "echo", arity: 2, flags: "fast", run: func(c *client, args [][]byte) { c.bulk(args[1]) }},
		{name: "select", arity: 2, flags: "loading stale fast", run: cmdSelect},
		{name: "client", arity: -2, flags: "loading stale", run: cmdClient},
		{name: "hello", arity: -1, flags: "noauth loading stale fast", open: true, run: cmdHello},
		{name: "auth", arity: -2, flags: "noauth loading stale fast", open: true, run: cmdAuth},
		{name: "command", arity: -1, flags: "loading stale", run: cmdCommand},
		{name: "quit", arity: -1, flags: "noauth loading stale fast", open: true, run: func(c *client, _ [][]byte) { c.ok(); c.quit = true }},
		{name: "reset", arity: 1, flags: "noauth loading stale fast", open: true, run: cmdReset},
		{name: "time", arity: 1, flags: "loading stale fast", run: cmdTime},
	}
	commands = make(map[string]*command, len(table))
	for i := range table {
		commands[strings.ToUpper(table[i].name)] = &table[i]
	}
}

// The errors that Redis gives, word for word.
const (
	errSyntax  = "ERR syntax error"
	errInteger = "ERR value is not an integer or out of range"
	errFloat   = "ERR value is not a valid float"
	errOOM     = "OOM command not allowed when used memory > 'maxmemory'."
	errRange   = "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
)

func (c *client) ctx() context.Context { return c.server.ctx }

// get reads key for a command that counts as a use of it. ok is false if
// there is none, or a failure was answered, of which done tells.
func (c *client) get(key []byte) (v value, ok, done bool) {
	s := c.server
	var err error
	if c.noTouch {
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
		c.error(errOOM)
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
		c.value(v.data)
	} else {
		c.null()
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
	c.array(len(values))
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
		c.errorf("ERR wrong number of arguments for '%s' command", name)
		return
	}
	var keys [][]byte
	mutations := make([]mutation, 0, len(args)/2)
	for i := 1; i < len(args); i += 2 {
		if c.server.keys.tooLarge(args[i], len(args[i+1])) {
			c.error(errOOM)
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
				c.int(0)
				return
			}
		}
	}
	if err := c.server.keys.write(c.ctx(), mutations...); err != nil {
		c.storage(err)
		return
	}
	if name == "msetnx" {
		c.int(1)
	} else {
		c.ok()
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
		c.int(int64(len(there)))
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
	c.int(n)
}

func cmdStrLen(c *client, args [][]byte) {
	if v, _, done := c.get(args[1]); !done {
		c.int(int64(len(v.data)))
	}
}

func cmdType(c *client, args [][]byte) {
	_, ok, err := c.server.keys.peek(c.ctx(), args[1])
	switch {
	case err != nil:
		c.storage(err)
	case ok:
		c.status("string")
	default:
		c.status("none")
	}
}

func cmdGetRange(c *client, args [][]byte) {
	start, ok1 := parseInt(args[2])
	end, ok2 := parseInt(args[3])
	if !ok1 || !ok2 {
		c.error(errInteger)
		return
	}
	v, _, done := c.get(args[1])
	if done {
		return
	}
	n := int64(len(v.data))
	if start < 0 && end < 0 && start > end {
		c.bulk(nil)
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
		c.bulk(nil)
		return
	}
	c.value(v.data[start : end+1])
}

func cmdSetRange(c *client, args [][]byte) {
	offset, ok := parseInt(args[2])
	if !ok {
		c.error(errInteger)
		return
	}
	if offset < 0 {
		c.error("ERR offset is out of range")
		return
	}
	defer c.server.keys.lock(args[1])()
	v, _, done := c.get(args[1])
	if done {
		return
	}
	if len(args[3]) == 0 {
		c.int(int64(len(v.data)))
		return
	}
	if offset > c.server.limits.command-int64(len(args[3])) {
		c.error(errRange)
		return
	}
	data := make([]byte, max(int64(len(v.data)), offset+int64(len(args[3]))))
	copy(data, v.data)
	copy(data[offset:], args[3])
	if c.put(args[1], value{data, v.ends}) {
		c.int(int64(len(data)))
	}
}

func cmdAppend(c *client, args [][]byte) {
	defer c.server.keys.lock(args[1])()
	v, _, done := c.get(args[1])
	if done {
		return
	}
	if int64(len(v.data)+len(args[2])) > c.server.limits.command {
		c.error(errRange)
		return
	}
	data := make([]byte, 0, len(v.data)+len(args[2]))
	data = append(append(data, v.data...), args[2]...)
	if c.put(args[1], value{data, v.ends}) {
		c.int(int64(len(data)))
	}
}

func cmdIncr(c *client, args [][]byte) {
	name := strings.ToLower(string(args[0]))
	by := int64(1)
	if len(args) == 3 {
		var ok bool
		if by, ok = parseInt(args[2]); !ok {
			c.error(errInteger)
			return
		}
	}
	if strings.HasPrefix(name, "decr") {
		if by == -1<<63 {
			c.error("ERR decrement would overflow")
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
		if n, ok = parseInt(v.data); !ok {
			c.error(errInteger)
			return
		}
	}
	sum := n + by
	if by > 0 && sum < n || by < 0 && sum > n {
		c.error("ERR increment or decrement would overflow")
		return
	}
	if c.put(args[1], value{strconv.AppendInt(nil, sum, 10), v.ends}) {
		c.int(sum)
	}
}

func cmdIncrByFloat(c *client, args [][]byte) {
	by, ok := parseFloat(args[2])
	if !ok {
		c.error(errFloat)
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
			c.error(errFloat)
			return
		}
	}
	text, ok := addFloats(n, by)
	if !ok {
		c.error("ERR increment would produce NaN or Infinity")
		return
	}
	if c.put(args[1], value{text, v.ends}) {
		c.bulk(text)
	}
}

func cmdDBSize(c *client, _ [][]byte) { c.int(int64(c.server.keys.cache().Len())) }

func cmdScan(c *client, args [][]byte) {
	cursor, err := strconv.ParseUint(string(args[1]), 10, 64)
	if err != nil {
		c.error("ERR invalid cursor")
		return
	}
	count, pattern, match := int64(10), []byte(nil), false
	for i := 2; i < len(args); i += 2 {
		if i+1 == len(args) {
			c.error(errSyntax)
			return
		}
		switch strings.ToUpper(string(args[i])) {
		case "COUNT":
			var ok bool
			if count, ok = parseInt(args[i+1]); !ok {
				c.error(errInteger)
				return
			}
			if count < 1 {
				c.error(errSyntax)
				return
			}
		case "MATCH":
			pattern, match = args[i+1], true
		case "TYPE":
			if !strings.EqualFold(string(args[i+1]), "string") {
				count = 0 // nothing here is of another type
			}
		default:
			c.error(errSyntax)
			return
		}
	}
	var keys []string
	next := uint64(0)
	if count > 0 {
		now := time.Now()
		next = c.server.keys.cache().Scan(cursor, int(min(count, 1<<20)), func(key string, v value) bool {
			if !v.over(now) && (!match || glob(pattern, key)) {
				keys = append(keys, key)
			}
			return true
		})
	}
	c.array(2)
	c.text(strconv.FormatUint(next, 10))
	c.array(len(keys))
	for _, key := range keys {
		c.text(key)
	}
}

func cmdKeys(c *client, args [][]byte) {
	var keys []string
	now := time.Now()
	for key, v := range c.server.keys.cache().All() {
		if !v.over(now) && glob(args[1], key) {
			keys = append(keys, key)
		}
	}
	c.array(len(keys))
	for _, key := range keys {
		c.text(key)
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
		c.null()
		return
	}
	c.text(seen[rand.IntN(len(seen))])
}

func cmdFlush(c *client, args [][]byte) {
	if len(args) > 2 || len(args) == 2 && !strings.EqualFold(string(args[1]), "sync") && !strings.EqualFold(string(args[1]), "async") {
		c.error(errSyntax)
		return
	}
	if err := c.server.keys.clear(c.ctx()); err != nil {
		c.storage(err)
		return
	}
	c.ok()
}

func cmdMemory(c *client, args [][]byte) {
	switch strings.ToUpper(string(args[1])) {
	case "USAGE":
		if len(args) != 3 && (len(args) != 5 || !strings.EqualFold(string(args[3]), "samples")) {
			c.error(errSyntax)
			return
		}
		v, ok, err := c.server.keys.peek(c.ctx(), args[2])
		switch {
		case err != nil:
			c.storage(err)
		case ok:
			c.int(cost(string(args[2]), v))
		default:
			c.null()
		}
	case "DOCTOR":
		c.verbatim("The cache holds its bound: nothing to report.")
	default:
		c.unknownSubcommand(args)
	}
}

func (c *client) unknownSubcommand(args [][]byte) {
	c.errorf("ERR unknown subcommand '%s'. Try %s HELP.", clip(args[1], 128), strings.ToUpper(string(args[0])))
}

func cmdObject(c *client, args [][]byte) {
	sub := strings.ToUpper(string(args[1]))
	switch sub {
	case "ENCODING", "REFCOUNT", "FREQ", "IDLETIME":
	default:
		c.unknownSubcommand(args)
		return
	}
	if len(args) != 3 {
		c.errorf("ERR wrong number of arguments for 'object|%s' command", strings.ToLower(sub))
		return
	}
	v, ok, err := c.server.keys.peek(c.ctx(), args[2])
	if err != nil {
		c.storage(err)
		return
	}
	if !ok {
		c.null()
		return
	}
	switch sub {
	case "ENCODING":
		encoding := "raw"
		if _, ok := parseInt(v.data); ok {
			encoding = "int"
		} else if len(v.data) <= 44 {
			encoding = "embstr"
		}
		c.text(encoding)
	case "REFCOUNT":
		c.int(1)
	case "FREQ":
		f, ok := c.server.keys.cache().(interface{ Frequency(string) (int, bool) })
		if !ok {
			c.error("ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.")
			return
		}
		n, _ := f.Frequency(string(args[2]))
		c.int(int64(n))
	case "IDLETIME":
		c.error("ERR this server keeps the order of uses and not their times")
	}
}

func cmdTime(c *client, _ [][]byte) {
	now := time.Now()
	c.array(2)
	c.text(strconv.FormatInt(now.Unix(), 10))
	c.text(fmt.Sprint(now.Nanosecond() / 1000))
}

var _ cache.Cache[string, value] = switchable{}
