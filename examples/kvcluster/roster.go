package kvcluster

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"

	"github.com/ashlar-go/ashlar/consistenthash"
	"github.com/ashlar-go/ashlar/examples/kvcluster/peer"
)

// A Status is what a member is to the ring.
type Status string

// The statuses, in the order in which a member passes through them.
const (
	Joining Status = "joining" // gets what it will own; owns nothing yet
	Up      Status = "up"      // owns keys, whether it can be reached or not
	Leaving Status = "leaving" // owns keys, and gives them to their next owners
	Left    Status = "left"    // owns nothing; kept so that old news of it are known to be old
)

var statuses = []Status{Joining, Up, Leaving, Left}

// A Member is a node as the cluster knows it.
type Member struct {
	Name    string `json:"name"`
	Addr    string `json:"addr"`            // where other nodes find it
	Redis   string `json:"redis,omitempty"` // where clients find it
	Status  Status `json:"status"`
	Version uint64 `json:"version"` // of this entry; the highest is the newest
}

func (m Member) node() peer.Node { return peer.Node{Name: m.Name, Addr: m.Addr} }

// newer orders two entries about one member, the same on every node.
func (m Member) newer(o Member) bool {
	return cmp.Or(
		cmp.Compare(m.Version, o.Version),
		cmp.Compare(slices.Index(statuses, m.Status), slices.Index(statuses, o.Status)),
		cmp.Compare(m.Addr, o.Addr), cmp.Compare(m.Redis, o.Redis),
	) > 0
}

var validNode = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

func (m Member) check() error {
	switch {
	case !validNode.MatchString(m.Name):
		return fmt.Errorf("kvcluster: %q is no name for a node: want letters in lower case, digits, dots and dashes, at most 63", m.Name)
	case m.Addr == "" || len(m.Addr) > 255 || len(m.Redis) > 255:
		return errors.New("kvcluster: a member needs an address")
	case !slices.Contains(statuses, m.Status):
		return fmt.Errorf("kvcluster: unknown status %q", m.Status)
	}
	return nil
}

// maxMembers bounds what gossip can make a node remember.
const maxMembers = 4096

// A placement is who owns which keys, made from the members and from nothing else,
// so that nodes that know the same members agree.
type placement struct {
	ring    *consistenthash.Ring[string] // members that own keys
	next    *consistenthash.Ring[string] // once those that join have joined and those that leave have left
	members map[string]Member
	n       int
}

// owners returns the nodes that own key, the first one first.
func (p *placement) owners(key []byte) []string { return firstOf(p.ring, key, p.n) }

// firstOf returns the first n nodes that a ring has for a key.
func firstOf(ring *consistenthash.Ring[string], key []byte, n int) []string {
	owners := make([]string, 0, n)
	for name := range ring.OwnersHash(consistenthash.Hash(string(key))) {
		if owners = append(owners, name); len(owners) == n {
			break
		}
	}
	return owners
}

// pending returns the nodes that will own key and do not yet.
func (p *placement) pending(key []byte) []string {
	if p.next == p.ring {
		return nil
	}
	return slices.DeleteFunc(firstOf(p.next, key, p.n), func(name string) bool { return slices.Contains(p.owners(key), name) })
}

// moving reports whether a member joins or leaves.
func (p *placement) moving() bool { return p.next != p.ring }

func (p *placement) owns(name string, key []byte) bool { return slices.Contains(p.owners(key), name) }

// ringPoints is how many places on the ring a node has: more make shares more
// even.
const ringPoints = 128

