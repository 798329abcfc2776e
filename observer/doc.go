// Package observer tells those who want to know what happened: in the same
// call, by topic, or through a bounded log that everybody reads at their own
// pace.
//
//	         handlers run             when they are slow           use it for
//	Subject  in Publish, in order     Publish takes longer        parts of a program that react to a change
//	Bus      in Publish, in order     Publish takes longer        the same, by topics and patterns
//	Stream   each in its goroutine    as its Policy says          fan-out to many, sockets, slow consumers
//
// When not to use it: one producer and one consumer need a channel; what has to
// survive the process or be read again from the start needs a log on disk; and
// work that one of several workers should take is a queue, not an event.
//
// # Model
//
//	Subject   Publish(e) ──► h0(e) ──► h1(e) ──► h2(e) ──► return
//
//	Stream    Publish(e) ──► [ … e5 e6 e7 e8 ] ──► return
//	                             ▲        ▲
//	                          reader a  reader b
//
// An observer is a function and not an interface with a method, so anything can
// be one; what one gets for it is a subscription, with which it can leave. A
// handler that is subscribed twice is called twice.
//
// # Guarantees of Subject and Bus
//
//  1. Handlers are called in the order of their priorities, and among equals
//     in that of their subscriptions, in the goroutine of Publish.
//  2. Handlers may do everything: publish, subscribe, cancel themselves and
//     others. No lock is held while they run. An event that a handler publishes
//     goes to all handlers first, before the next one gets the outer event.
//  3. A handler that is added while an event is published gets the next one.
//     One that was cancelled gets no call more from that goroutine, and from
//     others none that begins after they could see it.
//  4. If a handler panics or ends its goroutine, the others are called
//     nevertheless, and the panic reaches the caller of Publish.
//  5. A Once is called once, whoever publishes at the same time.
//  6. Publish takes no lock and allocates nothing, but for a Bus when a topic is
//     new to it.
//
// # Guarantees of Stream
//
//  1. Every reader gets the events in one and the same order, in which those of
//     each publisher are as they were published.
//  2. A reader that does not keep up is treated as its policy says, and no other
//     reader notices; with Block, all wait for it. What a reader missed is
//     counted.
//  3. Memory is bounded: a capacity for the stream, a batch for each reader,
//     and a capacity more for each reader with DropNewest that is full.
//  4. Close leaves no goroutine behind, and nothing waits for ever after it:
//     all methods return ErrClosed then, if there is nothing left to read.
//  5. A handler that panics gets the next event, and Close returns what it was.
//  6. A stream in which nothing happens costs nothing: there is no timer.
//
// # Cost
//
// Publish of a Subject takes the time of its handlers' calls, and of a Bus that
// and a look into a table; the first event on a topic takes time in proportion
// to the patterns that could match. To subscribe or cancel takes time in
// proportion to the number of handlers. Publish of a Stream takes constant time, except
// that readers who wait are woken, that all readers are looked at where one of
// them may be a capacity behind, and that readers with DropNewest that are full
// cost a copy each.
//
// # Sources
//
// Gamma, Helm, Johnson, Vlissides: Design Patterns, 1994 (Observer); where we
// deviate, handlers get what happened and not the subject to ask. Topics and
// their wildcards are those of AMQP 0-9-1. One log with a cursor for each
// reader is the Disruptor's (Thompson, Farley, Barker, Gee, Stewart, 2011).
package observer
