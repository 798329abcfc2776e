package replica

import (
	"errors"
	"slices"
)

// A Kind is what a replica is asked to do.
//
// A Kind is a value and safe for concurrent use.
type Kind uint8

const (
	// Fetch asks for the object.
	Fetch Kind = iota + 1
	// Store asks to merge an object into the replica's, and to answer when that
	// will survive a crash.
	Store
	// Mint asks to make a version of a Change with a dot of the replica's own,
	// and to answer with the object once that will survive a crash.
	Mint
	// Prepare asks to promise to accept nothing below a ballot, and for the
	// object.
	Prepare
	// Accept asks to take an object whose dot is its ballot, unless more was
	// promised, and to answer when that will survive a crash.
	Accept
)

// String returns the name of the kind.
func (k Kind) String() string {
	switch k {
	case Fetch:
		return "fetch"
	case Store:
		return "store"
	case Mint:
		return "mint"
	case Prepare:
		return "prepare"
	case Accept:
		return "accept"
	}
	return "unknown"
}

// ballots says whether messages of the kind have a ballot.
func (k Kind) ballots() bool { return k == Prepare || k == Accept }

// carries says whether requests of the kind have an object.
func (k Kind) carries() bool { return k == Store || k == Mint || k == Accept }

// A Change is what somebody wants to write.
//
// A Change that is not changed is safe for concurrent use by multiple
// goroutines.
type Change struct {
	Data    []byte
	Deleted bool  // write a tombstone; Data is ignored
	Expires int64 // in milliseconds since 1970; zero: never
	// Context is what the writer has read of the key, and so replaces.
	// LastWriterWins ignores it.
	Context Vector
	// Conditional refuses the write with ErrConflict if there is a version, be
	// it a tombstone, that Context does not cover.
	Conditional bool
}

// version returns the version that a change makes.
func (c Change) version(dot Dot) Version {
	v := Version{Dot: dot, Deleted: c.Deleted, Expires: max(c.Expires, 0)}
	if !c.Deleted {
		v.Data = c.Data
	}
	return v
}

// A Request is a message to a replica: what to ask whom, or, if For is set,
// what to keep in behalf of whom.
//
// A Request that is not changed is safe for concurrent use by multiple
// goroutines.
type Request struct {
	To     string // the node to ask; it is not encoded, as the connection knows
	For    string // a Store is to be kept in Hints for this node, a Fetch answered from there; empty: it is To's own
	Kind   Kind
	Bare   bool // Fetch: what the versions hold is not needed
	Key    []byte
	Object Object // Store, Accept: what to take; Mint: what else is known of the key
	Change Change // Mint: what to write
	Ballot Dot    // Prepare, Accept
}

// Reply returns an answer to the request.
func (r Request) Reply(o Object, err error) Reply {
	return Reply{From: r.To, For: r.For, Kind: r.Kind, Ballot: r.Ballot, Object: o, Err: err}
}

// A Reply is a message from a replica, or what has become of a request to it.
//
// A Reply that is not changed is safe for concurrent use by multiple
// goroutines.
type Reply struct {
	From   string // the node that was asked; it is not encoded
	For    string // as in the request
	Kind   Kind   // as in the request
	Ballot Dot    // as in the request
	Object Object // what the replica has, but for Store and Accept; if it refuses, what is in the way
	Err    error
}

// The formats of messages, with the words of those of objects:
//
//	request  0x03 | kind 1 | flags 1 | for | key | ballot: of Prepare, Accept | object: of Store, Mint, Accept | context, value: of Mint
//	reply    0x04 | kind 1 | error 1 | for | ballot: of Prepare, Accept | text: of an error of another package | object, unless of Store
const (
	formatRequest = 0x03
	formatReply   = 0x04

	flagBare        = 1 << 0
	flagConditional = 1 << 1
)

// said are the errors that a reply can carry, by their code. The last stands
// for any other, with its text.
var said = []error{nil, ErrConflict, ErrConditional, ErrSiblings, ErrAhead, ErrTimeout, ErrDown, ErrBallot, ErrRefused}

