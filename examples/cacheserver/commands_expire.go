package cacheserver

import (
	"slices"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/examples/internal/resp"
)

func cmdSet(c *client, args [][]byte) {
	options, problem := resp.ParseSet(args[3:])
	if problem != "" {
		c.Error(problem)
		return
	}
	c.set(args[1], args[2], options)
}

// set does what SET does with its options.
func (c *client) set(key, data []byte, o resp.SetOptions) {
	defer c.server.keys.lock(key)()
	var old value
	var there bool
	if o.IfNew || o.IfThere || o.Get || o.Keep {
		var err error
		if old, there, err = c.server.keys.peek(c.ctx(), key); err != nil {
			c.storage(err)
			return
		}
	}
	if o.IfNew && there || o.IfThere && !there {
		if o.Get {
			c.optional(old, there)
		} else {
			c.Null()
		}
		return
	}
	v := value{data: slices.Clone(data), ends: o.Ends}
	if o.Keep {
		v.ends = old.ends
	}
	if !c.put(key, v) {
		return
	}
	if o.Get {
		c.optional(old, there)
	} else {
		c.OK()
	}
}

func cmdSetNX(c *client, args [][]byte) {
	defer c.server.keys.lock(args[1])()
	_, there, err := c.server.keys.peek(c.ctx(), args[1])
	switch {
	case err != nil:
		c.storage(err)
	case there:
		c.Int(0)
	case c.put(args[1], value{data: slices.Clone(args[2])}):
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

func cmdGetEX(c *client, args [][]byte) {
	var life resp.Lifetime
	persist := false
	switch option := strings.ToUpper(string(args[min(2, len(args)-1)])); {
	case len(args) == 2:
	case len(args) == 3 && option == "PERSIST":
		persist = true
	case len(args) == 4 && (option == "EX" || option == "PX" || option == "EXAT" || option == "PXAT"):
		ends, problem := resp.ParsePositiveEnd(option, args[3], "getex")
		if problem != "" {
			c.Error(problem)
			return
		}
		life = resp.Lifetime{Set: true, Ends: ends}
	default:
		c.Error(resp.SyntaxError)
		return
	}
	defer c.server.keys.lock(args[1])()
	v, ok, done := c.get(args[1])
	if done {
		return
	}
	if ok && (life.Set || persist && v.ends != 0) {
		if !c.put(args[1], value{v.data, life.Ends}) {
			return
		}
	}
	c.optional(v, ok)
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
	var nx, xx, gt, lt bool
	for _, arg := range args[3:] {
		switch strings.ToUpper(string(arg)) {
		case "NX":
			nx = true
		case "XX":
			xx = true
		case "GT":
			gt = true
		case "LT":
			lt = true
		default:
			c.Errorf("ERR Unsupported option %s", arg)
			return
		}
	}
	if nx && (xx || gt || lt) {
		c.Error("ERR NX and XX, GT or LT options at the same time are not compatible")
		return
	}
	if gt && lt {
		c.Error("ERR GT and LT options at the same time are not compatible")
		return
	}
	ends, problem := resp.ParseEnd(unit, args[2], name)
	if problem != "" {
		c.Error(problem)
		return
	}
	defer c.server.keys.lock(args[1])()
	v, ok, err := c.server.keys.peek(c.ctx(), args[1])
	if err != nil {
		c.storage(err)
		return
	}
	if !ok || nx && v.ends != 0 || xx && v.ends == 0 || gt && (v.ends == 0 || ends <= v.ends) || lt && v.ends != 0 && ends >= v.ends {
		c.Int(0)
		return
	}
	if ends <= time.Now().UnixMilli() {
		if c.delete(args[1]) {
			c.Int(1)
		}
		return
	}
	if c.put(args[1], value{v.data, ends}) {
		c.Int(1)
	}
}

// cmdTTL is TTL, PTTL, EXPIRETIME and PEXPIRETIME.
func cmdTTL(c *client, args [][]byte) {
	v, ok, err := c.server.keys.peek(c.ctx(), args[1])
	switch {
	case err != nil:
		c.storage(err)
		return
	case !ok:
		c.Int(-2)
		return
	case v.ends == 0:
		c.Int(-1)
		return
	}
	left := max(0, v.ends-time.Now().UnixMilli())
	switch strings.ToUpper(string(args[0])) {
	case "TTL":
		c.Int((left + 500) / 1000)
	case "PTTL":
		c.Int(left)
	case "EXPIRETIME":
		c.Int((v.ends + 500) / 1000)
	default:
		c.Int(v.ends)
	}
}

func cmdPersist(c *client, args [][]byte) {
	defer c.server.keys.lock(args[1])()
	v, ok, err := c.server.keys.peek(c.ctx(), args[1])
	switch {
	case err != nil:
		c.storage(err)
	case !ok || v.ends == 0:
		c.Int(0)
	case c.put(args[1], value{data: v.data}):
		c.Int(1)
	}
}
