package cacheserver

import (
	"crypto/subtle"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// redisVersion is the version whose behaviour this server follows. Clients
// choose their commands by it.
const redisVersion = "7.0.15"

func cmdPing(c *client, args [][]byte) {
	switch len(args) {
	case 1:
		c.status("PONG")
	case 2:
		c.bulk(args[1])
	default:
		c.error("ERR wrong number of arguments for 'ping' command")
	}
}

func cmdSelect(c *client, args [][]byte) {
	n, ok := parseInt(args[1])
	switch {
	case !ok:
		c.error(errInteger)
	case n != 0:
		c.error("ERR DB index is out of range")
	default:
		c.ok()
	}
}

func cmdReset(c *client, _ [][]byte) {
	c.version, c.noTouch = 2, false
	c.setName("")
	c.authed = c.server.password == ""
	c.status("RESET")
}

// login checks a user and password and answers a wrong one.
func (c *client) login(user, password []byte) bool {
	want := c.server.password
	same := subtle.ConstantTimeCompare(password, []byte(want)) == 1
	if string(user) != "default" || want != "" && !same {
		c.error("WRONGPASS invalid username-password pair or user is disabled.")
		return false
	}
	c.authed = true
	return true
}

func cmdAuth(c *client, args [][]byte) {
	switch {
	case len(args) > 3:
		c.error(errSyntax)
	case len(args) == 2 && c.server.password == "":
		c.error("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
	case len(args) == 2:
		if c.login([]byte("default"), args[1]) {
			c.ok()
		}
	default:
		if c.login(args[1], args[2]) {
			c.ok()
		}
	}
}

func cmdHello(c *client, args [][]byte) {
	version := int64(c.version)
	if len(args) > 1 {
		var ok bool
		if version, ok = parseInt(args[1]); !ok {
			c.error("ERR Protocol version is not an integer or out of range")
			return
		}
		if version != 2 && version != 3 {
			c.error("NOPROTO unsupported protocol version")
			return
		}
	}
	name, named := "", false
	for i := 2; i < len(args); {
		switch option := strings.ToUpper(string(args[i])); {
		case option == "AUTH" && i+2 < len(args):
			if !c.login(args[i+1], args[i+2]) {
				return
			}
			i += 3
		case option == "SETNAME" && i+1 < len(args):
			if name, named = string(args[i+1]), true; !validName(name) {
				c.error("ERR Client names cannot contain spaces, newlines or special characters.")
				return
			}
			i += 2
		default:
			c.errorf("ERR Syntax error in HELLO option '%s'", args[i])
			return
		}
	}
	if !c.authed {
		c.error("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time")
		return
	}
	if named {
		c.setName(name)
	}
	c.version = int(version)
	c.pairs(7)
	c.text("server")
	c.text("redis")
	c.text("version")
	c.text(redisVersion)
	c.text("proto")
	c.int(version)
	c.text("id")
	c.int(c.id)
	c.text("mode")
	c.text("standalone")
	c.text("role")
	c.text("master")
	c.text("modules")
	c.array(0)
}

// setName sets the name, which CLIENT LIST of others reads.
func (c *client) setName(name string) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.name = name
}

func validName(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool { return r < '!' || r > '~' })
}

