package resp

import (
	"bytes"
	"crypto/subtle"
	"fmt"
	"strings"
	"time"
)

func (c *Conn) ping(args [][]byte) {
	switch len(args) {
	case 1:
		c.Status("PONG")
	case 2:
		c.Bulk(args[1])
	default:
		c.Error("ERR wrong number of arguments for 'ping' command")
	}
}

func (c *Conn) selects(args [][]byte) {
	n, ok := ParseInt(args[1])
	switch {
	case !ok:
		c.Error(IntegerError)
	case n != 0:
		c.Error("ERR DB index is out of range")
	default:
		c.OK()
	}
}

func (c *Conn) reset(_ [][]byte) {
	c.Version, c.NoTouch = 2, false
	c.setName("")
	c.authed = c.server.options.Password == ""
	c.Status("RESET")
}

// login checks a user and password and answers a wrong one.
func (c *Conn) login(user, password []byte) bool {
	want := c.server.options.Password
	same := subtle.ConstantTimeCompare(password, []byte(want)) == 1
	if string(user) != "default" || want != "" && !same {
		c.Error("WRONGPASS invalid username-password pair or user is disabled.")
		return false
	}
	c.authed = true
	return true
}

func (c *Conn) auth(args [][]byte) {
	switch {
	case len(args) > 3:
		c.Error(SyntaxError)
	case len(args) == 2 && c.server.options.Password == "":
		c.Error("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
	case len(args) == 2:
		if c.login([]byte("default"), args[1]) {
			c.OK()
		}
	default:
		if c.login(args[1], args[2]) {
			c.OK()
		}
	}
}

func (c *Conn) hello(args [][]byte) {
	version := int64(c.Version)
	if len(args) > 1 {
		var ok bool
		if version, ok = ParseInt(args[1]); !ok {
			c.Error("ERR Protocol version is not an integer or out of range")
			return
		}
		if version != 2 && version != 3 {
			c.Error("NOPROTO unsupported protocol version")
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
			if !c.validName(args[i+1]) {
				return
			}
			name, named = string(args[i+1]), true
			i += 2
		default:
			c.Errorf("ERR Syntax error in HELLO option '%s'", clip(args[i], 128))
			return
		}
	}
	if !c.authed {
		c.Error("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time")
		return
	}
	if named {
		c.setName(name)
	}
	c.Version = int(version)
	c.Pairs(7)
	c.Text("server")
	c.Text("redis")
	c.Text("version")
	c.Text(RedisVersion)
	c.Text("proto")
	c.Int(version)
	c.Text("id")
	c.Int(c.ID)
	c.Text("mode")
	c.Text("standalone")
	c.Text("role")
	c.Text("master")
	c.Text("modules")
	c.Array(0)
}

// setName sets the name, which CLIENT LIST of others reads.
func (c *Conn) setName(name string) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.name = name
}

// maxName is how long what a client says of itself may be: it is kept for as long as
// the client is there, and counted nowhere.
const maxName = 256

// validName checks a name and answers a wrong one.
func (c *Conn) validName(name []byte) bool {
	switch {
	case len(name) > maxName:
		c.Errorf("ERR Client names cannot be longer than %d bytes.", maxName)
	case bytes.ContainsFunc(name, func(r rune) bool { return r < '!' || r > '~' }):
		c.Error("ERR Client names cannot contain spaces, newlines or special characters.")
	default:
		return true
	}
	return false
}

func (c *Conn) client(args [][]byte) {
	sub := strings.ToUpper(string(args[1]))
	wrong := func() {
		c.Errorf("ERR wrong number of arguments for 'client|%s' command", strings.ToLower(sub))
	}
	arity := map[string]int{"ID": 2, "GETNAME": 2, "SETNAME": 3, "SETINFO": 4, "INFO": 2, "NO-EVICT": 3, "NO-TOUCH": 3}
	if n, ok := arity[sub]; ok && n != len(args) {
		wrong()
		return
	}
	switch sub {
	case "ID":
		c.Int(c.ID)
	case "GETNAME":
		if c.name == "" {
			c.Null()
		} else {
			c.Text(c.name)
		}
	case "SETNAME":
		if !c.validName(args[2]) {
			return
		}
		c.setName(string(args[2]))
		c.OK()
	case "SETINFO":
		if len(args[3]) > maxName {
			c.Errorf("ERR Names of libraries and their versions cannot be longer than %d bytes.", maxName)
			return
		}
		switch strings.ToLower(string(clip(args[2], 128))) {
		case "lib-name":
			c.library[0] = string(args[3])
		case "lib-ver":
			c.library[1] = string(args[3])
		default:
			c.Errorf("ERR Unrecognized option '%s'", clip(args[2], 128))
			return
		}
		c.OK()
	case "INFO":
		c.Verbatim(c.describe())
	case "LIST":
		c.Verbatim(c.server.clients())
	case "NO-EVICT", "NO-TOUCH":
		on := strings.EqualFold(string(args[2]), "on")
		if !on && !strings.EqualFold(string(args[2]), "off") {
			c.Error(SyntaxError)
			return
		}
		if sub == "NO-TOUCH" {
			c.NoTouch = on
		}
		c.OK()
	default:
		c.UnknownSubcommand(args)
	}
}

// describe is a line of CLIENT LIST.
func (c *Conn) describe() string {
	last := "NULL"
	if p := c.last.Load(); p != nil {
		last = *p
	}
	return fmt.Sprintf("id=%d addr=%s laddr=%s name=%s age=%d db=0 cmd=%s\n",
		c.ID, c.net.RemoteAddr(), c.net.LocalAddr(), c.name, int(time.Since(c.since).Seconds()), last)
}
