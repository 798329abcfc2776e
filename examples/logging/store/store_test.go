package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ashlar-go/ashlar/commitlog"
	"github.com/ashlar-go/ashlar/examples/logging/entry"
	"github.com/ashlar-go/ashlar/examples/logging/query"
	"github.com/ashlar-go/ashlar/internal/vfs"
	"github.com/ashlar-go/ashlar/observer"
)

var start = time.Date(2026, 11, 28, 20, 0, 0, 0, time.UTC)

// small makes many blocks of few entries.
func small() *Options {
	return &Options{BlockEntries: 50, SegmentBytes: 8 << 10, Sync: commitlog.SyncNever, HotBytes: 1 << 30}
}

func openStore(t *testing.T, dir string, o *Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() }) // many tests close it themselves
	return s
}

func mustQuery(t testing.TB, text string) *query.Query {
	t.Helper()
	q, err := query.Parse(text)
	require.NoError(t, err)
	return q
}

var things = []string{"disk full on /dev/sda1", "connection refused", "user logged in", "checkout done", "timeout after 30ms", "panic: index out of range"}

// randomPacket has entries at about a time, some earlier or later.
func randomPacket(r *rand.Rand, at time.Time, number *int) entry.Packet {
	p := entry.Packet{Labels: entry.MakeLabels("app", []string{"shop", "cart", "mail"}[r.IntN(3)], "host", fmt.Sprintf("web-%d", r.IntN(4)))}
	for range 1 + r.IntN(5) {
		*number++
		e := entry.Entry{Time: at.Add(time.Duration(r.IntN(20_000)-10_000) * time.Millisecond), Labels: p.Labels, Level: entry.Level(r.IntN(7)),
			Line: fmt.Sprintf("n%d %s status=%d", *number, things[r.IntN(len(things))], 200+100*r.IntN(4))}
		if r.IntN(5) == 0 {
			e.Fields = []entry.Field{{Name: "trace", Value: fmt.Sprintf("t%d", *number)}}
		}
		p.Entries = append(p.Entries, e)
	}
	return p
}

// fill stores random packets and returns all entries.
func fill(t *testing.T, s *Store, r *rand.Rand, packets int) (all []entry.Entry) {
	number := r.IntN(1 << 30)
	for i := range packets {
		p := randomPacket(r, start.Add(time.Duration(i)*time.Second), &number)
		require.NoError(t, s.Append(t.Context(), p))
		all = append(all, p.Entries...)
	}
	return all
}

// expected are the lines that match, newest first.
func expected(all []entry.Entry, r Request) (lines []string) {
	var match []entry.Entry
	for _, e := range all {
		if r.in(e.Time) && r.Query.Match(&e) {
			match = append(match, e)
		}
	}
	slices.Reverse(match) // of entries with the same time the one that arrived last comes first
	slices.SortStableFunc(match, func(a, b entry.Entry) int { return b.Time.Compare(a.Time) })
	for _, e := range match {
		lines = append(lines, e.Line)
	}
	return lines
}

// searchAll reads all pages.
func searchAll(t *testing.T, s *Store, r Request) (lines []string) {
	t.Helper()
	for {
		result, err := s.Search(t.Context(), r)
		require.NoError(t, err)
		for _, h := range result.Hits {
			lines = append(lines, h.Line)
		}
		if result.Next == nil {
			return lines
		}
		again, err := ParseCursor(result.Next.String())
		require.NoError(t, err)
		r.Before = &again
	}
}

var questions = []string{"", "disk full", "app=shop", "app=shop level>=error", "app!=shop -timeout", "status>=400 or panic", "/n\\d*7 /", "host=web-1 (refused or logged)", "nothing", "trace=t5", "level=debug", "*ime*"}

// The store finds what a loop over everything finds, in any division into
// pages, with any budget, before and after a restart.
func TestSearchAgreesWithALoop(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	dir := t.TempDir()
	s := openStore(t, dir, small())
	all := fill(t, s, r, 150)
	check := func() {
		for _, text := range questions {
			for _, limit := range []int{19, 1000} {
				for _, budget := range []int64{0, 3000} {
					req := Request{Query: mustQuery(t, text), Limit: limit, Budget: budget}
					if r.IntN(2) == 0 {
						req.From, req.To = start.Add(40*time.Second), start.Add(200*time.Second)
					}
					require.Equal(t, expected(all, req), searchAll(t, s, req), "%q, pages of %d, budget %d", text, limit, budget)
				}
			}
		}
	}
	check()
	require.Greater(t, s.Stats().Blocks, 5)
	require.NoError(t, s.Close())
	s = openStore(t, dir, small())
	all = append(all, fill(t, s, r, 50)...)
	check()
}