func cmdClient(c *client, args [][]byte) {
	sub := strings.ToUpper(string(args[1]))
	wrong := func() {
		c.errorf("ERR wrong number of arguments for 'client|%s' command", strings.ToLower(sub))
	}
	arity := map[string]int{"ID": 2, "GETNAME": 2, "SETNAME": 3, "SETINFO": 4, "INFO": 2, "NO-EVICT": 3, "NO-TOUCH": 3}
	if n, ok := arity[sub]; ok && n != len(args) {
		wrong()
		return
	}
	switch sub {
	case "ID":
		c.int(c.id)
	case "GETNAME":
		if c.name == "" {
			c.null()
		} else {
			c.text(c.name)
		}
	case "SETNAME":
		if !validName(string(args[2])) {
			c.error("ERR Client names cannot contain spaces, newlines or special characters.")
			return
		}
		c.setName(string(args[2]))
		c.ok()
	case "SETINFO":
		switch strings.ToLower(string(args[2])) {
		case "lib-name":
			c.library[0] = string(args[3])
		case "lib-ver":
			c.library[1] = string(args[3])
		default:
			c.errorf("ERR Unrecognized option '%s'", args[2])
			return
		}
		c.ok()
	case "INFO":
		c.verbatim(c.describe())
	case "LIST":
		s := c.server
		s.mu.Lock()
		var lines []string
		for other := range s.conns {
			lines = append(lines, other.describe())
		}
		s.mu.Unlock()
		slices.Sort(lines)
		c.verbatim(strings.Join(lines, ""))
	case "NO-EVICT", "NO-TOUCH":
		on := strings.EqualFold(string(args[2]), "on")
		if !on && !strings.EqualFold(string(args[2]), "off") {
			c.error(errSyntax)
			return
		}
		if sub == "NO-TOUCH" {
			c.noTouch = on
		}
		c.ok()
	default:
		c.unknownSubcommand(args)
	}
}

// describe is a line of CLIENT LIST.
func (c *client) describe() string {
	last := "NULL"
	if p := c.last.Load(); p != nil {
		last = *p
	}
	return fmt.Sprintf("id=%d addr=%s laddr=%s name=%s age=%d db=0 cmd=%s\n",
		c.id, c.conn.RemoteAddr(), c.conn.LocalAddr(), c.name, int(time.Since(c.since).Seconds()), last)
}

func cmdCommand(c *client, args [][]byte) {
	if len(args) == 1 {
		names := slices.Sorted(maps.Keys(commands))
		c.array(len(names))
		for _, name := range names {
			c.commandInfo(commands[name])
		}
		return
	}
	switch strings.ToUpper(string(args[1])) {
	case "COUNT":
		c.int(int64(len(commands)))
	case "INFO":
		c.array(len(args) - 2)
		for _, name := range args[2:] {
			if cmd, ok := commands[strings.ToUpper(string(name))]; ok {
				c.commandInfo(cmd)
			} else if c.version >= 3 {
				c.null()
			} else {
				c.array(-1)
			}
		}
	case "DOCS":
		c.pairs(0)
	case "LIST":
		names := slices.Sorted(maps.Keys(commands))
		c.array(len(names))
		for _, name := range names {
			c.text(strings.ToLower(name))
		}
	default:
		c.unknownSubcommand(args)
	}
}

func (c *client) commandInfo(cmd *command) {
	c.array(6)
	c.text(cmd.name)
	c.int(int64(cmd.arity))
	flags := strings.Fields(cmd.flags)
	c.array(len(flags))
	for _, flag := range flags {
		c.status(flag)
	}
	for _, n := range cmd.keys {
		c.int(int64(n))
	}
}

// settings are what CONFIG GET shows. Those with a setter can be changed.
func (c *client) settings() map[string]string {
	k := c.server.keys
	appendonly := "no"
	if k.behind != nil {
		appendonly = "yes"
	}
	bytes, policy := 0, ""
	k.world.RLock()
	bytes, policy = k.bytes, *k.policy.Load()
	entries := k.entries
	k.world.RUnlock()
	return map[string]string{
		"maxmemory":              strconv.Itoa(bytes),
		"maxmemory-policy":       redisPolicy(policy),
		"maxmemory-samples":      "5",
		"ashlar-policy":          policy,
		"ashlar-max-entries":     strconv.Itoa(entries),
		"maxclients":             strconv.Itoa(c.server.maxConns),
		"proto-max-bulk-len":     strconv.FormatInt(c.server.limits.command, 10),
		"save":                   "",
		"appendonly":             appendonly,
		"appendfsync":            c.server.fsync(),
		"databases":              "1",
		"timeout":                "0",
		"tcp-keepalive":          "300",
		"lfu-decay-time":         "1",
		"notify-keyspace-events": "",
	}
}

