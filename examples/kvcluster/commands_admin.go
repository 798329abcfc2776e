package kvcluster

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/resp"
	"github.com/ashlar-go/ashlar/examples/kvcluster/peer"
	"github.com/ashlar-go/ashlar/kvstore/replica"
)

// cmdScan iterates over the keys of the whole cluster in the order of their hashes:
// the cursor is the hash to go on with. A key that is there all the time is
// returned, and once, for as long as enough nodes answer; if they do not, there
// is an error and never a list with holes.
func cmdScan(c *client, args [][]byte) {
	o, problem := resp.ParseScan(args)
	if problem != "" {
		c.Error(problem)
		return
	}
	var keys [][]byte
	next := uint64(0)
	if !o.None {
		var err error
		if keys, next, err = c.scan(o.Cursor, int(min(o.Count, listMost))); err != nil {
			c.fail(err)
			return
		}
	}
	keys = slices.DeleteFunc(keys, func(key []byte) bool { return !o.Matches(string(key)) })
	c.Array(2)
	c.Text(strconv.FormatUint(next, 10))
	c.Array(len(keys))
	for _, key := range keys {
		c.Bulk(key)
	}
}

// scan lists keys when few others do, and takes room for them before it lets the next
// one do so.
func (c *client) scan(cursor uint64, limit int) (keys [][]byte, next uint64, err error) {
	select {
	case c.node.listing <- struct{}{}:
		defer func() { <-c.node.listing }()
	case <-c.ctx().Done():
		return nil, 0, errStopped
	}
	keys, next, err = c.node.scan(c.ctx(), c.covering(), cursor, limit)
	bytes := 0
	for _, key := range keys {
		bytes += 2 * len(key) // as a key and in the answer
	}
	if err == nil && bytes > peer.Large {
		err = c.Claim().Take(c.ctx(), int64(bytes))
	}
	return keys, next, err
}

// covering is the number of copies that an acknowledged write of this connection's
// level has: as long as fewer nodes are away, one of them is seen.
func (c *client) covering() int {
	return c.level.fit(min(c.node.config.N, c.node.roster.placement().ring.Len())).W
}

func cmdDBSize(c *client, _ [][]byte) {
	n, err := c.node.countAll(c.ctx(), c.covering())
	if err != nil {
		c.fail(err)
		return
	}
	c.Int(n)
}

// cmdSiblings lists what concurrent writers have left under a key, the latest last.
func cmdSiblings(c *client, args [][]byte) {
	f, err := c.get(c.ctx(), args[1])
	if err != nil {
		c.fail(err)
		return
	}
	c.Array(len(f.live))
	for _, v := range f.live {
		c.Value(v.Data)
	}
}

// cmdOwners says which nodes own a key, whether it is there or not.
func cmdOwners(c *client, args [][]byte) {
	owners := c.node.roster.placement().owners(args[1])
	c.Array(len(owners))
	for _, name := range owners {
		c.Text(name)
	}
}

// cmdConsistency shows or sets how many replicas the connection's reads and writes wait
// for: CONSISTENCY quorum, or CONSISTENCY 1 3 for R and W.
func cmdConsistency(c *client, args [][]byte) {
	n := c.node.config.N
	switch len(args) {
	case 1:
	case 2:
		level, ok := namedLevel(strings.ToLower(string(args[1])), n)
		if !ok {
			c.Errorf("ERR unknown consistency, want %s, or R and W", strings.Join(levelNames, ", "))
			return
		}
		c.level = level
	case 3:
		r, ok1 := resp.ParseInt(args[1])
		w, ok2 := resp.ParseInt(args[2])
		if !ok1 || !ok2 || r < 1 || w < 1 || r > int64(n) || w > int64(n) {
			c.Errorf("ERR R and W are numbers from 1 to %d", n)
			return
		}
		c.level = Level{R: int(r), W: int(w)}
	default:
		c.Error("ERR wrong number of arguments for 'consistency' command")
		return
	}
	c.Text(c.level.String())
}

// String says what the level is.
func (l Level) String() string {
	name := l.Name
	if name == "" {
		name = "custom"
	}
	return fmt.Sprintf("%s R=%d W=%d", name, l.R, l.W)
}

// cmdNode is for those who run the cluster.
func cmdNode(c *client, args [][]byte) {
	n := c.node
	sub := strings.ToUpper(string(args[1]))
	arity := map[string]int{"LIST": 2, "LEAVE": 2, "MERGE": 2, "FORGET": 3, "BACKUP": 3, "BACKUPALL": 3, "RESTORE": 3, "RESTOREALL": 3}
	want, known := arity[sub]
	switch {
	case !known:
		c.UnknownSubcommand(args)
		return
	case len(args) != want:
		c.Errorf("ERR wrong number of arguments for 'node|%s' command", strings.ToLower(sub))
		return
	}
	var err error
	switch sub {
	case "LIST":
		members := n.roster.placement().members
		var lines strings.Builder
		for _, name := range slices.Sorted(maps.Keys(members)) {
			m := members[name]
			fmt.Fprintf(&lines, "%s addr=%s redis=%s status=%s reachable=%t\n", name, m.Addr, m.Redis, m.Status, n.gossip.isAlive(name))
		}
		c.Verbatim(lines.String())
		return
	case "LEAVE":
		err = n.move.leave(c.ctx(), n.config.Name)
	case "MERGE":
		err = n.merge(c.ctx())
	case "FORGET":
		name := string(args[2])
		if n.gossip.isAlive(name) {
			c.Errorf("ERR %s can be reached; let it leave instead", name)
			return
		}
		err = n.move.leave(c.ctx(), name)
	case "BACKUP":
		err = n.backup(c.ctx(), string(args[2]))
	case "BACKUPALL":
		err = n.backupAll(c.ctx(), string(args[2]))
	case "RESTORE", "RESTOREALL":
		restore := n.restore
		if sub == "RESTOREALL" {
			restore = n.restoreAll
		}
		objects, err := restore(c.ctx(), string(args[2]))
		if err != nil {
			c.fail(err)
			return
		}
		c.Int(int64(objects))
		return
	}
	if err != nil {
		c.fail(err)
		return
	}
	c.OK()
}