func TestHistogramAgreesWithALoop(t *testing.T) {
	s := openStore(t, t.TempDir(), small())
	all := fill(t, s, rand.New(rand.NewPCG(3, 4)), 200)
	for _, text := range questions {
		for _, bars := range []int{1, 10, 60} {
			req := Request{Query: mustQuery(t, text), From: start, To: start.Add(5 * time.Minute)}
			h, err := s.Histogram(t.Context(), req, bars)
			require.NoError(t, err)
			want := make([][entry.Fatal + 1]int, bars)
			for _, e := range all {
				if req.in(e.Time) && req.Query.Match(&e) {
					want[h.bar(e.Time)][e.Level]++
				}
			}
			require.Equal(t, want, h.Counts, "%q in %d", text, bars)
		}
	}
	h, err := s.Histogram(t.Context(), Request{From: start.Add(-time.Hour), To: start.Add(2 * time.Hour)}, 1)
	require.NoError(t, err)
	require.Equal(t, len(all), h.Total)
	require.Less(t, h.Read, int64(5000), "whole blocks are not read, only what is in no block yet")
}

// Filters spare blocks: a word that one block has is looked for in few.
func TestFiltersSpareBlocks(t *testing.T) {
	s := openStore(t, t.TempDir(), small())
	fill(t, s, rand.New(rand.NewPCG(5, 6)), 400)
	needle := entry.Packet{Labels: entry.MakeLabels("app", "shop"), Entries: []entry.Entry{{Time: start, Level: entry.Info, Line: "the Needle in here"}}}
	require.NoError(t, s.Append(t.Context(), needle))
	fill(t, s, rand.New(rand.NewPCG(7, 8)), 400)
	result, err := s.Search(t.Context(), Request{Query: mustQuery(t, "needle")})
	require.NoError(t, err)
	require.Len(t, result.Hits, 1)
	require.Less(t, result.Blocks, 8, "of %d", s.Stats().Blocks)
	result, err = s.Search(t.Context(), Request{Query: mustQuery(t, "app=nobody")})
	require.NoError(t, err)
	require.LessOrEqual(t, result.Blocks, 1)
}

// What a source sends again is stored once, also after a restart, and when the
// answer to it was lost.
func TestDuplicates(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, small())
	number := 0
	r := rand.New(rand.NewPCG(9, 10))
	var sent []Numbered
	var all []entry.Entry
	for i := range 60 {
		p := randomPacket(r, start, &number)
		sent = append(sent, Numbered{int64(i), p})
		all = append(all, p.Entries...)
	}
	require.EqualValues(t, -1, s.Last("a"))
	require.NoError(t, s.AppendFrom(t.Context(), "a", sent[:40]))
	require.NoError(t, s.AppendFrom(t.Context(), "a", sent[20:50]))
	require.EqualValues(t, 20, s.Stats().Duplicates)
	require.EqualValues(t, 49, s.Last("a"))
	require.EqualValues(t, -1, s.Last("b"))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, s.AppendFrom(ended, "a", sent[50:]), "nothing was stored, or nobody waited for it")
	require.NoError(t, s.Close())
	s = openStore(t, dir, small())
	require.NoError(t, s.AppendFrom(t.Context(), "a", sent))
	require.Equal(t, expected(all, Request{Query: mustQuery(t, "")}), searchAll(t, s, Request{Query: mustQuery(t, "")}))
	require.ErrorContains(t, s.AppendFrom(t.Context(), "", sent), "name of a source")
}

// sourcesOf are the sources that a store remembers, and that its index does.
func sourcesOf(t *testing.T, s *Store) (names, saved []string) {
	t.Helper()
	s.sourcesMu.Lock()
	defer s.sourcesMu.Unlock()
	for e, err := range s.kv.Prefix([]byte(sourcePrefix)) {
		require.NoError(t, err)
		saved = append(saved, string(e.Key[len(sourcePrefix):]))
	}
	return slices.Sorted(maps.Keys(s.sources)), saved
}