func (s *server) fsync() string {
	if s.keys.log == nil {
		return "no"
	}
	if s.keys.log.mode == syncInterval {
		return "everysec"
	}
	return string(s.keys.log.mode)
}

// redisPolicy is the name that Redis has for a policy, or the nearest.
func redisPolicy(policy string) string {
	switch policy {
	case "lru":
		return "allkeys-lru"
	case "random":
		return "allkeys-random"
	}
	return "allkeys-lfu"
}

func cmdConfig(c *client, args [][]byte) {
	switch sub := strings.ToUpper(string(args[1])); {
	case sub == "GET" && len(args) > 2:
		settings := c.settings()
		var names []string
		for _, name := range slices.Sorted(maps.Keys(settings)) {
			if slices.ContainsFunc(args[2:], func(p []byte) bool { return glob([]byte(strings.ToLower(string(p))), name) }) {
				names = append(names, name)
			}
		}
		c.pairs(len(names))
		for _, name := range names {
			c.text(name)
			c.text(settings[name])
		}
	case sub == "SET" && len(args) > 3 && len(args)%2 == 0:
		for i := 2; i < len(args); i += 2 {
			if err := c.server.configure(strings.ToLower(string(args[i])), string(args[i+1])); err != nil {
				c.errorf("ERR CONFIG SET failed (possibly related to argument '%s') - %v", args[i], err)
				return
			}
		}
		c.ok()
	case sub == "RESETSTAT" && len(args) == 2:
		c.server.hits.Store(0)
		c.server.misses.Store(0)
		c.server.commands.Store(0)
		c.ok()
	case sub == "GET" || sub == "SET":
		c.errorf("ERR wrong number of arguments for 'config|%s' command", strings.ToLower(sub))
	default:
		c.unknownSubcommand(args)
	}
}

// configure changes a setting while the server runs.
func (s *server) configure(name, text string) error {
	k := s.keys
	policy := *k.policy.Load()
	switch name {
	case "ashlar-policy":
		return k.change(text, 0, 0)
	case "maxmemory-policy":
		switch text {
		case "allkeys-lru", "volatile-lru":
			return k.change("lru", 0, 0)
		case "allkeys-lfu", "volatile-lfu":
			if policy == "tinylfu" {
				return nil
			}
			return k.change("lfu", 0, 0)
		case "allkeys-random", "volatile-random":
			return k.change("random", 0, 0)
		}
		return fmt.Errorf("argument must be one of the following: allkeys-lru, allkeys-lfu, allkeys-random; or set ashlar-policy to one of %s", strings.Join(policies, ", "))
	case "maxmemory":
		n, err := parseBytes(text)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("a cache needs a bound")
		}
		return k.change(policy, 0, n)
	case "ashlar-max-entries":
		n, err := strconv.Atoi(text)
		if err != nil || n <= 0 {
			return fmt.Errorf("argument must be a positive number of entries")
		}
		return k.change(policy, n, 0)
	case "save", "appendonly", "timeout", "tcp-keepalive", "maxmemory-samples", "lfu-decay-time", "notify-keyspace-events":
		return nil // taken for the sake of clients that set it; it means nothing here
	}
	return fmt.Errorf("unknown or unchangeable setting")
}

// parseBytes reads a size such as 64mb, as Redis does.
func parseBytes(text string) (int, error) {
	lower := strings.ToLower(text)
	unit := 1
	for _, u := range []struct {
		suffix string
		size   int
	}{{"kb", 1 << 10}, {"mb", 1 << 20}, {"gb", 1 << 30}, {"k", 1e3}, {"m", 1e6}, {"g", 1e9}, {"b", 1}} {
		if rest, ok := strings.CutSuffix(lower, u.suffix); ok {
			lower, unit = rest, u.size
			break
		}
	}
	n, err := strconv.Atoi(lower)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return 0, fmt.Errorf("argument must be a memory value, not %q", text)
	}
	return n * unit, nil
}