// A refusal is an error that another process has told.
type refusal struct{ text string }

func (e *refusal) Error() string { return "replica: refused: " + e.text }
func (e *refusal) Unwrap() error { return ErrRefused }

// AppendRequest appends the encoding of a request to dst.
func AppendRequest(dst []byte, r Request) []byte {
	var flags byte
	if r.Bare {
		flags |= flagBare
	}
	if r.Change.Conditional {
		flags |= flagConditional
	}
	dst = append(dst, formatRequest, byte(r.Kind), flags)
	dst = appendBytes(dst, r.For)
	dst = appendBytes(dst, r.Key)
	if r.Kind.ballots() {
		dst = appendDot(dst, r.Ballot)
	}
	if r.Kind.carries() {
		dst = AppendObject(dst, r.Object)
	}
	if r.Kind == Mint {
		v := r.Change.version(Dot{})
		dst = appendDots(dst, r.Change.Context)
		dst = appendValue(dst, v.Data, v.Deleted, v.Expires)
	}
	return dst
}

// DecodeRequest decodes a request that takes all of src, and to which src
// belongs from then on. What AppendRequest does not make is a CorruptError.
func DecodeRequest(src []byte) (Request, error) {
	d := decoder{what: "request", src: src}
	d.tag(formatRequest)
	r := Request{Kind: d.kind()}
	flags := d.byte()
	r.Bare, r.Change.Conditional = flags&flagBare != 0, flags&flagConditional != 0
	if flags&^(flagBare|flagConditional) != 0 || r.Bare && r.Kind != Fetch || r.Change.Conditional && r.Kind != Mint {
		d.fail("unknown flags")
	}
	r.For = string(d.bytes())
	r.Key = d.bytes()
	if r.Kind.ballots() {
		r.Ballot = d.dot()
	}
	if r.Kind.carries() {
		r.Object = d.object()
	}
	if r.Kind == Mint {
		c := &r.Change
		c.Context = d.dots()
		c.Data, c.Deleted, c.Expires = d.value()
	}
	return r, d.end()
}

// AppendReply appends the encoding of a reply to dst.
func AppendReply(dst []byte, r Reply) []byte {
	code := slices.IndexFunc(said, func(err error) bool { return err == nil && r.Err == nil || err != nil && errors.Is(r.Err, err) })
	if code < 0 {
		code = len(said) - 1
	}
	dst = append(dst, formatReply, byte(r.Kind), byte(code))
	dst = appendBytes(dst, r.For)
	if r.Kind.ballots() {
		dst = appendDot(dst, r.Ballot)
	}
	if code == len(said)-1 {
		text := r.Err.Error()
		if told, ok := errors.AsType[*refusal](r.Err); ok {
			text = told.text
		}
		dst = appendBytes(dst, text)
	}
	if r.Kind != Store {
		dst = AppendObject(dst, r.Object)
	}
	return dst
}

// DecodeReply decodes a reply that takes all of src, and to which src belongs
// from then on. What AppendReply does not make is a CorruptError. Errors of
// other packages are told by their text, and wrap ErrRefused.
func DecodeReply(src []byte) (Reply, error) {
	d := decoder{what: "reply", src: src}
	d.tag(formatReply)
	r := Reply{Kind: d.kind()}
	code := int(d.byte())
	if code >= len(said) {
		d.fail("unknown error")
	}
	r.For = string(d.bytes())
	if r.Kind.ballots() {
		r.Ballot = d.dot()
	}
	switch {
	case code == len(said)-1:
		r.Err = &refusal{string(d.bytes())}
	case d.err == nil:
		r.Err = said[code]
	}
	if r.Kind != Store {
		r.Object = d.object()
	}
	return r, d.end()
}

func (d *decoder) kind() Kind {
	k := Kind(d.byte())
	if k < Fetch || k > Accept {
		d.fail("unknown kind")
	}
	return k
}

// end returns the error, which bytes that are left over are, too.
func (d *decoder) end() error {
	if d.err == nil && d.at < len(d.src) {
		d.fail("more than there should be")
	}
	return d.err
}
