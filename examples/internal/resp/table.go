package resp

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Errors that Redis gives, word for word.
const (
	SyntaxError  = "ERR syntax error"
	IntegerError = "ERR value is not an integer or out of range"
)

// RedisVersion is the version whose behaviour servers here follow. Clients
// choose their commands by it.
const RedisVersion = "7.0.15"

// A Client is a session that has, or is, a connection.
type Client interface{ Base() *Conn }

// A Command is an entry of a [Table].
type Command[C Client] struct {
	Name  string // in lower case
	Arity int    // arguments with the name; negative for a minimum
	Flags string // for COMMAND INFO
	Keys  [3]int // first key, last key, step
	Open  bool   // works before AUTH
	Alone bool   // for the server's own use
	Run   func(c C, args [][]byte)
}

// A Table finds commands by their names. Create one with [NewTable]. A Table is
// safe for concurrent use by multiple goroutines.
type Table[C Client] struct{ commands map[string]*Command[C] }

// NewTable returns a table of the commands and of those that concern the
// connection alone: PING, ECHO, SELECT, HELLO, AUTH, CLIENT, COMMAND, RESET and
// QUIT.
func NewTable[C Client](commands ...Command[C]) *Table[C] {
	t := &Table[C]{commands: make(map[string]*Command[C], len(commands)+9)}
	on := func(f func(*Conn, [][]byte)) func(C, [][]byte) { return func(c C, args [][]byte) { f(c.Base(), args) } }
	for _, cmd := range append(commands,
		Command[C]{Name: "ping", Arity: -1, Flags: "fast", Run: on((*Conn).ping)},
		Command[C]{Name: "echo", Arity: 2, Flags: "fast", Run: on(func(c *Conn, args [][]byte) { c.Bulk(args[1]) })},
		Command[C]{Name: "select", Arity: 2, Flags: "loading stale fast", Run: on((*Conn).selects)},
		Command[C]{Name: "client", Arity: -2, Flags: "loading stale", Run: on((*Conn).client)},
		Command[C]{Name: "hello", Arity: -1, Flags: "noauth loading stale fast", Open: true, Run: on((*Conn).hello)},
		Command[C]{Name: "auth", Arity: -2, Flags: "noauth loading stale fast", Open: true, Run: on((*Conn).auth)},
		Command[C]{Name: "quit", Arity: -1, Flags: "noauth loading stale fast", Open: true, Run: on(func(c *Conn, _ [][]byte) { c.OK(); c.quit = true })},
		Command[C]{Name: "reset", Arity: 1, Flags: "noauth loading stale fast", Open: true, Run: on((*Conn).reset)},
		Command[C]{Name: "command", Arity: -1, Flags: "loading stale", Run: func(c C, args [][]byte) { t.describe(c.Base(), args) }},
	) {
		t.commands[strings.ToUpper(cmd.Name)] = &cmd
	}
	return t
}

// Find returns the command that args call. If there is none, or it cannot be
// run with them or by this client, Find answers with an error and returns nil.
func (t *Table[C]) Find(c *Conn, args [][]byte) *Command[C] {
	var upper [32]byte
	cmd, known := t.commands[string(upperCase(upper[:0], args[0]))]
	switch {
	case !known:
		c.Errorf("ERR unknown command '%s', with args beginning with: %s", clip(args[0], 128), quoted(args[1:]))
		return nil
	case len(args) != cmd.Arity && (cmd.Arity >= 0 || len(args) < -cmd.Arity):
		c.Errorf("ERR wrong number of arguments for '%s' command", cmd.Name)
		return nil
	case !c.authed && !cmd.Open:
		c.Error("NOAUTH Authentication required.")
		return nil
	}
	c.last.Store(&cmd.Name)
	return cmd
}

// upperCase appends b in upper case, or nothing if it is too long for the
// name of a command.
func upperCase(dst, b []byte) []byte {
	if len(b) > cap(dst) {
		return dst
	}
	for _, ch := range b {
		if 'a' <= ch && ch <= 'z' {
			ch -= 'a' - 'A'
		}
		dst = append(dst, ch)
	}
	return dst
}

func clip(b []byte, n int) []byte { return b[:min(len(b), n)] }

// quoted lists arguments as Redis does in its errors.
func quoted(args [][]byte) string {
	var b strings.Builder
	for _, arg := range args {
		if b.Len() >= 128 {
			break
		}
		fmt.Fprintf(&b, "'%s' ", clip(arg, 128-b.Len()))
	}
	return b.String()
}

// describe is the command COMMAND.
func (t *Table[C]) describe(c *Conn, args [][]byte) {
	names := slices.Sorted(maps.Keys(t.commands))
	if len(args) == 1 {
		c.Array(len(names))
		for _, name := range names {
			t.commands[name].info(c)
		}
		return
	}
	switch strings.ToUpper(string(args[1])) {
	case "COUNT":
		c.Int(int64(len(names)))
	case "INFO":
		c.Array(len(args) - 2)
		for _, name := range args[2:] {
			if cmd, ok := t.commands[strings.ToUpper(string(name))]; ok {
				cmd.info(c)
			} else if c.Version >= 3 {
				c.Null()
			} else {
				c.Array(-1)
			}
		}
	case "DOCS":
		c.Pairs(0)
	case "LIST":
		c.Array(len(names))
		for _, name := range names {
			c.Text(strings.ToLower(name))
		}
	default:
		c.UnknownSubcommand(args)
	}
}

func (cmd *Command[C]) info(c *Conn) {
	c.Array(6)
	c.Text(cmd.Name)
	c.Int(int64(cmd.Arity))
	flags := strings.Fields(cmd.Flags)
	c.Array(len(flags))
	for _, flag := range flags {
		c.Status(flag)
	}
	for _, n := range cmd.Keys {
		c.Int(int64(n))
	}
}

// UnknownSubcommand answers a command whose first argument is none that it
// knows.
func (c *Conn) UnknownSubcommand(args [][]byte) {
	c.Errorf("ERR unknown subcommand '%s'. Try %s HELP.", clip(args[1], 128), strings.ToUpper(string(args[0])))
}
