package kvcluster

import (
	"sync/atomic"
	"time"

	"github.com/ashlar-go/ashlar/kvstore/replica"
)

// fillingKey marks a store that has not got everything back yet.
const fillingKey = "filling"

// filling is the state of a node that owns keys and has lost its disk. What it
// does not have says nothing: that a key is not there, or that nothing was promised.
// So it takes what is stored, but its answers do not count until it has been compared
// with every other owner, as any of them may have the only other copy of an
// acknowledged write. One that is gone for ever has to be forgotten first.
type filling struct {
	on       atomic.Bool
	compared map[string]bool // the members it has been compared with; of the worker that compares
}

// errFilling is the answer of a node that is being filled.
var errFilling = &nodeError{codeFilling, "it has lost its disk and is not filled again yet"}

// beginFilling is called with a new store, of a node that is an owner already.
func (n *Node) beginFilling() error {
	if n.config.Mend == 0 {
		return nil // nothing would end it
	}
	n.filling.on.Store(true)
	return n.store.engine.Put([]byte(fillingKey), []byte{1})
}

// compared notes that this node and another have the same, and ends the filling when
// all have. Calls that began before the disk was lost, and count on what was promised
// then, have ended by that time.
func (n *Node) compared(p *placement, name string) error {
	f := &n.filling
	if !f.on.Load() {
		return nil
	}
	if f.compared == nil {
		f.compared = map[string]bool{}
	}
	f.compared[name] = true
	for other := range p.ring.Nodes() {
		if other != n.config.Name && !f.compared[other] {
			return nil
		}
	}
	if p.moving() || time.Since(n.started) <= n.config.Timeout {
		return nil
	}
	if err := n.store.engine.Delete([]byte(fillingKey)); err != nil {
		return err
	}
	f.on.Store(false)
	n.log.Info("filled again")
	return nil
}

// mayAnswer returns errFilling for a request whose answer depends on what was there
// before the disk was lost.
func (n *Node) mayAnswer(q replica.Request) error {
	stores := q.Kind == replica.Store || q.Kind == replica.Mint && !q.Change.Conditional
	if stores || !n.filling.on.Load() {
		return nil
	}
	return errFilling
}