func cmdInfo(c *client, args [][]byte) {
	s, k := c.server, c.server.keys
	stats := k.stats()
	k.world.RLock()
	used, entries, maxBytes, maxEntries, policy := k.cache().Cost(), k.cache().Len(), k.bytes, k.entries, *k.policy.Load()
	k.world.RUnlock()
	if maxBytes == 0 {
		used = 0
		for key, v := range k.cache().All() {
			used += cost(key, v)
		}
	}
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	s.mu.Lock()
	clients := len(s.conns)
	s.mu.Unlock()
	sections := []struct{ name, text string }{
		{"Server", fmt.Sprintf("redis_version:%s\r\nredis_mode:standalone\r\nos:%s\r\narch_bits:%d\r\nprocess_id:%d\r\nuptime_in_seconds:%d\r\nserver_name:ashlar\r\n",
			redisVersion, runtime.GOOS, strconv.IntSize, os.Getpid(), int(time.Since(s.started).Seconds()))},
		{"Clients", fmt.Sprintf("connected_clients:%d\r\nmaxclients:%d\r\n", clients, s.maxConns)},
		{"Memory", fmt.Sprintf("used_memory:%d\r\nused_memory_rss:%d\r\nmaxmemory:%d\r\nmaxmemory_policy:%s\r\nmem_allocator:go\r\n",
			used, memory.Sys-memory.HeapReleased, maxBytes, redisPolicy(policy))},
		{"Persistence", fmt.Sprintf("loading:0\r\naof_enabled:%d\r\n", len(c.settings()["appendonly"])-2)},
		{"Stats", fmt.Sprintf("total_connections_received:%d\r\nrejected_connections:%d\r\ntotal_commands_processed:%d\r\nkeyspace_hits:%d\r\nkeyspace_misses:%d\r\nevicted_keys:%d\r\nexpired_keys:%d\r\n",
			s.accepted.Load(), s.refused.Load(), s.commands.Load(), s.hits.Load(), s.misses.Load(), stats.Evictions, stats.Expirations)},
		{"Replication", "role:master\r\nconnected_slaves:0\r\n"},
		{"Policy", fmt.Sprintf("policy:%s\r\nmax_entries:%d\r\nentries:%d\r\ncache_hits:%d\r\ncache_misses:%d\r\ninserts:%d\r\nupdates:%d\r\nrejections:%d\r\n",
			policy, maxEntries, entries, stats.Hits, stats.Misses, stats.Inserts, stats.Updates, stats.Rejections)},
		{"Writebehind", k.describeBehind()},
		{"Keyspace", fmt.Sprintf("db0:keys=%d,expires=0,avg_ttl=0\r\n", entries)},
	}
	var b strings.Builder
	for _, section := range sections {
		wanted := len(args) == 1 || slices.ContainsFunc(args[1:], func(a []byte) bool {
			name := strings.ToLower(string(a))
			return name == "all" || name == "everything" || name == "default" || name == strings.ToLower(section.name)
		})
		if wanted {
			if b.Len() > 0 {
				b.WriteString("\r\n")
			}
			b.WriteString("# " + section.name + "\r\n" + section.text)
		}
	}
	c.verbatim(b.String())
}

func (k *keyspace) describeBehind() string {
	if k.behind == nil {
		return "enabled:0\r\n"
	}
	s := k.behind.Stats()
	keys, bytes := k.store.usage()
	return fmt.Sprintf("enabled:1\r\npending:%d\r\nwrites:%d\r\nlog_appends:%d\r\ncoalesced:%d\r\napplied:%d\r\nbatches:%d\r\nfailures:%d\r\nstore_reads:%d\r\nstore_keys:%d\r\nstore_bytes:%d\r\n",
		s.Pending, s.Writes, s.Appends, s.Coalesced, s.Applied, s.Batches, s.Failures, s.StoreReads, keys, bytes)
}