// settings are what CONFIG GET shows.
func (c *client) settings() map[string]string {
	s := c.node.config.Settings
	return map[string]string{
		"save": "", "appendonly": map[bool]string{true: "no", false: "yes"}[s.Memory], "databases": "1", "timeout": "0", "tcp-keepalive": "300",
		"maxmemory": "0", "maxmemory-policy": "noeviction",
		"maxclients": strconv.Itoa(s.MaxClients), "proto-max-bulk-len": strconv.FormatInt(s.Limits.Command, 10),
		"ashlar-replicas": strconv.Itoa(s.N), "ashlar-conflicts": conflictName(s.Policy), "ashlar-sloppy": strconv.FormatBool(s.Sloppy),
		"ashlar-consistency": c.level.String(),
	}
}

func cmdConfig(c *client, args [][]byte) {
	switch sub := strings.ToUpper(string(args[1])); {
	case sub == "GET" && len(args) > 2:
		c.Settings(c.settings(), args[2:])
	case sub == "SET":
		c.Error("ERR settings are given to the cluster when it starts; a connection's own is CONSISTENCY")
	case sub == "GET":
		c.Error("ERR wrong number of arguments for 'config|get' command")
	default:
		c.UnknownSubcommand(args)
	}
}

func conflictName(p replica.Policy) string {
	for name, policy := range policies {
		if policy == p {
			return name
		}
	}
	return ""
}

func cmdInfo(c *client, args [][]byte) {
	n := c.node
	conns, f := n.server.Stats(), n.figures()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	sections := []struct{ name, text string }{
		{"Server", fmt.Sprintf("redis_version:%s\r\nredis_mode:standalone\r\nos:%s\r\narch_bits:%d\r\nprocess_id:%d\r\nuptime_in_seconds:%d\r\nserver_name:ashlar\r\n",
			resp.RedisVersion, runtime.GOOS, strconv.IntSize, os.Getpid(), int(time.Since(n.started).Seconds()))},
		{"Clients", fmt.Sprintf("connected_clients:%d\r\nmaxclients:%d\r\n", conns.Clients, n.config.MaxClients)},
		{"Memory", fmt.Sprintf("used_memory:%d\r\nmem_allocator:go\r\nbudget_clients:%d\r\nbudget_clients_used:%d\r\nbudget_clients_peak:%d\r\nbudget_clients_waiting:%d\r\nbudget_peers:%d\r\nbudget_peers_used:%d\r\nbudget_peers_peak:%d\r\n", memory.HeapAlloc,
			n.forClients.Most(), n.forClients.Used(), n.forClients.Peak(), n.forClients.Waiting(), n.forPeers.Most(), n.forPeers.Used(), n.forPeers.Peak())},
		{"Stats", fmt.Sprintf("total_connections_received:%d\r\nrejected_connections:%d\r\ntotal_commands_processed:%d\r\nno_quorum:%d\r\nwrites_that_may_take_effect:%d\r\nread_repairs:%d\r\n",
			conns.Accepted, conns.Refused, f.Commands, f.NoQuorum, f.Maybe, f.Repaired)},
		{"Replication", "role:master\r\nconnected_slaves:0\r\n"},
		{"Cluster", fmt.Sprintf("node:%s\r\nmembers:%d\r\nreachable:%d\r\nn:%d\r\nr:%d\r\nw:%d\r\nconsistency:%s\r\nsloppy:%t\r\nconflicts:%s\r\nring:%016x\r\nhints_waiting:%d\r\nobjects_mended:%d\r\n",
			n.config.Name, n.roster.placement().ring.Len(), len(n.gossip.reachable()), n.config.N, c.level.R, c.level.W, c.level, n.config.Sloppy,
			conflictName(n.config.Policy), n.roster.placement().ring.Fingerprint(), f.Hints, f.Mended)},
		{"Engine", fmt.Sprintf("engine:%s\r\nobjects:%d\r\nengine_bytes:%d\r\ndisk_bytes:%d\r\nraw_bytes:%d\r\npacked_bytes:%d\r\ncache_hits:%d\r\ncache_misses:%d\r\n",
			f.Engine.Name, f.Keys, f.Engine.Bytes, f.Engine.Disk, f.Engine.Raw, f.Engine.Packed, f.Engine.Hits, f.Engine.Misses)},
		{"Keyspace", fmt.Sprintf("db0:keys=%d,expires=0,avg_ttl=0\r\n", f.Keys)},
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