// A source is forgotten when nothing of it is kept any more, and not before:
// what it sends again is stored once as long as the first copy is there.
func TestSourcesAreForgottenWithWhatTheySent(t *testing.T) {
	now := start
	o := small()
	o.Now, o.RetainAge = func() time.Time { return now }, time.Hour
	dir := t.TempDir()
	s := openStore(t, dir, o)
	number := 0
	r := rand.New(rand.NewPCG(31, 32))
	send := func(name string, sequence int64) {
		require.NoError(t, s.AppendFrom(t.Context(), name, []Numbered{{sequence, randomPacket(r, now, &number)}}))
	}
	for i := range int64(30) {
		send("a", i)
		send("b", i)
	}
	require.NoError(t, s.AppendFrom(t.Context(), "nothing", nil))
	s.Stop(true)
	require.ErrorIs(t, s.AppendFrom(t.Context(), "refused", []Numbered{{0, randomPacket(r, now, &number)}}), ErrStopped)
	s.Stop(false)
	require.EqualValues(t, -1, s.Last("asked"))
	now = now.Add(50 * time.Minute)
	require.NoError(t, s.Maintain(t.Context())) // what comes is in another block
	send("b", 30)
	require.NoError(t, s.Maintain(t.Context()))
	names, _ := sourcesOf(t, s)
	require.Equal(t, []string{"a", "b"}, names, "those of which something was stored")

	// All of it is there: it is not stored again.
	before := s.Stats().Duplicates
	send("a", 29)
	require.Equal(t, before+1, s.Stats().Duplicates)

	now = now.Add(30 * time.Minute)
	require.NoError(t, s.Maintain(t.Context()))
	names, saved := sourcesOf(t, s)
	require.Equal(t, []string{"b"}, names)
	require.Equal(t, []string{"b"}, saved)
	require.NoError(t, s.Close())
	s = openStore(t, dir, o)
	names, _ = sourcesOf(t, s)
	require.Equal(t, []string{"b"}, names, "after a restart too")

	// It comes back with what it thinks was never answered, and goes on: all is
	// taken, and there is one copy of each.
	kept := len(searchAll(t, s, Request{}))
	back := []Numbered{{29, randomPacket(r, now, &number)}, {30, randomPacket(r, now, &number)}}
	require.NoError(t, s.AppendFrom(t.Context(), "a", back))
	require.NoError(t, s.AppendFrom(t.Context(), "a", back))
	require.Len(t, searchAll(t, s, Request{}), kept+len(back[0].Packet.Entries)+len(back[1].Packet.Entries))
	require.EqualValues(t, 30, s.Last("a"))
}

// There are never more sources than there may be: those that have sent nothing
// for the longest time go, and none that is sending. One that comes back loses
// nothing; what it repeats is stored twice, and nothing else.
func TestSourcesAreBounded(t *testing.T) {
	o := small()
	o.MaxSources = 40
	dir := t.TempDir()
	s := openStore(t, dir, o)
	number := 0
	r := rand.New(rand.NewPCG(33, 34))
	send := func(name string, sequence int64) {
		require.NoError(t, s.AppendFrom(t.Context(), name, []Numbered{{sequence, randomPacket(r, start, &number)}}))
	}
	src, err := s.enlist("sending")
	require.NoError(t, err)
	for i := range 500 {
		send(fmt.Sprintf("flood-%03d", i), 0)
		send("busy", int64(i))
		names, saved := sourcesOf(t, s)
		require.LessOrEqual(t, len(names), 40)
		require.LessOrEqual(t, len(saved), 40+25, "those of the last block are saved with it")
	}
	s.release("sending", src)
	before := s.Stats().Duplicates
	send("busy", 499)
	send("flood-499", 0)
	require.Equal(t, before+2, s.Stats().Duplicates, "they were not forgotten")
	packets := s.Stats().Packets
	send("flood-000", 0)
	send("flood-000", 1)
	send("flood-000", 1)
	require.Equal(t, packets+2, s.Stats().Packets)
	require.NoError(t, s.Close())
	s = openStore(t, dir, o)
	require.EqualValues(t, 499, s.Last("busy"))
	require.EqualValues(t, 1, s.Last("flood-000"))
}

