package group

import (
	"encoding/binary"
	"slices"
)

// key returns what makes two states different: members are named by their place
// in the group or in what was saved, and clients come in any order.
func (w *world) key() string {
	k := keyer{names: map[string]byte{"": 0}}
	g := w.g
	for _, m := range g.order {
		k.introduce(m.id)
	}
	for _, m := range w.saved.Members {
		k.introduce(m.ID)
	}
	k.byte(byte(w.faults))
	k.byte(byte(g.state))
	k.flags(g.delaying, g.joined, g.syncUntil.IsZero(), g.generation == w.told, len(w.saved.Members) > 0)
	k.buf = binary.AppendVarint(k.buf, int64(g.delayLeft))
	for _, m := range g.order {
		k.name(m.id)
		k.text(m.instance)
		k.flags(m.fresh, m.synced, m.joining, m.syncing)
		k.text(string(m.assignment))
	}
	k.name(g.leader)
	k.flags(w.saved.Generation == g.generation, w.saved.Generation == w.told)
	for _, m := range w.saved.Members {
		k.name(m.ID)
		k.text(string(m.Assignment))
	}
	k.name(w.saved.Leader)
	for _, set := range [][]string{sortedKeys(w.roster), sortedKeys(w.given)} {
		var names []byte
		for _, id := range set {
			if n, ok := k.names[id]; ok {
				names = append(names, n)
			}
		}
		slices.Sort(names)
		k.text(string(names))
	}
	k.byte(byte(len(g.pending)))
	k.clients(w)
	return string(k.buf)
}

type keyer struct {
	buf   []byte
	names map[string]byte
}

func (k *keyer) introduce(id string) {
	if _, ok := k.names[id]; !ok {
		k.names[id] = byte(len(k.names))
	}
}

func (k *keyer) byte(b byte) { k.buf = append(k.buf, b) }

func (k *keyer) text(s string) { k.buf = append(append(k.buf, byte(len(s))), s...) }

func (k *keyer) flags(fs ...bool) {
	var b byte
	for i, f := range fs {
		if f {
			b |= 1 << i
		}
	}
	k.byte(b)
}

// name writes the name of a member, 255 if it is neither in the group nor saved.
func (k *keyer) name(id string) {
	if n, ok := k.names[id]; ok {
		k.byte(n)
		return
	}
	k.byte(255)
}

func (k *keyer) clients(w *world) {
	g := w.g
	all := make([]string, len(w.clients))
	for i := range w.clients {
		c := &w.clients[i]
		k := keyer{names: k.names}
		k.byte(byte(c.phase))
		k.name(c.id)
		k.text(c.instance)
		_, pending := g.pending[c.id]
		k.flags(c.generation == g.generation, c.generation == w.told, c.inbox != nil, c.lead != nil, pending)
		for _, m := range g.order { // whose request the group holds
			k.flags((m.joining || m.syncing) && m.ticket == c.ticket)
		}
		if c.phase == reading {
			k.text(c.assignment)
		}
		if c.generation == g.generation {
			for _, id := range c.lead {
				k.name(id)
			}
		}
		if r := c.inbox; r != nil {
			k.reply(r, w)
		}
		all[i] = string(k.buf)
	}
	slices.Sort(all)
	for _, s := range all {
		k.text(s)
	}
}

func (k *keyer) reply(r *Reply, w *world) {
	k.flags(r.Join != nil, r.Err != nil)
	switch {
	case r.Err != nil:
		k.text(r.Err.Error())
		if r.Join != nil {
			_, pending := w.g.pending[r.Join.MemberID]
			k.flags(pending)
			k.name(r.Join.MemberID)
		}
	case r.Join != nil:
		k.flags(r.Join.Generation == w.g.generation, r.Join.Generation == w.told, r.Join.Leader == r.Join.MemberID)
		k.name(r.Join.MemberID)
		for _, m := range r.Join.Members {
			k.name(m.ID)
		}
	default:
		k.text(string(r.Sync.Assignment))
	}
}
