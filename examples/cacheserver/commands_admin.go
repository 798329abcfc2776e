package cacheserver

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/resp"
)

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
		"proto-max-bulk-len":     strconv.FormatInt(c.server.limits.Command, 10),
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
		c.Settings(c.settings(), args[2:])
	case sub == "SET" && len(args) > 3 && len(args)%2 == 0:
		for i := 2; i < len(args); i += 2 {
			if err := c.server.configure(strings.ToLower(string(args[i])), string(args[i+1])); err != nil {
				c.Errorf("ERR CONFIG SET failed (possibly related to argument '%s') - %v", args[i], err)
				return
			}
		}
		c.OK()
	case sub == "RESETSTAT" && len(args) == 2:
		c.server.hits.Store(0)
		c.server.misses.Store(0)
		c.server.commands.Store(0)
		c.OK()
	case sub == "GET" || sub == "SET":
		c.Errorf("ERR wrong number of arguments for 'config|%s' command", strings.ToLower(sub))
	default:
		c.UnknownSubcommand(args)
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
	conns := s.Stats()
	sections := []struct{ name, text string }{
		{"Server", fmt.Sprintf("redis_version:%s\r\nredis_mode:standalone\r\nos:%s\r\narch_bits:%d\r\nprocess_id:%d\r\nuptime_in_seconds:%d\r\nserver_name:ashlar\r\n",
			resp.RedisVersion, runtime.GOOS, strconv.IntSize, os.Getpid(), int(time.Since(s.started).Seconds()))},
		{"Clients", fmt.Sprintf("connected_clients:%d\r\nmaxclients:%d\r\n", conns.Clients, s.maxConns)},
		{"Memory", fmt.Sprintf("used_memory:%d\r\nused_memory_rss:%d\r\nmaxmemory:%d\r\nmaxmemory_policy:%s\r\nmem_allocator:go\r\n",
			used, memory.Sys-memory.HeapReleased, maxBytes, redisPolicy(policy))},
		{"Persistence", fmt.Sprintf("loading:0\r\naof_enabled:%d\r\n", len(c.settings()["appendonly"])-2)},
		{"Stats", fmt.Sprintf("total_connections_received:%d\r\nrejected_connections:%d\r\ntotal_commands_processed:%d\r\nkeyspace_hits:%d\r\nkeyspace_misses:%d\r\nevicted_keys:%d\r\nexpired_keys:%d\r\n",
			conns.Accepted, conns.Refused, s.commands.Load(), s.hits.Load(), s.misses.Load(), stats.Evictions, stats.Expirations)},
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
	c.Verbatim(b.String())
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
