package consistenthash

import (
	"errors"
	"iter"
)

// A Placement says which of its nodes owns a key. It is immutable: With and
// Without return another one. The types of this package that are made by New…
// functions are placements; so is anything else with these methods that keeps
// to their words.
//
// A Placement is safe for concurrent use by multiple goroutines.
type Placement[N comparable] interface {
	// Owner returns the node that owns key; ok is false if there are no nodes.
	Owner(key string) (node N, ok bool)

	// OwnerHash is Owner for a key whose hash is known: Owner(key) is
	// OwnerHash(Hash(key)).
	OwnerHash(h uint64) (node N, ok bool)

	// Owners iterates over all nodes, each once, in the order in which key
	// prefers them: the owner first, then the nodes for replicas.
	Owners(key string) iter.Seq[N]

	// OwnersHash is Owners for a key whose hash is known.
	OwnersHash(h uint64) iter.Seq[N]

	// Nodes iterates over the nodes and their weights.
	Nodes() iter.Seq2[N, float64]

	// Len returns the number of nodes.
	Len() int

	// Fingerprint returns a number that is equal for placements that place
	// every key alike because they were made alike, and that differs, but for
	// a chance of one in 2^64, for others.
	Fingerprint() uint64

	// With returns a placement of the same kind with more nodes.
	With(nodes ...N) (Placement[N], error)

	// Without returns a placement of the same kind with some nodes less.
	Without(nodes ...N) (Placement[N], error)
}

// Options are the settings of a placement; nil means the defaults.
type Options[N comparable] struct {
	// Name returns what a node is called. Placement depends on names only,
	// so a node must have the same one in every process, and no two nodes may
	// share one. By default it is the node itself if its type is a kind of
	// string or integer, or its String method if it has one. Nodes of other
	// types need a Name.
	Name func(node N) string

	// Weight returns the share of a node relative to others, from 1e-9 to
	// 1e9. By default all nodes weigh 1, and they must where a constructor
	// says so.
	Weight func(node N) float64

	// Zone returns which part of the system may fail as one with the node: a
	// rack, a data centre. Owners then takes turns between zones: no two
	// nodes are of the same zone until every zone has had one, and so on with
	// the second node of each. By default zones play no part.
	Zone func(node N) string

	// Seed makes placements of the same nodes independent of each other. Use
	// another one for each level where placements are nested, since a key's
	// owner in one says something about its owner in an equal one.
	Seed uint64

	// Points is the number of virtual nodes that a node of weight 1 has on a
	// [Ring]. The default is 100.
	Points int

	// TableSize is the number of entries of the table of a [Maglev], a prime.
	// The default is the least prime from a list, 65537 being the first, that
	// is at least 100 times the number of nodes.
	TableSize int

	// Capacity is the number of nodes that an [Anchor] may ever have at a
	// time. The default is the number of nodes it is made with.
	Capacity int
}

// Errors that constructors, With and Without wrap, with the node's name.
var (
	ErrDuplicate = errors.New("duplicate node")               // a node is there twice, or another has its name
	ErrUnknown   = errors.New("unknown node")                 // Without a node that is not there
	ErrFull      = errors.New("too many nodes")               // more than a placement of this kind, or its Capacity, allows
	ErrWeight    = errors.New("bad weight")                   // not from 1e-9 to 1e9, or not 1 where it must be
	ErrOrder     = errors.New("only the last node can leave") // Without another node than the last of a Jump or JumpBack
)

// A Move is a key that two placements place differently.
type Move[N comparable] struct {
	Key      string
	From, To N
	// New is true if no node had the key before, so that From means nothing;
	// Gone if none has it now, so that To means nothing.
	New, Gone bool
}

// Diff iterates over those of the keys that have another owner under after
// than under before.
func Diff[N comparable](before, after Placement[N], keys iter.Seq[string]) iter.Seq[Move[N]] {
	return func(yield func(Move[N]) bool) {
		for key := range keys {
			h := Hash(key)
			from, had := before.OwnerHash(h)
			to, has := after.OwnerHash(h)
			if had == has && from == to {
				continue
			}
			if !yield(Move[N]{Key: key, From: from, To: to, New: !had, Gone: !has}) {
				return
			}
		}
	}
}