// The index is derived: without it, or with one that is behind, everything is
// found.
func TestTheIndexIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, small())
	all := fill(t, s, rand.New(rand.NewPCG(11, 12)), 200)
	require.NoError(t, s.Close())
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "index")))
	s = openStore(t, dir, small())
	require.Equal(t, expected(all, Request{Query: mustQuery(t, "disk")}), searchAll(t, s, Request{Query: mustQuery(t, "disk")}))
}

func TestRetentionByAge(t *testing.T) {
	now := start
	o := small()
	o.Now, o.RetainAge = func() time.Time { return now }, time.Hour
	s := openStore(t, t.TempDir(), o)
	fill(t, s, rand.New(rand.NewPCG(13, 14)), 200)
	now = now.Add(50 * time.Minute)
	young := fill(t, s, rand.New(rand.NewPCG(15, 16)), 200)
	now = now.Add(30 * time.Minute)
	require.NoError(t, s.Maintain(t.Context()))
	lines := searchAll(t, s, Request{})
	require.GreaterOrEqual(t, len(lines), len(young))
	require.Less(t, len(lines), len(young)+60, "at most the rest of a block")
	now = now.Add(2 * time.Hour)
	require.NoError(t, s.Maintain(t.Context()))
	require.Empty(t, searchAll(t, s, Request{}), "nor does what has not filled a block stay")
	require.Zero(t, s.Stats().Streams)
	// Where little comes, blocks are closed by age: an entry does not stay
	// because others come.
	number := 0
	for range 40 {
		require.NoError(t, s.Append(t.Context(), randomPacket(rand.New(rand.NewPCG(17, 18)), now, &number)))
		now = now.Add(3 * time.Minute)
		require.NoError(t, s.Maintain(t.Context()))
	}
	oldest := time.Hour + time.Hour/blockShare
	for a := range arrivals(t, s) {
		require.Less(t, now.Sub(a), oldest+3*time.Minute)
	}
	require.NoError(t, s.Close())
	s = openStore(t, s.dir, o)
	now = now.Add(2 * time.Hour)
	require.NoError(t, s.Maintain(t.Context()))
	require.Empty(t, searchAll(t, s, Request{}))
}

// A machine without a battery begins in 1970 until somebody tells it the time:
// what arrives meanwhile is too old, and takes nothing along that is not.
func TestRetentionWhenTheClockIsWrong(t *testing.T) {
	now := start
	o := small()
	o.Now, o.RetainAge = func() time.Time { return now }, time.Hour
	s := openStore(t, t.TempDir(), o)
	all := len(fill(t, s, rand.New(rand.NewPCG(13, 14)), 210)) // a block ends in the other time
	now = time.Unix(100, 0)
	all += len(fill(t, s, rand.New(rand.NewPCG(15, 16)), 210))
	now = start.Add(time.Minute)
	require.NoError(t, s.Maintain(t.Context()))
	require.Len(t, searchAll(t, s, Request{Limit: 1000}), all)
	require.NoError(t, s.Close())
	s = openStore(t, s.dir, o)
	require.Len(t, searchAll(t, s, Request{Limit: 1000}), all)
	now = start.Add(2 * time.Hour)
	require.NoError(t, s.Maintain(t.Context()))
	require.Empty(t, searchAll(t, s, Request{Limit: 1000}))
	require.Equal(t, s.log.End(), s.log.Start())
}

// arrivals are the times at which the packets came that the log has.
func arrivals(t *testing.T, s *Store) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		enough := errors.New("enough")
		err := s.Follow(t.Context(), 0, func(a Arrival) error {
			if !yield(a.Arrived) || a.Offset+1 == s.End() {
				return enough
			}
			return nil
		})
		require.ErrorIs(t, err, enough)
	}
}

// batchesOf returns where the compressed batches of a segment's file begin.
func batchesOf(data []byte) (list []int) {
	for at := 0; ; {
		i := bytes.Index(data[at:], []byte("\x28\xb5\x2f\xfd"))
		if i < 0 {
			return list
		}
		list = append(list, at+i)
		at += i + 1
	}
}

// flip damages the batch in the middle of a closed store's n-th segment, and
// returns the name of the file and the number of the batch in it.
func flip(t *testing.T, dir string, n int) (file string, batch int) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "log", "*.log"))
	require.NoError(t, err)
	require.Greater(t, len(segments), n+1)
	data, err := os.ReadFile(segments[n])
	require.NoError(t, err)
	list := batchesOf(data)
	require.Greater(t, len(list), 10)
	batch = len(list) / 2
	data[list[batch]+10] ^= 1
	require.NoError(t, os.WriteFile(segments[n], data, 0o600))
	return filepath.Base(segments[n]), batch
}

