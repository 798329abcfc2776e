package crashtest

import (
	"bytes"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"

	"github.com/ashlar-go/ashlar/internal/vfs"
)

// Kind is a kind of damage.
type Kind string

// What can happen to a file.
const (
	Flip      Kind = "bit flipped"
	Zero      Kind = "sector zeroed"
	Misplaced Kind = "sector written over by its neighbour"
	Cut       Kind = "cut"
	Garbage   Kind = "garbage appended"
	Zeros     Kind = "zeros appended"
	Missing   Kind = "missing"
)

// Damage is one change of one file.
type Damage struct {
	Kind   Kind
	Path   string
	Offset int // where: for Cut the new length, for what is appended the old one
	Len    int // how many bytes: of the sector, cut off, or appended
}

// String returns the damage as a line of a report.
func (d Damage) String() string {
	return fmt.Sprintf("%s: %s at byte %d (%d bytes)", d.Path, d.Kind, d.Offset, d.Len)
}

// DamageOptions say which damages are tried. The zero value tries all, to all files.
type DamageOptions struct {
	Files func(path string) bool // nil for all
	Kinds []Kind                 // nil for all
	Step  int                    // bytes from one flip or cut to the next; 0 means 1
	End   func(path string, data []byte) int
	// End returns how many bytes at the start of a file to flip, zero or
	// misplace; nil for all. The space allocated in advance need not be tried byte by byte.
}

const sector = 512

// Damages returns every damage with a copy of m that has it and nothing else
// wrong: all files durable, no handles. Damages that would change no byte are left
// out. A copy costs time in proportion to the file.
func Damages(m *vfs.Mem, opts DamageOptions) iter.Seq2[Damage, *vfs.Mem] {
	return func(yield func(Damage, *vfs.Mem) bool) {
		base := m.Kill()
		for _, name := range base.Paths() {
			if opts.Files != nil && !opts.Files(name) {
				continue
			}
			data, err := base.ReadFile(name)
			if err != nil {
				continue // Paths lists what ReadFile reads
			}
			for d, changed := range damagesOf(name, data, opts) {
				if len(opts.Kinds) > 0 && !slices.Contains(opts.Kinds, d.Kind) {
					continue
				}
				if !yield(d, apply(base, d, changed)) {
					return
				}
			}
		}
	}
}

func apply(base *vfs.Mem, d Damage, changed []byte) *vfs.Mem {
	m := vfs.NewMem()
	for _, name := range base.Paths() {
		data, err := base.ReadFile(name)
		switch {
		case name != d.Path && err == nil:
			err = m.WriteFile(name, data)
		case name == d.Path && d.Kind != Missing:
			err = m.WriteFile(name, changed)
		}
		if err != nil {
			panic(fmt.Sprintf("crashtest: copying a file that was there: %v", err))
		}
	}
	return m
}

// damagesOf returns the damages to one file with its bytes after each, valid
// until the next.
func damagesOf(name string, data []byte, opts DamageOptions) iter.Seq2[Damage, []byte] {
	return func(yield func(Damage, []byte) bool) {
		end := len(data)
		if opts.End != nil {
			end = min(end, opts.End(name, data))
		}
		_ = flips(name, data, end, max(opts.Step, 1), yield) &&
			sectors(name, data, end, yield) &&
			lengths(name, data, max(opts.Step, 1), yield) &&
			yield(Damage{Kind: Missing, Path: name, Len: len(data)}, nil)
	}
}

func flips(name string, data []byte, end, step int, yield func(Damage, []byte) bool) bool {
	for at := 0; at < end; at += step {
		changed := bytes.Clone(data)
		changed[at] ^= 1 << (at * 5 % 8)
		if !yield(Damage{Kind: Flip, Path: name, Offset: at, Len: 1}, changed) {
			return false
		}
	}
	return true
}

func sectors(name string, data []byte, end int, yield func(Damage, []byte) bool) bool {
	for at := 0; at < end; at += sector {
		size := min(sector, len(data)-at)
		changed := bytes.Clone(data)
		clear(changed[at : at+size])
		if !bytes.Equal(changed, data) && !yield(Damage{Kind: Zero, Path: name, Offset: at, Len: size}, changed) {
			return false
		}
		if at == 0 {
			continue
		}
		changed = bytes.Clone(data)
		copy(changed[at:at+size], data[at-sector:])
		if !bytes.Equal(changed, data) && !yield(Damage{Kind: Misplaced, Path: name, Offset: at, Len: size}, changed) {
			return false
		}
	}
	return true
}

func lengths(name string, data []byte, step int, yield func(Damage, []byte) bool) bool {
	for at := 0; at < len(data); at += step {
		if !yield(Damage{Kind: Cut, Path: name, Offset: at, Len: len(data) - at}, bytes.Clone(data[:at])) {
			return false
		}
	}
	rng := rand.New(rand.NewPCG(uint64(len(data)), 1))
	for _, size := range []int{1, 7, 100, sector, 8 * sector} {
		garbage := make([]byte, size)
		if !yield(Damage{Kind: Zeros, Path: name, Offset: len(data), Len: size}, append(bytes.Clone(data), garbage...)) {
			return false
		}
		for i := range garbage {
			garbage[i] = byte(rng.Uint32())
		}
		if !yield(Damage{Kind: Garbage, Path: name, Offset: len(data), Len: size}, append(bytes.Clone(data), garbage...)) {
			return false
		}
	}
	return true
}
