package consistenthash

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// maxNodes is how many nodes a placement may have: their numbers are packed
// into 16 bits, of which one value is left for other purposes.
const maxNodes = 1<<16 - 1

// Weights have room for every purpose, and no sum or quotient of them overflows.
const minWeight, maxWeight = 1e-9, 1e9

// members are the nodes of a placement with what is derived from each of them
// alone. They are numbered; the other slices are by number.
//
//   - Names differ.
//   - Where order does not matter to the placement, nodes are sorted by name.
//     Ties between nodes are then won by the lower number, so that they do not
//     depend on which other nodes there are.
type members[N comparable] struct {
	opts    Options[N]
	nodes   []N
	names   []string
	hashes  []uint64  // of names
	factors []uint64  // odd; what ranks nodes for a key
	weights []float64 // nil if all are 1
	inverse []float64 // 1/weight, nil if all weights are equal

	zoneNames []string // in the order of their first nodes; nil without Options.Zone
	zoneOf    []uint16
	zoneSize  []int

	salt        uint64 // what a key's hash is changed by before it is mixed
	fingerprint uint64
}

// newMembers checks nodes and collects what is known about them. Parameters
// are those options that the family of placements depends on.
func newMembers[N comparable](family string, nodes []N, opts *Options[N], sorted, weighted bool, parameters ...uint64) (members[N], error) {
	var m members[N]
	if opts != nil {
		m.opts = *opts
	}
	if len(nodes) > maxNodes {
		return m, m.errorf(family, "", ErrFull, "%d, and the most is %d", len(nodes), maxNodes)
	}
	name, err := namer(family, m.opts.Name)
	if err != nil {
		return m, err
	}
	m.nodes = slices.Clone(nodes)
	m.names = make([]string, len(nodes))
	for i, node := range m.nodes {
		m.names[i] = name(node)
	}
	if err := m.sort(family, sorted); err != nil {
		return m, err
	}
	m.hashes = make([]uint64, len(nodes))
	m.factors = make([]uint64, len(nodes))
	for i, name := range m.names {
		m.hashes[i] = mix(Hash(name) ^ mix(m.opts.Seed))
		m.factors[i] = mix(m.hashes[i]+golden) | 1
	}
	if err := m.weigh(family, weighted); err != nil {
		return m, err
	}
	m.findZones()
	m.salt = mix(Hash(family) ^ mix(m.opts.Seed))
	m.sign(family, parameters)
	return m, nil
}

func (m *members[N]) errorf(family, name string, err error, format string, args ...any) error {
	if name != "" {
		name = ": " + strconv.Quote(name)
	}
	return fmt.Errorf("consistenthash: %s: %w%s: %s", family, err, name, fmt.Sprintf(format, args...))
}

// sort orders nodes by name, if asked to, and finds names that are there twice.
func (m *members[N]) sort(family string, sorted bool) error {
	order := make([]int, len(m.names))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return strings.Compare(m.names[i], m.names[j]) })
	for i := 1; i < len(order); i++ {
		if name := m.names[order[i]]; name == m.names[order[i-1]] {
			return m.errorf(family, name, ErrDuplicate, "nodes %v and %v", m.nodes[order[i-1]], m.nodes[order[i]])
		}
	}
	if sorted {
		nodes, names := m.nodes, m.names
		m.nodes, m.names = make([]N, len(order)), make([]string, len(order))
		for to, from := range order {
			m.nodes[to], m.names[to] = nodes[from], names[from]
		}
	}
	return nil
}

func (m *members[N]) weigh(family string, weighted bool) error {
	if m.opts.Weight == nil {
		return nil
	}
	m.weights = make([]float64, len(m.nodes))
	for i, node := range m.nodes {
		w := m.opts.Weight(node)
		switch {
		case !(w >= minWeight && w <= maxWeight):
			return m.errorf(family, m.names[i], ErrWeight, "%v is not from %v to %v", w, minWeight, maxWeight)
		case !weighted && w != 1:
			return m.errorf(family, m.names[i], ErrWeight, "%v, and all shares are equal here", w)
		}
		m.weights[i] = w
	}
	if !weighted {
		m.weights = nil
	}
	if len(m.weights) > 0 && slices.Min(m.weights) != slices.Max(m.weights) {
		m.inverse = make([]float64, len(m.nodes))
		for i, w := range m.weights {
			m.inverse[i] = 1 / w
		}
	}
	return nil
}

