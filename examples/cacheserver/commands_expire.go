package cacheserver

import (
	"math"
	"slices"
	"strings"
	"time"
)

// A lifetime is what the options of a command say of the end of a value.
type lifetime struct {
	set  bool
	ends int64 // Unix milliseconds
	keep bool  // KEEPTTL
}

// invalidExpire is the error for a time that is not one.
func invalidExpire(command string) string {
	return "ERR invalid expire time in '" + strings.ToLower(command) + "' command"
}

// parseEnd turns a number after EX, PX, EXAT, PXAT or the like into Unix
// milliseconds.
func parseEnd(unit string, b []byte, command string) (ends int64, problem string) {
	n, ok := parseInt(b)
	if !ok {
		return 0, errInteger
	}
	if strings.HasPrefix(unit, "EX") {
		if n > math.MaxInt64/1000 || n < math.MinInt64/1000 {
			return 0, invalidExpire(command)
		}
		n *= 1000
	}
	if !strings.HasSuffix(unit, "AT") {
		now := time.Now().UnixMilli()
		if n > math.MaxInt64-now {
			return 0, invalidExpire(command)
		}
		n += now
	}
	return n, ""
}

func cmdSet(c *client, args [][]byte) {
	var life lifetime
	var nx, xx, get bool
	for i := 3; i < len(args); i++ {
		option := strings.ToUpper(string(args[i]))
		switch option {
		case "NX":
			nx = true
		case "XX":
			xx = true
		case "GET":
			get = true
		case "KEEPTTL":
			life.keep = true
		case "EX", "PX", "EXAT", "PXAT":
			if life.set || i+1 == len(args) {
				c.error(errSyntax)
				return
			}
			i++
			ends, problem := parseEnd(option, args[i], "set")
			if n, ok := parseInt(args[i]); ok && n <= 0 {
				problem = invalidExpire("set")
			}
			if problem != "" {
				c.error(problem)
				return
			}
			life.set, life.ends = true, ends
		default:
			c.error(errSyntax)
			return
		}
	}
	if nx && xx || life.keep && life.set {
		c.error(errSyntax)
		return
	}
	c.set(args[1], args[2], life, nx, xx, get)
}

// set does what SET does with its options.
func (c *client) set(key, data []byte, life lifetime, nx, xx, get bool) {
	defer c.server.keys.lock(key)()
	var old value
	var there bool
	if nx || xx || get || life.keep {
		var err error
		if old, there, err = c.server.keys.peek(c.ctx(), key); err != nil {
			c.storage(err)
			return
		}
	}
	if nx && there || xx && !there {
		if get {
			c.optional(old, there)
		} else {
			c.null()
		}
		return
	}
	v := value{data: slices.Clone(data), ends: life.ends}
	if life.keep {
		v.ends = old.ends
	}
	if !c.put(key, v) {
		return
	}
	if get {
		c.optional(old, there)
	} else {
		c.ok()
	}
}

func cmdSetNX(c *client, args [][]byte) {
	defer c.server.keys.lock(args[1])()
	_, there, err := c.server.keys.peek(c.ctx(), args[1])
	switch {
	case err != nil:
		c.storage(err)
	case there:
		c.int(0)
	case c.put(args[1], value{data: slices.Clone(args[2])}):
		c.int(1)
	}
}

func cmdSetEX(c *client, args [][]byte) {
	name, unit := strings.ToLower(string(args[0])), "EX"
	if name == "psetex" {
		unit = "PX"
	}
	ends, problem := parseEnd(unit, args[2], name)
	if n, ok := parseInt(args[2]); ok && n <= 0 {
		problem = invalidExpire(name)
	}
	if problem != "" {
		c.error(problem)
		return
	}
	c.set(args[1], args[3], lifetime{set: true, ends: ends}, false, false, false)
}

func cmdGetEX(c *client, args [][]byte) {
	var life lifetime
	persist := false
	switch option := strings.ToUpper(string(args[min(2, len(args)-1)])); {
	case len(args) == 2:
	case len(args) == 3 && option == "PERSIST":
		persist = true
	case len(args) == 4 && (option == "EX" || option == "PX" || option == "EXAT" || option == "PXAT"):
		ends, problem := parseEnd(option, args[3], "getex")
		if n, ok := parseInt(args[3]); ok && n <= 0 {
			problem = invalidExpire("getex")
		}
		if problem != "" {
			c.error(problem)
			return
		}
		life = lifetime{set: true, ends: ends}
	default:
		c.error(errSyntax)
		return
	}
	defer c.server.keys.lock(args[1])()
	v, ok, done := c.get(args[1])
	if done {
		return
	}
	if ok && (life.set || persist && v.ends != 0) {
		if !c.put(args[1], value{v.data, life.ends}) {
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
			c.errorf("ERR Unsupported option %s", arg)
			return
		}
	}
	if nx && (xx || gt || lt) {
		c.error("ERR NX and XX, GT or LT options at the same time are not compatible")
		return
	}
	if gt && lt {
		c.error("ERR GT and LT options at the same time are not compatible")
		return
	}
	ends, problem := parseEnd(unit, args[2], name)
	if problem != "" {
		c.error(problem)
		return
	}
	defer c.server.keys.lock(args[1])()
	v, ok, err := c.server.keys.peek(c.ctx(), args[1])
	if err != nil {
		c.storage(err)
		return
	}
	if !ok || nx && v.ends != 0 || xx && v.ends == 0 || gt && (v.ends == 0 || ends <= v.ends) || lt && v.ends != 0 && ends >= v.ends {
		c.int(0)
		return
	}
	if ends <= time.Now().UnixMilli() {
		if c.delete(args[1]) {
			c.int(1)
		}
		return
	}
	if c.put(args[1], value{v.data, ends}) {
		c.int(1)
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
		c.int(-2)
		return
	case v.ends == 0:
		c.int(-1)
		return
	}
	left := max(0, v.ends-time.Now().UnixMilli())
	switch strings.ToUpper(string(args[0])) {
	case "TTL":
		c.int((left + 500) / 1000)
	case "PTTL":
		c.int(left)
	case "EXPIRETIME":
		c.int((v.ends + 500) / 1000)
	default:
		c.int(v.ends)
	}
}

func cmdPersist(c *client, args [][]byte) {
	defer c.server.keys.lock(args[1])()
	v, ok, err := c.server.keys.peek(c.ctx(), args[1])
	switch {
	case err != nil:
		c.storage(err)
	case !ok || v.ends == 0:
		c.int(0)
	case c.put(args[1], value{data: v.data}):
		c.int(1)
	}
}
