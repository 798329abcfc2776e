// Package resp speaks the Redis protocol, versions 2 and 3, as a server: it
// accepts connections, reads commands within limits, finds them in a table, and
// writes replies. What the commands do is the business of whoever uses it.
//
//	listener ─> Conn: Reader ─> Session.Run ─> Table.Find ─> Command.Run
//	                  Outbox <─ Writer <──────────────────────────┘
//
// Commands that a client sends in one go are answered in one go. What concerns
// the connection alone, such as HELLO and AUTH, is in every table.
package resp