// damagedStore is a store of 300 packets, one in a batch, with one damaged in
// the middle of the second segment: lost is its offset.
func damagedStore(t *testing.T, dir string, o *Options) (all []entry.Packet, lost int, file string) {
	s := openStore(t, dir, o)
	r := rand.New(rand.NewPCG(21, 22))
	number := 0
	for i := range 300 {
		p := randomPacket(r, start.Add(time.Duration(i)*time.Second), &number)
		require.NoError(t, s.Append(t.Context(), p))
		all = append(all, p)
	}
	require.NoError(t, s.Close())
	file, batch := flip(t, dir, 1)
	var base int
	_, err := fmt.Sscanf(file, "%d", &base)
	require.NoError(t, err)
	return all, base + batch, file
}

// A bit that has flipped in the log costs what lies behind it in 4 KiB, and
// the answer says where; all others are found.
func TestDamagedBlock(t *testing.T) {
	dir := t.TempDir()
	all, lost, file := damagedStore(t, dir, small())
	s := openStore(t, dir, small())
	result, err := s.Search(t.Context(), Request{Limit: 1000})
	require.NoError(t, err)
	require.ErrorContains(t, result.Damaged, file+": bad checksum at byte")
	damages := s.Damages()
	require.Len(t, damages, 1)
	require.EqualValues(t, lost, damages[0].From)
	require.Less(t, damages[0].To, damages[0].From+40)
	require.Contains(t, damages[0].Where, file+" at byte ")
	want := 0
	for i, p := range all {
		if int64(i) < damages[0].From || int64(i) >= damages[0].To {
			want += len(p.Entries)
		}
	}
	require.Len(t, searchAll(t, s, Request{}), want)
	require.Len(t, s.Damages(), 1, "it counts once")
	require.Equal(t, 1, s.Stats().Damaged)
	_, err = s.Histogram(t.Context(), Request{Query: mustQuery(t, "disk"), From: start, To: start.Add(time.Hour)}, 10)
	require.NoError(t, err)
}

