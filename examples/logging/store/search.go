package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/query"
)

// A Cursor is the place of an entry in the order of results: by time, then by
// arrival.
type Cursor struct {
	Time   int64 // nanoseconds since 1970
	Offset int64
	Index  int // in the packet
}

func (c Cursor) compare(d Cursor) int {
	return cmp.Or(cmp.Compare(c.Time, d.Time), cmp.Compare(c.Offset, d.Offset), cmp.Compare(c.Index, d.Index))
}

// String writes a cursor for [ParseCursor].
func (c Cursor) String() string {
	return strconv.FormatInt(c.Time, 36) + "." + strconv.FormatInt(c.Offset, 36) + "." + strconv.FormatInt(int64(c.Index), 36)
}

// ParseCursor reads what String wrote.
func ParseCursor(s string) (Cursor, error) {
	parts := strings.Split(s, ".")
	if len(parts) == 3 {
		t, err1 := strconv.ParseInt(parts[0], 36, 64)
		offset, err2 := strconv.ParseInt(parts[1], 36, 64)
		index, err3 := strconv.ParseInt(parts[2], 36, 32)
		if err := errors.Join(err1, err2, err3); err == nil {
			return Cursor{t, offset, int(index)}, nil
		}
	}
	return Cursor{}, fmt.Errorf("store: %q is no cursor", entry.Cut(s, 40))
}

// A Request says what to search for. Zero times are no bounds.
type Request struct {
	Query   *query.Query // nil matches everything
	From    time.Time    // entries at or after it
	To      time.Time    // entries before it
	Limit   int          // entries returned; default 100, at most 1000
	Before  *Cursor      // entries behind it in the order of results
	Archive bool         // in the archive too
	Budget  int64        // bytes to read at most; default 256 MiB
	most    int          // bytes of a page; 16 MiB, less in tests
}

// A Hit is an entry that matches.
type Hit struct {
	entry.Entry
	Cursor Cursor
	own    bool // it shares no memory with the packet that it was in
}

// A Result is a page of entries.
type Result struct {
	Hits     []Hit
	Next     *Cursor // where the next page goes on; nil at the end
	Read     int64   // bytes of entries that were looked at
	Blocks   int     // that were read
	Skipped  int     // blocks that times, labels or words have spared
	Archived int     // blocks in the archive that were left out
	Stopped  bool    // the budget or the time was used up; Next goes on
	Damaged  error   // why something of some blocks could not be read; nil if all could
}

func (r *Request) defaults() {
	if r.Query == nil {
		r.Query = new(query.Query)
	}
	if r.Limit <= 0 {
		r.Limit = 100
	}
	r.Limit = min(r.Limit, 1000)
	if r.Budget <= 0 {
		r.Budget = 256 << 20
	}
	if r.most <= 0 {
		r.most = pageBytes
	}
}

// in reports whether an entry of that time can be a result.
func (r *Request) in(t time.Time) bool {
	return (r.From.IsZero() || !t.Before(r.From)) && (r.To.IsZero() || t.Before(r.To))
}

// view is the store at one moment.
type view struct {
	*Store
	blocks  []*block
	head    block
	packets []Arrival
	streams map[uint64]bool // that can match; those that are missing cannot
}

func (s *Store) view(r *Request) view {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v := view{Store: s, blocks: s.blocks, head: s.head.block, packets: s.head.packets, streams: map[uint64]bool{}}
	v.head.Streams = nil // it is still written to
	for key, st := range s.streams {
		if r.Query.MayMatchStream(st.labels, 1<<(entry.Fatal+1)-1) {
			v.streams[key] = true
		}
	}
	return v
}

// candidates returns the blocks that may have results, those with the latest
// entries first.
func (v *view) candidates(r *Request, result *Result) []*block {
	var list []*block
	for _, b := range v.blocks {
		if b.Archive != nil && !r.Archive {
			result.Archived++
			continue
		}
		inTime := (r.From.IsZero() || !b.Max.Before(r.From)) && (r.To.IsZero() || b.Min.Before(r.To)) && (r.Before == nil || b.Min.UnixNano() <= r.Before.Time)
		if !inTime || !v.mayMatch(b, r.Query) {
			result.Skipped++
			continue
		}
		list = append(list, b)
	}
	if v.head.Count > 0 {
		list = append(list, &v.head)
	}
	slices.SortStableFunc(list, func(a, b *block) int { return b.Max.Compare(a.Max) })
	return list
}