func (m *members[N]) findZones() {
	if m.opts.Zone == nil {
		return
	}
	number := map[string]uint16{}
	m.zoneOf = make([]uint16, len(m.nodes))
	m.zoneSize = []int{}
	for i, node := range m.nodes {
		zone := m.opts.Zone(node)
		z, ok := number[zone]
		if !ok {
			z = uint16(len(number))
			number[zone] = z
			m.zoneNames = append(m.zoneNames, zone)
			m.zoneSize = append(m.zoneSize, 0)
		}
		m.zoneOf[i] = z
		m.zoneSize[z]++
	}
}

// sign computes the fingerprint: everything that placement depends on, each
// string behind its length so that no two sets of nodes look alike.
func (m *members[N]) sign(family string, parameters []uint64) {
	var text []byte
	number := func(x uint64) { text = binary.LittleEndian.AppendUint64(text, x) }
	write := func(s string) {
		number(uint64(len(s)))
		text = append(text, s...)
	}
	write(family)
	number(m.opts.Seed)
	for _, p := range parameters {
		number(p)
	}
	number(uint64(len(m.nodes)))
	for i, name := range m.names {
		write(name)
		number(math.Float64bits(m.weight(i)))
		if m.zoneOf != nil {
			write(m.zoneNames[m.zoneOf[i]])
		}
	}
	m.fingerprint = xxhash.Sum64(text)
}

func (m *members[N]) weight(i int) float64 {
	if m.weights == nil {
		return 1
	}
	return m.weights[i]
}

// key is what placements look a hash up by.
func (m *members[N]) key(h uint64) uint64 { return mix(h ^ m.salt) }

// Len returns the number of nodes.
func (m *members[N]) Len() int { return len(m.nodes) }

// Nodes iterates over the nodes and their weights, in the order of their
// names, or, where the order of nodes matters, in that order.
func (m *members[N]) Nodes() iter.Seq2[N, float64] {
	return func(yield func(N, float64) bool) {
		for i, node := range m.nodes {
			if !yield(node, m.weight(i)) {
				return
			}
		}
	}
}

// Fingerprint returns a number that is equal for placements that were made
// alike, in any process, and differs for others.
func (m *members[N]) Fingerprint() uint64 { return m.fingerprint }

// with returns the nodes and some more.
func (m *members[N]) with(nodes []N) []N { return slices.Concat(m.nodes, nodes) }

// without returns the nodes but for some, each of which must be there.
func (m *members[N]) without(family string, nodes []N) ([]N, error) {
	leave := make(map[N]bool, len(nodes))
	for _, node := range nodes {
		if leave[node] {
			return nil, m.errorf(family, fmt.Sprint(node), ErrUnknown, "it leaves twice")
		}
		leave[node] = true
	}
	stay := make([]N, 0, len(m.nodes))
	for _, node := range m.nodes {
		if leave[node] {
			delete(leave, node)
		} else {
			stay = append(stay, node)
		}
	}
	for node := range leave {
		return nil, m.errorf(family, fmt.Sprint(node), ErrUnknown, "it cannot leave")
	}
	return stay, nil
}

// namer returns what names nodes of type N.
func namer[N comparable](family string, name func(N) string) (func(N) string, error) {
	if name != nil {
		return name, nil
	}
	var zero N
	if _, ok := any(zero).(fmt.Stringer); ok {
		return func(node N) string { return any(node).(fmt.Stringer).String() }, nil
	}
	kind := reflect.TypeFor[N]().Kind()
	switch {
	case kind == reflect.String:
		return func(node N) string { return reflect.ValueOf(node).String() }, nil
	case kind >= reflect.Int && kind <= reflect.Int64:
		return func(node N) string { return strconv.FormatInt(reflect.ValueOf(node).Int(), 10) }, nil
	case kind >= reflect.Uint && kind <= reflect.Uintptr:
		return func(node N) string { return strconv.FormatUint(reflect.ValueOf(node).Uint(), 10) }, nil
	}
	return nil, fmt.Errorf("consistenthash: %s: nodes of type %v need Options.Name", family, reflect.TypeFor[N]())
}