// Who follows the log goes on behind a damage, and gets everything once but
// what it has taken.
func TestFollowPassesDamage(t *testing.T) {
	dir := t.TempDir()
	all, lost, _ := damagedStore(t, dir, small())
	s := openStore(t, dir, small())
	ctx, cancel := context.WithCancel(t.Context())
	var got []int64
	err := s.Follow(ctx, 0, func(a Arrival) error {
		got = append(got, a.Offset)
		if a.Offset == int64(len(all))-1 {
			cancel()
		}
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)
	d := s.Damages()
	require.Len(t, d, 1)
	require.EqualValues(t, lost, d[0].From)
	var want []int64
	for i := range all {
		if int64(i) < d[0].From || int64(i) >= d[0].To {
			want = append(want, int64(i))
		}
	}
	require.Equal(t, want, got)
}

// Who wants the packets before an offset does not wait for another one, where
// the last of them are damaged.
func TestBetweenEndsInDamage(t *testing.T) {
	dir := t.TempDir()
	_, lost, _ := damagedStore(t, dir, small())
	s := openStore(t, dir, small())
	require.Len(t, s.Damages(), 0)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	n := 0
	require.NoError(t, s.Between(ctx, 0, int64(lost)+1, func(Arrival) error { n++; return nil }))
	require.Equal(t, lost, n)
	require.Len(t, s.Damages(), 1)

	// So it is at the end of the log, behind which nothing may come for long.
	s = openStore(t, t.TempDir(), small())
	_, err := s.log.Append(ctx, commitlog.Record{Value: []byte("no packet")})
	require.NoError(t, err)
	require.NoError(t, s.Between(ctx, 0, s.End(), func(Arrival) error { return errors.New("there is none") }))
}

// The archive gets all that is good: the damaged batch is missing, and nothing
// behind it. So it is when the index was made again meanwhile, and so knew
// nothing of what lies close behind the damage.
func TestArchivePassesDamage(t *testing.T) {
	for _, again := range []bool{false, true} {
		t.Run(fmt.Sprintf("index=%v", again), func(t *testing.T) {
			dir := t.TempDir()
			o := small()
			all, lost, _ := damagedStore(t, dir, o)
			if again {
				require.NoError(t, os.RemoveAll(filepath.Join(dir, "index")))
			}
			o.HotBytes = 1
			s := openStore(t, dir, o)
			require.NoError(t, s.Maintain(t.Context()))
			stats := s.Stats()
			require.Greater(t, s.log.Start(), int64(lost))
			require.Equal(t, stats.Blocks, stats.Archived, "nothing stays behind the damage")
			require.Equal(t, 1, stats.Damaged)
			require.NoDirExists(t, filepath.Join(dir, "salvage"))
			var good []entry.Entry
			for i, p := range all {
				if i != lost {
					good = append(good, p.Entries...)
				}
			}
			check := func() {
				for _, q := range questions {
					r := Request{Query: mustQuery(t, q), Archive: true, Limit: 1000}
					require.Equal(t, expected(good, r), searchAll(t, s, r), q)
				}
			}
			check()
			require.NoError(t, s.Close())
			s = openStore(t, dir, o)
			check()
			require.Zero(t, s.Stats().Damaged, "the log is good again")
		})
	}
}

// A page of long lines has fewer of them, and goes on all the same.
func TestPagesAreBounded(t *testing.T) {
	s := openStore(t, t.TempDir(), small())
	const n, most = 300, 2000
	for i := range n {
		require.NoError(t, s.Append(t.Context(), entry.Packet{Labels: entry.MakeLabels("app", "a"), Entries: []entry.Entry{{Time: start.Add(time.Duration(i%7) * time.Hour), Line: fmt.Sprint(i, strings.Repeat("x", i%100))}}}))
	}
	seen := map[string]bool{}
	pages := 0
	for r := (Request{Limit: 1000, most: most}); ; pages++ {
		result, err := s.Search(t.Context(), r)
		require.NoError(t, err)
		size := 0
		for _, h := range result.Hits {
			size += len(h.Line)
			number := strings.TrimRight(h.Line, "x")
			require.False(t, seen[number], "%s came twice", number)
			seen[number] = true
		}
		require.LessOrEqual(t, size, most)
		if result.Next == nil {
			break
		}
		r.Before = result.Next
	}
	require.Len(t, seen, n)
	require.Greater(t, pages, 5)
}

// A search ends when its time is over, also in the middle of a block, and goes
// on where it was.
func TestSlowExpressions(t *testing.T) {
	o := small()
	o.BlockEntries = 1 << 20
	s := openStore(t, t.TempDir(), o)
	p := entry.Packet{Labels: entry.MakeLabels("app", "a")}
	for i := range 1000 {
		p.Entries = append(p.Entries, entry.Entry{Time: start.Add(time.Duration(i)), Line: strings.Repeat("a", 1000)})
	}
	require.NoError(t, s.Append(t.Context(), p))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	result, err := s.Search(ctx, Request{Query: mustQuery(t, `/(.?){100}(.?){100}b/`)})
	require.NoError(t, err)
	require.True(t, result.Stopped)
	require.NotNil(t, result.Next)
	h, err := s.Histogram(ctx, Request{Query: mustQuery(t, `/(.?){100}b/`), From: start, To: start.Add(time.Hour)}, 10)
	require.NoError(t, err)
	require.True(t, h.Stopped)
}

// A stream holds on to its labels, and not to the packet that they came in.
func TestStreamsAreSmall(t *testing.T) {
	s := openStore(t, t.TempDir(), small())
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	big := entry.Entry{Time: start, Line: strings.Repeat("x", 100<<10)}
	var before uint64
	for i := range 110 {
		if i == 10 { // what is allocated once is there
			before = heap()
		}
		require.NoError(t, s.Append(t.Context(), entry.Packet{Labels: entry.MakeLabels("app", fmt.Sprint(i)), Entries: []entry.Entry{big}}))
	}
	for range liveArrivals + 50 { // of small packets, so that live tails and the head hold nothing else
		require.NoError(t, s.Append(t.Context(), entry.Packet{Labels: entry.MakeLabels("app", "0"), Entries: []entry.Entry{{Time: start, Line: "small"}}}))
	}
	require.Less(t, int64(heap())-int64(before), int64(5<<20), "100 streams, whose packets had 10 MB")
}

// A disk without room for the index is a full store, and not the end of it: it
// takes things again when there is some.
func TestNoRoomForTheIndex(t *testing.T) {
	disk := vfs.NewMem()
	o := small()
	o.indexFS = disk
	dir := t.TempDir()
	s := openStore(t, dir, o)
	all := fill(t, s, rand.New(rand.NewPCG(13, 14)), 100)
	disk.Limit(disk.Used())
	number := 0
	r := rand.New(rand.NewPCG(15, 16))
	var err error
	for range 20_000 { // some space is reserved
		p := randomPacket(r, start, &number)
		if err = s.Append(t.Context(), p); err != nil {
			break
		}
		all = append(all, p.Entries...)
	}
	require.ErrorIs(t, err, ErrFull)
	require.NoError(t, s.Maintain(t.Context()))
	require.ErrorIs(t, s.Append(t.Context(), randomPacket(r, start, &number)), ErrFull)
	require.NoError(t, s.Check())
	disk.Limit(-1)
	require.NoError(t, s.Maintain(t.Context()))
	all = append(all, fill(t, s, r, 100)...)
	require.Len(t, searchAll(t, s, Request{Limit: 1000}), len(all))
	require.NoError(t, s.Close())
	require.Len(t, searchAll(t, openStore(t, dir, o), Request{Limit: 1000}), len(all))
}

// What is too much goes to the archive and is found there if asked for; what is
// too much for the archive goes.
func TestArchive(t *testing.T) {
	o := small()
	o.HotBytes, o.ArchiveBytes = 24<<10, 1<<20
	dir := t.TempDir()
	s := openStore(t, dir, o)
	all := fill(t, s, rand.New(rand.NewPCG(17, 18)), 1200)
	require.NoError(t, s.Maintain(t.Context()))
	stats := s.Stats()
	require.Positive(t, stats.Archived)
	require.LessOrEqual(t, stats.LogBytes, int64(24<<10+8<<10))
	req := Request{Query: mustQuery(t, "disk full"), Archive: true, Limit: 1000}
	require.Equal(t, expected(all, req), searchAll(t, s, req))
	req.Archive = false
	result, err := s.Search(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, stats.Archived, result.Archived)
	require.Less(t, len(result.Hits), len(expected(all, req)))
	require.NoError(t, s.Close())

	s = openStore(t, dir, o)
	req.Archive = true
	require.Equal(t, expected(all, req), searchAll(t, s, req), "after a restart")
	files, err := os.ReadDir(filepath.Join(dir, "archive"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	path := filepath.Join(dir, "archive", files[0].Name())
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	data[len(data)/2] ^= 0xff
	require.NoError(t, os.WriteFile(path, data, 0o600))
	result, err = s.Search(t.Context(), Request{Archive: true, Limit: 1000, Query: mustQuery(t, "/never/")})
	require.NoError(t, err)
	require.ErrorIs(t, result.Damaged, errBadArchive)
	require.NoError(t, s.Close())

	o.ArchiveBytes = 10 << 10
	s = openStore(t, dir, o)
	require.NoError(t, s.Maintain(t.Context()))
	require.Less(t, s.Stats().Archived, stats.Archived)
	_, err = s.Search(t.Context(), Request{Archive: true, Limit: 1000, Query: mustQuery(t, "/never/")})
	require.NoError(t, err, "the damaged one was the oldest and is gone")
}

func TestQuotaStopAndStreams(t *testing.T) {
	o := small()
	o.MaxStreams, o.ArchiveBytes = 12, -1
	s := openStore(t, t.TempDir(), o)
	all := fill(t, s, rand.New(rand.NewPCG(19, 20)), 300)
	p := entry.Packet{Labels: entry.MakeLabels("app", "another"), Entries: []entry.Entry{{Time: start, Line: "x"}}}
	require.ErrorIs(t, s.Append(t.Context(), p), ErrStreams)
	p.Labels = entry.MakeLabels("app", "shop", "host", "web-1")
	s.Stop(true)
	require.ErrorIs(t, s.Append(t.Context(), p), ErrStopped)
	s.Stop(false)
	s.SetQuota(s.Stats().LogBytes)
	require.ErrorIs(t, s.Append(t.Context(), p), ErrFull)
	require.EqualValues(t, 3, s.Stats().Refused)
	require.Len(t, searchAll(t, s, Request{}), len(all), "reading goes on")
	require.NoError(t, s.Maintain(t.Context()))
	require.NoError(t, s.Append(t.Context(), p), "retention has made room")
	require.Less(t, len(searchAll(t, s, Request{})), len(all))
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Append(t.Context(), p), ErrClosed)
}

func TestLiveAndFollow(t *testing.T) {
	s := openStore(t, t.TempDir(), small())
	reader := s.Live().Reader(&observer.ReaderOptions{OnFull: observer.DropOldest})
	all := fill(t, s, rand.New(rand.NewPCG(21, 22)), 30)
	n := 0
	for n < len(all) {
		a, err := reader.Next(t.Context())
		require.NoError(t, err)
		n += len(a.Packet.Entries)
	}
	reader.Close()
	ctx, cancel := context.WithCancel(t.Context())
	n = 0
	err := s.Follow(ctx, -5, func(a Arrival) error {
		if n += len(a.Packet.Entries); n == len(all) {
			cancel()
		}
		return nil
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, s.End(), s.OffsetAt(time.Now().Add(time.Hour)))
	require.Zero(t, s.OffsetAt(start.Add(-time.Hour)))
}

// Writers, searches and retention at the same time: what was acknowledged is
// found at once, as long as retention leaves it.
func TestConcurrentSafe(t *testing.T) {
	o := small()
	o.HotBytes, o.ArchiveBytes = 64<<10, 1<<30
	s := openStore(t, t.TempDir(), o)
	var workers, maintaining sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	maintaining.Go(func() {
		for ctx.Err() == nil {
			if err := s.Maintain(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("maintain: %v", err)
			}
			time.Sleep(time.Millisecond)
		}
	})
	for w := range 4 {
		workers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			number := w * 1_000_000
			for i := range 100 {
				p := randomPacket(r, start.Add(time.Duration(i)*time.Second), &number)
				if err := s.Append(t.Context(), p); err != nil {
					t.Errorf("append: %v", err)
					return
				}
				word := strings.Fields(p.Entries[0].Line)[0]
				q, _ := query.Parse(word)
				result, err := s.Search(t.Context(), Request{Query: q, Archive: true})
				if err != nil || len(result.Hits) != 1 {
					t.Errorf("%s: %d hits, %v", word, len(result.Hits), err)
				}
			}
		})
	}
	workers.Wait()
	cancel()
	maintaining.Wait()
	require.Positive(t, s.Stats().Archived)
}

func TestCursors(t *testing.T) {
	for _, c := range []Cursor{{}, {start.UnixNano(), 5, 7}, {-5, 0, 1}} {
		got, err := ParseCursor(c.String())
		require.NoError(t, err)
		require.Equal(t, c, got)
	}
	for _, s := range []string{"", "a", "a.b", "a.b.c.d", "!.1.1", strings.Repeat("z", 500) + ".1.1"} {
		_, err := ParseCursor(s)
		require.Error(t, err, s)
	}
}

func TestFilter(t *testing.T) {
	words := map[uint64]struct{}{}
	r := rand.New(rand.NewPCG(23, 24))
	for range 5000 {
		words[r.Uint64()] = struct{}{}
	}
	f := newFilter(words)
	for w := range words {
		require.True(t, f.has(w))
	}
	wrong := 0
	for range 10_000 {
		if f.has(r.Uint64()) {
			wrong++
		}
	}
	require.Less(t, wrong, 200)
	require.True(t, f[:9].has(1), "a damaged filter has everything")
	require.True(t, filter(nil).has(1))
}

func BenchmarkAppend(b *testing.B) {
	s, err := Open(b.TempDir(), &Options{Sync: commitlog.SyncNever})
	require.NoError(b, err)
	defer s.Close()
	p := entry.Packet{Labels: entry.MakeLabels("app", "shop", "host", "web-1")}
	for i := range 500 {
		p.Entries = append(p.Entries, entry.Entry{Time: start, Level: entry.Info, Line: fmt.Sprintf(`192.0.2.7 - - [28/Nov/2026:19:40:01 +0100] "GET /cart?id=%d HTTP/1.1" 200 1234 "-" "curl/8"`, i)})
	}
	b.Run("impl=ashlar/lines=500", func(b *testing.B) {
		b.SetBytes(int64(p.Size()))
		for b.Loop() {
			if err := s.Append(b.Context(), p); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(500*b.N)/b.Elapsed().Seconds(), "lines/s")
	})
}