// mayMatch asks the labels and levels of a block.
func (v *view) mayMatch(b *block, q *query.Query) bool {
	if q.All() {
		return true
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	for key, counts := range b.Streams {
		if st := v.Store.streams[key]; v.streams[key] && (st == nil || q.MayMatchStream(st.labels, counts.set())) {
			return true
		}
	}
	return false
}

// mayHold asks the filter of a block.
func (v *view) mayHold(b *block, q *query.Query) (bool, error) {
	if b == &v.head || q.All() {
		return true, nil
	}
	data, ok, err := v.kv.Get(numberKey(filterPrefix, uint64(b.From)))
	if err != nil || !ok {
		return true, err
	}
	return q.MayMatchTokens(filter(data).has), nil
}

// stop ends a search before the block whose latest entry has that time: the next one
// begins there or, if it would not get on, where this one did.
func (result *Result) stop(r *Request, top *page, latest int64, onward bool) {
	result.Stopped = true
	top.complete(latest)
	result.Next = &Cursor{Time: latest + 1}
	if !onward {
		result.Next = r.Before
	}
}

// Search returns the entries that match, the newest first. An error of ctx ends
// it with what there is, as Budget does; of a block that is damaged everything
// else is read, see Result.Damaged. Other errors are those of the disk.
func (s *Store) Search(ctx context.Context, r Request) (Result, error) {
	r.defaults()
	var result Result
	v := s.view(&r)
	top := page{limit: r.Limit, most: r.most}
	list := v.candidates(&r, &result)
	for _, b := range list {
		if top.full() && b.Max.UnixNano() < top.last().Time {
			break // this block and all behind it are older than what there is
		}
		// A page that ends where it began would never come to an end.
		onward := r.Before == nil || b.Max.UnixNano()+1 < r.Before.Time
		if result.Read >= r.Budget && onward || ctx.Err() != nil {
			result.stop(&r, &top, b.Max.UnixNano(), onward)
			break
		}
		may, err := v.mayHold(b, r.Query)
		if err != nil {
			return result, err
		}
		if !may {
			result.Skipped++
			continue
		}
		result.Blocks++
		result.Read += int64(b.Bytes)
		err = v.scan(ctx, b, func(c Cursor, e *entry.Entry) {
			if r.in(e.Time) && (r.Before == nil || c.compare(*r.Before) < 0) && top.takes(c) && r.Query.Match(e) {
				top.add(Hit{Entry: *e, Cursor: c})
			}
		})
		if errors.Is(err, errOutOfTime) {
			result.stop(&r, &top, b.Max.UnixNano(), onward)
			break
		}
		if damage(err) {
			result.Damaged, err = err, nil
		}
		if err != nil {
			return result, err
		}
		top.detach()
	}
	result.Hits = top.hits
	if !result.Stopped && top.full() {
		result.Next = new(top.last())
	} else if result.Stopped && top.full() && top.last().compare(*result.Next) > 0 {
		result.Next = new(top.last())
	}
	return result, nil
}

// pageBytes is how many bytes the entries of a page have together, beyond
// which it has fewer than were asked for.
const pageBytes = 16 << 20

// A page is the newest hits so far, in order.
type page struct {
	hits  []Hit
	limit int
	most  int // bytes
	bytes int
}

func (p *page) full() bool   { return len(p.hits) == p.limit }
func (p *page) last() Cursor { return p.hits[len(p.hits)-1].Cursor }

func (p *page) takes(c Cursor) bool { return !p.full() || c.compare(p.last()) > 0 }

func (p *page) add(h Hit) {
	i, _ := slices.BinarySearchFunc(p.hits, h.Cursor, func(a Hit, c Cursor) int { return c.compare(a.Cursor) })
	if p.full() {
		p.drop()
	}
	p.hits = slices.Insert(p.hits, i, h)
	p.bytes += h.Size()
	for p.bytes > p.most && len(p.hits) > 1 {
		p.drop()
		p.limit = len(p.hits)
	}
}

func (p *page) drop() {
	last := len(p.hits) - 1
	p.bytes -= p.hits[last].Size()
	p.hits[last] = Hit{}
	p.hits = p.hits[:last]
}

// detach gives the hits memory of their own: a line holds on to all of its
// packet, and a page is to take no more than its lines.
func (p *page) detach() {
	for i := range p.hits {
		h := &p.hits[i]
		if h.own {
			continue
		}
		h.own = true
		h.Line, h.Labels, h.Fields = strings.Clone(h.Line), h.Labels.Clone(), entry.Labels(h.Fields).Clone()
	}
}

// complete drops hits that others, which were not read, may come before.
func (p *page) complete(unread int64) {
	p.hits = slices.DeleteFunc(p.hits, func(h Hit) bool { return h.Cursor.Time <= unread })
}

// errOutOfTime says that ctx has ended in the middle of a block.
var errOutOfTime = errors.New("store: out of time")

// scan calls f with every entry of a block whose stream can match. A block that
// retention takes away meanwhile has no entries. When ctx ends, which a regular
// expression may make it do in one block, it returns errOutOfTime.
func (v *view) scan(ctx context.Context, b *block, f func(c Cursor, e *entry.Entry)) error {
	each := func(a Arrival) error {
		for i := range a.Packet.Entries {
			if ctx.Err() != nil {
				return errOutOfTime
			}
			e := &a.Packet.Entries[i]
			f(Cursor{e.Time.UnixNano(), a.Offset, i}, e)
		}
		return nil
	}
	switch {
	case b == &v.head:
		for _, a := range v.packets {
			if !v.streams[streamKey(a.Packet.Labels)] {
				continue
			}
			if err := each(a); err != nil {
				return err
			}
		}
		return nil
	case b.Archive != nil:
		return v.scanArchive(b, each)
	}
	err := v.scanLog(ctx, b, each)
	if errors.Is(err, commitlog.ErrOutOfRange) {
		return nil
	}
	return err
}

func (v *view) wanted(key []byte) bool {
	return len(key) != 8 || v.streams[binary.BigEndian.Uint64(key)]
}
