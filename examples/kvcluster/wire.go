package kvcluster

import (
	"encoding/binary"
	"errors"
)

// The methods of calls between nodes.
const (
	methodReplica = iota + 1 // a request of a coordinator to a replica
	methodList               // keys that a node has, for SCAN
	methodCount              // how many
	methodTree               // a part of a Merkle tree
	methodObjects            // objects, to be merged
	methodPush               // send what the next owners lack
	methodBackup             // the node's share, into a directory of its own
	methodRestore            // merge such a backup into the cluster
	methodStats              // figures for people
)

// A code tells the caller of a call what an error is.
type code byte

const (
	codeOther   code = iota
	codeRing         // the nodes do not agree about the ring
	codeFilling      // the node has lost its disk
)

// A nodeError is an error with a code.
type nodeError struct {
	code code
	text string
}

func (e *nodeError) Error() string { return e.text }

// Code implements [peer.Coded].
func (e *nodeError) Code() byte { return byte(e.code) }

var (
	errRing    = &nodeError{codeRing, "the nodes do not agree about the ring"}
	errMessage = errors.New("kvcluster: bad message")
)

// An encoder appends to a message.
type encoder []byte

func (e *encoder) uint64(n uint64)  { *e = binary.BigEndian.AppendUint64(*e, n) }
func (e *encoder) uvarint(n uint64) { *e = binary.AppendUvarint(*e, n) }
func (e *encoder) byte(b byte)      { *e = append(*e, b) }
func (e *encoder) bytes(b []byte) {
	e.uvarint(uint64(len(b)))
	*e = append(*e, b...)
}

// A decoder reads a message. After the first error it returns zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	n, size := binary.Uvarint(d.b)
	if d.bad || size <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) bytes() []byte { return d.take(d.uvarint()) }

// more reports whether there is something left to read.
func (d *decoder) more() bool { return !d.bad && len(d.b) > 0 }

// err is the error of the message as a whole, which must be used up.
func (d *decoder) err() error {
	if d.bad || len(d.b) > 0 {
		return errMessage
	}
	return nil
}
