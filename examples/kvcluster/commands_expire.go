package kvcluster

import (
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/resp"
	"github.com/ashlar-go/ashlar/kvstore/replica"
)

// conditions are the options of EXPIRE.
type conditions struct{ nx, xx, gt, lt bool }

// allow reports whether an end may replace another; 0 is no end, which is later
// than any.
func (o conditions) allow(old, ends int64) bool {
	switch {
	case o.nx && old != 0, o.xx && old == 0, o.gt && (old == 0 || ends <= old), o.lt && old != 0 && ends >= old:
		return false
	}
	return true
}

// cmdExpire is EXPIRE, PEXPIRE, EXPIREAT and PEXPIREAT.
func cmdExpire(c *client, args [][]byte) {
	name := strings.ToUpper(string(args[0]))
	unit := "EX"
	if name[0] == 'P' {
		unit = "PX"
	}
	if strings.HasSuffix(name, "AT") {
		unit += "AT"
	}
	var o conditions
	for _, arg := range args[3:] {
		switch strings.ToUpper(string(arg)) {
		case "NX":
			o.nx = true
		case "XX":
			o.xx = true
		case "GT":
			o.gt = true
		case "LT":
			o.lt = true
		default:
			c.Errorf("ERR Unsupported option %s", arg)
			return
		}
	}
	switch {
	case o.nx && (o.xx || o.gt || o.lt):
		c.Error("ERR NX and XX, GT or LT options at the same time are not compatible")
		return
	case o.gt && o.lt:
		c.Error("ERR GT and LT options at the same time are not compatible")
		return
	}
	ends, problem := resp.ParseEnd(unit, args[2], name)
	if problem != "" {
		c.Error(problem)
		return
	}
	c.rewrite(args[1], func(v replica.Version) (replica.Change, bool) {
		if ends <= time.Now().UnixMilli() {
			return replica.Change{Deleted: true}, o.allow(v.Expires, ends)
		}
		return replica.Change{Data: v.Data, Expires: ends}, o.allow(v.Expires, ends)
	})
}

func cmdPersist(c *client, args [][]byte) {
	c.rewrite(args[1], func(v replica.Version) (replica.Change, bool) {
		return replica.Change{Data: v.Data}, v.Expires != 0
	})
}

// rewrite replaces the version under a key by what make makes of it and answers
// with 1, or with 0 if there is none or make does not want to.
func (c *client) rewrite(key []byte, make func(replica.Version) (replica.Change, bool)) {
	written := false
	_, err := c.change(key, func(f found) (change replica.Change, _ bool) {
		if written = f.ok(); written {
			change, written = make(f.value())
		}
		return change, written
	})
	switch {
	case err != nil:
		c.fail(err)
	case written:
		c.Int(1)
	default:
		c.Int(0)
	}
}

func cmdTTL(c *client, args [][]byte) {
	f, err := c.get(c.ctx(), args[1])
	switch {
	case err != nil:
		c.fail(err)
	case !f.ok():
		c.Int(-2)
	case f.value().Expires == 0:
		c.Int(-1)
	default:
		left := max(0, f.value().Expires-time.Now().UnixMilli())
		if strings.EqualFold(string(args[0]), "ttl") {
			left = (left + 500) / 1000
		}
		c.Int(left)
	}
}