func newPlacement(members map[string]Member, n int) (*placement, error) {
	var now, later []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		status := members[name].Status
		if status == Up || status == Leaving {
			now = append(now, name)
		}
		if status == Up || status == Joining {
			later = append(later, name)
		}
	}
	ring, err := consistenthash.NewRing(now, &consistenthash.Options[string]{Points: ringPoints})
	if err != nil {
		return nil, err
	}
	p := &placement{ring: ring, next: ring, members: members, n: n}
	if !slices.Equal(now, later) {
		if p.next, err = consistenthash.NewRing(later, &consistenthash.Options[string]{Points: ringPoints}); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// A roster is what a node knows of the members: of each, the newest entry. Two that
// have seen the same entries, in whatever order, are equal.
type roster struct {
	self string
	n    int

	mu      sync.Mutex
	members map[string]Member
	place   *placement
	changed func(*placement, Member) // called without the lock, after each change
}

func newRoster(self Member, n int) (*roster, error) {
	if err := self.check(); err != nil {
		return nil, err
	}
	r := &roster{self: self.Name, n: n, members: map[string]Member{self.Name: self}}
	var err error
	r.place, err = newPlacement(maps.Clone(r.members), n)
	return r, err
}

// placement returns the placement in force.
func (r *roster) placement() *placement {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.place
}

// member returns what is known of a node.
func (r *roster) member(name string) (Member, bool) {
	m, ok := r.placement().members[name]
	return m, ok
}

// own returns the node's own entry.
func (r *roster) own() Member {
	m, _ := r.member(r.self)
	return m
}

// learn takes news and reports whether they were. News of the node itself that it
// has not said are those of an earlier life, or of somebody who removes it: where
// they are of an earlier life, as they are while it joins, it says something newer.
func (r *roster) learn(m Member) (news bool, err error) {
	if err := m.check(); err != nil {
		return false, err
	}
	r.mu.Lock()
	old, known := r.members[m.Name]
	if known && !m.newer(old) || !known && len(r.members) >= maxMembers {
		r.mu.Unlock()
		return false, nil
	}
	if m.Name == r.self && (old.Status == Joining || m.Status != Leaving && m.Status != Left) {
		old.Version = m.Version + 1
		m = old
	}
	r.members[m.Name] = m
	place, err := newPlacement(maps.Clone(r.members), r.n)
	if err != nil {
		r.members[m.Name] = old
		if !known {
			delete(r.members, m.Name)
		}
		r.mu.Unlock()
		return false, err
	}
	r.place = place
	changed := r.changed
	r.mu.Unlock()
	if changed != nil {
		changed(place, m)
	}
	return true, nil
}

// set changes the status of a member in a way that others will believe.
func (r *roster) set(name string, status Status) error {
	m, ok := r.member(name)
	if !ok {
		return fmt.Errorf("kvcluster: there is no node %q", name)
	}
	m.Status = status
	m.Version++
	return r.force(m)
}

// force makes m known, also if it is about the node itself.
func (r *roster) force(m Member) error {
	r.mu.Lock()
	if m.Name == r.self {
		r.members[m.Name] = m
		place, err := newPlacement(maps.Clone(r.members), r.n)
		if err != nil {
			r.mu.Unlock()
			return err
		}
		r.place = place
		changed := r.changed
		r.mu.Unlock()
		if changed != nil {
			changed(place, m)
		}
		return nil
	}
	r.mu.Unlock()
	_, err := r.learn(m)
	return err
}

// encode returns all members, for another roster's merge.
func (r *roster) encode() []byte {
	data, err := json.Marshal(slices.SortedFunc(maps.Values(r.placement().members), func(a, b Member) int { return cmp.Compare(a.Name, b.Name) }))
	if err != nil {
		panic("kvcluster: " + err.Error()) // strings and numbers can be encoded
	}
	return data
}

// decodeMembers reads what encode has made.
func decodeMembers(data []byte) ([]Member, error) {
	var members []Member
	if err := json.Unmarshal(data, &members); err != nil {
		return nil, fmt.Errorf("kvcluster: roster: %w", err)
	}
	for _, m := range members {
		if err := m.check(); err != nil {
			return nil, err
		}
	}
	return members, nil
}

// merge learns all that another roster knows.
func (r *roster) merge(data []byte) error {
	members, err := decodeMembers(data)
	if err != nil {
		return err
	}
	for _, m := range members {
		if _, err := r.learn(m); err != nil {
			return err
		}
	}
	return nil
}
