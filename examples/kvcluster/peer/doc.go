// Package peer is how nodes of a cluster talk: calls and gossip over one TCP
// port each, through a network that can be made to fail.
//
//	Call ─> rules of the Network ─> connection to the peer ─┬─> handler ─> reply, through the rules again
//	            cut, delay, drop                            ├─> packets of memberlist
//	                                                        └─> streams of memberlist
//
// A connection begins with a greeting that names the cluster and the caller; many
// calls share it. Large requests have a connection of their own, on which the other
// side reads them when it has room. A message on it is
//
//	┌────────────┬──────────┬────────┬──────────────┬─────────┐
//	│ length u32 │ call u64 │ method │ patience u32 │ payload │   request
//	├────────────┼──────────┼────────┼──────────────┴─────────┤
//	│ length u32 │ call u64 │ status │ payload                │   reply
//	└────────────┴──────────┴────────┴────────────────────────┘
//
// with numbers in big-endian order; length counts what follows it and is checked
// before anything is allocated, patience is in milliseconds.
//
// What it promises: a call ends with a reply, an error of the handler, or an error
// that says that nobody knows whether the handler ran; after the context's end it
// does not wait. A cut link swallows what is sent, in either direction, as a
// broken cable would, so the caller learns of it by its deadline. A paused
// endpoint does nothing until it is resumed, and then does what was waiting,
// however late: this is what a stopped process does.
package peer
