package tinylfu

import "math/bits"

// sizedModel learns how many hits an entry may expect for the time that it
// stays, from how entries of its class fared at its age and beyond. An entry
// begins a life when it is stored and at every hit, and a life ends with the
// next hit or with eviction. Over all lives of a class that reached an age a:
//
//	density(a) = lives that ended in a hit / time that they lasted beyond a
//
// Old lives count less and less. Ages are told apart by half octaves.
//
// The entries that are in the cache have not ended their lives. Left out,
// they would make it seem that an entry is used soon or never, so each counts
// as one that is evicted at the moment of learning.
type sizedModel struct {
	densities [sizedCells]float32
	hits      [sizedCells]float32
	evictions [sizedCells]float32
	alive     [sizedCells]float32 // only while learning
}

// A cell is a class and an age.
const (
	sizedAgeBits = 6
	sizedAges    = 1 << sizedAgeBits
	sizedCells   = 1 << (sizedClassBits + sizedAgeBits)
)

// An entry is new, or was used soon after the use before, or late. Soon is
// less than a part of the time in which each entry could be used once.
const (
	sizedNew = iota
	sizedSoon
	sizedLate
	sizedTimes

	sizedSoonShare = 4
)

// sizedLevels are steps of the count of the sketch, the last of which it does
// not count beyond.
var sizedLevels = [maxCount + 1]uint8{0, 0, 1, 2, 3, 3, 4, 4, 5, 5, 5, 6, 6, 6, 7, 7}

// sizedLevelUses are the uses that stand for a level.
var sizedLevelUses = [...]float32{1, 2, 3, 4.5, 6.5, 9, 12, 15}

const (
	sizedClasses = len(sizedLevelUses) * sizedTimes
	// Before anything is learned, it is as if sizedPrior lives had been seen
	// to last as long again as they had, of which for each use that the
	// sketch counts a share of sizedPriorHits was hit.
	sizedPrior     = 5
	sizedPriorHits = 0.15
	// sizedFade is what is left of old lives each time that more are learned.
	sizedFade = 0.95
)

func newSizedModel() sizedModel {
	var m sizedModel
	m.learn()
	return m
}

// sizedClass returns the class of an entry whose key the sketch has counted
// uses of.
func sizedClass(uses, when int) uint32 {
	return uint32(sizedLevels[uses])*sizedTimes + uint32(when)
}

// sizedAge returns the number of the half octave that age is in.
func sizedAge(age uint32) uint32 {
	if age < 2 {
		return age
	}
	octave := uint32(bits.Len32(age) - 1)
	return 2*octave + age>>(octave-1)&1
}

// sizedAgeStart returns the least age in a half octave.
func sizedAgeStart(number int) float32 {
	if number < 2 {
		return float32(number)
	}
	return float32(uint64(2+number&1) << (number / 2) >> 1)
}

func sizedCell(class, age uint32) uint32 {
	return (class<<sizedAgeBits | sizedAge(age)) & (sizedCells - 1)
}

func (m *sizedModel) density(class, age uint32) float32 { return m.densities[sizedCell(class, age)] }

// hit says that an entry of the class was used at the age.
func (m *sizedModel) hit(class, age uint32) { m.hits[sizedCell(class, age)]++ }

// evict says that an entry of the class was evicted at the age.
func (m *sizedModel) evict(class, age uint32) { m.evictions[sizedCell(class, age)]++ }

// beginLearn must come before the calls of resident that come before learn.
func (m *sizedModel) beginLearn() { clear(m.alive[:]) }

// resident says that about number entries of the class have this age.
func (m *sizedModel) resident(class, age uint32, number float32) {
	m.alive[sizedCell(class, age)] += number
}

// learn works the densities out anew.
func (m *sizedModel) learn() {
	for class := range sizedClasses {
		row := func(cells *[sizedCells]float32) *[sizedAges]float32 {
			return (*[sizedAges]float32)(cells[class<<sizedAgeBits:])
		}
		hits, evictions, alive, densities := row(&m.hits), row(&m.evictions), row(&m.alive), row(&m.densities)
		prior := sizedPriorHits * sizedLevelUses[class/sizedTimes]
		var used, ended, lasted float32
		end := sizedAgeStart(sizedAges)
		for age := sizedAges - 1; age >= 0; age-- {
			start := sizedAgeStart(age)
			hit := sizedSmooth(hits, age)
			end1 := hit + sizedSmooth(evictions, age) + sizedSmooth(alive, age)
			// Lives that end in this half octave last half of it; those that
			// end later last all of it.
			lasted += (ended + end1/2) * (end - start)
			used += hit
			ended += end1
			densities[age] = (used + sizedPrior*prior) / (lasted + sizedPrior*(start+1))
			end = start
		}
	}
	for i := range m.hits {
		m.hits[i] *= sizedFade
		m.evictions[i] *= sizedFade
	}
}

// sizedSmooth returns what is in the cell, a part of which is taken from its
// neighbours: what is learned from few lives is uneven.
func sizedSmooth(row *[sizedAges]float32, age int) float32 {
	return row[age]/2 + row[max(0, age-1)]/4 + row[min(sizedAges-1, age+1)]/4
}
